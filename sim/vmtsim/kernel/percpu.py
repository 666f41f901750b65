"""percpu(9): memory of which each processor has its own copy.

With one processor (``--cpus 1``) there is one copy: a driver that calls the kernel while it holds a
reference may find that another thread has used it since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.preempt import Preemption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.processors import Processor

_HANDLE = 64  # size of a struct percpu, which modules do not read


@dataclass(eq=False)
class PerCpu:
    """A percpu_t and the piece of each processor."""

    made_at: int
    size: int
    destructor: int
    cookie: int
    handle: KernelObject
    pieces: dict[Processor, KernelObject]


class PerCpus(Subject):
    """All percpu_t."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_percpu.c 1.25": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "percpu_allocation.lock": "percpu_alloc percpu_create percpu_free"
    }
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[PerCpu] = LiveObjects(
            self,
            Words("percpu", "allocated", "freed"),
            unknown="percpu-unknown",
            left="percpu-left",
            name=lambda found: f"of {found.size} bytes",
        )

    @kernel_function("percpu_t *percpu_alloc(size_t size)")
    def percpu_alloc(self, size: int) -> Model:
        return self.percpu_create(size, 0, 0, 0)

    @kernel_function("percpu_t *percpu_create(size_t size, void *ctor, void *dtor, void *cookie)")
    def percpu_create(self, size: int, constructor: int, destructor: int, cookie: int) -> Model:
        """Zeroes, then the result of the constructor."""
        kernel = self.kernel
        kernel.rules.may_sleep("percpu_create")
        site = kernel.call_site
        handle = KernelObject(kernel, _HANDLE, "percpu")
        pieces = {
            each: KernelObject(kernel, size, f"piece of a percpu of {size} bytes")
            for each in kernel.processors
        }
        made = PerCpu(site, size, destructor, cookie, handle, pieces)
        self.live.add("percpu_create", handle.at, made)
        if constructor:
            for processor, piece in pieces.items():
                yield Call(constructor, (piece.at, cookie, processor.address))
        return handle.at

    @kernel_function("void percpu_free(percpu_t *pc, size_t size)")
    def percpu_free(self, address: int, size: int) -> Model:
        kernel = self.kernel
        kernel.rules.may_sleep("percpu_free")
        found = self.live.find("percpu_free", address)
        if size != found.size:
            kernel.panic(
                "percpu-size",
                f"percpu_free by {kernel.where()}: {size} bytes, but {found.size} were allocated "
                f"by {self.live.made(found)}",
            )
        self.live.remove(address)
        for processor, piece in found.pieces.items():
            if found.destructor:
                yield Call(found.destructor, (piece.at, found.cookie, processor.address))
        for piece in found.pieces.values():
            piece.free("percpu_free")
        found.handle.free("percpu_free")

    @kernel_function("void *percpu_getref(percpu_t *pc)")
    def percpu_getref(self, address: int) -> int:
        """Return this processor's piece; no preemption until percpu_putref."""
        found = self.live.find("percpu_getref", address)
        self.kernel.subject(Preemption).kpreempt_disable()
        return found.pieces[self.kernel.here].at

    @kernel_function("void percpu_putref(percpu_t *pc)")
    def percpu_putref(self, address: int) -> None:
        self.live.find("percpu_putref", address)
        self.kernel.subject(Preemption).kpreempt_enable()

    @kernel_function("void percpu_foreach(percpu_t *pc, void *cb, void *arg)")
    def percpu_foreach(self, address: int, function: int, argument: int) -> Model:
        """Call ``cb(piece, arg, cpu)`` in thread context (percpu_swap_lock is a rwlock)."""
        self.kernel.rules.may_sleep("percpu_foreach")
        found = self.live.find("percpu_foreach", address)
        for processor, piece in found.pieces.items():
            yield Call(function, (piece.at, argument, processor.address))

    @kernel_function("void *percpu_getptr_remote(percpu_t *pc, struct cpu_info *ci)")
    def percpu_getptr_remote(self, address: int, cpu: int) -> int:
        found = self.live.find("percpu_getptr_remote", address)
        processor = self.kernel.processor_at(cpu)
        if processor is None:
            self.kernel.panic(
                "percpu-cpu",
                f"percpu_getptr_remote by {self.kernel.where()} for "
                f"{self.kernel.describe(cpu)}, which is not a CPU",
            )
        return found.pieces[processor].at

    @kernel_function("void percpu_traverse_enter(void)")
    def percpu_traverse_enter(self) -> None:
        self.kernel.rules.may_sleep("percpu_traverse_enter")

    @kernel_function("void percpu_traverse_exit(void)")
    def percpu_traverse_exit(self) -> None:
        """Do nothing: no processor is added later, and the copies never move."""
