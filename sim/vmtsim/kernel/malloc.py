"""malloc(9), which NetBSD keeps for older code (NetBSD sys/kern/kern_malloc.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.kmem import KM_NOSLEEP, KM_SLEEP, Kmem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model

_NOWAIT, _ZERO = 1, 2  # sys/sys/malloc.h


class Malloc(Subject):
    """malloc(9) keeps the size itself; its memory is that of kmem_intr_alloc(9)."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_malloc.c 1.158": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def _allocate(self, function: str, size: int, flags: int) -> Model:
        how = KM_NOSLEEP if flags & _NOWAIT else KM_SLEEP
        # For 0 bytes malloc returns a header's end: an address that belongs to no other object.
        given = self.kernel.subject(Kmem).give(
            function, max(size, 1), how, clear=bool(flags & _ZERO), thread=False
        )
        return given if isinstance(given, int) else (yield from given)

    @kernel_function("void *kern_malloc(unsigned long size, int flags)")
    def kern_malloc(self, size: int, flags: int) -> Model:
        return (yield from self._allocate("kern_malloc", size, flags))

    @kernel_function("void kern_free(void *addr)")
    def kern_free(self, address: int) -> None:
        self.kernel.subject(Kmem).release(address, None, "kern_free")

    @kernel_function("void *kern_realloc(void *curaddr, unsigned long newsize, int flags)")
    def kern_realloc(self, address: int, size: int, flags: int) -> Model:
        """Keep the object if it is large enough; a failure leaves it unchanged."""
        kernel = self.kernel
        kmem = kernel.subject(Kmem)
        if not address:
            return (yield from self._allocate("kern_realloc", size, flags))
        if not size:
            kmem.release(address, None, "kern_realloc")
            return 0
        if not flags & _NOWAIT:
            kernel.rules.may_sleep("kern_realloc")
        old = kmem.live.get(address)
        if old is not None and size <= old.size:
            return address
        made = yield from self._allocate("kern_realloc", size, flags)
        if made:
            if old is not None:
                kernel.memory.write(made, kernel.memory.read(address, old.size))
            kmem.release(address, None, "kern_realloc")
        return made
