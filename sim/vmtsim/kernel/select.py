"""selrecord(9) and selnotify(9): threads that wait in poll(2) for a device (kern/sys_select.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kqueue import Kqueues
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

_HEAD = 8  # sel_collision is 64 bits wide
_WORDS = 7  # klist, cluster, lwp, fdinfo, chain and two reserved words (sys/selinfo.h)


@dataclass(eq=False)
class SelectInfo:
    """A struct selinfo, and the threads that have recorded themselves in it."""

    made_at: int
    waiting: list[Lwp] = field(default_factory=list)


class Select(Subject):
    """A selinfo is found by its address; without selinit(9) there is none."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/sys_select.c 1.68": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"sc_lock": "seldestroy selnotify selrecord"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[SelectInfo] = LiveObjects(
            self,
            Words("selinfo", "initialised"),
            unknown="selinfo-unknown",
            freed="selinfo-freed",
            left="selinfo-left",
        )
        self._wakeup = WaitQueue("select")
        self._notified: set[Lwp] = set()

    @kernel_function("void selinit(void *sip)")
    def selinit(self, selinfo: int) -> None:
        memory = self.kernel.memory
        memory.fill(selinfo, 0, _HEAD + _WORDS * memory.pointer_size)
        self.live[selinfo] = SelectInfo(self.kernel.call_site)

    @kernel_function("void seldestroy(void *sip)")
    def seldestroy(self, selinfo: int) -> None:
        """Forget the waiting threads: they keep waiting for their other devices."""
        self.live.find("seldestroy", selinfo)
        self.kernel.subject(Kqueues).klist_fini(selinfo + _HEAD)
        self.live.remove(selinfo)

    @kernel_function("void selrecord(void *selector, void *sip)")
    def selrecord(self, selector: int, selinfo: int) -> None:
        kernel = self.kernel
        found = self.live.find("selrecord", selinfo)
        if selector != kernel.current.address:
            kernel.panic(
                "selrecord-other",
                f"selrecord by {kernel.where()}: the thread is not the running one",
            )
        if kernel.current not in found.waiting:
            found.waiting.append(kernel.current)

    @kernel_function("void selnotify(void *sip, int events, long knhint)")
    def selnotify(self, selinfo: int, _events: int, hint: int) -> Model | None:
        """Call the knotes, and make all recorded threads poll again."""
        found = self.live.find("selnotify", selinfo)
        noting = self.kernel.subject(Kqueues).knote(selinfo + _HEAD, hint)
        if noting is not None:
            return self._after(noting, found)
        self._wake(found)
        return None

    def _after(self, noting: Model, found: SelectInfo) -> Model:
        yield from noting
        self._wake(found)

    def _wake(self, found: SelectInfo) -> None:
        self._notified.update(found.waiting)
        found.waiting.clear()
        self.kernel.scheduler.wake_all(self._wakeup)

    def poll(self, ask: Callable[[], Model], deadline: int) -> Model:
        """Poll for events until there are some, or until ``deadline`` in ns (sel_do_scan).

        Returns them, or -EINTR on a signal.
        """
        lwp = self.kernel.current
        while True:
            self._notified.discard(lwp)
            events: int = yield from ask()
            if events or self.kernel.clock.now >= deadline:
                break
            while lwp not in self._notified:
                woken = yield Block(self._wakeup, deadline=deadline, what="select", signal=True)
                if woken is None:
                    events = -Errno.EINTR
                if not woken:
                    break
            if events < 0:
                break
        for found in self.live.values():
            if lwp in found.waiting:
                found.waiting.remove(lwp)
        self._notified.discard(lwp)
        return events
