"""A run leaves no reference cycles, so it needs no collector of them."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

from tests.driver.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.driver.conftest import Make


def test_running_machine_creates_no_reference_cycles(rig: Make) -> None:
    machine = rig()
    machine.run(10)
    gc.collect()
    gc.disable()
    try:
        machine.run(180)  # polls, messages, statistics, a report of addresses
        assert machine.host.backdoor.calls > 300
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_collector_does_not_run_while_a_machine_runs(rig: Make) -> None:
    machine = rig()
    seen: list[bool] = []
    machine.kernel.clock.at(machine.now + 1, lambda: seen.append(gc.isenabled()))
    machine.run(1)
    assert seen == [False]
    assert gc.isenabled()


def test_machines_that_have_ended_are_collected(module: Path) -> None:
    """Many short runs follow each other, and little else is created between them."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 5, 5)
    try:
        kernels: list[weakref.ref[Any]] = []
        for _ in range(60):
            machine = Rig(module)
            for _ in range(5):
                machine.run(0.1)
            kernels.append(weakref.ref(machine.kernel))
        assert sum(each() is not None for each in kernels) < 40
    finally:
        gc.set_threshold(*before)
