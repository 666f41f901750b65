"""Files that an open creates in place of the device node: fd_clone(9), and calls of their fileops.

A driver that needs one object for each open allocates a file in its d_open, gives it functions of
its own, and returns what fd_clone returns.  The layouts are those of sys/sys/file.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.twos import signed

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import Kauth
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.memory import PAGE
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.select import Select
from vmtsim.kernel.syscalls import FCNTLFLAGS, SETFL, control, set_flags, transfer
from vmtsim.kernel.uio import UIO_READ, UIO_WRITE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

_FREAD, _FWRITE = 1, 2  # sys/sys/fcntl.h
_MASK = 0x3 | FCNTLFLAGS  # FMASK without O_EXEC, which no step uses
_MISC = 5  # DTYPE_MISC
_UPDATE = 1  # FOF_UPDATE_OFFSET
_NVAL = 0x20  # POLLNVAL
_MEMBERS = (
    "name", "read", "write", "ioctl", "fcntl", "poll", "stat", "close", "kqfilter", "restart",
    "mmap", "seek",
)  # fmt: skip
_FIRST = 3  # of a process that has standard input, output and error


class StatFields:
    """Offsets of struct stat (sys/sys/stat.h) by the size of a word."""

    def __init__(self, word: int) -> None:
        self.mode = 8
        self.size = 112 if word == 8 else 88
        self.whole = 152 if word == 8 else 124


class _Fields:
    """Offsets of struct file by the size of a word."""

    def __init__(self, word: int) -> None:
        self.offset, self.cred, self.ops, self.data = 0, 8, 8 + word, 8 + 2 * word
        self.flag = 8 + 6 * word  # after f_list and f_lock
        self.type, self.count = self.flag + 8, self.flag + 16
        self.size = self.flag + 32 + word


@dataclass(eq=False)
class File:
    """A file_t: allocated, or, with ``ops``, in the table of its process."""

    made_at: int
    lwp: Lwp
    number: int
    object: KernelObject
    ops: int = 0
    closed: bool = False

    @property
    def address(self) -> int:
        """The address of the struct file."""
        return self.object.at


class Files(Subject):
    """Files of cloned devices; each process of a scenario has its own table."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_descrip.c 1.265": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "fd_lock": "fd_allocfile fd_abort",
        "f_lock": "fd_clone",
    }
    ACCESSES_DATA = "fd_allocfile"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._fields = _Fields(kernel.memory.pointer_size)
        self._files: LiveObjects[File] = LiveObjects(
            self, Words("file", "allocated", "freed"), unknown="file-unknown"
        )
        self._moved: dict[Lwp, File] = {}  # l_dupfd: the last result of fd_clone

    # -- functions for drivers ---------------------------------------------------------------

    @kernel_function("int fd_allocfile(void *resultfp, int *resultfd)")
    def fd_allocfile(self, file_at: int, number_at: int) -> int:
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("fd_allocfile")
        lwp = kernel.current
        taken = {each.number for each in self._files.values() if each.lwp is lwp}
        number = next(n for n in range(_FIRST, _FIRST + len(taken) + 1) if n not in taken)
        made = KernelObject(kernel, self._fields.size, f"file of descriptor {number}")
        memory.put_pointer(made.at + self._fields.cred, kernel.subject(Kauth).kauth_cred_get())
        self._files.add("fd_allocfile", made.at, File(kernel.call_site, lwp, number, made))
        memory.put_pointer(file_at, made.at)
        memory.put_u32(number_at, number)
        return 0

    def _own(self, function: str, address: int, number: int) -> File:
        """Return a file that the running open has allocated and not passed on yet."""
        kernel = self.kernel
        found = self._files.find(function, address)
        if found.lwp is not kernel.current or found.number != number or found.ops:
            kernel.panic(
                "file-unknown",
                f"{function} by {kernel.where()}: {kernel.describe(address)} and the descriptor "
                f"{number} are not from this thread's fd_allocfile, or were already passed on",
            )
        return found

    @kernel_function("int fd_clone(void *fp, u_int fd, int flag, const void *fops, void *data)")
    def fd_clone(self, address: int, number: int, flag: int, ops: int, data: int) -> int:
        """Give the file its functions and its data: EMOVEFD, which d_open has to return."""
        memory, fields = self.kernel.memory, self._fields
        found = self._own("fd_clone", address, number)
        memory.put_u32(address + fields.flag, flag & _MASK)
        memory.put_u32(address + fields.type, _MISC)
        memory.put_pointer(address + fields.ops, ops)
        memory.put_pointer(address + fields.data, data)
        memory.put_u32(address + fields.count, 1)
        found.ops = ops
        self._moved[self.kernel.current] = found
        return Errno.EMOVEFD

    @kernel_function("void fd_abort(void *p, void *fp, u_int fd)")
    def fd_abort(self, process: int, address: int, number: int) -> None:
        kernel, objects = self.kernel, self.kernel.subject(Objects)
        found = self._own("fd_abort", address, number)
        running = kernel.memory.pointer(kernel.current.address + objects.offsets.l_proc)
        if process not in {running, objects.proc0}:
            kernel.panic(
                "file-unknown",
                f"fd_abort by {kernel.where()}: {kernel.describe(process)} is not curproc",
            )
        self._free("fd_abort", found)

    def _free(self, function: str, found: File) -> None:
        found.closed = True
        self._files.remove(found.address)
        found.object.free(function)

    # -- functions for members of fileops ------------------------------------------------------

    @kernel_function("int fbadop_read(void *fp)")
    @kernel_function("int fbadop_write(void *fp)")
    @kernel_function("int fbadop_ioctl(void *fp)")
    @kernel_function("int fbadop_stat(void *fp)")
    @kernel_function("int fbadop_close(void *fp)")
    @kernel_function("int fnullop_kqfilter(void *fp)")
    def fbadop(self, _file: int) -> int:
        return Errno.EOPNOTSUPP

    @kernel_function("int fnullop_fcntl(void *fp, u_int cmd)")
    def fnullop_fcntl(self, _file: int, command: int) -> int:
        return 0 if command == SETFL else Errno.EOPNOTSUPP

    @kernel_function("int fnullop_poll(void *fp)")
    def fnullop_poll(self, _file: int) -> int:
        return 0

    @kernel_function("void fnullop_restart(void *fp)")
    def fnullop_restart(self, _file: int) -> None:
        """Do nothing."""

    # -- functions for system calls ------------------------------------------------------------

    def opened(self, driver: str, error: int) -> File | int:
        """Check the result of d_open: returns the file in place of a node, or the errno."""
        kernel, lwp = self.kernel, self.kernel.current
        moved = self._moved.pop(lwp, None)
        if (moved is not None) != (error == Errno.EMOVEFD):
            did = "called fd_clone" if moved is not None else "did not call fd_clone"
            kernel.panic(
                "file-not-moved",
                f"d_open of {driver} {did} and returned {error}, not EMOVEFD"
                if moved is not None
                else f"d_open of {driver} {did} and returned EMOVEFD",
            )
        for found in list(self._files.values()):
            if found.lwp is lwp and not found.ops:
                place = kernel.location(found.made_at)
                kernel.violation(
                    "file-left",
                    f"d_open of {driver} returned {error}, and the file allocated by {place} went "
                    "neither to fd_clone nor to fd_abort",
                    place,
                )
                self._free("the end of the process", found)
        return error if moved is None else moved

    def check_unload(self, module: str) -> None:
        """Report files whose functions belonged to an unloaded module."""
        super().check_unload(module)
        kernel = self.kernel
        for found in list(self._files.values()):
            if kernel.loaded_at(found.made_at) is None:
                place = kernel.location(found.made_at)
                kernel.violation(
                    "file-of-module",
                    f"module {module} is unloaded, but descriptor {found.number}, allocated by "
                    f"{place}, is open: its next read, write, ioctl or close runs unloaded code",
                    place,
                )
                self._free("the end of the process", found)

    def _call(self, found: File, member: str, *rest: int) -> Model:
        """Call a member of the file's fileops, without the kernel lock."""
        memory = self.kernel.memory
        function = memory.pointer(found.ops + _MEMBERS.index(member) * memory.pointer_size)
        arguments = (found.address, *rest)
        return call_back(self.kernel, f"fo_{member}", function, arguments, mpsafe=True)

    def _has(self, found: File, mode: int) -> bool:
        return bool(self.kernel.memory.u32(found.address + self._fields.flag) & mode)

    def read(self, found: File, size: int) -> Model:
        """Return the bytes that the driver gave, or an errno."""
        return self._transfer(found, "read", bytes(size), UIO_READ)

    def write(self, found: File, content: bytes) -> Model:
        """Return the bytes that the driver took, or an errno."""
        return self._transfer(found, "write", content, UIO_WRITE)

    def _transfer(self, found: File, member: str, content: bytes, direction: int) -> Model:
        if not self._has(found, _FREAD if direction == UIO_READ else _FWRITE):
            return Errno.EBADF
        memory, at = self.kernel.memory, found.address
        cred = memory.pointer(at + self._fields.cred)
        moved = yield from transfer(
            self.kernel, direction, memory.u64(at), content,
            lambda uio: self._call(found, member, at, uio, cred, _UPDATE),
        )  # fmt: skip
        return moved

    def ioctl(self, found: File, command: int, content: bytes) -> Model:
        """Return the bytes that came back, or an errno."""
        if not self._has(found, _FREAD | _FWRITE):
            return Errno.EBADF
        return (
            yield from control(
                self.kernel, command, content,
                lambda data: self._call(found, "ioctl", command, data),
            )
        )  # fmt: skip

    def _flags(self, found: File) -> int:
        return self.kernel.memory.u32(found.address + self._fields.flag)

    def fcntl(self, found: File, flags: int) -> Model:
        """Set the flags of the file (F_SETFL); return an errno."""
        error, new = yield from set_flags(
            self.kernel, self._flags(found), flags,
            lambda command, data: self._call(found, "fcntl", command, data),
            lambda command, data: self._call(found, "ioctl", command, data),
        )  # fmt: skip
        self.kernel.memory.put_u32(found.address + self._fields.flag, new)
        return error

    def stat(self, found: File) -> Model:
        """Return the mode and the size from the driver, or an errno.

        The struct stat is on the kernel's stack, and all of it goes to the process.
        """
        kernel, kmem = self.kernel, self.kernel.subject(Kmem)
        layout = StatFields(kernel.memory.pointer_size)
        at = kmem.allocate(layout.whole, clear=False, owner="fstat")
        error = signed((yield from self._call(found, "stat", at)), 32)
        answer: int | tuple[int, int] = error
        if not error:
            content = kernel.memory.read(at, layout.whole)
            mode = int.from_bytes(content[layout.mode : layout.mode + 4], "little")
            size = content[layout.size : layout.size + 8]
            answer = mode, int.from_bytes(size, "little", signed=True)
        kmem.release(at, None, "fstat")
        return answer

    def seek(self, found: File, offset: int, whence: int) -> Model:
        """Move the place in the file: the new one, or an Errno (sys_lseek)."""
        memory, word = self.kernel.memory, self.kernel.memory.pointer_size
        if not memory.pointer(found.ops + _MEMBERS.index("seek") * word):
            return Errno.ESPIPE
        kmem = self.kernel.subject(Kmem)
        where = kmem.allocate(8, owner="lseek")
        words = memory.wide(offset & 0xFFFFFFFFFFFFFFFF)
        error = signed((yield from self._call(found, "seek", *words, whence, where, _UPDATE)), 32)
        place = memory.s64(where)
        kmem.release(where, None, "lseek")
        return Errno(error) if error else place

    def kqfilter(self, found: File, knote: int) -> Model:
        """Let the driver attach a knote; return an errno."""
        return signed((yield from self._call(found, "kqfilter", knote)), 32)

    def file_of(self, found: File) -> int:
        """Return the address of the file_t."""
        return found.address

    def restart(self, found: File) -> Model:
        """Let calls that are in progress return: their descriptor is closed."""
        yield from self._call(found, "restart")

    def poll(self, found: File, events: int, wait: int = 0) -> Model:
        """Poll the driver for events, and wait ``wait`` ns if there are none."""
        kernel = self.kernel
        return kernel.subject(Select).poll(
            lambda: self._poll(found, events), kernel.clock.now + wait
        )

    def _poll(self, found: File, events: int) -> Model:
        if found.closed:
            return _NVAL
        return (yield from self._call(found, "poll", events)) & 0xFFFFFFFF

    def mmap(self, found: File, offset: int, protection: int) -> Model:
        """Ask the driver for an object to map: the address of the uvm_object, -1 for none."""
        memory, word = self.kernel.memory, self.kernel.memory.pointer_size
        if not memory.pointer(found.ops + _MEMBERS.index("mmap") * word):
            return -1
        places = memory.scratch(5 * 8)
        memory.fill(places, 0, 5 * 8)
        memory.put_u64(places, offset)
        flags, advice, uobj, most = (places + 8 * n for n in range(1, 5))
        error = yield from self._call(
            found, "mmap", places, PAGE, protection, flags, advice, uobj, most
        )
        return -1 if error & 0xFFFFFFFF else memory.pointer(uobj)

    def close(self, found: File) -> Model:
        """Close it: the driver's fo_close is final."""
        kernel = self.kernel
        found.closed = True
        kernel.memory.put_u32(found.address + self._fields.count, 0)
        error = signed((yield from self._call(found, "close")), 32)
        if error == Errno.ERESTART:
            kernel.panic(
                "file-close-restart",
                f"fo_close of the file allocated by {kernel.location(found.made_at)} returned "
                "ERESTART: the file is gone, and the call cannot be restarted",
            )
        self._free("close", found)
        return error
