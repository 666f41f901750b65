"""Devices of drivers: devsw_attach(9), and calls of the functions in a device switch.

The tables struct cdevsw and struct bdevsw have their members in the order of sys/sys/conf.h, one
word each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.callback import call_back
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel

_CHARACTER = (
    "open", "cancel", "close", "read", "write", "ioctl", "stop", "tty", "poll", "mmap", "kqfilter",
    "discard", "devtounit", "cfdriver", "flag",
)  # fmt: skip
_BLOCK = (
    "open", "cancel", "close", "strategy", "ioctl", "dump", "psize", "discard", "devtounit",
    "cfdriver", "flag",
)  # fmt: skip
_MPSAFE, _TYPEMASK = 0x100, 0xFF  # D_MPSAFE, D_TYPEMASK
DISK, TAPE = 2, 1  # D_DISK, D_TAPE
_LARGEST = 512  # MAXDEVSW of sys/kern/subr_devsw.c
# The first major numbers that config(1) assigned to no driver: sys/conf/majors of 10.99.12
# ends with 366, and 208 is its last one of a block device.
_FIRST_CHARACTER, _FIRST_BLOCK = 367, 209
_ALWAYS_READY = 0x1 | 0x4 | 0x40  # POLLIN | POLLOUT | POLLRDNORM of sys/sys/poll.h
_NO_MAJOR = -1  # NODEVMAJOR


def makedev(major: int, minor: int) -> int:
    """Return the dev_t (sys/sys/types.h): 12 bits of the major among 20 of the minor."""
    return (major << 8 & 0xFFF00) | (minor << 12 & 0xFFF00000) | (minor & 0xFF)


def major_of(device: int) -> int:
    """Return the major number of a dev_t."""
    return device >> 8 & 0xFFF


@dataclass(eq=False)
class Switch:
    """A cdevsw or, with ``block``, a bdevsw that is attached."""

    address: int
    name: str
    major: int
    made_at: int
    block: bool = False
    opening: int = 0  # calls of d_open in progress: the localcount of the switch
    gone: bool = False

    @property
    def kind(self) -> str:
        """Its name in messages."""
        return "block" if self.block else "character"


class DeviceSwitches(Subject):
    """The tables of character and block devices."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_devsw.c 1.53": "*",
        "sys/kern/kern_stub.c 1.50": (
            "enodev devenodev ttyenodev ttyvenodev nullop devnullop ttyvnullop"
        ),
        "sys/kern/sys_select.c 1.68": "seltrue",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {"device_lock": "devsw_attach devsw_detach"}
    ACCESSES_DATA = "devsw_attach"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.live: LiveObjects[Switch] = LiveObjects(
            self,
            Words("device switch", "attached", "detached"),
            unknown="devsw-unknown",
            left="devsw-left",
            name=lambda switch: f"of the {switch.kind} device {switch.name!r}",
        )
        self._majors: dict[str, tuple[int, int]] = {}  # name -> (block, character), never forgotten
        self._drained = WaitQueue("devsw")
        # Whether a process has a device with a switch's number open: see devnode.
        self.is_open: Callable[[Switch], bool] = lambda _switch: False

    def member(self, switch: Switch, name: str) -> int:
        """Return a member of struct cdevsw or bdevsw."""
        memory = self.kernel.memory
        members = _BLOCK if switch.block else _CHARACTER
        return memory.pointer(switch.address + members.index(name) * memory.pointer_size)

    def type_of(self, switch: Switch) -> int:
        """Return D_DISK and so on (cdev_type, bdev_type)."""
        return self.member(switch, "flag") & _TYPEMASK

    # -- functions for drivers ---------------------------------------------------------------

    @kernel_function(
        "int devsw_attach(const char *name, const void *bdev, int *bmajor, const void *cdev, "
        "int *cmajor)"
    )
    def devsw_attach(
        self, name: str | None, block: int, block_at: int, character: int, character_at: int
    ) -> int:
        """Assign free device numbers, or those that its name had before."""
        kernel, memory = self.kernel, self.kernel.memory
        if name is None or not character:
            return Errno.EINVAL
        kernel.rules.may_sleep("devsw_attach")
        majors = [memory.s32(block_at), memory.s32(character_at)]
        known = self._majors.get(name)
        if known is not None:
            if block and majors[0] < 0:
                majors[0] = known[0]
            if majors[1] < 0:
                majors[1] = known[1]
            if tuple(majors) != known or (majors[0] >= 0 and not block):
                return Errno.EINVAL
        for each, number in ((block, 0), (character, 1)):
            if not each:
                continue
            if majors[number] < 0:
                majors[number] = self._free_major(number)
            if majors[number] >= _LARGEST:
                table = ("bdevsw_attach: block", "cdevsw_attach: character")[number]
                kernel.subject(Console).print(f"{table} majors exhausted\n")
                return Errno.ENOMEM
            if self._at(majors[number], block=not number) is not None:
                return Errno.EEXIST
        memory.put_u32(block_at, majors[0])
        memory.put_u32(character_at, majors[1])
        self._majors[name] = majors[0], majors[1]
        for address, number in ((block, 0), (character, 1)):
            if address:
                made = Switch(address, name, majors[number], kernel.call_site, block=not number)
                self.live.add("devsw_attach", address, made)
        return 0

    def _free_major(self, which: int) -> int:
        taken = {each[which] for each in self._majors.values()}
        first = (_FIRST_BLOCK, _FIRST_CHARACTER)[which]
        return next(n for n in range(first, _LARGEST + 1) if n not in taken)

    @kernel_function("void devsw_detach(const void *bdev, const void *cdev)")
    def devsw_detach(self, block: int, character: int) -> Model | None:
        """Detach both tables, after calls of d_open have returned (localcount_drain)."""
        kernel = self.kernel
        kernel.rules.may_sleep("devsw_detach")
        switches = [self.live.find("devsw_detach", each) for each in (character, block) if each]
        for switch in switches:
            units = kernel.subject(AllDevices).units_of(self.member(switch, "cfdriver"))
            if units:
                kernel.panic(
                    "devsw-with-units",
                    f"devsw_detach by {kernel.where()}: detaching {switch.kind} device driver "
                    f"{switch.name} still has attached unit {units[0]}",
                )
        for switch in switches:
            switch.gone = True
        if any(switch.opening for switch in switches):
            return self._drain(switches, kernel.where())
        self._detached(switches, kernel.where())
        return None

    def _drain(self, switches: list[Switch], caller: Place) -> Model:
        while any(switch.opening for switch in switches):
            yield Block(self._drained, what=self._drained.name)
        self._detached(switches, caller)

    def _detached(self, switches: list[Switch], caller: Place) -> None:
        for switch in switches:
            if self.is_open(switch):
                self.kernel.violation(
                    "devsw-open",
                    f"devsw_detach by {caller}: the {switch.kind} device {switch.name} is open, "
                    "and its next read, write, ioctl or close finds no driver",
                )
            self.live.remove(switch.address)

    @kernel_function("int bdevsw_lookup_major(const void *bdev)")
    @kernel_function("int cdevsw_lookup_major(const void *cdev)")
    def lookup_major(self, address: int) -> int:
        """Return -1 for a table that is not attached."""
        switch = self.live.get(address)
        return _NO_MAJOR if switch is None or switch.gone else switch.major

    @kernel_function("const void *bdevsw_lookup(dev_t dev)")
    def bdevsw_lookup(self, device: int) -> int:
        switch = self.of(device, block=True)
        return 0 if switch is None else switch.address

    @kernel_function("const void *cdevsw_lookup(dev_t dev)")
    def cdevsw_lookup(self, device: int) -> int:
        switch = self.of(device)
        return 0 if switch is None else switch.address

    # -- functions for members of cdevsw and bdevsw ------------------------------------------------

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

    # -- the calls of system calls -----------------------------------------------------------------

    def _there(self, *, block: bool) -> Iterator[Switch]:
        return (each for each in self.live.values() if not each.gone and each.block is block)

    def find(self, name: str, *, block: bool = False) -> Switch | None:
        """Return the driver of that name."""
        return next((each for each in self._there(block=block) if each.name == name), None)

    def of(self, device: int, *, block: bool = False) -> Switch | None:
        """Return the driver of a device number."""
        major = major_of(device)
        return next((each for each in self._there(block=block) if each.major == major), None)

    def _at(self, major: int, *, block: bool) -> Switch | None:
        return next(
            (each for each in self.live.values() if each.block is block and each.major == major),
            None,
        )

    def call(self, switch: Switch, member: str, *arguments: int) -> Model:
        """Call a member, with the kernel lock unless the driver has D_MPSAFE (DEV_LOCK)."""
        mpsafe = bool(self.member(switch, "flag") & _MPSAFE)
        return call_back(
            self.kernel,
            f"d_{member} of {switch.name}",
            self.member(switch, member),
            arguments,
            mpsafe=mpsafe,
        )

    def entered(self, switch: Switch, call: Callable[[], Model]) -> Model:
        """Make a call of d_open, for which a detach waits (bdevsw_lookup_acquire)."""
        switch.opening += 1
        try:
            return (yield from call())
        finally:
            switch.opening -= 1
            self.kernel.scheduler.wake_all(self._drained)
