"""psref(9): passive references, valid on one CPU (NetBSD sys/kern/subr_psref.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.preempt import Preemption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

# struct psref: list entry, debug, target, lwp, cpu: one pointer each.
_TARGET, _LWP, _CPU, _WORDS = 2, 3, 4, 5


@dataclass
class Reference:
    """A passive reference that is held."""

    target: int
    klass: int
    lwp: Lwp
    made_at: int


@dataclass(frozen=True, slots=True)
class Class:
    """A class of targets; ``made_at`` is 0 for those of the kernel itself."""

    name: str
    made_at: int


class PassiveReferences(Subject):
    """All held references, by the address of their struct psref."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_psref.c 1.18": "*"}
    # Its models call order.gives() and order.takes().
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.held: LiveObjects[Reference] = LiveObjects(
            self,
            Words("passive reference", "taken", "released"),
            unknown="psref-not-held",
            left="psref-left",
            name=lambda each: f"of thread {each.lwp.name} to {kernel.describe(each.target)}",
        )
        self._classes: LiveObjects[Class] = LiveObjects(
            self,
            Words("psref class"),
            unknown="psref-class-unknown",
            left="psref-class-left",
            name=lambda each: repr(each.name),
        )
        self._drained = WaitQueue("psref")
        # Called after each release, with the target: the network code frees removed objects.
        self.released: list[Callable[[int], None]] = []

    def boot(self) -> None:
        """Register for the end of threads."""
        scheduler = self.kernel.scheduler
        before = scheduler.on_exit

        def gone(lwp: Lwp) -> None:
            for address, reference in list(self.held.items()):
                if reference.lwp is lwp:
                    del self.held[address]
                    self.kernel.violation(
                        "psref-kept" if lwp.kind == "user" else "psref-left",
                        f"thread {lwp.name} ended with a passive reference to "
                        f"{self.kernel.describe(reference.target)}, taken by "
                        f"{self.held.made(reference)}",
                        self.held.made(reference),
                    )
            before(lwp)

        scheduler.on_exit = gone

    # -- for other subjects ------------------------------------------------------------------

    def new_class(self, name: str, made_at: int = 0) -> int:
        """Make a class of targets; returns its address."""
        address = self.kernel.subject(Kmem).allocate(64, owner="psref")
        self._classes[address] = Class(name, made_at)
        return address

    def init_target(self, target: int, klass: int) -> None:
        """Fill in a struct psref_target."""
        memory = self.kernel.memory
        memory.put_pointer(target, klass)
        memory.put_u8(target + memory.pointer_size, 0)

    def of(self, lwp: Lwp) -> Reference | None:
        """Return a reference that a thread holds (l_psrefs counts them)."""
        return next((each for each in self.held.values() if each.lwp is lwp), None)

    def is_held(self, target: int) -> bool:
        """Whether any thread holds a reference to the target."""
        return any(reference.target == target for reference in self.held.values())

    def held_by_me(self, function: str, target: int) -> bool:
        """Whether the running thread holds a reference to the target.

        Only a thread that holds one may call it while others of this processor do (_psref_held).
        """
        # The list of the processor starts with the latest.
        for reference in reversed(self.held.values()):
            if reference.target == target:
                self._check_owner(function, reference)
                return True
        return False

    def acquire(
        self, function: str, psref: int, target: int, klass: int, *, copy: bool = False
    ) -> None:
        """Take a reference: the checks of psref_acquire.

        A ``copy`` may be made of a reference to a target that is being destroyed: its destroyer
        waits.
        """
        kernel = self.kernel
        self._bound(function)
        self._check_class(function, target, klass)
        memory = kernel.memory
        if memory.u8(target + memory.pointer_size) and not copy:
            kernel.panic(
                "psref-target-destroyed",
                f"{function} by {kernel.where()}: psref target already destroyed: "
                f"{kernel.describe(target)}",
            )
        old = self.held.get(psref)
        if old is not None:
            kernel.panic(
                "psref-in-use",
                f"{function} by {kernel.where()}: the struct psref at {kernel.describe(psref)} "
                f"already holds a reference to {kernel.describe(old.target)}, taken by "
                f"{self.held.made(old)}",
            )
        lwp = kernel.current
        self.held[psref] = Reference(target, klass, lwp, kernel.call_site)
        size = memory.pointer_size
        memory.write(psref, bytes(_WORDS * size))
        memory.put_pointer(psref + _TARGET * size, target)
        memory.put_pointer(psref + _LWP * size, lwp.address)
        memory.put_pointer(psref + _CPU * size, kernel.here.address)

    def release(self, function: str, psref: int, target: int, klass: int) -> None:
        """Release a reference: the checks of psref_release."""
        kernel = self.kernel
        self._bound(function)
        reference = self.held.find(function, psref)
        if reference.target != target:
            kernel.panic(
                "psref-target-mismatch",
                f"{function} by {kernel.where()}: passive reference target mismatch: the struct "
                f"psref refers to {kernel.describe(reference.target)} (taken by "
                f"{self.held.made(reference)}), not to {kernel.describe(target)}",
            )
        self._check_class(function, target, klass)
        self._check_owner(function, reference)
        self.held.remove(psref)
        kernel.order.gives(kernel.current, (self, target))
        kernel.scheduler.wake_all(self._drained)
        for notify in self.released:
            notify(target)

    # -- checks --------------------------------------------------------------------------------

    def _bound(self, function: str) -> None:
        kernel = self.kernel
        if not kernel.subject(Preemption).stays_on_cpu():
            kernel.panic(
                "psref-unbound",
                f"{function} by {kernel.where()} in thread {kernel.current.name}: passive "
                "references are CPU-local, but preemption is enabled and the caller is not in a "
                "softint or CPU-bound LWP (curlwp_bind(), or a thread created for one CPU)",
            )

    def _check_class(self, function: str, target: int, klass: int) -> None:
        kernel = self.kernel
        actual = kernel.memory.pointer(target)
        if actual != klass or klass not in self._classes:

            def name(address: int) -> str:
                known = self._classes.get(address)
                return f"class {known.name!r}" if known else f"{address:#x}, not a class"

            kernel.panic(
                "psref-class-mismatch",
                f"{function} by {kernel.where()}: mismatched psref target class: "
                f"{kernel.describe(target)} has {name(actual)}, expected {name(klass)}",
            )

    def _check_owner(self, function: str, reference: Reference) -> None:
        kernel = self.kernel
        if reference.lwp is not kernel.current:
            kernel.panic(
                "psref-transferred",
                f"{function} by {kernel.where()}: passive reference transferred from lwp "
                f"{reference.lwp.name} (taken by {self.held.made(reference)}) to lwp "
                f"{kernel.current.name}",
            )

    # -- functions -----------------------------------------------------------------------------

    @kernel_function("struct psref_class *psref_class_create(const char *name, int ipl)")
    def psref_class_create(self, name: str | None, _ipl: int) -> int:
        self.kernel.rules.may_sleep("psref_class_create")
        return self.new_class(name or "", self.kernel.call_site)

    @kernel_function("void psref_class_destroy(struct psref_class *klass)")
    def psref_class_destroy(self, address: int) -> None:
        kernel = self.kernel
        self._classes.find("psref_class_destroy", address)
        for reference in self.held.values():
            if reference.klass == address:
                kernel.panic(
                    "psref-class-in-use",
                    f"psref_class_destroy by {kernel.where()}: {reference.lwp.name} still holds "
                    f"a reference to {kernel.describe(reference.target)}, taken by "
                    f"{self.held.made(reference)}",
                )
        self._classes.remove(address)
        kernel.subject(Kmem).release(address, None, "psref_class_destroy")

    @kernel_function(
        "void psref_target_init(struct psref_target *target, struct psref_class *klass)"
    )
    def psref_target_init(self, target: int, klass: int) -> None:
        self.init_target(target, klass)

    @kernel_function(
        "void psref_target_destroy(struct psref_target *target, struct psref_class *klass)"
    )
    def psref_target_destroy(self, target: int, klass: int) -> Model:
        kernel = self.kernel
        memory = kernel.memory
        kernel.rules.may_sleep("psref_target_destroy")
        self._check_class("psref_target_destroy", target, klass)
        if memory.u8(target + memory.pointer_size):
            kernel.panic(
                "psref-target-destroyed",
                f"psref_target_destroy by {kernel.where()}: psref target already destroyed: "
                f"{kernel.describe(target)}",
            )
        memory.put_u8(target + memory.pointer_size, 1)
        for reference in self.held.values():
            if reference.target == target and reference.lwp is kernel.current:
                kernel.panic(
                    "psref-deadlock",
                    f"psref_target_destroy by {kernel.where()} waits for the reference that the "
                    f"same thread took in {self.held.made(reference)}",
                )
        while self.is_held(target):
            yield Block(self._drained, what="psref")
        kernel.order.takes(kernel.current, (self, target))
        memory.put_pointer(target, 0)

    @kernel_function(
        "void psref_acquire(struct psref *psref, const struct psref_target *target, "
        "struct psref_class *klass)"
    )
    def psref_acquire(self, psref: int, target: int, klass: int) -> None:
        self.acquire("psref_acquire", psref, target, klass)

    @kernel_function(
        "void psref_release(struct psref *psref, const struct psref_target *target, "
        "struct psref_class *klass)"
    )
    def psref_release(self, psref: int, target: int, klass: int) -> None:
        self.release("psref_release", psref, target, klass)

    @kernel_function(
        "void psref_copy(struct psref *pto, const struct psref *pfrom, struct psref_class *klass)"
    )
    def psref_copy(self, to: int, source: int, klass: int) -> None:
        reference = self.held.find("psref_copy", source)
        self._check_owner("psref_copy", reference)
        self.acquire("psref_copy", to, reference.target, klass, copy=True)

    @kernel_function(
        "bool psref_held(const struct psref_target *target, struct psref_class *klass)"
    )
    def psref_held(self, target: int, klass: int) -> bool:
        self._bound("psref_held")
        self._check_class("psref_held", target, klass)
        return self.held_by_me("psref_held", target)
