"""percpu(9): memory of which each processor has its own piece.

There is one processor here: whoever has a reference sees the same piece, and a driver that calls
the kernel while it holds one may find that another thread has been there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.preempt import Preemption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_HANDLE = 64  # room for a struct percpu, which no module looks into


@dataclass(eq=False)
class PerCpu:
    """A percpu_t and the piece of the only processor."""

    made_at: int
    size: int
    destructor: int
    cookie: int
    handle: KernelObject
    piece: KernelObject


class PerCpus(Subject):
    """All of them."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_percpu.c 1.25": "*"}

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
        """Zeroes, and then what the constructor makes of them."""
        kernel = self.kernel
        kernel.rules.may_sleep("percpu_create")
        site = kernel.call_site
        handle = KernelObject(kernel, _HANDLE, "percpu")
        piece = KernelObject(kernel, size, f"piece of a percpu of {size} bytes")
        made = PerCpu(site, size, destructor, cookie, handle, piece)
        self.live.add("percpu_create", handle.at, made)
        if constructor:
            yield Call(constructor, (piece.at, cookie, kernel.subject(Objects).cpu0))
        return handle.at

    @kernel_function("void percpu_free(percpu_t *pc, size_t size)")
    def percpu_free(self, address: int, size: int) -> Model:
        kernel = self.kernel
        kernel.rules.may_sleep("percpu_free")
        found = self.live.find("percpu_free", address)
        if size != found.size:
            kernel.panic(
                "percpu-size",
                f"percpu_free by {kernel.where()}: {size} bytes, and {found.size} were allocated "
                f"by {self.live.made(found)}",
            )
        self.live.remove(address)
        if found.destructor:
            cpu = kernel.subject(Objects).cpu0
            yield Call(found.destructor, (found.piece.at, found.cookie, cpu))
        found.piece.free("percpu_free")
        found.handle.free("percpu_free")

    @kernel_function("void *percpu_getref(percpu_t *pc)")
    def percpu_getref(self, address: int) -> int:
        """Return this processor's piece; no preemption until percpu_putref."""
        found = self.live.find("percpu_getref", address)
        self.kernel.subject(Preemption).kpreempt_disable()
        return found.piece.at

    @kernel_function("void percpu_putref(percpu_t *pc)")
    def percpu_putref(self, address: int) -> None:
        self.live.find("percpu_putref", address)
        self.kernel.subject(Preemption).kpreempt_enable()

    @kernel_function("void percpu_foreach(percpu_t *pc, void *cb, void *arg)")
    def percpu_foreach(self, address: int, function: int, argument: int) -> Model:
        """Call ``cb(piece, arg, cpu)`` in thread context (percpu_swap_lock is a rwlock)."""
        self.kernel.rules.may_sleep("percpu_foreach")
        found = self.live.find("percpu_foreach", address)
        yield Call(function, (found.piece.at, argument, self.kernel.subject(Objects).cpu0))

    @kernel_function("void *percpu_getptr_remote(percpu_t *pc, struct cpu_info *ci)")
    def percpu_getptr_remote(self, address: int, _cpu: int) -> int:
        return self.live.find("percpu_getptr_remote", address).piece.at

    @kernel_function("void percpu_traverse_enter(void)")
    def percpu_traverse_enter(self) -> None:
        self.kernel.rules.may_sleep("percpu_traverse_enter")

    @kernel_function("void percpu_traverse_exit(void)")
    def percpu_traverse_exit(self) -> None:
        """Nothing: the pieces of the only processor never move."""
