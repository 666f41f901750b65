"""Failure injection: which kernel function fails, at which of its calls, and how.

Only functions that can fail in a real kernel are in FAILURES, each with its result in that case.  A
call that fails is not carried out at all: nothing is allocated, registered or copied; one that a
signal ends gives up its mutex and takes it again, as the kernel's does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import KM_NOSLEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


def _always(_arguments: tuple[Any, ...]) -> bool:
    return True


def _without_sleep(arguments: tuple[Any, ...]) -> bool:
    """Whether an allocation may fail: kmem(9) never returns NULL with KM_SLEEP."""
    return bool(arguments[-1] & KM_NOSLEEP)


def _with_signals(arguments: tuple[Any, ...]) -> bool:
    """Whether a signal ends a kpause(9)."""
    return bool(arguments[1])


@dataclass(frozen=True)
class Failure:
    """The result of a failing function, and which of its calls can fail.

    ``signal``: it fails because a signal ends its sleep, with the mutex released during the sleep.
    """

    result: int
    possible: Callable[[tuple[Any, ...]], bool] = _always
    signal: bool = False


# Sources: the manual pages kmem(9), kthread(9), sysctl(9), sysmon_pswitch(9), pmf(9), autoconf(9),
# kauth(9), condvar(9), vfs(9) of NetBSD, and sys/kern/kern_time.c for clock_settime1.
FAILURES: Mapping[str, Failure] = {
    "kmem_alloc": Failure(0, _without_sleep),
    "kmem_zalloc": Failure(0, _without_sleep),
    "kthread_create": Failure(Errno.ENOMEM),
    "sysctl_createv": Failure(Errno.ENOMEM),
    "sysmon_pswitch_register": Failure(Errno.ENOMEM),
    "pmf_device_register1": Failure(0),
    "config_cfattach_attach": Failure(Errno.EEXIST),
    "config_init_component": Failure(Errno.ENOMEM),
    "config_fini_component": Failure(Errno.EBUSY),
    "kauth_authorize_system": Failure(Errno.EPERM),
    "sysctl_copyin": Failure(Errno.EFAULT),
    "sysctl_copyout": Failure(Errno.EFAULT),
    "cv_timedwait_sig": Failure(Errno.EINTR, signal=True),
    "cv_wait_sig": Failure(Errno.EINTR, signal=True),
    "kpause": Failure(Errno.EINTR, _with_signals, signal=True),
    "kmem_intr_alloc": Failure(0, _without_sleep),
    "kmem_intr_zalloc": Failure(0, _without_sleep),
    "kmem_strdupsize": Failure(0, _without_sleep),
    "workqueue_create": Failure(Errno.ENOMEM),
    "softint_establish": Failure(0),
    "dostatvfs": Failure(Errno.EIO),
    "VFS_STATVFS": Failure(Errno.EIO),
    "VFS_SYNC": Failure(Errno.EIO),
    "clock_settime1": Failure(Errno.EPERM),
}


@dataclass
class _Plan:
    """From the ``first`` call on (1 is the next one), ``times`` calls return ``result``."""

    first: int
    times: int
    result: int


class Injection:
    """Lets calls of kernel functions fail.  Make it before the module is loaded.

    ``calls`` counts the calls that could have failed, by function; ``injected`` those that did.
    """

    def __init__(self, kernel: Kernel, failures: Mapping[str, Failure] = FAILURES) -> None:
        self.calls: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self._kernel = kernel
        self._failures = failures
        self._plans: dict[str, list[_Plan]] = {}
        for name, failure in failures.items():
            kernel.dispatch.wrap(name, partial(self._around, name, failure))

    def _around(
        self, name: str, failure: Failure, method: Callable[..., Any]
    ) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if failure.possible(arguments):
                self.calls[name] += 1
                for plan in self._plans.get(name, ()):
                    if plan.first <= self.calls[name] < plan.first + plan.times:
                        self.injected[name] += 1
                        if failure.signal:
                            return self._interrupted(method, arguments, plan.result)
                        return plan.result
            return method(*arguments)

        return call

    def _interrupted(
        self, method: Callable[..., Model], arguments: tuple[Any, ...], result: int
    ) -> Model:
        """Let a signal be pending when the function is about to sleep."""
        self._kernel.current.signalled = True
        yield from method(*arguments)
        return result

    def fail(self, name: str, nth: int = 1, *, times: int = 1, result: int | None = None) -> None:
        """Let the ``nth`` call from now on fail, and those after it up to ``times`` calls.

        ``result`` is their result, if it differs from FAILURES.  Raises KeyError for a
        function that cannot fail.
        """
        failure = self._failures[name]
        given = failure.result if result is None else result
        first = self.calls[name] + nth
        self._plans.setdefault(name, []).append(_Plan(first, times, given))

    def stop(self) -> None:
        """Let everything succeed from now on."""
        self._plans.clear()
