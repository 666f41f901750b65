"""The parts of read, write and ioctl around a driver's function: device nodes, cloned files."""

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
# sys/sys/fcntl.h and sys/sys/filio.h.
FNONBLOCK, FASYNC, FCNTLFLAGS, SETFL = 0x4, 0x40, 0x10F00CC, 4
FIONBIO, FIOASYNC = 0x8004667E, 0x8004667D


def transfer(
    kernel: Kernel, direction: int, offset: int, content: bytes, call: Callable[[int], Model]
) -> Model:
    """Let ``call`` move data with its struct uio: returns the bytes moved, or an errno.

    sys_generic.c, dofileread: data moved before a signal or EWOULDBLOCK counts.
    """
    moving = Transfer(kernel, direction, offset, content)
    error = signed((yield from call(moving.address)), 32)
    moved = moving.end()
    if error and not (moved and error in {Errno.EINTR, Errno.EWOULDBLOCK, Errno.ERESTART}):
        return error
    return moved


def control(
    kernel: Kernel,
    command: int,
    content: bytes,
    call: Callable[[int], Model],
    *,
    back: int = 0,
) -> Model:
    """Let ``call`` answer an ioctl in its memory: returns the bytes for the process, or an errno.

    ``back`` is the number of bytes that the kernel reads if it makes the call itself, independent
    of the command.
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
    size = back or (size if command & _IOC_OUT else 0)
    answer = memory.read(data, size) if size and not error else b""
    kmem.release(data, None, "ioctl")
    return error or answer


def set_flags(
    kernel: Kernel,
    old: int,
    flags: int,
    fcntl: Callable[[int, int], Model],
    ioctl: Callable[[int, int], Model],
) -> Model:
    """Set the flags of an open file (F_SETFL): returns the errno and the resulting flags.

    ``fcntl`` and ``ioctl`` call the open object, with a command and the address of an int.
    sys_descrip.c, sys_fcntl.
    """
    memory, kmem = kernel.memory, kernel.subject(Kmem)
    data = kmem.allocate(4, owner="fcntl")

    def ask(call: Callable[[int, int], Model], command: int, value: int) -> Model:
        memory.put_u32(data, value)
        return signed((yield from call(command, data)), 32)

    new = flags & FCNTLFLAGS
    error = yield from ask(fcntl, SETFL, new)
    if not error:
        new = memory.u32(data)  # the driver may change it
        changed = new ^ old
        if changed & FNONBLOCK:
            error = yield from ask(ioctl, FIONBIO, new & FNONBLOCK)
            if error:
                yield from ask(fcntl, SETFL, old)
        if not error and changed & FASYNC:
            error = yield from ask(ioctl, FIOASYNC, new & FASYNC)
            if error:
                if changed & FNONBLOCK:
                    yield from ask(ioctl, FIONBIO, old & FNONBLOCK)
                yield from ask(fcntl, SETFL, old)
    kmem.release(data, None, "fcntl")
    return error, old if error else (old & ~FCNTLFLAGS) | new
