"""A wrong number in the specs makes a driver that breaks the protocol; the simulated host,
which does not read the specs, detects it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stage import SourceTree

BOOT = "boot-to-halt"
# Scenarios that do not ship.
OWN = Path(__file__).parents[1] / "sim" / "mutants" / "scenarios"

# The error: file, old text, new text, the scenario that detects it.
WRONG = {
    "the sub-command that asks for a message": (
        "specs/vmt/transport.yaml",
        "receive-size: {number: 3,",
        "receive-size: {number: 7,",
        BOOT,
    ),
    "the sub-command that sends four bytes": (
        "specs/vmt/transport.yaml",
        "send-payload: {number: 2,",
        "send-payload: {number: 12,",
        "no-high-bandwidth",
    ),
    "the sub-command that fetches four bytes": (
        "specs/vmt/transport.yaml",
        "receive-payload: {number: 4,",
        "receive-payload: {number: 14,",
        "no-high-bandwidth",
    ),
    "the type of a piece of payload": (
        "specs/vmt/transport.yaml",
        "payload: 2\n",
        "payload: 7\n",
        "no-high-bandwidth",
    ),
    "the command of the message channel": (
        "specs/vmt/transport.yaml",
        "command: 30",
        "command: 31",
        BOOT,
    ),
    "the protocol number of TCLO": (
        "specs/vmt/transport.yaml",
        "tclo: 0x4F4C4354",
        "tclo: 0x4F4C4355",
        BOOT,
    ),
    "the flag that asks for cookies": (
        "specs/vmt/transport.yaml",
        "cookie_flag: 0x80000000",
        "cookie_flag: 0x40000000",
        BOOT,
    ),
    "the success bit": (
        "specs/vmt/transport.yaml",
        "success: {bit: 0x0001",
        "success: {bit: 0x0100",
        BOOT,
    ),
    "the bit that offers high bandwidth": (
        "specs/vmt/transport.yaml",
        "high_bandwidth: {bit: 0x0080",
        "high_bandwidth: {bit: 0x0100",
        BOOT,
    ),
    "the low-bandwidth port": ("specs/vmt/backdoor.yaml", "low: 0x5658", "low: 0x5660", BOOT),
    "the high-bandwidth port": ("specs/vmt/backdoor.yaml", "high: 0x5659", "high: 0x565A", BOOT),
    "the magic number": ("specs/vmt/backdoor.yaml", "magic: 0x564D5868", "magic: 0x564D5869", BOOT),
    "the command that asks for the UUID": (
        "specs/vmt/backdoor.yaml",
        "number: 19",
        "number: 20",
        BOOT,
    ),
    "the command that asks for time and lag": (
        "specs/vmt/backdoor.yaml",
        "number: 55",
        "number: 56",
        BOOT,
    ),
    "the command that asks for the time": (
        "specs/vmt/backdoor.yaml",
        "number: 46",
        "number: 47",
        "old-host",
    ),
    "the order of the words of the time": (
        "specs/vmt/backdoor.yaml",
        "registers: [si, dx]}    # upper",
        "registers: [dx, si]}    # upper",
        "old-host",
    ),
    "the order of the words of the time with lag": (
        "specs/vmt/backdoor.yaml",
        "registers: [si, dx]}\n",
        "registers: [dx, si]}\n",
        "clock-steps",
    ),
    "the number of the halt state": ("specs/vmt/tclo.yaml", "halt: 1", "halt: 6", BOOT),
    "the delimiter of guest information": (
        "specs/vmt/rpci.yaml",
        'text: "SetGuestInfo  {key:uint} {value:text}"',
        'text: "SetGuestInfo {key:uint} {value:text}"',
        BOOT,
    ),
    "the beginning of a good reply": (
        "specs/vmt/rpci.yaml",
        'success: "1 "',
        'success: "2 "',
        BOOT,
    ),
    "the type of an IPv4 address": ("specs/vmt/guestinfo.yaml", "{ipv4: 1,", "{ipv4: 3,", BOOT),
    "the word of a good reply": ("specs/vmt/tclo.yaml", 'success: "OK "', 'success: "OK"', BOOT),
    "the longest message, a byte too short": (
        "specs/vmt/transport.yaml",
        "message: 65536",
        "message: 65535",
        "largest-message",
    ),
    "the switch of a shutdown": ("specs/vmt/tclo.yaml", "switch: power", "switch: reset", BOOT),
}


def _file_of(scenario: str) -> str:
    own = OWN / f"{scenario}.yaml"
    return str(own) if own.is_file() else scenario


def test_correct_specs_pass(source_tree: SourceTree) -> None:
    assert source_tree.generate().returncode == 0
    source_tree.build_quickly()
    for scenario in sorted({scenario for *_, scenario in WRONG.values()}):
        run = source_tree.simulate("--scenario", _file_of(scenario))
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("what", WRONG)
def test_simulation_fails_with_wrong_specs(source_tree: SourceTree, what: str) -> None:
    *edit, scenario = WRONG[what]
    source_tree.replace(*edit)
    assert source_tree.generate().returncode == 0
    source_tree.build_quickly()
    run = source_tree.simulate("--scenario", _file_of(scenario), "--summary")
    assert run.returncode in {1, 2, 3}, f"{run.returncode}: {run.stdout}{run.stderr}"
