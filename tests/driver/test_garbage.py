"""A run leaves no reference cycles, so it needs no collector of them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
