"""User processes: Python code that makes system calls, with memory the module cannot touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.facts import Kind, Owner
from vmtsim.kernel.memory import PAGE, Region, round_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


class Process:
    """A user process; ``uid`` 0 is root."""

    def __init__(self, pid: int, name: str, uid: int) -> None:
        self.pid = pid
        self.name = name
        self.uid = uid


class Processes(Subject):
    """Processes and their memory.

    User memory is not mapped in the processor: a module that follows a user pointer faults, as on a
    machine with SMAP or PAN.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/arch/amd64/amd64/copy.S 1.36": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._next_pid = 100
        self._next = kernel.cpu.layout.user
        self._buffers: dict[int, bytearray] = {}
        kernel.memory.add_region(
            Region(
                self._next,
                self._next + 0x800000,
                lambda _at: Owner(Kind.USER, "memory of a user process"),
            )
        )

    def spawn(self, name: str, main: Model, *, uid: int = 0) -> Lwp:
        """Start a process that runs ``main``."""
        lwp = self.kernel.spawn(name, "user", main)
        self._next_pid += 1
        lwp.process = Process(self._next_pid, name, uid)
        return lwp

    def buffer(self, content: bytes) -> int:
        """Return the user address of new memory with this content."""
        address = self._next
        self._buffers[address] = bytearray(content)
        self._next += round_page(max(len(content), 1)) + PAGE
        return address

    def content(self, address: int) -> bytes:
        """Return the content of memory from ``buffer``."""
        return bytes(self._buffers[address])

    def free(self, address: int) -> None:
        """Unmap user memory."""
        del self._buffers[address]
        if not self._buffers:
            self._next = self.kernel.cpu.layout.user

    def _find(self, address: int, size: int) -> tuple[bytearray, int] | None:
        for start, content in self._buffers.items():
            if start <= address and address + size <= start + len(content):
                return content, address - start
        return None

    def copy_in(self, source: int, target: int, size: int) -> int:
        """Copy from user memory; returns an errno."""
        if not size:
            return 0
        found = self._find(source, size)
        if found is None:
            return Errno.EFAULT
        content, offset = found
        self.kernel.memory.write(target, bytes(content[offset : offset + size]))
        return 0

    def copy_out(self, source: int, target: int, size: int) -> int:
        """Copy to user memory; returns an errno."""
        if not size:
            return 0
        found = self._find(target, size)
        if found is None:
            return Errno.EFAULT
        content, offset = found
        content[offset : offset + size] = self.kernel.memory.read(source, size)
        return 0

    @kernel_function("int copyin(const void *uaddr, void *kaddr, size_t len)")
    def copyin(self, source: int, target: int, size: int) -> int:
        self.kernel.rules.may_sleep("copyin")
        return self.copy_in(source, target, size)

    @kernel_function("int copyout(const void *kaddr, void *uaddr, size_t len)")
    def copyout(self, source: int, target: int, size: int) -> int:
        self.kernel.rules.may_sleep("copyout")
        return self.copy_out(source, target, size)
