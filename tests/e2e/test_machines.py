"""The driver sends the same messages on every machine, in every shipped scenario.

test_scenarios.py checks the messages themselves, on amd64.  This file checks that the other
machines send the same: i386 with its seven-register trap, aarch64 with MRS in place of IN.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.scenario.script import shipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stage import SourceTree

OTHERS = ("i386", "aarch64")
# Backdoor calls, and the requests to the kernel that follow. Times are omitted: the
# machines need different numbers of kernel calls to get as far.
CONVERSATION = frozenset(
    {"open", "close", "open.refused", "dead-channel", "tclo", "tclo.reply", "tclo.bound", "rpci",
     "rpci.dropped", "guestinfo", "tools", "log", "backup", "host.power", "power.status",
     "powerd", "device.attach", "device.detach", "scenario.met", "scenario.failed"}
)  # fmt: skip
OF_POWERD = frozenset({"powerd", "scenario.met", "scenario.failed"})
# uname -m, and the guest's kind as VMware calls it
NAMES = {
    "amd64": ("x86_64", "other-64"),
    "i386": ("i386", "other"),
    "aarch64": ("aarch64", "arm-other-64"),
}


_MICROSECONDS = re.compile(r"(-?\d+) us$")


def _to_milliseconds(found: re.Match[str]) -> str:
    """The time that reading two clocks takes is in the microseconds and depends on the machine."""
    return f"{round(int(found[1]) / 1000)} ms"


def _conversation(trace: Path, machine: str) -> list[dict[str, Any]]:
    """The messages, with the machine's own names replaced by placeholders."""
    architecture, kind = NAMES[machine]
    events: list[dict[str, Any]] = []
    for line in trace.read_text(encoding="utf-8").splitlines()[1:]:
        event = json.loads(line)
        # The uptime is a time, and statistics are those of a moment.
        if event["k"] not in CONVERSATION or event.get("name") in {"uptime", "memory"}:
            continue
        if str(event.get("request", "")).startswith(("SetGuestInfo  7 ", "SetGuestInfo  8 ")):
            continue
        # Commands share a channel if they are due at the same time.
        if event["k"] in {"open", "close"} and event.get("protocol") == "rpci":
            continue
        del event["n"], event["t"]
        # The description of the system contains the machine's names, so its size differs.
        if event.get("key") == 11:
            assert event["value"]["short"] == kind
            assert event["value"]["full"].endswith(f" {architecture}")
            event["value"] = "DETAILS"
        if str(event.get("request", "")).startswith("SetGuestInfo  11 "):
            event["request"] = "DETAILS"
        if event["k"] == "log":
            event["text"] = _MICROSECONDS.sub(_to_milliseconds, event["text"])
        for field in ("request", "value"):
            text = event.get(field)
            if not isinstance(text, str):
                continue
            if text.endswith(f" {architecture}"):
                event[field] = text.removesuffix(architecture) + "MACHINE"
            if text in {kind, f"SetGuestInfo  6 {kind}"}:
                event[field] = text.removesuffix(kind) + "KIND"
        events.append(event)
    # powerd is a separate thread: the driver's messages in this time, such as the end of a batch,
    # come before or after its event, depending on the number of kernel calls.
    return sorted(events, key=lambda event: event["k"] in OF_POWERD)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_all_machines_send_the_same_messages(
    played: Callable[[str, str], tuple[int, str, Path]], name: str
) -> None:
    conversations: dict[str, list[dict[str, Any]]] = {}
    status: dict[str, int] = {}
    for machine in NAMES:
        status[machine], _, trace = played(machine, name)
        conversations[machine] = _conversation(trace, machine)
    assert len(conversations["amd64"]) >= 30
    for machine in OTHERS:
        assert conversations[machine] == conversations["amd64"]
        assert status[machine] == status["amd64"]


@pytest.mark.parametrize("machine", OTHERS)
def test_driver_replaces_built_in_driver_on_all_machines(
    modules: dict[str, Path], bench: SourceTree, machine: str
) -> None:
    run = bench.run("vmtsim", "run", modules[machine], "--kernel", "builtin")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("machine", OTHERS)
def test_diagnostic_build_runs_on_all_machines(
    bench: SourceTree, machine: str, tmp_path: Path
) -> None:
    words = ("--machine", machine, "--diagnostic", "--json", "--out", tmp_path)
    built = bench.run("vmtgen", "build", *words)
    assert built.returncode == 0, built.stderr
    run = bench.run("vmtsim", "run", json.loads(built.stdout)["path"])
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("machine", OTHERS)
def test_driver_is_independent_of_schedule_on_all_machines(
    modules: dict[str, Path], bench: SourceTree, machine: str
) -> None:
    for seed in ("2", "3"):
        words = ("--scenario", "detach-attach", "--seed", seed)
        run = bench.run("vmtsim", "run", modules[machine], *words)
        assert run.returncode == 0, run.stdout + run.stderr
