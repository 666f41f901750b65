"""A guest that may be a clone or a reverted snapshot reseeds its random numbers.

As in acpivmgenid(4) (sys/dev/acpi/acpi_vmgenid.c, acpivmgenid_reset): the pool counts as empty,
the sources fill it, and the epoch advances, so that every user of random numbers reseeds.
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
    "unneeded reset": lambda machine: machine.host.tclo.reset(),
    "clock an hour behind": lambda machine: machine.host.clock.jump(3600 * SECOND),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_each_sign_of_a_copy_reseeds_entropy_pool(rig: Make, sign: str) -> None:
    machine = rig()
    pool = machine.kernel.subject(Entropy)
    assert _pool(machine) == []  # not at the first reset
    SIGNS[sign](machine)
    machine.run(70)
    assert _pool(machine)[:3] == AS_VMGENID
    assert not pool.needed
    # Data, but credited with no entropy: its amount is unknown.
    assert {bits for _size, bits in pool.added} == {0}
    assert machine.threads == ["vmt0", "vmt0entropy"]  # joined with the next sign, or by detach
    machine.leave()


@pytest.mark.parametrize("seed", range(1, 6))
def test_resume_does_not_wait_for_reseeding(rig: Make, seed: int) -> None:
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


def test_second_sign_during_reseeding_is_processed(rig: Make) -> None:
    machine = rig()
    machine.ask("OS_Resume")
    assert machine.until(lambda: "entropy.gather" in _pool(machine))
    machine.ask("OS_Resume")
    machine.run(5)
    assert _pool(machine) == AS_VMGENID * 2
    machine.leave()


def test_channel_contention_does_not_reseed(rig: Make) -> None:
    """Else a guest without a generator in its processor would wait for random numbers forever."""
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
def test_detach_during_reseeding_is_clean(rig: Make, delay: float) -> None:
    machine = rig()
    machine.ask("OS_Resume")
    machine.run(delay)
    since = machine.now
    assert machine.do("detach", "vmt0") == 0
    assert machine.now - since < 3 * SECOND
    machine.leave()


def test_failed_thread_creation_keeps_pool_until_next_resume(rig: Make) -> None:
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
