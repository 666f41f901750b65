"""A wrong number in the specs makes a driver that speaks wrongly, and the simulated host,
which does not read the specs, notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stage import Workshop

WRONG = {
    "the sub-command that asks for a message": (
        "specs/transport.yaml",
        "receive-size: {number: 3,",
        "receive-size: {number: 7,",
    ),
    "the command of the message channel": ("specs/transport.yaml", "command: 30", "command: 31"),
    "the protocol number of TCLO": ("specs/transport.yaml", "tclo: 0x4F4C4354", "tclo: 0x4F4C4355"),
    "the success bit": ("specs/transport.yaml", "success: {bit: 0x0001", "success: {bit: 0x0100"),
    "the high-bandwidth port": ("specs/backdoor.yaml", "high: 0x5659", "high: 0x565A"),
    "the magic number": ("specs/backdoor.yaml", "magic: 0x564D5868", "magic: 0x564D5869"),
    "the number of the halt state": ("specs/tclo.yaml", "halt: 1", "halt: 6"),
    "the delimiter of guest information": (
        "specs/rpci.yaml",
        'text: "SetGuestInfo  {key:uint} {value:text}"',
        'text: "SetGuestInfo {key:uint} {value:text}"',
    ),
    "the word of a good reply": ("specs/tclo.yaml", 'success: "OK "', 'success: "OK"'),
    "the switch of a shutdown": ("specs/tclo.yaml", "switch: power", "switch: reset"),
}


def test_the_right_specs_pass(workshop: Workshop) -> None:
    assert workshop.generate().returncode == 0
    assert workshop.build().returncode == 0
    run = workshop.simulate()
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("what", WRONG)
def test_the_simulation_fails_when_the_specs_get_wrong(workshop: Workshop, what: str) -> None:
    workshop.replace(*WRONG[what])
    assert workshop.generate().returncode == 0
    built = workshop.build()
    assert built.returncode == 0, built.stderr
    run = workshop.simulate()
    assert run.returncode in {1, 2, 3}, f"{run.returncode}: {run.stdout}{run.stderr}"
