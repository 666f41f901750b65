"""Checks a function that a module gave to the kernel when it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.api import Call
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.preempt import Preemption
from vmtsim.kernel.pserialize import PSerialize
from vmtsim.kernel.psref import PassiveReferences

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.mutex import Mutex


def same_locks(kernel: Kernel, held: list[Mutex], who: str, rule: str) -> None:
    """Panic if a function that the kernel called with the locks ``held`` returned with another."""
    for lock in kernel.current.held:
        if lock not in held:
            taken = kernel.location(lock.taken_at)
            kernel.panic(
                rule,
                f"{who} returned with the mutex {lock.describe()} held (taken by {taken})",
                taken,
            )


def call_back(
    kernel: Kernel,
    what: str,
    function: int,
    arguments: tuple[int, ...],
    *,
    mpsafe: bool,
) -> Model:
    """Run ``function`` on the current thread, with the kernel lock unless it is MP-safe.

    Returns its result as an unsigned word.  ``what`` names the function in messages.  Panics if the
    function returns with something that it has acquired: a mutex, a read section, the kernel lock,
    disabled preemption, a passive reference.  softint_execute in sys/kern/kern_softint.c,
    workqueue_runlist in subr_workqueue.c and xc_thread in subr_xcall.c check these.
    """
    big = kernel.subject(KernelLock)
    preemption = kernel.subject(Preemption)
    lwp = kernel.current
    locks, spl = lwp.kernel_locks, lwp.spl
    if not mpsafe:
        waiting = big.lock(1)
        if waiting is not None:
            yield from waiting
    result: int = yield Call(function, arguments)
    place = kernel.location(function)
    who = f"{what} {place} returned"
    if lwp.held:
        lock = lwp.held[0]
        taken = kernel.location(lock.taken_at)
        kernel.panic(
            "callback-with-spin-mutex" if lock.spin else "callback-with-mutex",
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
    left = preemption.left_behind(lwp, spl)
    if left is not None:
        rule, words, where = left
        preemption.forget(lwp, spl)
        report = kernel.panic if rule == "preemption-left" else kernel.violation
        report(rule, f"{who} {words}", where)
    reference = kernel.subject(PassiveReferences).of(lwp) if lwp.in_softint else None
    if reference is not None:
        taken = kernel.location(reference.made_at)
        kernel.panic(
            "psref-kept",
            f"{who} with a passive reference to {kernel.describe(reference.target)}, taken by "
            f"{taken}",
            taken,
        )
    expected = locks + (not mpsafe)
    if lwp.kernel_locks != expected:
        kernel.panic(
            "callback-kernel-lock",
            f"{who} with the kernel lock held {lwp.kernel_locks} times instead of {expected}",
            place,
        )
    if not mpsafe:
        big.unlock(1)
    return result
