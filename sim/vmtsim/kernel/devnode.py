"""Device nodes that processes open, and their system calls: spec_open and related functions.

The calls go to character devices directly; data of a block device goes through blocks
(vmtsim.kernel.blockio).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Subject
from vmtsim.kernel.blockio import Blocks, Cached
from vmtsim.kernel.devsw import DISK, DeviceSwitches, Switch, major_of, makedev
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.files import Files
from vmtsim.kernel.permission import FREAD, FWRITE, Permissions
from vmtsim.kernel.select import Select
from vmtsim.kernel.specfs import SpecialNode
from vmtsim.kernel.syscalls import FNONBLOCK, control, set_flags, transfer
from vmtsim.kernel.uio import UIO_READ, UIO_WRITE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

S_IFCHR, S_IFBLK = 0o020000, 0o060000
_MODE = 0o600
IO_NDELAY = 0x100  # sys/sys/vnode.h
POLLERR, POLLNVAL, _ALWAYS_READY = 0x8, 0x20, 0x45  # sys/sys/poll.h
SEEK_SET, SEEK_CUR, SEEK_END = range(3)
# sys/sys/dkio.h: the requests for the size of a partition and of a disk.
DIOCGPARTINFO, DIOCGMEDIASIZE = 0x80206468, 0x40086484
_PARTINFO = 32


@dataclass
class OpenDevice:
    """A device node that a process has open; ``offset`` is its position in the file."""

    name: str
    device: int  # dev_t
    flags: int
    block: bool = False
    offset: int = 0
    closed: bool = False
    cache: Cached = field(default_factory=Cached)


class DeviceNodes(Subject):
    """Nodes by their kind and number, and the calls on those that are open.

    Source: sys/miscfs/specfs/spec_vnops.c 1.219, sys/kern/vfs_vnops.c 1.244.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._nodes: dict[tuple[bool, int], SpecialNode] = {}  # by (block, dev_t)

    def boot(self) -> None:
        """Report to a switch that is detached whether it is open."""
        self._switches.is_open = self._is_open

    @property
    def _switches(self) -> DeviceSwitches:
        return self.kernel.subject(DeviceSwitches)

    @property
    def _blocks(self) -> Blocks:
        return self.kernel.subject(Blocks)

    def _is_open(self, switch: Switch) -> bool:
        return any(
            node.opens and block is switch.block and major_of(device) == switch.major
            for (block, device), node in self._nodes.items()
        )

    def _of(self, opened: OpenDevice) -> Switch | None:
        return self._switches.of(opened.device, block=opened.block)

    def _node(self, opened: OpenDevice) -> SpecialNode:
        return self._nodes[opened.block, opened.device]

    def _call(self, switch: Switch, member: str, opened: OpenDevice, *rest: int) -> Model:
        arguments = (*self.kernel.memory.wide(opened.device), *rest)
        return self._switches.call(switch, member, *arguments)

    def _do(self, switch: Switch, member: str, opened: OpenDevice, *rest: int) -> Model:
        """Call a member of an open device: spec_close waits for calls in progress."""
        with self._node(opened).entered():
            return (yield from self._call(switch, member, opened, *rest))

    # -- open and close ------------------------------------------------------------------------

    def open(self, name: str, minor: int, flags: int, *, block: bool = False) -> Model:
        """Open a device node: an OpenDevice, a File in its place, or an errno (spec_open)."""
        switches = self._switches
        switch = switches.find(name, block=block)
        if switch is None:
            return Errno.ENXIO
        device = makedev(switch.major, minor)
        permissions, path = self.kernel.subject(Permissions), f"/dev/{name}"
        denied = yield from permissions.open(path, flags)
        if not denied:
            disk = block or switches.type_of(switch) == DISK
            denied = yield from permissions.raw(path, flags, disk=disk)
        if denied:
            return denied
        node = self._nodes.setdefault((block, device), SpecialNode(self.kernel))
        if block and (node.opens or node.closing):
            return Errno.EBUSY
        if not (yield from node.wait_for_close()):
            return Errno.EINTR
        node.opens += 1
        opened = OpenDevice(name, device, flags, block)
        with node.entered():
            error = yield from self._open(opened)
        if not error:
            node.opened = True
            self.kernel.subject(Files).opened(name, error)
            yield from self._measure(opened)
            return opened
        # Others may have opened and closed it since: then this close is the last one.
        if node.opened and node.opens == 1:
            yield from self.close(opened)
        else:
            node.opens -= 1
        return self.kernel.subject(Files).opened(name, error)

    def _open(self, opened: OpenDevice) -> Model:
        """Call d_open: returns its errno (subr_devsw.c, cdev_open and bdev_open)."""
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        return (yield from self._switches.entered(switch, lambda: self._enter(switch, opened)))

    def _enter(self, switch: Switch, opened: OpenDevice) -> Model:
        switches = self._switches
        if switches.member(switch, "devtounit"):
            unit = yield from self._call(switch, "devtounit", opened)
            driver = switches.member(switch, "cfdriver")
            devices = self.kernel.subject(AllDevices)
            if not devices.device_lookup(driver, signed(unit, 32)):
                return Errno.ENXIO
        mode = S_IFBLK if opened.block else S_IFCHR
        result = yield from self._call(
            switch, "open", opened, opened.flags, mode, self.kernel.current.address
        )
        return signed(result, 32)

    def _measure(self, opened: OpenDevice) -> Model:
        """Query the size of a disk, which becomes that of its vnode; no step uses it."""
        switch = self._of(opened)
        if switch is None or self._switches.type_of(switch) != DISK:
            return
        for command, size in ((DIOCGPARTINFO, _PARTINFO), (DIOCGMEDIASIZE, 8)):
            answer = yield from self._asked(opened, command, size)
            if answer != Errno.ENOTTY:
                return

    def _asked(self, opened: OpenDevice, command: int, size: int) -> Model:
        """Query the driver for the kernel: returns bytes, or an errno."""
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        lwp = self.kernel.current.address
        # The direction in a command only matters for a process.
        return (
            yield from control(
                self.kernel, command, bytes(size),
                lambda data: self._do(switch, "ioctl", opened, command, data, FREAD, lwp),
                back=size,
            )
        )  # fmt: skip

    def close(self, opened: OpenDevice) -> Model:
        """Close it: the driver's close runs when no process has the node open (spec_close)."""
        opened.closed = True
        if opened.block:
            yield from self._flush(opened)
        node = self._node(opened)
        if not node.release():
            return 0
        error = yield from self._close("cancel", opened)
        if not error:
            yield from node.drain()
        error = yield from self._close("close", opened)
        yield from node.drain()
        node.closed()
        return error

    def restart(self, opened: OpenDevice) -> Model:
        """Do nothing for calls that are in progress when their descriptor is closed."""
        del opened
        yield from ()

    def _close(self, member: str, opened: OpenDevice) -> Model:
        """Call d_cancel or d_close: ENXIO without a driver, ENODEV if it has no d_cancel."""
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        if not self._switches.member(switch, member):
            return Errno.ENODEV
        mode = S_IFBLK if opened.block else S_IFCHR
        result = yield from self._call(
            switch, member, opened, opened.flags, mode, self.kernel.current.address
        )
        return signed(result, 32)

    # -- data ------------------------------------------------------------------------------------

    def read(self, opened: OpenDevice, size: int) -> Model:
        """Return the bytes that the driver gave, or an errno."""
        return (yield from self._transfer(opened, "read", bytes(size), UIO_READ))

    def write(self, opened: OpenDevice, content: bytes) -> Model:
        """Return the bytes that the driver took, or an errno."""
        return (yield from self._transfer(opened, "write", content, UIO_WRITE))

    def _transfer(self, opened: OpenDevice, member: str, content: bytes, direction: int) -> Model:
        if not opened.flags & (FREAD if direction == UIO_READ else FWRITE):
            return Errno.EBADF
        if opened.block:
            return (yield from self._through(opened, content, direction))
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        if not content:
            return b""
        nonblock = IO_NDELAY if opened.flags & FNONBLOCK else 0  # vfs_vnops.c, vn_read
        moved = yield from transfer(
            self.kernel, direction, opened.offset, content,
            lambda uio: self._do(switch, member, opened, uio, nonblock),
        )  # fmt: skip
        if isinstance(moved, bytes):
            opened.offset += len(moved)
        return moved

    def _through(self, opened: OpenDevice, content: bytes, direction: int) -> Model:
        """Read or write blocks (spec_read, spec_write)."""
        if opened.offset < 0:
            return Errno.EINVAL
        if not content:
            return b""
        info = yield from self._asked(opened, DIOCGPARTINFO, _PARTINFO)
        block = int.from_bytes(info[20:24], "little") if isinstance(info, bytes) else 0
        with self._node(opened).entered():
            moved = yield from self._blocks.transfer(
                opened.cache, opened.device, block, opened.offset, content,
                write=direction == UIO_WRITE,
            )  # fmt: skip
        if isinstance(moved, bytes):
            opened.offset += len(moved)
        return moved

    def _flush(self, opened: OpenDevice) -> Model:
        """Write delayed blocks (vinvalbuf with V_SAVE)."""
        with self._node(opened).entered():
            yield from self._blocks.flush(opened.cache, opened.device)

    def size(self, opened: OpenDevice) -> Model:
        """Return the driver's size in blocks of 512 bytes; -1: no such function.

        bdev_size, which the kernel calls for swapctl(8).
        """
        switch = self._of(opened)
        if switch is None or not opened.block or not self._switches.member(switch, "psize"):
            return -1
        return signed((yield from self._call(switch, "psize", opened)), 32)

    # -- other calls -----------------------------------------------------------------------------

    def ioctl(self, opened: OpenDevice, command: int, content: bytes) -> Model:
        """Return the bytes that came back, or an errno."""
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        lwp = self.kernel.current.address
        return (
            yield from control(
                self.kernel, command, content,
                lambda data: self._do(switch, "ioctl", opened, command, data, opened.flags, lwp),
            )
        )  # fmt: skip

    def fcntl(self, opened: OpenDevice, flags: int) -> Model:
        """Set the flags of the file (F_SETFL): genfs_fcntl takes them all, d_ioctl may not."""

        def granted(_command: int, _data: int) -> Model:
            yield from ()
            return 0

        def asked(command: int, data: int) -> Model:
            switch = self._of(opened)
            if switch is None:
                return Errno.ENXIO
            lwp = self.kernel.current.address
            return (yield from self._do(switch, "ioctl", opened, command, data, opened.flags, lwp))

        error, opened.flags = yield from set_flags(self.kernel, opened.flags, flags, granted, asked)
        return error

    def stat(self, opened: OpenDevice) -> Model:
        """Return the mode and the size of the node in the file system: no driver is called."""
        yield from ()
        return (S_IFBLK if opened.block else S_IFCHR) | _MODE, 0

    def seek(self, opened: OpenDevice, offset: int, whence: int) -> Model:
        """Move the position in the file (vn_seek): the end of a node is 0."""
        yield from ()
        base = opened.offset if whence == SEEK_CUR else 0
        opened.offset = max(-(1 << 63), min(base + offset, (1 << 63) - 1))
        return opened.offset

    def poll(self, opened: OpenDevice, events: int, wait: int = 0) -> Model:
        """Poll the driver for events, and wait ``wait`` ns if there are none."""
        kernel = self.kernel
        return kernel.subject(Select).poll(
            lambda: self._poll(opened, events), kernel.clock.now + wait
        )

    def _poll(self, opened: OpenDevice, events: int) -> Model:
        if opened.closed:
            return POLLNVAL
        if opened.block:
            return events & _ALWAYS_READY  # genfs_poll
        switch = self._of(opened)
        if switch is None:
            return POLLERR
        result = yield from self._do(switch, "poll", opened, events, self.kernel.current.address)
        return result & 0xFFFFFFFF

    def kqfilter(self, opened: OpenDevice, knote: int) -> Model:
        """Let the driver attach a knote: returns an errno (spec_kqfilter)."""
        if opened.block:
            return Errno.EOPNOTSUPP
        switch = self._of(opened)
        if switch is None:
            return Errno.ENXIO
        return signed((yield from self._do(switch, "kqfilter", opened, knote)), 32)

    def file_of(self, _opened: OpenDevice) -> int:
        """Return the address of the file_t: none, because no driver reads that of a vnode."""
        return 0

    def mmap(self, opened: OpenDevice, offset: int, protection: int) -> Model:
        """Ask the driver for the page at an offset: its physical address, -1 for none."""
        switch = self._of(opened)
        if switch is None or opened.block:
            return -1
        rest = (*self.kernel.memory.wide(offset), protection)
        result = yield from self._do(switch, "mmap", opened, *rest)
        return signed(result, 8 * self.kernel.memory.pointer_size)
