"""The recorded behaviour of a real kernel, compared line by line with the simulated one.

``seen.yaml`` holds errnos, console lines, a conversation, power events and panics.  Compared are
values, texts and order; ``UNKNOWABLE`` lists values that the simulated kernel cannot have.  Rows of
NetBSD's own driver need the sys/ tree that it is built from.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML
from vmtgen import cli as vmtgen
from vmtgen.build.compile import build_module
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.console import Console
from vmtsim.kernel.rule_table import Enforced, configured
from vmtsim.kernel.syslog import SysLog
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.run.simulation import Outcome, Simulation
from vmtsim.scenario.script import load

from ..modkit import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
SEEN: Mapping[str, Any] = YAML(typ="safe").load(HERE / "seen.yaml")
SYS = os.environ.get("NETBSD_SYS", "")
VERSION = 1_099_001_200
# The values that the comparison omits, and how.
UNKNOWABLE = {
    "times": "console lines are compared without stamps: how fast a call is, is the machine's",
    "addresses": "ADDRESS and NUMBER: where memory lies, and what is in it after it was freed",
    "order of symbols": "kobj_checksyms() goes by the file's symbol table: a compiler's choice",
    "path": "FILE: the argument of modload",
    "wording of a panic": "a rule speaks of the module; the assertion that it stands for is a row",
    "powerd": "whether it has read an event before the next thing happens",
}
# The recorded kernels had the options of `generic` of amd64, except one.
OPTIONS = {
    "plain": configured("generic", "amd64"),
    "builtin": configured("generic", "amd64"),
    "debug": configured("all", "amd64"),
}
STEPS: Mapping[str, tuple[str, str | None]] = {
    "u": ("unload", "vmt"), "l": ("load", None), "b": ("load", "vmt"),
    "d": ("detach", "vmt0"), "r": ("rescan", "cpu0"),
}  # fmt: skip
# A host that sends nothing by itself except reset and Capabilities_Register.
QUIET = {"option_burst": [], "power_on": False, "ping": 0, "vix_probe": 0, "broadcast_ip": 0}


@pytest.fixture(scope="session")
def modules(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The project's driver and, with a tree, NetBSD's, both for the kernel that was seen."""
    out = tmp_path_factory.mktemp("seen")
    made = {"ours": build_module(root / "kmod" / "vmt", release="10.99.12", out=out).module.path}
    if SYS:
        stock = ["--sys", SYS, "--source", f"{SYS}/modules/vmt", "--out", str(out / "stock")]
        assert vmtgen.main(["build", "--release", "10.99.12", *stock]) == 0
        (made["stock"],) = (out / "stock").glob("*/amd64/vmt.kmod")
    return made


def chosen(modules: Mapping[str, Path], name: str) -> Path:
    if name not in modules:
        pytest.skip("NETBSD_SYS does not name a sys/ directory of NetBSD")
    return modules[name]


def play(
    module: Path,
    steps: Sequence[Mapping[str, Any]],
    directory: Path,
    *,
    duration: float = 20,
    checks: frozenset[Enforced] = OPTIONS["plain"],
    guest: Mapping[str, Any] | None = None,
) -> tuple[Simulation, Outcome]:
    """Run a scenario of these steps on a quiet host."""
    file = directory / "seen.yaml"
    with file.open("w", encoding="utf-8") as out:
        scenario = {"summary": "as seen", "duration": duration, "host": QUIET, "steps": [*steps]}
        scenario |= {"guest": {**guest}} if guest else {}
        YAML().dump(scenario, out)
    simulation = Simulation(module, load(file), checks=checks)
    return simulation, simulation.run()


def driver_of(machine: Machine) -> str:
    device = machine.kernel.subject(AllDevices).find("vmt0")
    return "none" if device is None else "built-in" if device.native else "ours"


@pytest.mark.parametrize(
    "row", SEEN["orders"], ids=lambda row: f"{row['module']}-{row['kernel']}-{row['steps']}"
)
def test_load_and_detach_order_has_recorded_result(
    row: Mapping[str, Any], modules: Mapping[str, Path]
) -> None:
    module = chosen(modules, row["module"])
    kernel = row["kernel"]
    machine = Machine(module, builtin=kernel == "builtin", version=VERSION, checks=OPTIONS[kernel])
    before = len(machine.console)
    assert machine.times([STEPS[step] for step in row["steps"]]) == row["is"]
    assert driver_of(machine) == row["driver"]
    lines = [line.replace(str(module), "FILE") for line in machine.console[before:]]
    symbols = [line for line in lines if "redefined" in line]
    rest = iter(sorted(symbols))
    assert [next(rest) if line in symbols else line for line in lines] == row["console"]


def test_every_short_order_can_be_completed_with_project_driver(
    modules: Mapping[str, Path],
) -> None:
    """Seen for all orders of up to four, one boot each: no panic, and each can be continued."""
    orders = ["".join(o) for n in (1, 2, 3) for o in product("uldr", repeat=n) if "l" in o]
    assert len(orders) == 45
    for order in orders:
        machine = Machine(modules["ours"], builtin=True, version=VERSION, checks=OPTIONS["builtin"])
        machine.times([STEPS[step] for step in order + "uldr"])
        assert driver_of(machine) == "ours", order
        machine.times([STEPS[step] for step in "urdl"])
        assert driver_of(machine) == "ours", order
        assert machine.broken() == [], order


def conversation(simulation: Simulation) -> list[str]:
    """The payloads in the order in which they were answered."""
    lines = []
    for event in simulation.trace.events:
        if event.kind == "rpci":
            lines.append(f"rpci {event.fields['request'].decode()}")
        elif event.kind == "tclo.reply":
            message, reply = event.fields["message"], event.fields["reply"]
            lines.append(f"tclo {message.decode()} -> {reply.decode()}")
    return lines


def test_stock_driver_and_host_exchange_recorded_messages(
    modules: Mapping[str, Path], tmp_path: Path
) -> None:
    seen = SEEN["conversation"]
    module = chosen(modules, "stock")
    simulation, _ = play(module, seen["host"], tmp_path, duration=15)
    kernel = simulation.kernel
    lines = conversation(simulation)
    assert lines[: len(seen["conversation"])] == seen["conversation"]
    # After it only periodic messages: the uptime.
    assert {line.rsplit(" ", 1)[0] for line in lines[len(seen["conversation"]) :]} <= {
        "rpci SetGuestInfo  7"
    }
    assert [line.text for line in kernel.subject(SysLog).lines] == seen["log"]
    console = [line.text for line in kernel.subject(Console).lines]
    assert [line for line in console if line in seen["console"]] == seen["console"]
    events = kernel.subject(SysmonPower).events
    got = [[each["powerd-event-name"], each["powerd-script-name"]] for each in events]
    assert got == seen["events"]
    assert {(each["driver-name"], each["power-type"]) for each in events} == {("vmt0", "pswitch")}


def test_stock_driver_nodes_have_recorded_values(
    modules: Mapping[str, Path],
) -> None:
    machine = Machine(chosen(modules, "stock"), version=VERSION, checks=OPTIONS["plain"])
    assert machine.do("load") == 0
    read = {path: machine.guest.wait("sysctl", machine.guest.read(path)) for path in SEEN["sysctl"]}
    assert read == SEEN["sysctl"]


@pytest.mark.parametrize("row", SEEN["power"], ids=lambda row: f"{row['ask']}-{row['powerd']}")
def test_host_request_gives_recorded_event_and_text(
    row: Mapping[str, Any], modules: Mapping[str, Path], tmp_path: Path
) -> None:
    module = chosen(modules, "stock")
    steps = [{"at": 5, "host.tclo": row["ask"]}]
    simulation, _ = play(module, steps, tmp_path, guest={"powerd": row["powerd"]})
    kernel = simulation.kernel
    events = kernel.subject(SysmonPower).events
    got = [[each["powerd-event-name"], each["powerd-script-name"]] for each in events]
    assert got == row["events"]
    if "console" in row:
        lines = [line.text for line in kernel.subject(Console).lines]
        # A run that the request does not end is ended by detaching.
        lines = [line for line in lines if line != "vmt0: detached"]
        assert lines[lines.index("vmt0 at cpu0") + 1 :] == row["console"]


def test_idle_hour_of_stock_driver_costs_recorded_calls(
    modules: Mapping[str, Path], tmp_path: Path
) -> None:
    """From one idle moment to the same one an hour later."""
    module = chosen(modules, "stock")
    calls = []
    for duration in (25, 3625):
        simulation, _ = play(
            module, [{"expect.reply": "Capabilities_Register"}], tmp_path, duration=duration
        )
        calls.append(simulation.kernel.scheduler.traps)
    assert calls[1] - calls[0] == SEEN["idle_hour"]


@pytest.mark.parametrize("row", SEEN["failures"], ids=lambda row: row["name"])
def test_stock_driver_logs_recorded_complaints(
    row: Mapping[str, Any], modules: Mapping[str, Path], tmp_path: Path
) -> None:
    module = chosen(modules, "stock")
    simulation, _ = play(module, row["host"], tmp_path, duration=row["duration"])
    lines = [line.text for line in simulation.kernel.subject(Console).lines]
    entries = [begin for line in lines for begin in row["lines"] if line.startswith(begin)]
    assert entries == row["lines"] * row["each"]


@pytest.mark.parametrize("row", SEEN["panics"], ids=lambda row: row["name"])
def test_recorded_panics_occur_in_simulated_kernel(
    row: Mapping[str, Any], modules: Mapping[str, Path], tmp_path: Path
) -> None:
    module = chosen(modules, row["module"])
    _, outcome = play(module, row["steps"], tmp_path)
    (finding,) = [each for each in outcome.findings if each.rule == row["rule"]]
    assert finding.status == 3
    assert row["by"] in finding.message
