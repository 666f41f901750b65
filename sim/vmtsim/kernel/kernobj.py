"""Objects that the kernel creates for itself, with names for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.facts import Kind, Owner
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.memory import PAGE, Region, round_page

if TYPE_CHECKING:
    from vmtsim.kernel.kernel import Kernel


class KernelObject:
    """Zeroed guest memory that messages call ``what``; the page after it is not mapped.

    After ``free`` a module that still reads it faults, and the message names the object.
    """

    def __init__(self, kernel: Kernel, size: int, what: str) -> None:
        self.kernel = kernel
        self.what = what
        self.gone = False
        kmem = kernel.subject(Kmem)
        self.at = kmem.allocate(size, owner="kernel")
        base = kmem.live[self.at].base
        kernel.memory.remove_region(base)
        kernel.memory.add_region(Region(base, base + round_page(size) + PAGE, self._owner))

    def _owner(self, address: int) -> Owner:
        offset = address - self.at
        place = f"offset {offset} of " if offset else ""
        if self.gone:
            text = f"{place}the freed {self.what}, which was removed"
        else:
            text = f"{place}the {self.what}"
        return Owner(Kind.OBJECT, text, gone=self.gone)

    def free(self, function: str) -> None:
        """Unmap it; ``function`` is the kernel's function for that."""
        self.gone = True
        self.kernel.subject(Kmem).release(self.at, None, function)
