"""sysctl(9)'s tree: its nodes in guest memory, and how modules create and remove them.

Source: NetBSD sys/kern/kern_sysctl.c, sys/sys/sysctl.h.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.sysctllock import SysctlLock

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.marshal import Arguments

NODE, INT, STRING, QUAD, STRUCT, BOOL = 1, 2, 3, 4, 5, 6
READWRITE, ANYWRITE, PRIVATE, IMMEDIATE = 0x70, 0x80, 0x100, 0x800
VERSION, VERSION_MASK, TYPE_MASK = 0x01000000, 0xFF000000, 0xF
MAX_NAME = 12  # CTL_MAXNAME
_PERMANENT, _OWNDATA, _OWNDESC = 0x200, 0x400, 0x40000
_CTL_EOL, _CTL_CREATE = -1, -3
_CREATE_BASE = 1024
_FIRST_ROOM = 8  # SYSCTL_DEFSIZE: initial size of a parent's array
_NODE_SIZE = 96
_SIZES = {INT: 4, QUAD: 8, BOOL: 1}
_TOP = {"kern": 1, "vm": 2, "vfs": 3, "net": 4, "hw": 6, "machdep": 7, "ddb": 9}


@dataclass(eq=False)
class Node:
    """One node.  ``address`` is the current address of its struct sysctlnode in guest memory.

    The children of a node are in one array, ``array``, with space for ``room`` of them: an
    insertion or a removal moves the following ones, and a full array is replaced by a larger one.
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
    owned: int = 0  # CTLFLAG_OWNDATA: memory that the node frees itself
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


class SysctlTree(Subject):
    """The nodes by their names and numbers, and the logs of nodes that modules created."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_sysctl.c 1.271": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"sysctl_treelock": "*"}
    ACCESSES_DATA = "sysctl_createv"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.root = Node("", 0, READWRITE | _PERMANENT, NODE, None)
        self._logs: dict[int, list[Node]] = {}
        self._made_by: dict[int, int] = {}  # a log -> the call that made its latest node
        self._numbers = _CREATE_BASE
        self._leaves: dict[str, tuple[Node, ...]] = {}  # below a path, until the tree changes

    def boot(self) -> None:
        """Create the top of the tree."""
        for name, number in _TOP.items():
            self._add(Node(name, number, READWRITE | _PERMANENT, NODE, self.root))

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
        """Return the node of a dotted name, and the numbers after that of a leaf.

        sysctl(3) passes them to the leaf's handler (sysctl_locate and sysctl_dispatch;
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

    def leaves(self, path: str) -> Sequence[Node]:
        """Return all nodes below ``path`` that hold data, in the order of their numbers."""
        known = self._leaves.get(path)
        if known is None:
            top = self.find(path)
            known = self._leaves[path] = () if top is None else tuple(_leaves(top))
        return known

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
        self._leaves.clear()
        self._publish(node)

    def _make_room(self, parent: Node) -> None:
        """Replace the children's array by one of twice the size (sysctl_realloc)."""
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
        """Copy a node to another place, and update its children."""
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
        memory.put_u32(at, VERSION | node.flags | node.kind)
        memory.put_u32(at + 4, node.number)
        memory.write(at + 8, node.name.encode("ascii").ljust(32, b"\0"))
        memory.put_u32(at + 40, 1)
        if node.flags & IMMEDIATE:
            node.data = at + 48
        else:
            memory.put_u64(at + 48, node.data)
        memory.put_u64(at + 64, node.size)
        memory.put_u64(at + 72, node.function)
        memory.put_u64(at + 80, node.parent.address if node.parent is not None else 0)
        memory.put_u64(at + 88, node.description)

    def _remove(self, node: Node) -> None:
        """Remove a node; the next ones move up, and an empty array is freed (sysctl_destroy)."""
        parent, kernel = node.parent, self.kernel
        assert parent is not None
        assert parent.array is not None
        del parent.children[node.number]
        self._leaves.clear()
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
        """Return the text that ``sysctl -d`` prints; the kernel keeps the caller's pointer."""
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
        memory, console, lock = kernel.memory, kernel.subject(Console), kernel.subject(SysctlLock)
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
        while len(numbers) < MAX_NAME:
            number = path.integer()
            if number != _CTL_EOL:
                numbers.append(number)
            if number in {_CTL_EOL, _CTL_CREATE}:
                break
        else:
            return Errno.ENAMETOOLONG
        if len(name or "") >= 32:
            return Errno.ENAMETOOLONG
        kind &= TYPE_MASK
        flags &= ~(TYPE_MASK | VERSION_MASK | (_PERMANENT if log else 0))
        if flags & IMMEDIATE and kind not in _SIZES and kind != NODE:
            return Errno.EINVAL
        node = Node(name or "", 0, flags, kind, None, 0, function, data, size)
        yield from lock.lock("sysctl_createv", write=True)
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
        lock.unlock()
        return error

    def _made(
        self, node: Node, log: int, result_at: int, description: int, value: int | None
    ) -> None:
        """Return a node that was created, or existed, to its caller: its log has it in any case."""
        memory = self.kernel.memory
        if value is not None and node.flags & IMMEDIATE:
            memory.write(node.address + 48, value.to_bytes(8, "little"))
        if log and not node.flags & _PERMANENT:
            handle = self._log_handle(log)
            self._logs.setdefault(handle, []).append(node)
            self._made_by[handle] = self.kernel.call_site
        if result_at:
            memory.put_pointer(result_at, node.address)
        if description and not node.description:
            if node.flags & _OWNDESC:
                description = memory.place(memory.cstring(description) + b"\0")
            node.description = description
            memory.put_u64(node.address + 88, description)

    def _locate(self, root: int, numbers: Sequence[int]) -> Node | int:
        """Return the parent of a new node, or an errno (sysctl_locate)."""
        parent = self._at(root, self.root) if root else self.root
        if parent is None:
            # A pointer from an earlier call: the memory there is no longer a node of the tree.
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
                    return 0, child  # of any kind
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
        """Whether size and data match the kind; sets the size if the kind determines it."""
        if node.kind == NODE:
            return not node.data and not node.size and not node.flags & _OWNDATA
        if node.flags & _OWNDATA and node.flags & IMMEDIATE:
            return False
        if node.kind in _SIZES:
            if node.size not in {0, _SIZES[node.kind]}:
                return False
            node.size = _SIZES[node.kind]
        elif node.kind == STRING:
            # With a function the size stays 0: any written value is then too long.
            if not node.size and not node.function:
                if not node.data:
                    return False
                node.size = len(self.kernel.memory.cstring(node.data)) + 1
        elif node.kind != STRUCT:
            return False
        if node.kind == STRUCT and not node.size and (not node.function or node.flags & _OWNDATA):
            return False
        own = node.flags & _OWNDATA and node.size
        return bool(node.function or node.data or own or node.flags & IMMEDIATE)

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
        """Remove the nodes of a log, last one first; a node with children of others stays."""
        kernel = self.kernel
        lock = kernel.subject(SysctlLock)
        yield from lock.lock("sysctl_teardown", write=True)
        if handle not in self._logs:
            kernel.panic(
                "sysctl-log",
                f"sysctl_teardown by {kernel.where()}: the log at {kernel.describe(log)} is not "
                "of sysctl_createv",
            )
        for node in reversed(self._logs.pop(handle)):
            # A node that is also in another log may have been removed already.
            there = node.parent is not None and node.parent.children.get(node.number) is node
            if there and not node.children:
                self._remove(node)
        kernel.memory.put_pointer(log, 0)
        lock.unlock()

    def check_unload(self, module: str) -> None:
        """Report leftover nodes: they point into freed memory."""
        for handle, nodes in self._logs.items():
            if self.kernel.loaded_at(self._made_by[handle]) is not None:
                continue
            names = ", ".join(node.path for node in nodes)
            self.kernel.violation(
                "sysctl-left",
                f"module {module} is unloaded, but its sysctl nodes still exist: {names}",
            )

    # -- nodes of the kernel model's own drivers -----------------------------------------------

    def add_native(
        self, device: str, values: Mapping[str, str | int], writable: Container[str] = ()
    ) -> None:
        """Create ``machdep.DEVICE`` with these values; root may write numbers in ``writable``."""
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
                    node = Node(word, number, READWRITE, kind, parent)
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
        """Remove ``machdep.DEVICE``."""
        node = self.find(f"machdep.{device}")
        if node is not None:
            self._remove(node)


def _leaves(node: Node) -> Iterator[Node]:
    """Yield ``node`` and all below it that hold data."""
    if node.kind != NODE:
        yield node
    for number in sorted(node.children):
        yield from _leaves(node.children[number])
