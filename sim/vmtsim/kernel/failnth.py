"""fault(4): makes the Nth call from now on that may fail return a failure.

NetBSD's fault(4) (FAULT_MODE_NTH_ONESHOT in sys/kern/subr_fault.c) does this to allocations that do
not wait, in pool_get and pool_cache_get of sys/kern/subr_pool.c.  Here it also covers the other
functions whose failure depends on the state of the system and not on their caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Subject
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.kernel import Kernel

NAME = "fail-nth"
_ALLOCATION = "an allocation that does not wait"


@dataclass(frozen=True)
class Failure:
    """A failure of a function: its result, NetBSD's code for it, and which arguments allow it."""

    result: int
    source: str
    may: Callable[[tuple[Any, ...]], bool] = lambda _arguments: True


MAY_FAIL: Mapping[str, Failure] = {
    "kthread_create": Failure(
        Errno.ENOMEM, "sys/kern/kern_kthread.c, kthread_create: uvm_uarea_system_alloc returns 0"
    ),
    "workqueue_create": Failure(
        Errno.ENOMEM, "sys/kern/subr_workqueue.c, workqueue_initqueue: kthread_create fails"
    ),
    "softint_establish": Failure(
        0, "sys/kern/kern_softint.c, softint_establish: table full, increase softint_bytes"
    ),
    "sysmon_task_queue_sched": Failure(
        Errno.ENOMEM, "sys/dev/sysmon/sysmon_taskq.c, sysmon_task_queue_sched: malloc(M_NOWAIT) "
        "returns NULL"
    ),
    "devsw_attach": Failure(
        Errno.ENOMEM, "sys/kern/subr_devsw.c, devsw_attach: kmem_strdupsize returns NULL"
    ),
    "uvm_pglistalloc": Failure(
        Errno.ENOMEM, "sys/uvm/uvm_pglist.c, uvm_pglistalloc: without waitok, too few pages",
        may=lambda arguments: not arguments[-1],
    ),
    "copyin": Failure(
        Errno.EFAULT, "sys/arch/amd64/amd64/copy.S: the user's page is not mapped"
    ),
    "copyout": Failure(
        Errno.EFAULT, "sys/arch/amd64/amd64/copy.S: the user's page is not mapped"
    ),
    "uiomove": Failure(
        Errno.EFAULT, "sys/kern/subr_copy.c, uiomove: the user's page is not mapped"
    ),
}  # fmt: skip


class FailNth(Subject):
    """Counts calls while it is armed, and makes one of them fail."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_fault.c 1.2": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.left = 0  # calls until the one that fails; 0: disarmed
        self._ready = False

    def arm(self, nth: int) -> None:
        """Make the ``nth`` call from now on fail; 0 disarms."""
        if nth and not self._ready:
            self._ready = True
            self._reach()
        self.left = nth

    def _reach(self) -> None:
        """Wrap the functions that may fail, except those without a model."""
        dispatch, kmem = self.kernel.dispatch, self.kernel.subject(Kmem)
        modelled = set(dispatch.modelled())
        for name, failure in MAY_FAIL.items():
            if name in modelled:
                dispatch.wrap(name, lambda model, n=name, f=failure: self._before(n, f, model))  # type: ignore[misc]
        refuse = kmem.refuse
        kmem.refuse = lambda size: self._fails(_ALLOCATION) or refuse(size)

    def _before(self, name: str, failure: Failure, model: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            fails = failure.may(arguments) and self._fails(name)
            return int(failure.result) if fails else model(*arguments)

        return called

    def _fails(self, what: str) -> bool:
        if not self.left:
            return False
        self.left -= 1
        if self.left:
            return False
        self.kernel.trace.emit("fault", name=NAME, point=what, text=f"{what} fails")
        return True
