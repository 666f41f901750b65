"""What read, write and ioctl do around the call of a driver: for device nodes and cloned files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.twos import signed

from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.uio import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

# sys/sys/ioccom.h: the direction and the size are in the command.
_IOC_VOID, _IOC_OUT, _IOC_IN = 0x20000000, 0x40000000, 0x80000000
_IOC_SIZE, _IOC_SHIFT = 0x1FFF, 16


def transfer(
    kernel: Kernel, direction: int, offset: int, content: bytes, call: Callable[[int], Model]
) -> Model:
    """Let ``call`` move data by the struct uio that it gets: the bytes that it moved, or an errno.

    sys_generic.c, dofileread: what was moved before a signal or EWOULDBLOCK counts.
    """
    moving = Transfer(kernel, direction, offset, content)
    error = signed((yield from call(moving.address)), 32)
    moved = moving.end()
    if error and not (moved and error in {Errno.EINTR, Errno.EWOULDBLOCK, Errno.ERESTART}):
        return error
    return moved


def control(kernel: Kernel, command: int, content: bytes, call: Callable[[int], Model]) -> Model:
    """Let ``call`` answer an ioctl in the memory that it gets: the bytes for the process, or errno.

    sys_generic.c, sys_ioctl.
    """
    memory, kmem = kernel.memory, kernel.subject(Kmem)
    size = command >> _IOC_SHIFT & _IOC_SIZE
    data = kmem.allocate(max(size, memory.pointer_size), owner="ioctl")
    if command & _IOC_IN:
        memory.write(data, content.ljust(size, b"\0")[:size])
    elif command & _IOC_VOID:
        memory.put_word(data, int.from_bytes(content[:8], "little"))
    error = signed((yield from call(data)), 32)
    back = memory.read(data, size) if command & _IOC_OUT else b""
    kmem.release(data, None, "ioctl")
    return error or back
