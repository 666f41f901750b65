"""sysctl(9): the tree, its handlers, and sysctl(3) as user processes call it.

Source: NetBSD sys/kern/kern_sysctl.c, sys/sys/sysctl.h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import Kauth
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.process import Processes
from vmtsim.kernel.scheduler import Lwp, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.marshal import Arguments

NODE, INT, STRING, QUAD, STRUCT, BOOL = 1, 2, 3, 4, 5, 6
_READWRITE, _ANYWRITE, _PRIVATE, _PERMANENT = 0x70, 0x80, 0x100, 0x200
_IMMEDIATE, _OWNDATA, _OWNDESC = 0x800, 0x400, 0x40000
_VERSION, _VERSION_MASK = 0x01000000, 0xFF000000
_TYPE_MASK = 0xF
_CTL_EOL, _CTL_CREATE = -1, -3
_CREATE_BASE = 1024
_FIRST_ROOM = 8  # SYSCTL_DEFSIZE: children that a parent's array is first made for
_MAX_NAME = 12  # CTL_MAXNAME
_NODE_SIZE = 96
_SIZES = {INT: 4, QUAD: 8, BOOL: 1}
_TOP = {"kern": 1, "vm": 2, "vfs": 3, "net": 4, "hw": 6, "machdep": 7, "ddb": 9}
# A handler that holds the lock of the whole tree for longer holds up the whole system.
_PATIENCE = 5 * SECOND


@dataclass(eq=False)
class Node:
    """One node.  ``address`` is its struct sysctlnode in guest memory, at this moment.

    The children of a node lie in one array, ``array``, with ``room`` for so many of them: an
    insertion or a removal moves what is behind, and a full array is replaced by a larger one.
    """

    name: str
    number: int
    flags: int
    kind: int
    parent: Node | None
    address: int = 0
    function: int = 0
    data: int = 0
    size: int = 0
    description: int = 0  # the address of the text
    owned: int = 0  # CTLFLAG_OWNDATA: what the node frees itself
    array: KernelObject | None = None
    room: int = 0
    children: dict[int, Node] = field(default_factory=dict)
    native: bytes | None = None
    native_writable: bool = False

    @property
    def path(self) -> str:
        """The dotted name."""
        above = self.parent.path if self.parent is not None else ""
        return f"{above}.{self.name}" if above else self.name


@dataclass(frozen=True)
class Reply:
    """What sysctl(3) gave: errno, the bytes in the old buffer, and the length it reported."""

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
    """The tree and its lock: readers for reads, one writer for writes and for changes."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_sysctl.c 1.271": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.root = Node("", 0, _READWRITE | _PERMANENT, NODE, None)
        self._logs: dict[int, list[Node]] = {}
        self._numbers = _CREATE_BASE
        self._writers_wait = 0
        self._writer: Lwp | None = None
        self._readers: list[Lwp] = []
        self._queue = WaitQueue("sysctl")
        self._given_up: dict[Lwp, tuple[bool, str]] = {}  # by sysctl_unlock
        self._cells: list[int] = []  # places for a call's length and node number

    def boot(self) -> None:
        """Make the top of the tree."""
        for name, number in _TOP.items():
            self._add(Node(name, number, _READWRITE | _PERMANENT, NODE, self.root))

    # -- the lock ----------------------------------------------------------------------------

    def lock(self, function: str, *, write: bool) -> Model:
        """Take the tree's lock for the running thread."""
        lwp = self.kernel.current
        if lwp is self._writer or lwp in self._readers:
            self.kernel.panic(
                "sysctl-lock",
                f"{function} by {self.kernel.where()} from a sysctl handler: locking against "
                "myself, the tree is locked for this call",
            )
        # As in a krwlock: readers stand behind a writer that waits.
        while self._writer is not None or (self._readers if write else self._writers_wait):
            self._writers_wait += write
            yield Block(self._queue, what="sysctl")
            self._writers_wait -= write
        if write:
            self._writer = lwp
        else:
            self._readers.append(lwp)
        lwp.sysctl_since = self.kernel.clock.now

    def unlock(self) -> None:
        """Give it back."""
        lwp = self.kernel.current
        if self._writer is lwp:
            self._writer = None
        else:
            self._readers.remove(lwp)
        self.kernel.scheduler.wake_all(self._queue)

    def _release(self, what: str) -> tuple[bool, str]:
        """Give up the lock of a call; returns whether it was for writing, and the node."""
        lwp = self.kernel.current
        if lwp is not self._writer and lwp not in self._readers:
            self.kernel.panic("sysctl-lock", f"{what}, and does not hold the lock of the tree")
        write, node = lwp is self._writer, lwp.sysctl_node
        lwp.sysctl_node = ""
        self.unlock()
        held = self.kernel.clock.now - lwp.sysctl_since
        if held > _PATIENCE:
            self.kernel.violation(
                "sysctl-handler-blocks",
                f"the handler of {node} held the lock of the whole sysctl tree for "
                f"{held / 1e9:.1f} s",
            )
        return write, node

    @kernel_function("void sysctl_unlock(void)")
    def sysctl_unlock(self) -> None:
        lwp = self.kernel.current
        self._given_up[lwp] = self._release(f"sysctl_unlock by {self.kernel.where()}")

    @kernel_function("void sysctl_relock(void)")
    def sysctl_relock(self) -> Model:
        kernel = self.kernel
        lwp = kernel.current
        if lwp not in self._given_up:
            kernel.panic(
                "sysctl-lock",
                f"sysctl_relock by {kernel.where()}, and sysctl_unlock was not called",
            )
        write, node = self._given_up.pop(lwp)
        yield from self.lock("sysctl_relock", write=write)
        lwp.sysctl_node = node

    # -- the tree ----------------------------------------------------------------------------

    def find(self, path: str) -> Node | None:
        """Return the node of a dotted name."""
        node = self.root
        for word in path.split("."):
            found = next((c for c in node.children.values() if c.name == word), None)
            if found is None:
                return None
            node = found
        return node

    def locate(self, path: str) -> tuple[Node | None, tuple[int, ...]]:
        """Return the node of a dotted name, and the numbers behind that of a leaf.

        sysctl(3) hands them to the leaf's handler (sysctl_locate and sysctl_dispatch;
        sysctlgetmibinfo(3) lets them through).
        """
        numbers: list[int] = []
        while path:
            node = self.find(path)
            if node is not None:
                return (node, tuple(numbers)) if node.kind != NODE or not numbers else (None, ())
            path, _, word = path.rpartition(".")
            if not word.isdecimal():
                break
            numbers.insert(0, int(word) & 0xFFFFFFFF)
        return None, ()

    def leaves(self, path: str) -> list[Node]:
        """Return all nodes below ``path`` that hold data, in the order of their numbers."""
        top = self.find(path)
        if top is None:
            return []
        found = []
        work = [top]
        while work:
            node = work.pop(0)
            if node.kind != NODE:
                found.append(node)
            work[:0] = [node.children[number] for number in sorted(node.children)]
        return found

    def _add(self, node: Node) -> None:
        """Insert a node among its parent's children, by its number (sysctl_create)."""
        parent = node.parent
        assert parent is not None
        if len(parent.children) == parent.room:
            self._make_room(parent)
        assert parent.array is not None
        behind = [each for number, each in sorted(parent.children.items()) if number > node.number]
        for each in reversed(behind):
            self._move(each, each.address + _NODE_SIZE)
        node.address = parent.array.at + (len(parent.children) - len(behind)) * _NODE_SIZE
        parent.children[node.number] = node
        self._publish(node)

    def _make_room(self, parent: Node) -> None:
        """Give the children an array twice as large, and free the old one (sysctl_realloc)."""
        old, parent.room = parent.array, 2 * parent.room or _FIRST_ROOM
        parent.array = KernelObject(
            self.kernel, parent.room * _NODE_SIZE, f"sysctl nodes of {parent.path or 'the root'}"
        )
        if old is None:
            return
        for each in parent.children.values():
            self._move(each, parent.array.at + each.address - old.at)
        old.free("sysctl_realloc")

    def _move(self, node: Node, address: int) -> None:
        """Copy a node to another place, and let its children know."""
        memory = self.kernel.memory
        memory.write(address, memory.read(node.address, _NODE_SIZE))
        if node.data == node.address + 48:
            node.data = address + 48
        node.address = address
        for child in node.children.values():
            memory.put_u64(child.address + 80, address)

    def _publish(self, node: Node) -> None:
        """Write struct sysctlnode: pointers are 8 bytes wide on every machine."""
        memory = self.kernel.memory
        at = node.address
        memory.write(at, bytes(_NODE_SIZE))
        memory.put_u32(at, _VERSION | node.flags | node.kind)
        memory.put_u32(at + 4, node.number)
        memory.write(at + 8, node.name.encode("ascii").ljust(32, b"\0"))
        memory.put_u32(at + 40, 1)
        if node.flags & _IMMEDIATE:
            node.data = at + 48
        else:
            memory.put_u64(at + 48, node.data)
        memory.put_u64(at + 64, node.size)
        memory.put_u64(at + 72, node.function)
        memory.put_u64(at + 80, node.parent.address if node.parent is not None else 0)
        memory.put_u64(at + 88, node.description)

    def _remove(self, node: Node) -> None:
        """Take a node out; those behind it move up, and an empty array goes (sysctl_destroy)."""
        parent, kernel = node.parent, self.kernel
        assert parent is not None
        assert parent.array is not None
        del parent.children[node.number]
        if node.owned:
            kernel.subject(Kmem).release(node.owned, None, "sysctl_destroy")
        at = node.address
        for number, each in sorted(parent.children.items()):
            if number > node.number:
                self._move(each, each.address - _NODE_SIZE)
                at = each.address + _NODE_SIZE
        kernel.memory.write(at, bytes(_NODE_SIZE))
        if not parent.children:
            parent.array.free("sysctl_destroy")
            parent.array, parent.room = None, 0

    def describe(self, node: Node) -> str:
        """Return what ``sysctl -d`` prints of a node; the kernel has kept the caller's pointer."""
        return self.kernel.memory.string(node.description) if node.description else ""

    @kernel_function(
        "int sysctl_createv(struct sysctllog **log, int cflags, const struct sysctlnode **rnode, "
        "const struct sysctlnode **cnode, int flags, int type, const char *name, "
        "const void *descr, sysctlfn func, u_quad_t qv, void *data, size_t size, ...)"
    )
    def sysctl_createv(
        self,
        log: int,
        cflags: int,
        root_at: int,
        result_at: int,
        flags: int,
        kind: int,
        name: str | None,
        description: int,
        function: int,
        value: int,
        data: int,
        size: int,
        path: Arguments,
    ) -> Model:
        kernel = self.kernel
        memory, console = kernel.memory, kernel.subject(Console)
        kernel.rules.may_sleep("sysctl_createv")
        if root_at and not memory.pointer(root_at):
            console.print("sysctl_createv: rnode NULL\n")
            return Errno.EINVAL
        root = memory.pointer(root_at) if root_at else 0
        if result_at:
            memory.put_pointer(result_at, 0)
        if cflags:
            return Errno.EINVAL
        numbers: list[int] = []
        while len(numbers) < _MAX_NAME:
            number = path.integer()
            if number != _CTL_EOL:
                numbers.append(number)
            if number in {_CTL_EOL, _CTL_CREATE}:
                break
        else:
            return Errno.ENAMETOOLONG
        if len(name or "") >= 32:
            return Errno.ENAMETOOLONG
        kind &= _TYPE_MASK
        flags &= ~(_TYPE_MASK | _VERSION_MASK | (_PERMANENT if log else 0))
        if flags & _IMMEDIATE and kind not in _SIZES and kind != NODE:
            return Errno.EINVAL
        node = Node(name or "", 0, flags, kind, None, 0, function, data, size)
        yield from self.lock("sysctl_createv", write=True)
        parent = self._locate(root, numbers[:-1])
        if isinstance(parent, Node):
            error, made = self._create(node, parent, numbers[-1] if numbers else _CTL_EOL)
        else:
            error, made = parent, None
        if error or made is None:
            step = "create" if isinstance(parent, Node) else "locate"
            console.print(f"sysctl_createv: sysctl_{step}({node.name}) returned {int(error)}\n")
        else:
            self._made(made, log, result_at, description, value if made is node else None)
        self.unlock()
        return error

    def _made(
        self, node: Node, log: int, result_at: int, description: int, value: int | None
    ) -> None:
        """Give a node that was made, or was there, to its caller: its log has it in any case."""
        memory = self.kernel.memory
        if value is not None and node.flags & _IMMEDIATE:
            memory.write(node.address + 48, value.to_bytes(8, "little"))
        if log and not node.flags & _PERMANENT:
            self._logs.setdefault(self._log_handle(log), []).append(node)
        if result_at:
            memory.put_pointer(result_at, node.address)
        if description and not node.description:
            if node.flags & _OWNDESC:
                description = memory.place(memory.cstring(description) + b"\0")
            node.description = description
            memory.put_u64(node.address + 88, description)

    def _locate(self, root: int, numbers: Sequence[int]) -> Node | int:
        """Return the parent that is meant, or an errno (sysctl_locate)."""
        parent = self._at(root, self.root) if root else self.root
        if parent is None:
            # A pointer of an earlier day: what lies there now is no node of the tree.
            self.kernel.memory.read(root, _NODE_SIZE)
            return Errno.ENOENT
        for number in numbers:
            if parent.kind != NODE:
                return Errno.ENOTDIR
            if number not in parent.children:
                return Errno.ENOENT
            parent = parent.children[number]
        return parent

    def _create(self, node: Node, parent: Node, number: int) -> tuple[int, Node | None]:
        if parent.kind != NODE:
            return Errno.ENOTDIR, None
        if not re.fullmatch(r"[A-Za-z_-][A-Za-z0-9_-]*", node.name):
            return Errno.EINVAL, None
        if node.flags & _PERMANENT:  # without a log, after boot
            return Errno.EPERM, None
        if not self._sizes_fit(node):
            return Errno.EINVAL, None
        for child in parent.children.values():
            if child.name == node.name or child.number == number:
                same = child.name == node.name and child.function == node.function
                if same and number in {child.number, _CTL_CREATE}:
                    return 0, child  # of whatever kind it is
                return Errno.EEXIST, None
        if number == _CTL_CREATE:
            self._numbers += 1
            number = max([self._numbers, *(each + 1 for each in parent.children)])
        elif number < 0:
            return Errno.EINVAL, None
        node.number, node.parent = number, parent
        if node.flags & _OWNDATA and node.kind != NODE:
            node.owned = self.kernel.subject(Kmem).allocate(node.size, owner="sysctl")
            if node.data:
                self.kernel.memory.copy(node.owned, node.data, node.size)
            node.data = node.owned
        self._add(node)
        return 0, node

    def _sizes_fit(self, node: Node) -> bool:
        """Whether size and data are of the kind; sets the size where it follows from the kind."""
        if node.kind == NODE:
            return not node.data and not node.size and not node.flags & _OWNDATA
        if node.flags & _OWNDATA and node.flags & _IMMEDIATE:
            return False
        if node.kind in _SIZES:
            if node.size not in {0, _SIZES[node.kind]}:
                return False
            node.size = _SIZES[node.kind]
        elif node.kind == STRING:
            # With a function the size stays 0: what is written is then too long.
            if not node.size and not node.function:
                if not node.data:
                    return False
                node.size = len(self.kernel.memory.cstring(node.data)) + 1
        elif node.kind != STRUCT:
            return False
        if node.kind == STRUCT and not node.size and (not node.function or node.flags & _OWNDATA):
            return False
        own = node.flags & _OWNDATA and node.size
        return bool(node.function or node.data or own or node.flags & _IMMEDIATE)

    def _log_handle(self, log: int) -> int:
        memory = self.kernel.memory
        handle = memory.pointer(log)
        if not handle:
            handle = memory.place(bytes(16))
            memory.put_pointer(log, handle)
        return handle

    def _at(self, address: int, top: Node) -> Node | None:
        if top.address == address:
            return top
        for child in top.children.values():
            found = self._at(address, child)
            if found is not None:
                return found
        return None

    @kernel_function("void sysctl_teardown(struct sysctllog **log)")
    def sysctl_teardown(self, log: int) -> Model | None:
        handle = self.kernel.memory.pointer(log)
        self.kernel.rules.may_sleep("sysctl_teardown")
        return self._teardown(log, handle) if handle else None

    def _teardown(self, log: int, handle: int) -> Model:
        """Remove the nodes of a log, last one first; one with foreign children stays."""
        yield from self.lock("sysctl_teardown", write=True)
        if handle not in self._logs:
            kernel = self.kernel
            kernel.panic(
                "sysctl-log",
                f"sysctl_teardown by {kernel.where()}: the log at {kernel.describe(log)} is not "
                "of sysctl_createv",
            )
        for node in reversed(self._logs.pop(handle)):
            # One that another log named, too, may be gone already.
            there = node.parent is not None and node.parent.children.get(node.number) is node
            if there and not node.children:
                self._remove(node)
        self.kernel.memory.put_pointer(log, 0)
        self.unlock()

    def check_unload(self, module: str) -> None:
        """Report nodes that are left: they point into memory that is gone."""
        for nodes in self._logs.values():
            names = ", ".join(node.path for node in nodes)
            self.kernel.violation(
                "sysctl-left", f"module {module} is gone, but its sysctl nodes are there: {names}"
            )

    # -- nodes of the kernel model's own drivers -----------------------------------------------

    def add_native(
        self, device: str, values: Mapping[str, str | int], writable: Container[str] = ()
    ) -> None:
        """Make ``machdep.DEVICE`` with these values; root may write numbers in ``writable``."""
        for path, value in values.items():
            parent = self.find("machdep")
            assert parent is not None
            words = [device, *path.split(".")]
            for position, word in enumerate(words):
                node = next((c for c in parent.children.values() if c.name == word), None)
                if node is None:
                    leaf = position == len(words) - 1
                    kind = NODE if not leaf else INT if isinstance(value, int) else STRING
                    self._numbers += 1
                    number = self._numbers
                    node = Node(word, number, _READWRITE, kind, parent)
                    if leaf:
                        node.native = (
                            value.to_bytes(4, "little")
                            if isinstance(value, int)
                            else value.encode("ascii") + b"\0"
                        )
                        node.size = len(node.native)
                        node.native_writable = path in writable
                    self._add(node)
                parent = node

    def remove_native(self, device: str) -> None:
        """Take ``machdep.DEVICE`` away."""
        node = self.find(f"machdep.{device}")
        if node is not None:
            self._remove(node)

    # -- sysctl(3) ---------------------------------------------------------------------------

    def call(
        self,
        path: str,
        *,
        old: int | None = 4096,
        new: bytes | None = None,
        extra: Sequence[int] = (),
    ) -> Model:
        """Make the system call in the running process; gives a Reply.

        ``old`` is the size of the buffer for the old value; None passes no buffer, but asks for
        the length.  ``extra`` are numbers behind the node's own name.
        """
        processes = self.kernel.subject(Processes)
        memory = self.kernel.memory
        if self.locate(path)[0] is None:
            return Reply(Errno.ENOENT, b"", 0)
        old_at = processes.buffer(b"\xa5" * old) if old else 0
        new_at = processes.buffer(new) if new is not None else 0
        new_size = len(new) if new is not None else 0
        length_at = self._cells.pop() if self._cells else memory.place(bytes(8 + 4 * 2 * _MAX_NAME))
        memory.put_word(length_at, old or 0)
        yield from self.lock("__sysctl", write=new is not None)
        self.kernel.current.sysctl_node = path
        node, numbers = self.locate(path)
        error = Errno.ENOENT if node is None else self._traverse(node)
        if not error and node is not None:
            error = yield from self._dispatch(
                node, (*numbers, *extra), old_at, length_at, new_at, new_size
            )
        self._release(f"the handler of {path} has returned")
        length = memory.pointer(length_at)
        self._cells.append(length_at)
        if not error and old is not None and old_at and old < length:
            error = Errno.ENOMEM
        data = processes.content(old_at)[: min(length, old or 0)] if old_at else b""
        for address in (old_at, new_at):
            if address:
                processes.free(address)
        return Reply(int(error), data, length)

    def _traverse(self, node: Node) -> int:
        """Refuse everybody but root below a private node."""
        above = node.parent
        while above is not None:
            if above.flags & _PRIVATE and not self.kernel.subject(Kauth).is_root():
                return Errno.EPERM
            above = above.parent
        return 0

    def _dispatch(
        self, node: Node, extra: Sequence[int], old: int, length: int, new: int, new_size: int
    ) -> Model:
        """Call the function of the node where the name, or what of it is known, ends."""
        if node.native is not None:
            if new and not (node.native_writable and self.kernel.subject(Kauth).is_root()):
                return Errno.EPERM
            error = self._copy_native(node.native, old, length)
            return self._set_native(node, new, new_size) if new and not error else error
        kernel = self.kernel
        if not node.function and extra:
            return Errno.ENOENT if node.kind == NODE else Errno.ENOTDIR
        if not node.function:
            return self._lookup(node.address, old, length, new, new_size, user=True)
        lwp = kernel.current
        own = kernel.dispatch.function_at(node.function)
        if own is not None and own.name == "sysctl_lookup":
            if extra:
                return Errno.EINVAL
            return self._lookup(node.address, old, length, new, new_size, user=True)
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
        if new_size and not error and lwp.asked == asked and not node.flags & _ANYWRITE:
            place = kernel.location(node.function)
            kernel.violation(
                "sysctl-without-kauth",
                f"the handler of {node.path} ({place}) took a new value without asking kauth(9): "
                "every user may write it",
                place,
            )
        for lock in lwp.held:
            taken = kernel.location(lock.taken_at)
            kernel.panic(
                "syscall-with-mutex",
                f"the handler of {node.path} came back with the mutex {lock.describe()} held "
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
    ) -> int:
        """sysctl_lookup(): rights, then old value out, then new value in."""
        memory = self.kernel.memory
        kauth = self.kernel.subject(Kauth)
        flags = memory.u32(node)
        if flags & _VERSION_MASK != _VERSION:
            self.kernel.subject(Console).print(f"sysctl_lookup: rnode {node:#x} wrong version\n")
            return Errno.EINVAL
        if not new_size:
            new = 0
        kind = flags & _TYPE_MASK
        if kind == NODE:
            return Errno.EINVAL
        if user and flags & _PRIVATE and not kauth.allowed():
            return Errno.EPERM
        if user and new and not flags & _ANYWRITE and not kauth.allowed():
            return Errno.EPERM
        if new and not flags & _READWRITE:
            return Errno.EPERM
        size = memory.u64(node + 64)
        data = node + 48 if flags & _IMMEDIATE else memory.u64(node + 48)
        # strlen() looks for the end wherever it is.
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
        """Take a string as it comes, with whatever is behind its end; zeros fill the rest."""
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
    ) -> int:
        lwp_now = self.kernel.current
        if lwp_now is not self._writer and lwp_now not in self._readers:
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
