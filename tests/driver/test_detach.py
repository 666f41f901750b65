"""The driver may be detached at every point of a busy conversation; this tests a sample.

anywhere.py tests all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .anywhere import play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .rig import Rig

    Make = Callable[..., Rig]

SLICES = 24


@pytest.fixture(scope="session")
def points(module: Path) -> int:
    """The number of kernel calls and traps of the driver in the conversation."""
    _machine, count = play(module, None)
    assert count > 1000
    return count


@pytest.mark.parametrize("slice_", range(SLICES))
def test_detach_during_conversation_leaks_nothing(module: Path, points: int, slice_: int) -> None:
    """One point of each slice, another one with each seed."""
    for seed in (1, 2):
        point = 1 + points * slice_ // SLICES + seed * 7 % max(points // SLICES, 1)
        play(module, min(point, points - 200), seed=seed)


def test_conversation_exercises_every_operation(module: Path) -> None:
    """Otherwise the points would be those of an idle driver."""
    machine, _count = play(module, None)
    requests = b"\n".join(machine.requests())
    for text in (b"info-set guestinfo.ip", b"statechange.status 1 5", b"statechange.status 1 4",
                 b"statechange.status 1 2", b"vmbackup.eventSet req.done", b"info-get guestinfo.a",
                 b"SetGuestInfo  1 other.example"):  # fmt: skip
        assert text in requests, text
    assert machine.powerd == [("sleep_button", "released"), ("reset_button", "pressed")]
    assert machine.time.steps
    assert machine.host.faults.injected == {"checkpoint": 1}
    assert machine.host.tclo.resets == 2
