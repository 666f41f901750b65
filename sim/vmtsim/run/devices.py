"""Device nodes that processes of a scenario have open, under the names that its steps use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.text import one_line

from vmtsim.kernel import kqueue
from vmtsim.kernel.api import Block
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.devnode import DeviceNodes, OpenDevice
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.files import File, Files
from vmtsim.kernel.kqueue import Kqueues, Queue
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.syscalls import FASYNC, FNONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.scenario.guest import Fcntl, Ioctl, Kevent, Map, Open, Poll, Read, Seek

_FLAGS = {"read": FREAD, "write": FWRITE, "nonblock": FNONBLOCK}
_FILE_FLAGS = {"nonblock": FNONBLOCK, "async": FASYNC}
_ACTIONS = {
    "add": kqueue.ADD, "delete": kqueue.DELETE, "enable": kqueue.ENABLE,
    "disable": kqueue.DISABLE, "oneshot": kqueue.ONESHOT, "clear": kqueue.CLEAR,
    "dispatch": kqueue.DISPATCH,
}  # fmt: skip
_FIRST = 3  # descriptor of a process that has standard input, output and error
_FILTERS = {number: name for name, number in kqueue.FILTERS.items()}


@dataclass(eq=False)
class Descriptor:
    """A file descriptor: the open object, its server, and how many system calls use it."""

    node: OpenDevice | File
    server: Any  # DeviceNodes for a node, Files for a file in its place: the same calls
    number: int
    calls: int = 0
    kqueue: Queue = field(default_factory=Queue)
    queue: WaitQueue = field(default_factory=lambda: WaitQueue("fdclose"))


class Devices:
    """``guest.open`` and the related commands; each is a command of the administrator.

    A result is an errno, or text: data read, with unprintable bytes escaped, or numbers in
    hexadecimal.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._nodes = kernel.subject(DeviceNodes)
        self._open: dict[str, Descriptor] = {}

    def open(self, given: Open) -> Model:
        """Open a device node."""
        flags = sum(_FLAGS[flag] for flag in set(given.flags))
        opened = yield from self._nodes.open(given.device, given.unit, flags, block=given.block)
        if isinstance(opened, int):
            return opened
        cloned = isinstance(opened, File)
        server = self._kernel.subject(Files) if cloned else self._nodes
        number = _FIRST + len(self._open)
        self._open[given.name or given.device] = Descriptor(opened, server, number)
        return 0

    def close(self, name: str) -> Model:
        """Close it once no system call uses it any more (fd_close in sys/kern/kern_descrip.c)."""
        found = self._open.pop(name, None)
        if found is None:
            return Errno.EBADF
        if found.calls or found.kqueue.knotes:
            yield from self._kernel.subject(Kqueues).close(found.kqueue)
            yield from found.server.restart(found.node)
        while found.calls:
            yield Block(found.queue, what=found.queue.name)
        return (yield from found.server.close(found.node))

    def _with(self, name: str, call: Callable[[Any, Any], Model]) -> Model:
        """Make a system call on an open descriptor."""
        found = self._open.get(name)
        if found is None:
            return Errno.EBADF
        found.calls += 1
        try:
            return (yield from call(found.server, found.node))
        finally:
            found.calls -= 1
            self._kernel.scheduler.wake_all(found.queue)

    def read(self, given: Read) -> Model:
        """Read; return the text that was read."""
        read = yield from self._with(given.name, lambda server, node: server.read(node, given.size))
        return _text(read)

    def write(self, name: str, text: str) -> Model:
        """Write; return the number of bytes that the driver took, as "N bytes"."""
        content = text.encode("latin-1", "replace")
        took = yield from self._with(name, lambda server, node: server.write(node, content))
        return f"{len(took)} bytes" if isinstance(took, bytes) else took

    def ioctl(self, given: Ioctl) -> Model:
        """Return the returned data in hexadecimal; 0 if the command returns none."""
        back = yield from self._with(
            given.name, lambda server, node: server.ioctl(node, given.command, given.content)
        )
        return back.hex(" ") if back and isinstance(back, bytes) else back or 0

    def poll(self, given: Poll) -> Model:
        """Return the pending events, or those that arrive within ``wait`` seconds.

        A waiting process does not prevent the descriptor from being closed (sys_select.c).
        """
        found = self._open.get(given.name)
        if found is None:
            return Errno.EBADF
        wait = round(given.wait * SECOND)
        events = yield from found.server.poll(found.node, given.events, wait)
        return f"{events:#x}" if events >= 0 else Errno(-events)

    def kevent(self, given: Kevent) -> Model:
        """Change the events that a process requests, and return those within ``wait`` seconds.

        A process that waits does not keep the descriptor from being closed.
        """
        found = self._open.get(given.name)
        if found is None:
            return Errno.EBADF
        kqueues = self._kernel.subject(Kqueues)
        flags = sum(_ACTIONS[each] for each in set(given.flags))
        low = given.low is not None
        change = kqueue.Event(
            kqueue.FILTERS[given.filter], flags, kqueue.LOWAT if low else 0, given.low or 0
        )
        if flags:
            error = yield from kqueues.register(
                found.kqueue, change, lambda knote: found.server.kqfilter(found.node, knote),
                number=found.number, file=found.server.file_of(found.node),
            )  # fmt: skip
            if error:
                return error
        wait = self._kernel.clock.now + round(given.wait * SECOND)
        events = yield from kqueues.scan(found.kqueue, wait)
        if isinstance(events, int):
            return Errno(-events)
        return ", ".join(_event(each) for each in events) or "no event"

    def fcntl(self, given: Fcntl) -> Model:
        """Set the flags of the file."""
        flags = sum(_FILE_FLAGS[each] for each in set(given.flags))
        return self._with(given.name, lambda server, node: server.fcntl(node, flags))

    def stat(self, name: str) -> Model:
        """Return the mode and the size of the open file."""
        found = yield from self._with(name, lambda server, node: server.stat(node))
        return found if isinstance(found, int) else f"mode {found[0]:07o} size {found[1]}"

    def seek(self, given: Seek) -> Model:
        """Move the file offset; return the new one."""
        whence = ("set", "current", "end").index(given.whence)
        place = yield from self._with(
            given.name, lambda server, node: server.seek(node, given.offset, whence)
        )
        return place if isinstance(place, Errno) else f"at {place}"

    def size(self, name: str) -> Model:
        """Return the size that a block device reports."""

        def size(server: Any, node: Any) -> Model:
            if not isinstance(node, OpenDevice):
                return Errno.ENODEV
            blocks = yield from server.size(node)
            return Errno.ENXIO if blocks == -1 else f"{blocks} blocks"

        return self._with(name, size)

    def mmap(self, given: Map) -> Model:
        """Return the physical address of a page, or ENODEV if the driver has none."""

        def mmap(server: Any, node: Any) -> Model:
            page = yield from server.mmap(node, given.offset, 1)
            return Errno.ENODEV if page == -1 else f"{page:#x}"

        return self._with(given.name, mmap)


def _event(event: kqueue.Event) -> str:
    """Return an event as text: "read data 5 eof"."""
    text = f"{_FILTERS[event.filter]} data {event.data}"
    if event.fflags:
        text += f" fflags {event.fflags:#x}"
    return text + (" eof" if event.flags & kqueue.EOF else "")


def _text(content: bytes | int) -> str | int:
    return one_line(content.decode("latin-1")) if isinstance(content, bytes) else content
