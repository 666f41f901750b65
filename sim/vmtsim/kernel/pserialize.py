"""pserialize(9): read sections that must not sleep (NetBSD sys/kern/subr_pserialize.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Preempt, Subject, kernel_function
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Site, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

# Represents the kernel's splraiseipl() cookie: a number that differs from section to section, so
# that exiting with another number is detected.
_FIRST_COOKIE = 0x40
_LOOK = 10_000  # interval at which a writer checks for readers, in virtual ns


class PSerialize(Subject):
    """The threads in read sections, and where they entered.

    Threads on other processors run during read sections.  ``after_readers`` runs an action after
    the last reader: so writers free memory that readers may still use.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_pserialize.c 1.24": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._sections: dict[Lwp, list[tuple[int, int]]] = {}  # (cookie, call site), outer first
        self._entered: dict[Lwp, int] = {}  # the number of each thread's outermost section
        self._count = 0
        self.live: LiveObjects[Site] = LiveObjects(
            self,
            Words("pserialize object"),
            unknown="pserialize-unknown",
            left="pserialize-not-destroyed",
        )
        self._next = _FIRST_COOKIE
        self._waiting: list[Callable[[], None]] = []

    def boot(self) -> None:
        """Register for the end of threads."""
        scheduler = self.kernel.scheduler
        before = scheduler.on_exit

        def gone(lwp: Lwp) -> None:
            self._entered.pop(lwp, None)
            sections = self._sections.pop(lwp, None)
            if sections:
                entered = self.kernel.location(sections[-1][1])
                self.kernel.panic(
                    "pserialize-left",
                    f"thread {lwp.name} ended inside the pserialize read section that {entered} "
                    "entered",
                    entered,
                )
            before(lwp)

        scheduler.on_exit = gone

    def entered(self, lwp: Lwp) -> Place:
        """Return the code that entered the innermost read section of ``lwp``."""
        sections = self._sections.get(lwp)
        return self.kernel.location(sections[-1][1] if sections else 0)

    def after_readers(self, action: Callable[[], None]) -> None:
        """Call ``action`` when no thread is in a read section: now, or at the last exit."""
        if self._sections:
            self._waiting.append(action)
        else:
            action()

    @kernel_function("int pserialize_read_enter(void)")
    def pserialize_read_enter(self) -> int:
        lwp = self.kernel.current
        self._next = _FIRST_COOKIE + (self._next + 1) % 0x1000
        self._sections.setdefault(lwp, []).append((self._next, self.kernel.call_site))
        lwp.pserialize += 1
        self.kernel.order.takes(lwp, "performed")
        if lwp.pserialize == 1:
            self._count += 1
            self._entered[lwp] = self._count
        return self._next

    @kernel_function("void pserialize_read_exit(int s)")
    def pserialize_read_exit(self, cookie: int) -> None:
        kernel = self.kernel
        lwp = kernel.current
        sections = self._sections.get(lwp)
        if not sections:
            kernel.panic(
                "pserialize-not-entered",
                f"pserialize_read_exit by {kernel.where()} in thread {lwp.name}, which is in no "
                "read section",
            )
        expected, site = sections.pop()
        lwp.pserialize -= 1
        kernel.order.gives(lwp, "read sections")
        if cookie != expected:
            # The kernel passes it to splx() unchecked.
            kernel.violation(
                "pserialize-cookie",
                f"pserialize_read_exit({cookie:#x}) by {kernel.where()}: the section that "
                f"{kernel.location(site)} entered expects {expected:#x}, the result of "
                "pserialize_read_enter",
            )
        if not sections:
            del self._sections[lwp]
            del self._entered[lwp]
            lwp.quiet += 1
        if not self._sections and self._waiting:
            actions, self._waiting = self._waiting, []
            for action in actions:
                action()

    @kernel_function("bool pserialize_in_read_section(void)")
    def pserialize_in_read_section(self) -> bool:
        return bool(self.kernel.current.pserialize)

    @kernel_function("bool pserialize_not_in_read_section(void)")
    def pserialize_not_in_read_section(self) -> bool:
        return not self.kernel.current.pserialize

    # -- the writer's side -------------------------------------------------------------------

    @kernel_function("void *pserialize_create(void)")
    def pserialize_create(self) -> int:
        self.kernel.rules.may_sleep("pserialize_create")
        address = self.kernel.subject(Kmem).allocate(64, owner="pserialize")
        self.live.add("pserialize_create", address, Site(self.kernel.call_site))
        return address

    @kernel_function("void pserialize_destroy(void *psz)")
    def pserialize_destroy(self, address: int) -> None:
        self.live.find("pserialize_destroy", address)
        self.live.remove(address)
        self.kernel.subject(Kmem).release(address, None, "pserialize_destroy")

    @kernel_function("void pserialize_perform(void *psz)")
    def pserialize_perform(self, address: int) -> Model:
        kernel = self.kernel
        self.live.find("pserialize_perform", address)
        kernel.rules.may_sleep("pserialize_perform")
        yield Preempt()
        yield from self.wait_for(dict(self._entered))
        kernel.order.takes(kernel.current, "read sections")
        kernel.order.gives(kernel.current, "performed")

    def wait_for(self, readers: dict[Lwp, int]) -> Model:
        """Wait until each of these threads has left the section (its number) that it was in."""
        while any(self._entered.get(lwp) == number for lwp, number in readers.items()):
            yield Block(None, deadline=self.kernel.clock.now + _LOOK, what="psrlz")
