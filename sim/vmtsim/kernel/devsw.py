"""Character devices: devsw_attach(9), and what open, read, write, ioctl, poll and close call.

The table struct cdevsw has its members in the order of sys/sys/conf.h, one word each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.twos import signed

from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.files import Files
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.permission import FREAD, FWRITE, Permissions
from vmtsim.kernel.select import Select
from vmtsim.kernel.specfs import SpecialNode
from vmtsim.kernel.syscalls import control, transfer
from vmtsim.kernel.uio import UIO_READ, UIO_WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel

_MEMBERS = (
    "open", "cancel", "close", "read", "write", "ioctl", "stop", "tty", "poll", "mmap", "kqfilter",
    "discard", "devtounit", "cfdriver", "flag",
)  # fmt: skip
_MPSAFE, _TYPEMASK, _DISK = 0x100, 0xFF, 2  # D_MPSAFE, D_TYPEMASK, D_DISK
_LARGEST = 512  # MAXDEVSW of sys/kern/subr_devsw.c
# The first major number that config(1) gave no driver of the kernel: sys/conf/majors of 10.99.12
# ends with 366.
_FIRST_FREE = 367
S_IFCHR = 0o020000
FNONBLOCK = 4  # sys/sys/fcntl.h
IO_NDELAY = 0x100  # sys/sys/vnode.h
POLLIN, POLLOUT, POLLERR, POLLNVAL, POLLRDNORM = 0x1, 0x4, 0x8, 0x20, 0x40  # sys/sys/poll.h
_ALWAYS_READY = POLLIN | POLLOUT | POLLRDNORM


def makedev(major: int, minor: int) -> int:
    """Return the dev_t (sys/sys/types.h): 12 bits of the major among 20 of the minor."""
    return (major << 8 & 0xFFF00) | (minor << 12 & 0xFFF00000) | (minor & 0xFF)


def _major(device: int) -> int:
    return device >> 8 & 0xFFF


@dataclass(eq=False)
class Switch:
    """A cdevsw that is attached."""

    address: int
    name: str
    major: int
    made_at: int
    opening: int = 0  # calls of d_open that have not come back: the localcount of the switch
    gone: bool = False


@dataclass
class OpenDevice:
    """A device node that a process has open; ``offset`` is its place in the file."""

    name: str
    device: int  # dev_t
    flags: int
    offset: int = 0
    closed: bool = False


class DeviceSwitches(Subject):
    """The table of character devices, and the calls that a process's system calls come to."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_devsw.c 1.53": "*",
        "sys/kern/kern_stub.c 1.50": (
            "enodev devenodev ttyenodev ttyvenodev nullop devnullop ttyvnullop"
        ),
        "sys/kern/sys_select.c 1.68": "seltrue",
        "sys/kern/kern_event.c 1.150": "seltrue_kqfilter",
    }
    SERIALIZED = True

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Switch] = LiveObjects(
            self,
            Words("cdevsw", "attached", "detached"),
            unknown="devsw-unknown",
            left="devsw-left",
            name=lambda switch: repr(switch.name),
        )
        self._majors: dict[str, tuple[int, int]] = {}  # name -> (block, character), never forgotten
        self._nodes: dict[int, SpecialNode] = {}  # by dev_t
        self._drained = WaitQueue("devsw")

    def member(self, switch: Switch, name: str) -> int:
        """Return a member of struct cdevsw."""
        memory = self.kernel.memory
        return memory.pointer(switch.address + _MEMBERS.index(name) * memory.pointer_size)

    # -- what drivers call -------------------------------------------------------------------

    @kernel_function(
        "int devsw_attach(const char *name, const void *bdev, int *bmajor, const void *cdev, "
        "int *cmajor)"
    )
    def devsw_attach(
        self, name: str | None, block: int, block_at: int, character: int, character_at: int
    ) -> int:
        """Give the device numbers that are free, or those that its name had before."""
        kernel, memory = self.kernel, self.kernel.memory
        if name is None or not character:
            return Errno.EINVAL
        kernel.rules.may_sleep("devsw_attach")
        majors = memory.s32(block_at), memory.s32(character_at)
        known = self._majors.get(name)
        if known is not None:
            majors = (majors[0] if majors[0] >= 0 or not block else known[0],
                      majors[1] if majors[1] >= 0 else known[1])  # fmt: skip
            if majors != known or (majors[0] >= 0 and not block):
                return Errno.EINVAL
            if any(each.major == majors[1] for each in self.live.values()):
                return Errno.EEXIST
        elif majors[1] < 0:
            taken = {each[1] for each in self._majors.values()}
            majors = majors[0], next(n for n in range(_FIRST_FREE, _LARGEST + 1) if n not in taken)
        if majors[1] >= _LARGEST:
            kernel.subject(Console).print("cdevsw_attach: character majors exhausted\n")
            return Errno.ENOMEM
        if any(each.major == majors[1] for each in self.live.values()):
            return Errno.EEXIST
        if block and majors[0] < 0:
            majors = _FIRST_FREE + len(self._majors), majors[1]
        memory.put_u32(block_at, majors[0])
        memory.put_u32(character_at, majors[1])
        self._majors[name] = majors
        self.live.add(
            "devsw_attach", character, Switch(character, name, majors[1], kernel.call_site)
        )
        return 0

    @kernel_function("void devsw_detach(const void *bdev, const void *cdev)")
    def devsw_detach(self, _block: int, character: int) -> Model | None:
        kernel = self.kernel
        kernel.rules.may_sleep("devsw_detach")
        if not character:
            return None
        switch = self.live.find("devsw_detach", character)
        driver = self.member(switch, "cfdriver")
        units = kernel.subject(AllDevices).units_of(driver)
        if units:
            kernel.panic(
                "devsw-with-units",
                f"devsw_detach by {kernel.where()}: detaching character device driver "
                f"{switch.name} still has attached unit {units[0]}",
            )
        switch.gone = True
        if switch.opening:
            return self._drain(switch, kernel.where())
        self._detached(switch, kernel.where())
        return None

    def _drain(self, switch: Switch, caller: Place) -> Model:
        """Wait for calls of d_open (localcount_drain); no new one begins."""
        while switch.opening:
            yield Block(self._drained, what=self._drained.name)
        self._detached(switch, caller)

    def _detached(self, switch: Switch, caller: Place) -> None:
        if any(
            node.opens for device, node in self._nodes.items() if _major(device) == switch.major
        ):
            self.kernel.violation(
                "devsw-open",
                f"devsw_detach by {caller}: {switch.name} is open, and its next read, "
                "write, ioctl or close finds no driver",
            )
        self.live.remove(switch.address)

    # -- functions for members of cdevsw ------------------------------------------------------

    @kernel_function("int devenodev(uint64_t dev)")
    @kernel_function("int enodev(void)")
    @kernel_function("int ttyenodev(void *tp)")
    def devenodev(self, *_arguments: int) -> int:
        return Errno.ENODEV

    @kernel_function("int devnullop(uint64_t dev)")
    @kernel_function("int nullop(void *v)")
    def devnullop(self, *_arguments: int) -> int:
        return 0

    @kernel_function("void ttyvenodev(void *tp)")
    @kernel_function("void ttyvnullop(void *tp)")
    def ttyvenodev(self, *_arguments: int) -> None:
        """Do nothing."""

    @kernel_function("long nommap(uint64_t dev)")
    def nommap(self, *_arguments: int) -> int:
        return -1

    @kernel_function("int seltrue(uint64_t dev, int events, void *l)")
    def seltrue(self, _device: int, events: int, _lwp: int) -> int:
        return events & _ALWAYS_READY

    @kernel_function("int seltrue_kqfilter(uint64_t dev, void *kn)")
    def seltrue_kqfilter(self, _device: int, _knote: int) -> int:
        return 0

    # -- what system calls come to --------------------------------------------------------------

    def find(self, name: str) -> Switch | None:
        """Return the driver of that name."""
        return next((each for each in self._there() if each.name == name), None)

    def _there(self) -> Iterator[Switch]:
        return (each for each in self.live.values() if not each.gone)

    def _of(self, device: int) -> Switch | None:
        major = _major(device)
        return next((each for each in self._there() if each.major == major), None)

    def _do(self, switch: Switch, member: str, device: int, *rest: int) -> Model:
        """Call a member of an open device: spec_close waits for those that are inside."""
        with self._nodes[device].entered():
            return (yield from self._call(switch, member, device, *rest))

    def _call(self, switch: Switch, member: str, device: int, *rest: int) -> Model:
        """Call a member, with the kernel lock unless the driver says D_MPSAFE (DEV_LOCK)."""
        arguments = (*self.kernel.memory.wide(device), *rest)
        mpsafe = bool(self.member(switch, "flag") & _MPSAFE)
        return call_back(
            self.kernel,
            f"d_{member} of {switch.name}",
            self.member(switch, member),
            arguments,
            mpsafe=mpsafe,
        )

    def open(self, name: str, minor: int, flags: int) -> Model:
        """Open a device node: an OpenDevice, a File in its place, or an errno (spec_open)."""
        switch = self.find(name)
        if switch is None:
            return Errno.ENXIO
        device = makedev(switch.major, minor)
        permissions, path = self.kernel.subject(Permissions), f"/dev/{name}"
        denied = yield from permissions.open(path, flags)
        if not denied:
            disk = self.member(switch, "flag") & _TYPEMASK == _DISK
            denied = yield from permissions.raw(path, flags, disk=disk)
        if denied:
            return denied
        node = self._nodes.setdefault(device, SpecialNode(self.kernel))
        if not (yield from node.wait_for_close()):
            return Errno.EINTR
        node.opens += 1
        opened = OpenDevice(name, device, flags)
        with node.entered():
            error = yield from self._open(opened)
        if not error:
            node.opened = True
            self.kernel.subject(Files).opened(name, error)
            return opened
        # Others may have opened and closed it meanwhile: then the close is left to this one.
        if node.opened and node.opens == 1:
            yield from self.close(opened)
        else:
            node.opens -= 1
        return self.kernel.subject(Files).opened(name, error)

    def _open(self, opened: OpenDevice) -> Model:
        """Call d_open: gives its errno (subr_devsw.c, cdev_open)."""
        switch = self.find(opened.name)
        if switch is None:
            return Errno.ENXIO
        switch.opening += 1
        try:
            if self.member(switch, "devtounit"):
                unit = yield from self._call(switch, "devtounit", opened.device)
                driver = self.member(switch, "cfdriver")
                devices = self.kernel.subject(AllDevices)
                if not devices.device_lookup(driver, signed(unit, 32)):
                    return Errno.ENXIO
            result = yield from self._call(
                switch, "open", opened.device, opened.flags, S_IFCHR, self.kernel.current.address
            )
        finally:
            switch.opening -= 1
            self.kernel.scheduler.wake_all(self._drained)
        return signed(result, 32)

    def close(self, opened: OpenDevice) -> Model:
        """Close it: the driver's close runs when no one else has the node open (spec_close)."""
        opened.closed = True
        node = self._nodes[opened.device]
        if not node.release():
            return 0
        error = yield from self._close("cancel", opened)
        if not error:
            yield from node.drain()
        error = yield from self._close("close", opened)
        yield from node.drain()
        node.closed()
        return error

    def _close(self, member: str, opened: OpenDevice) -> Model:
        """Call d_cancel or d_close: ENXIO without a driver, ENODEV where it has no d_cancel."""
        switch = self._of(opened.device)
        if switch is None:
            return Errno.ENXIO
        if not self.member(switch, member):
            return Errno.ENODEV
        result = yield from self._call(
            switch, member, opened.device, opened.flags, S_IFCHR, self.kernel.current.address
        )
        return signed(result, 32)

    def read(self, opened: OpenDevice, size: int) -> Model:
        """Return the bytes that the driver gave, or an errno."""
        return (yield from self._transfer(opened, "read", bytes(size), UIO_READ))

    def write(self, opened: OpenDevice, content: bytes) -> Model:
        """Return the bytes that the driver took, or an errno."""
        return (yield from self._transfer(opened, "write", content, UIO_WRITE))

    def _transfer(self, opened: OpenDevice, member: str, content: bytes, direction: int) -> Model:
        if not opened.flags & (FREAD if direction == UIO_READ else FWRITE):
            return Errno.EBADF
        switch = self._of(opened.device)
        if switch is None:
            return Errno.ENXIO
        if not content:
            return b""
        nonblock = IO_NDELAY if opened.flags & FNONBLOCK else 0  # vfs_vnops.c, vn_read
        moved = yield from transfer(
            self.kernel, direction, opened.offset, content,
            lambda uio: self._do(switch, member, opened.device, uio, nonblock),
        )  # fmt: skip
        if isinstance(moved, bytes):
            opened.offset += len(moved)
        return moved

    def ioctl(self, opened: OpenDevice, command: int, content: bytes) -> Model:
        """Return the bytes that came back, or an errno."""
        switch = self._of(opened.device)
        if switch is None:
            return Errno.ENXIO
        lwp = self.kernel.current.address
        return (
            yield from control(
                self.kernel, command, content,
                lambda data: self._do(
                    switch, "ioctl", opened.device, command, data, opened.flags, lwp
                ),
            )
        )  # fmt: skip

    def poll(self, opened: OpenDevice, events: int, wait: int = 0) -> Model:
        """Ask the driver for events, and wait ``wait`` ns for some where there are none."""
        kernel = self.kernel
        return kernel.subject(Select).poll(
            lambda: self._poll(opened, events), kernel.clock.now + wait
        )

    def _poll(self, opened: OpenDevice, events: int) -> Model:
        if opened.closed:
            return POLLNVAL
        switch = self._of(opened.device)
        if switch is None:
            return POLLERR
        result = yield from self._do(
            switch, "poll", opened.device, events, self.kernel.current.address
        )
        return result & 0xFFFFFFFF

    def mmap(self, opened: OpenDevice, offset: int, protection: int) -> Model:
        """Ask the driver for the page at an offset: its physical address, -1 for none."""
        switch = self._of(opened.device)
        if switch is None:
            return -1
        rest = (*self.kernel.memory.wide(offset), protection)
        result = yield from self._do(switch, "mmap", opened.device, *rest)
        return signed(result, 8 * self.kernel.memory.pointer_size)
