"""sysctl(3) for processes, and the functions for handlers of nodes.

Source: NetBSD sys/kern/kern_sysctl.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel import kauth
from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import Kauth
from vmtsim.kernel.process import Processes
from vmtsim.kernel.sysctllock import SysctlLock
from vmtsim.kernel.sysctltree import (
    ANYWRITE,
    BOOL,
    IMMEDIATE,
    MAX_NAME,
    NODE,
    PRIVATE,
    READWRITE,
    STRING,
    TYPE_MASK,
    VERSION,
    VERSION_MASK,
    Node,
    SysctlTree,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


@dataclass(frozen=True)
class Reply:
    """The result of sysctl(3): errno, the bytes in the old buffer, and the reported length."""

    error: int
    data: bytes
    length: int

    @property
    def text(self) -> str:
        """The data as a string, without the NUL."""
        return self.data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    @property
    def number(self) -> int:
        """The data as a signed number."""
        return int.from_bytes(self.data, "little", signed=True)


class Sysctl(Subject):
    """System calls: find a node, then run its handler or sysctl_lookup() under the lock."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_sysctl.c 1.271": "*"}
    # The callers hold sysctl_treelock.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._cells: list[int] = []  # memory for a call's length and node number

    def call(
        self,
        path: str,
        *,
        old: int | None = 4096,
        new: bytes | None = None,
        extra: Sequence[int] = (),
    ) -> Model:
        """Make the system call in the running process; returns a Reply.

        ``old`` is the size of the buffer for the old value; None passes no buffer, but requests the
        length. ``extra`` are numbers after the node's own name.
        """
        processes = self.kernel.subject(Processes)
        lock, tree = self.kernel.subject(SysctlLock), self.kernel.subject(SysctlTree)
        memory = self.kernel.memory
        if tree.locate(path)[0] is None:
            return Reply(Errno.ENOENT, b"", 0)
        old_at = processes.buffer(b"\xa5" * old) if old else 0
        new_at = processes.buffer(new) if new is not None else 0
        new_size = len(new) if new is not None else 0
        length_at = self._cells.pop() if self._cells else memory.place(bytes(8 + 4 * 2 * MAX_NAME))
        memory.put_word(length_at, old or 0)
        yield from lock.lock("__sysctl", write=new is not None)
        self.kernel.current.sysctl_node = path
        node, numbers = tree.locate(path)
        error = Errno.ENOENT if node is None else (yield from self._traverse(node))
        if not error and node is not None:
            error = yield from self._dispatch(
                node, (*numbers, *extra), old_at, length_at, new_at, new_size
            )
        lock.release(f"the handler of {path} has returned")
        length = memory.pointer(length_at)
        self._cells.append(length_at)
        if not error and old is not None and old_at and old < length:
            error = Errno.ENOMEM
        data = processes.content(old_at)[: min(length, old or 0)] if old_at else b""
        for address in (old_at, new_at):
            if address:
                processes.free(address)
        return Reply(int(error), data, length)

    def _traverse(self, node: Node) -> Model:
        """Refuse users other than root below a private node (sysctl_locate)."""
        may = self.kernel.subject(Kauth).may
        above = node.parent
        while above is not None:
            if above.flags & PRIVATE and not (yield from may(kauth.SYSCTL, kauth.SYSCTL_PRVT)):
                return Errno.EPERM
            above = above.parent
        return 0

    def _dispatch(
        self, node: Node, extra: Sequence[int], old: int, length: int, new: int, new_size: int
    ) -> Model:
        """Call the function of the node where the name, or its known part, ends."""
        if node.native is not None:
            if new:
                may = self.kernel.subject(Kauth).may(kauth.SYSCTL, kauth.SYSCTL_MODIFY)
                if not node.native_writable or not (yield from may):
                    return Errno.EPERM
            error = self._copy_native(node.native, old, length)
            return self._set_native(node, new, new_size) if new and not error else error
        kernel = self.kernel
        if not node.function and extra:
            return Errno.ENOENT if node.kind == NODE else Errno.ENOTDIR
        if not node.function:
            return (yield from self._lookup(node.address, old, length, new, new_size, user=True))
        lwp = kernel.current
        own = kernel.dispatch.function_at(node.function)
        if own is not None and own.name == "sysctl_lookup":
            if extra:
                return Errno.EINVAL
            return (yield from self._lookup(node.address, old, length, new, new_size, user=True))
        asked = lwp.asked
        whole = [*_numbers_of(node), *extra]
        name_at = length + 8
        for position, number in enumerate(whole):
            kernel.memory.put_u32(name_at + 4 * position, number)
        rest_at = name_at + 4 * (len(whole) - len(extra))
        result = yield Call(
            node.function,
            (rest_at, len(extra), old, length, new, new_size, name_at, lwp.address, node.address),
        )
        error = result & 0xFFFFFFFF
        if new_size and not error and lwp.asked == asked and not node.flags & ANYWRITE:
            place = kernel.location(node.function)
            kernel.violation(
                "sysctl-without-kauth",
                f"the handler of {node.path} ({place}) accepted a new value without a kauth(9) "
                "check: every user may write it",
                place,
            )
        for lock in lwp.held:
            taken = kernel.location(lock.taken_at)
            kernel.panic(
                "syscall-with-mutex",
                f"the handler of {node.path} returned with the mutex {lock.describe()} held "
                f"(taken by {taken})",
                taken,
            )
        return error

    def _copy_native(self, data: bytes, old: int, length_at: int) -> int:
        memory = self.kernel.memory
        room = memory.pointer(length_at)
        memory.put_word(length_at, len(data))
        if old:
            source = memory.scratch(len(data))
            memory.write(source, data)
            return self.kernel.subject(Processes).copy_out(source, old, min(room, len(data)))
        return 0

    def _set_native(self, node: Node, new: int, new_size: int) -> int:
        if new_size != node.size:
            return Errno.EINVAL
        error, value = self._in(new, new_size, user=True)
        if not error:
            node.native = value
        return error

    def _lookup(
        self, node: int, old: int, length_at: int, new: int, new_size: int, *, user: bool
    ) -> Model:
        """sysctl_lookup(): check rights, then copy the old value out and the new value in."""
        memory = self.kernel.memory
        may = self.kernel.subject(Kauth).may
        flags = memory.u32(node)
        if flags & VERSION_MASK != VERSION:
            self.kernel.subject(Console).print(f"sysctl_lookup: rnode {node:#x} wrong version\n")
            return Errno.EINVAL
        if not new_size:
            new = 0
        kind = flags & TYPE_MASK
        if kind == NODE:
            return Errno.EINVAL
        if user and flags & PRIVATE and not (yield from may(kauth.SYSCTL, kauth.SYSCTL_PRVT)):
            return Errno.EPERM
        locked = user and new and not flags & ANYWRITE
        if locked and not (yield from may(kauth.SYSCTL, kauth.SYSCTL_MODIFY)):
            return Errno.EPERM
        if new and not flags & READWRITE:
            return Errno.EPERM
        size = memory.u64(node + 64)
        data = node + 48 if flags & IMMEDIATE else memory.u64(node + 48)
        # strlen() searches for the end anywhere.
        have = len(memory.cstring(data)) + 1 if kind == STRING else size
        if length_at:
            room = memory.pointer(length_at)
            memory.put_word(length_at, have)
            if old and have:
                error = self._out(data, old, min(room, have), user=user)
                if error:
                    return error
        if not new:
            return 0
        if kind == STRING:
            return self._new_string(data, size, new, new_size, user=user)
        return self._new_value(kind, data, size, new, new_size, user=user)

    def _out(self, source: int, target: int, size: int, *, user: bool) -> int:
        if user:
            return self.kernel.subject(Processes).copy_out(source, target, size)
        self.kernel.memory.write(target, self.kernel.memory.read(source, size))
        return 0

    def _in(self, source: int, size: int, *, user: bool) -> tuple[int, bytes]:
        memory = self.kernel.memory
        if not user:
            return 0, memory.read(source, size)
        scratch = memory.scratch(size)
        error = self.kernel.subject(Processes).copy_in(source, scratch, size)
        return error, b"" if error else memory.read(scratch, size)

    def _new_value(
        self, kind: int, data: int, size: int, new: int, new_size: int, *, user: bool
    ) -> int:
        if new_size != size:
            return Errno.EINVAL
        error, value = self._in(new, size, user=user)
        if error:
            return error
        if kind == BOOL and value not in {b"\0", b"\1"}:
            return Errno.EINVAL
        self.kernel.memory.write(data, value)
        return 0

    def _new_string(self, data: int, size: int, new: int, new_size: int, *, user: bool) -> int:
        """Copy a string unchanged, with everything after its end; zeros fill the rest."""
        if new_size > size:
            return Errno.EINVAL
        error, value = self._in(new, new_size, user=user)
        if error:
            return error
        if value[-1] and new_size == size:
            return Errno.EINVAL
        self.kernel.memory.write(data, value.ljust(size, b"\0"))
        return 0

    @kernel_function(
        "int sysctl_lookup(const int *name, u_int namelen, void *oldp, size_t *oldlenp, "
        "const void *newp, size_t newlen, const int *oname, struct lwp *l, "
        "const struct sysctlnode *rnode)"
    )
    def sysctl_lookup(
        self,
        _name: int,
        length: int,
        old: int,
        old_length: int,
        new: int,
        new_size: int,
        _oname: int,
        lwp: int,
        node: int,
    ) -> int | Model:
        if not self.kernel.subject(SysctlLock).held():
            self.kernel.violation(
                "sysctl-unlocked",
                f"sysctl_lookup by {self.kernel.where()} outside of a handler: the tree's lock is "
                "not held",
            )
        if length:
            return Errno.EINVAL
        return self._lookup(node, old, old_length, new, new_size, user=lwp != 0)

    @kernel_function("int sysctl_copyin(struct lwp *l, const void *uaddr, void *kaddr, size_t len)")
    def sysctl_copyin(self, lwp: int, source: int, target: int, size: int) -> int:
        if lwp:
            return self.kernel.subject(Processes).copyin(source, target, size)
        self.kernel.memory.write(target, self.kernel.memory.read(source, size))
        return 0

    @kernel_function(
        "int sysctl_copyout(struct lwp *l, const void *kaddr, void *uaddr, size_t len)"
    )
    def sysctl_copyout(self, lwp: int, source: int, target: int, size: int) -> int:
        if lwp:
            return self.kernel.subject(Processes).copyout(source, target, size)
        self.kernel.memory.write(target, self.kernel.memory.read(source, size))
        return 0


def _numbers_of(node: Node) -> list[int]:
    """Return the numbers of a node's whole name."""
    above = node.parent
    return [*(_numbers_of(above) if above is not None and above.name else ()), node.number]
