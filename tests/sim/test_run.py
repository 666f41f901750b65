"""Complete runs of the project's own driver, as `vmtsim run` shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.resources import root
from vmtsim import cli
from vmtsim.core.trace import Trace, read_events
from vmtsim.cpu.engine import Engine
from vmtsim.host.tclo import Tclo
from vmtsim.run.findings import NOT_LIVE, PANIC
from vmtsim.run.simulation import Outcome, Simulation
from vmtsim.scenario import script

from .modkit import MACHINES, SOURCES, built

if TYPE_CHECKING:
    from pathlib import Path

SCENARIOS = ("boot-to-halt", "lost-channel", "checkpoint", "no-high-bandwidth", "detach-attach")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The driver for each machine; objects come from the build's cache."""
    checkout = root()
    assert checkout is not None
    out = tmp_path_factory.mktemp("driver")
    return {
        machine: build_module(checkout / "kmod" / "vmt", machine=machine, out=out / machine).path
        for machine in MACHINES
    }


def _run(module: Path, name: str = "boot-to-halt", **how: object) -> tuple[Simulation, Outcome]:
    simulation = Simulation(module, script.load(name), **how)  # type: ignore[arg-type]
    return simulation, simulation.run()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_driver_satisfies_every_property(driver: dict[str, Path], machine: str, name: str) -> None:
    _simulation, outcome = _run(driver[machine], name)
    assert [(f.rule, f.message) for f in outcome.findings] == []
    assert all(held for _name, held in outcome.properties)


def _through_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernel models reach guest memory, and calls begin, by Unicorn's functions alone."""
    mapped, resumed = Engine.map, Engine.resume

    def map_unseen(self: Engine, address: int, size: int, protection: int) -> None:
        mapped(self, address, size, protection)
        self._pages.clear()
        self._writable.clear()

    def counted(self: Engine, instructions: int = 0) -> int:
        return resumed(self, instructions or 1 << 40)

    monkeypatch.setattr(Engine, "map", map_unseen)
    monkeypatch.setattr(Engine, "resume", counted)


@pytest.mark.parametrize(
    ("machine", "how"), [*((each, {}) for each in MACHINES), ("amd64", {"races": True})]
)
def test_trace_is_that_of_slow_access(
    driver: dict[str, Path], monkeypatch: pytest.MonkeyPatch, machine: str, how: dict[str, bool]
) -> None:
    fast, outcome = _run(driver[machine], "detach-attach", **how)
    with monkeypatch.context() as patch:
        _through_library(patch)
        slow, other = _run(driver[machine], "detach-attach", **how)
    assert [event.json() for event in slow.trace.events] == [
        event.json() for event in fast.trace.events
    ]
    assert (other.kernel_calls, other.traps, other.switches, other.virtual_time) == (
        outcome.kernel_calls, outcome.traps, outcome.switches, outcome.virtual_time,
    )  # fmt: skip


def test_driver_replaces_built_in_driver(driver: dict[str, Path]) -> None:
    simulation, outcome = _run(driver["amd64"], builtin_vmt=True)
    assert outcome.status == 0
    assert any(event.kind == "powerd" for event in simulation.trace.events)


def test_without_powerd_halt_powers_off(driver: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "no-powerd.yaml"
    path.write_text(
        "summary: no powerd reads /dev/power\nguest: {powerd: false}\n"
        "steps:\n  - at: 5\n    host.power: halt\n"
        '  - expect.console: "vmt0: power button pressed, shutting down!"\n',
        encoding="utf-8",
    )
    _simulation, outcome = _run(driver["amd64"], str(path))
    assert outcome.halted == "power off"
    assert outcome.status == 0


def test_without_ports_and_hypercall_no_device_attaches(
    driver: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "no-ports.yaml"
    path.write_text(
        "summary: no host\nhost: {ports: false}\nduration: 5\n"
        'steps:\n  - expect.console: "vmt0 at *"\n    not: true\n    within: 3\n',
        encoding="utf-8",
    )
    simulation, outcome = _run(driver["amd64"], str(path))
    assert [(f.rule, f.message) for f in outcome.findings] == []
    assert simulation.host.backdoor.calls == 0


@pytest.mark.parametrize("seed", [1, 7])
def test_same_seed_gives_identical_output(driver: dict[str, Path], seed: int) -> None:
    def once() -> list[str]:
        simulation, _outcome = _run(driver["amd64"], seed=seed)
        return [event.json() for event in simulation.trace.events]

    assert once() == once()


def test_other_seed_gives_other_schedule(driver: dict[str, Path]) -> None:
    switches = set()
    for seed in range(1, 6):
        simulation, outcome = _run(driver["amd64"], "option-burst", seed=seed)
        assert outcome.status == 0, [(f.rule, f.message) for f in outcome.findings]
        switches.add((outcome.switches, outcome.kernel_calls, simulation.clock.now))
    assert len(switches) > 1


def test_three_machines_send_same_messages(driver: dict[str, Path]) -> None:
    traces = {}
    for machine in MACHINES:
        simulation, _outcome = _run(driver[machine])
        traces[machine] = [
            event["request"]
            for event in simulation.trace.events
            if event.kind == "rpci" and not event["request"].startswith(b"SetGuestInfo")
        ]
    assert traces["amd64"] == traces["i386"] == traces["aarch64"]


def test_panic_has_its_own_exit_status(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(
        "summary: five seconds\nduration: 5\nsteps:\n  - at: 1\n    guest.hostname: a\n",
        encoding="utf-8",
    )
    simulation, outcome = _run(built("classic", "amd64", ("-DBUG=2",)), str(path))
    assert outcome.status == PANIC
    assert outcome.findings[0].rule == "callback-with-spin-mutex"
    assert simulation.trace.events


# The command


def test_command_prints_console_conversation_and_verdict(
    driver: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(driver["amd64"])]) == 0
    text = capsys.readouterr().out
    assert "] vmt0 at cpu0" in text
    assert "] vmt0: detached" in text
    assert "tclo    host: reset" in text
    assert "guest: OK ATR toolbox" in text
    assert "powerd  power_button pressed" in text
    assert "verdict  ok: every property held" in text


def test_summary_is_short(driver: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(driver["amd64"]), "--summary", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 13
    assert all(len(line) <= 100 for line in lines if not line.startswith("file"))
    assert "NetBSD 11.0/amd64" in lines[0]
    assert any(line.startswith("verdict  ok") for line in lines)


def test_files_are_written_where_requested(
    driver: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, trace, drawing = (tmp_path / name for name in ("o.json", "t.jsonl", "c.svg"))
    arguments = ["run", str(driver["amd64"]), "--summary", "--json", str(outcome)]
    assert cli.main([*arguments, "--trace", str(trace), "--svg", str(drawing)]) == 0
    record = json.loads(outcome.read_text(encoding="utf-8"))
    assert record["status"] == 0
    assert record["module"]["machine"] == "amd64"
    assert any(event.kind == "tclo.reply" for event in read_events(trace))
    assert drawing.read_text(encoding="utf-8").startswith("<svg")
    again = tmp_path / "c.svg.again"
    assert cli.main(["chart", str(trace), "--svg", str(again)]) == 0
    assert again.read_bytes() == drawing.read_bytes()
    again.unlink()
    capsys.readouterr()
    assert cli.main(["chart", str(trace)]) == 0
    assert "guest: OK ATR toolbox" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.svg", "o.json", "t.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run"], 64, "FILE"),
        (["run", "x", "--sede", "3"], 64, "vmtsim run: see vmtsim run --help"),
        (["runn", "x"], 64, "did you mean 'run'?"),
        (["run", "/nowhere/vmt.kmod"], 66, "No such file"),
        (["run", __file__], 65, "error"),
        (["run", "MODULE", "--scenario", "boot-to-hall"], 66, "did you mean 'boot-to-halt'?"),
    ],
)
def test_errors_have_their_statuses(
    driver: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    given = [str(driver["amd64"]) if word == "MODULE" else word for word in arguments]
    try:
        found = cli.main(given)
    except SystemExit as stop:
        found = int(stop.code or 0)
    assert found == status
    assert words in capsys.readouterr().err


def test_unmodelled_function_is_named_and_not_blamed_on_module(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = built("twin", "amd64", ("-DUNMODELLED",))
    assert cli.main(["run", str(module)]) == 70
    error = capsys.readouterr().err
    assert "acpi_match_hid" in error
    assert "twin.c:" in error


def test_failure_prints_command_to_replay_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = built("classic", "amd64", ("-DBUG=2",))
    assert cli.main(["run", str(module), "--seed", "9", "--summary"]) == 3
    text = capsys.readouterr().out
    assert f"replay   vmtsim run {module} --seed 9" in text
    assert "callback-with-spin-mutex" in text


def test_python_m_runs_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmtsim", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("vmtsim ")


def test_event_listener_receives_everything(driver: dict[str, Path]) -> None:
    kinds = set()
    trace = Trace(keep=True)
    trace.subscribe(lambda event: kinds.add(event.kind))
    _run(driver["amd64"], trace=trace)
    assert {"console", "tclo", "rpci", "device.attach", "device.detach", "module"} <= kinds


@pytest.mark.parametrize("machine", MACHINES)
def test_channel_left_open_is_reported(machine: str, tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(
        "summary: open and go\nduration: 1\nsteps:\n  - at: 0.5\n    host.tclo: ping\n",
        encoding="utf-8",
    )
    _simulation, outcome = _run(built("opener", machine), str(path))
    (finding,) = outcome.findings
    assert finding.rule == "channels-closed"
    assert finding.message == "the module is unloaded, but channels to the host are open: 0"
    held = dict(outcome.properties)
    assert not held["the module unloads and leaks nothing"]


def test_infinite_loop_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    # Processor time: far more than any correct code needs between two calls.
    monkeypatch.setattr("vmtsim.run.simulation._STUCK_AFTER", 0.4)
    monkeypatch.setattr("vmtsim.run.simulation._LOOK", 0.1)
    _simulation, outcome = _run(built("looper"), "boot-to-halt")
    assert outcome.status == NOT_LIVE
    message = outcome.findings[0].message
    source = (SOURCES / "looper.c").read_text(encoding="utf-8").splitlines()
    lines = [n for n, line in enumerate(source, 1) if "turns >= 0" in line or "forever" in line]
    assert any(f"looper.c:{line}" in message for line in lines), message


# The length of the call path from an argument to its effect.

OURS = ("vmtsim.", "vmtgen.")


def test_call_path_from_command_line_to_host_is_short(
    driver: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--scenario`` to a message in the host's queue: no layer that only forwards.

    command, verb, one run, its boot, the kernel's loop, the host's turn, the scenario, the
    operation, the queue: it was 17 calls once.
    """
    deepest: list[str] = []
    original = Tclo.send

    def send(self: Tclo, *args: object, **kwargs: object) -> object:
        frame, path = sys._getframe(1), []
        while frame is not None:
            if str(frame.f_globals.get("__name__", "")).startswith(OURS):
                path.append(f"{frame.f_globals['__name__']}:{frame.f_code.co_name}")
            frame = frame.f_back  # type: ignore[assignment]
        if "vmtsim.scenario.script:advance" in path and len(path) > len(deepest):
            deepest[:] = reversed(path)
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Tclo, "send", send)
    assert cli.main(["run", str(driver["amd64"]), "--scenario", "lost-channel", "--summary"]) == 0
    capsys.readouterr()
    assert deepest[0] == "vmtgen.common.cli:main"
    assert len(deepest) + 1 <= 14, deepest
