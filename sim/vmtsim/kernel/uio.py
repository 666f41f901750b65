"""struct uio and uiomove(9): data transfers between a driver and a process.

The layouts are those of sys/sys/uio.h: pointers and size_t are words, off_t is 64 bits wide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.process import Processes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel

UIO_READ, UIO_WRITE = 0, 1
# The target of uio_vmspace: only its address counts, because nothing of a vmspace is modelled.
_OF_THE_KERNEL, _OF_A_PROCESS = 0x10, 0x20


class Transfer:
    """One read or write: a struct uio with one iovec in kernel memory, and the process's bytes."""

    def __init__(self, kernel: Kernel, direction: int, offset: int, content: bytes) -> None:
        self._kernel = kernel
        word = kernel.memory.pointer_size
        self.size = len(content)
        self._user = kernel.subject(Processes).buffer(content)
        kmem = kernel.subject(Kmem)
        fields = _FIELDS[word]
        self.address = kmem.allocate(fields.size + 2 * word, owner="uio")
        memory, iovec = kernel.memory, self.address + fields.size
        memory.put_pointer(iovec, self._user)
        memory.put_word(iovec + word, self.size)
        memory.put_pointer(self.address + fields.iov, iovec)
        memory.put_u32(self.address + fields.iovcnt, 1)
        memory.put_u64(self.address + fields.offset, offset)
        memory.put_word(self.address + fields.resid, self.size)
        memory.put_u32(self.address + fields.rw, direction)
        memory.put_pointer(self.address + fields.vmspace, _OF_A_PROCESS)
        self._fields = fields

    def end(self) -> bytes:
        """Free everything; return the transferred bytes, which uio_resid does not count."""
        kernel = self._kernel
        left = kernel.memory.pointer(self.address + self._fields.resid)
        done = self.size - left
        processes = kernel.subject(Processes)
        content = processes.content(self._user)[: max(done, 0)]
        processes.free(self._user)
        kernel.subject(Kmem).release(self.address, None, "read or write of a device")
        return content


class _Fields:
    """Offsets of struct uio by the size of a word."""

    def __init__(self, word: int) -> None:
        self.iov = 0
        self.iovcnt = word
        self.offset = 2 * word  # off_t is aligned to 8 on 64-bit machines, to 4 on i386
        self.resid = self.offset + 8
        self.rw = self.resid + word
        self.vmspace = self.rw + word  # an enum and padding
        self.size = self.vmspace + word


_FIELDS = {word: _Fields(word) for word in (4, 8)}


class UioVector:
    """The iovec of a uio that comes next: where it is in the process, and how long."""

    def __init__(self, kernel: Kernel, uio: int) -> None:
        self._memory, self._uio = kernel.memory, uio
        self._word = kernel.memory.pointer_size
        self._fields = _FIELDS[self._word]

    def _next(self) -> int:
        """Return the address of the first iovec that has room; 0 without one."""
        memory, at = self._memory, self._uio
        iovec, count = memory.pointer(at + self._fields.iov), memory.s32(at + self._fields.iovcnt)
        for number in range(count):
            if memory.pointer(iovec + (2 * number + 1) * self._word):
                return iovec + 2 * number * self._word
        return 0

    @property
    def base(self) -> int:
        """The address in the process."""
        found = self._next()
        return self._memory.pointer(found) if found else 0

    @property
    def length(self) -> int:
        """Return the number of bytes; 0 at the end."""
        found = self._next()
        return self._memory.pointer(found + self._word) if found else 0

    @property
    def offset(self) -> int:
        """The offset in the file."""
        return self._memory.s64(self._uio + self._fields.offset)

    def advance(self, count: int) -> None:
        """Take ``count`` bytes of the iovec."""
        memory, found = self._memory, self._next()
        memory.put_pointer(found, memory.pointer(found) + count)
        memory.put_word(found + self._word, memory.pointer(found + self._word) - count)
        memory.put_u64(self._uio + self._fields.offset, self.offset + count)
        self.put_back(-count)

    def put_back(self, count: int) -> None:
        """Record that ``count`` more bytes were not moved."""
        at = self._uio + self._fields.resid
        self._memory.put_word(at, self._memory.pointer(at) + count)


class UserIo(Subject):
    """uiomove(9): copies between a driver's buffer and the iovecs of a uio."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_copy.c 1.19": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    @kernel_function("int uiomove(void *buf, size_t n, struct uio *uio)")
    def uiomove(self, buffer: int, count: int, uio: int) -> int:
        """Copy up to ``count`` bytes and advance the uio; stops when uio_resid is 0."""
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("uiomove")
        word = memory.pointer_size
        fields = _FIELDS[word]
        direction = memory.u32(uio + fields.rw)
        if direction not in {UIO_READ, UIO_WRITE}:
            kernel.panic(
                "uio-direction",
                f"uiomove by {kernel.where()}: uio_rw is {direction}, not UIO_READ or UIO_WRITE",
            )
        space = memory.pointer(uio + fields.vmspace)
        while count and (resid := memory.pointer(uio + fields.resid)):
            iovec, vectors = memory.pointer(uio + fields.iov), memory.s32(uio + fields.iovcnt)
            length = memory.pointer(iovec + word) if vectors > 0 else 0
            if vectors <= 0 or (not length and vectors == 1):
                kernel.panic(
                    "uio-resid",
                    f"uiomove by {kernel.where()}: uio_resid is {resid}, but no iovec has space",
                )
            if not length:
                memory.put_pointer(uio + fields.iov, iovec + 2 * word)
                memory.put_u32(uio + fields.iovcnt, vectors - 1)
                continue
            step = min(length, count)
            error = self._copy(direction, space, memory.pointer(iovec), buffer, step)
            if error:
                return error
            memory.put_pointer(iovec, memory.pointer(iovec) + step)
            memory.put_word(iovec + word, length - step)
            memory.put_word(uio + fields.resid, resid - step)
            memory.put_u64(uio + fields.offset, memory.u64(uio + fields.offset) + step)
            buffer, count = buffer + step, count - step
        return 0

    def _copy(self, direction: int, space: int, base: int, buffer: int, size: int) -> int:
        if space == _OF_THE_KERNEL:
            memory = self.kernel.memory
            source, target = (buffer, base) if direction == UIO_READ else (base, buffer)
            memory.write(target, memory.read(source, size))
            return 0
        processes = self.kernel.subject(Processes)
        if direction == UIO_READ:
            return processes.copy_out(buffer, base, size)
        return processes.copy_in(base, buffer, size)

    @kernel_function("void uio_setup_sysspace(struct uio *uio)")
    def uio_setup_sysspace(self, uio: int) -> None:
        memory = self.kernel.memory
        memory.put_pointer(uio + _FIELDS[memory.pointer_size].vmspace, _OF_THE_KERNEL)
