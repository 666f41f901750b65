"""What a function that a module gave to the kernel must have put back when it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.api import Call
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.pserialize import PSerialize

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


def call_back(
    kernel: Kernel,
    what: str,
    function: int,
    arguments: tuple[int, ...],
    *,
    mpsafe: bool,
    locked: bool = False,
) -> Model:
    """Run ``function`` on the current thread, with the kernel lock unless it is MP-safe.

    ``what`` says in messages whose function it is; ``locked``: the caller has taken the kernel
    lock.  Panics where the function comes back with a mutex, a read section or the kernel lock
    that it did not have before.
    """
    big = kernel.subject(KernelLock)
    if not mpsafe:
        waiting = big.lock(1)
        if waiting is not None:
            yield from waiting
    yield Call(function, arguments)
    lwp = kernel.current
    place = kernel.location(function)
    who = f"{what} {place} came back"
    if lwp.held:
        lock = lwp.held[0]
        taken = kernel.location(lock.taken_at)
        kernel.panic(
            "callback-with-mutex",
            f"{who} with the mutex {lock.describe()} held (taken by {taken})",
            taken,
        )
    if lwp.pserialize:
        entered = kernel.subject(PSerialize).entered(lwp)
        kernel.panic(
            "callback-in-pserialize",
            f"{who} inside the pserialize read section that {entered} entered",
            entered,
        )
    expected = int(locked or not mpsafe)
    count = kernel.scheduler.kernel_lock_count if big.held() else 0
    if count != expected:
        kernel.panic(
            "callback-kernel-lock",
            f"{who} with the kernel lock held {count} times instead of {expected}",
            place,
        )
    if not mpsafe:
        big.unlock(1)
