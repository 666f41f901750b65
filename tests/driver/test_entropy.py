"""A guest that may be a copy, or its own past, gets other random numbers.

As acpivmgenid(4) does it (sys/dev/acpi/acpi_vmgenid.c, acpivmgenid_reset): the pool counts as
empty, the sources fill it, and the epoch moves, so that every user of random numbers draws anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.entropy import Entropy

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
AS_VMGENID = ["entropy.reset", "entropy.gather", "entropy.consolidate"]


def _pool(machine: Rig, since: int = 0) -> list[str]:
    return [e.kind for e in machine.events(*AS_VMGENID, since=since)]


def _lose(machine: Rig) -> None:
    resets = machine.host.tclo.resets
    machine.host.lose_channel("tclo")
    assert machine.until(lambda: machine.host.tclo.resets > resets)


SIGNS = {
    "resume": lambda machine: machine.ask("OS_Resume"),
    "lost channel": _lose,
    "reset that nobody needed": lambda machine: machine.host.tclo.reset(),
    "clock an hour behind": lambda machine: machine.host.clock.jump(3600 * SECOND),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_each_sign_of_a_copy_empties_and_fills_the_pool(rig: Make, sign: str) -> None:
    machine = rig()
    pool = machine.kernel.subject(Entropy)
    assert _pool(machine) == []  # not at the first reset
    SIGNS[sign](machine)
    machine.run(70)
    assert _pool(machine)[:3] == AS_VMGENID
    assert not pool.needed
    # Data, but no claim on how much of it nobody can know.
    assert {bits for _size, bits in pool.added} == {0}
    assert machine.threads == ["vmt0", "vmt0entropy"]  # joined with the next sign, or by detach
    machine.leave()


@pytest.mark.parametrize("seed", range(1, 6))
def test_what_follows_a_resume_does_not_wait_for_the_pool(rig: Make, seed: int) -> None:
    """entropy_consolidate() sleeps for up to a second, each time (entropy_thread)."""
    machine = rig(seed=seed)
    for _ in range(3):
        machine.host.send("OS_Resume")
    machine.host.send("ping")
    since = machine.now
    assert machine.until(lambda: bool(machine.replies("ping")))
    assert machine.now - since < 1.2 * SECOND  # one turn of an idle worker
    machine.run(5)
    assert _pool(machine)[-3:] == AS_VMGENID
    machine.leave()


def test_a_second_sign_while_the_first_is_worked_on_is_not_lost(rig: Make) -> None:
    machine = rig()
    machine.ask("OS_Resume")
    assert machine.until(lambda: "entropy.gather" in _pool(machine))
    machine.ask("OS_Resume")
    machine.run(5)
    assert _pool(machine) == AS_VMGENID * 2
    machine.leave()


def test_a_channel_that_is_fought_for_is_no_sign(rig: Make) -> None:
    """Else a guest without a generator in its processor would wait for random numbers for ever."""
    machine = rig()
    for _ in range(20):
        _lose(machine)
        machine.run(5)
    assert _pool(machine).count("entropy.reset") == 2
    machine.run(70)
    _lose(machine)
    machine.run(5)
    assert _pool(machine).count("entropy.reset") == 3
    machine.leave()


@pytest.mark.parametrize("delay", [0, 0.01, 0.3, 1.0])
def test_a_detach_may_come_while_the_pool_is_stirred(rig: Make, delay: float) -> None:
    machine = rig()
    machine.ask("OS_Resume")
    machine.run(delay)
    since = machine.now
    assert machine.do("detach", "vmt0") == 0
    assert machine.now - since < 3 * SECOND
    machine.leave()


def test_without_a_thread_the_pool_has_the_time_all_the_same(rig: Make) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    injections[0].fail("kthread_create")
    assert machine.ask("OS_Resume") == b"OK "
    machine.run(3)
    assert len(machine.kernel.subject(Entropy).added) == 1
    assert _pool(machine) == []
    machine.ask("OS_Resume")
    machine.run(3)
    assert _pool(machine) == AS_VMGENID
    machine.leave()
