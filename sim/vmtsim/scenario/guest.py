"""The administrator's actions in the guest: one table, for the simulated guest and a real one.

A row has the schema of its arguments, the simulated kernel's action (``run``), and the calls of
accept/guest.sh that do the same on the console of a real guest (``typed``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.schema import Length, NotEmpty, Range, Record

from vmtsim.core.verb import Message, Nothing, Scalar, Switch, Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtgen.common.located import Node
    from vmtgen.common.schema import Report

    from vmtsim.kernel.api import Model
    from vmtsim.run.administrator import Administrator

_FOREVER = 1e10  # seconds: three centuries
Calls = list[list[str]]


class _InterfaceAddress:
    """Text that is an address of IPv4 or IPv6, with or without the length of its prefix."""

    phrase = "that is an address, as 192.0.2.10/24 or 2001:db8::10/64"

    @staticmethod
    def fits(value: object) -> bool:
        """Return whether ``value`` is an address with or without a prefix length."""
        try:
            ipaddress.ip_interface(str(value))
        except ValueError:
            return False
        return True


class _Mac:
    """Text that is a MAC address of six bytes."""

    phrase = "that is a MAC address, as 00:0c:29:3e:5a:02"

    @staticmethod
    def fits(value: object) -> bool:
        """Return whether ``value`` is a MAC address."""
        return re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", str(value)) is not None


Mac = Annotated[str, _Mac()]
Address = Annotated[str, _InterfaceAddress()]
Addresses = tuple[Address, ...] | Address | None
Cards = Mapping[str, Addresses] | Addresses
Word = Annotated[int, Range(0, 0xFFFFFFFF)]
Registers = Mapping[str, Annotated[int, Range(0, 0xFFFFFFFFFFFFFFFF)]]
Leaves = Mapping[str, Annotated[tuple[Word, ...], Length(4, 4)]]
Register = Annotated[tuple[Annotated[int, Range(0, 0xFF)], ...], NotEmpty()]
Chips = Annotated[Mapping[str, Mapping[str, Register]], NotEmpty()]
Offset16 = Annotated[int, Range(0, 0xFFFF)]
Byte = Annotated[int, Range(0, 0xFF)]
Properties = Annotated[Mapping[str, bool | int | str], NotEmpty()]
Settings = Annotated[Mapping[str, Scalar], NotEmpty()]


def _number(text: str, highest: int) -> bool:
    try:
        return 0 <= int(text, 0) <= highest
    except ValueError:
        return False


def listed(addresses: Addresses) -> tuple[str, ...]:
    """Return the addresses of one network card."""
    if addresses is None:
        return ()
    return (addresses,) if isinstance(addresses, str) else addresses


@dataclass(frozen=True)
class Name(Record):
    """The name of a host, a device, a bus, a module, or a directory."""

    SHORTHAND: ClassVar[str] = "name"
    name: str


@dataclass(frozen=True)
class Branch(Record):
    """A node of sysctl(9) and all below it; by default the whole tree."""

    SHORTHAND: ClassVar[str] = "node"
    node: str | None = None


@dataclass(frozen=True)
class File(Record):
    """A module's file; by default the module under test."""

    SHORTHAND: ClassVar[str] = "path"
    path: str | None = None


@dataclass(frozen=True)
class Offset(Record):
    """The seconds by which the guest's clock is stepped."""

    SHORTHAND: ClassVar[str] = "seconds"
    seconds: float

    def check(self, node: Node, report: Report) -> None:
        """Reject times that no calendar has."""
        if not abs(self.seconds) < _FOREVER:
            report(node, "expected a number of seconds within three centuries")


@dataclass(frozen=True)
class Ifconfig(Record):
    """Words of ifconfig(8).  ``reading``: [CALLS, INSTRUCTIONS], while a driver reads the lists."""

    interface: str
    do: Literal["create", "destroy", "up", "down"] | None = None
    alias: Address | None = None
    delete: Address | None = None
    link: Mac | None = None
    flags: int = 0
    reading: Annotated[tuple[int, ...], Length(2, 2, "elements")] | None = None


class _Destination:
    """Text that is a net, or "default"."""

    phrase = "that is default or a net, as 198.51.100.0/24"

    @staticmethod
    def fits(value: object) -> bool:
        """Return whether ``value`` is a net or "default"."""
        try:
            ipaddress.ip_network("0.0.0.0/0" if value == "default" else str(value))
        except ValueError:
            return False
        return True


class _Hop:
    """Text that is an address."""

    phrase = "that is an address, as 192.0.2.1 or fe80::1"

    @staticmethod
    def fits(value: object) -> bool:
        """Return whether ``value`` is an address."""
        try:
            ipaddress.ip_address(str(value))
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class Route(Record):
    """Words of route(8).  ``interface`` is that of a link-local gateway or a route without one."""

    do: Literal["add", "delete", "change"]
    to: Annotated[str, _Destination()] = "default"
    gateway: Annotated[str, _Hop()] | None = None
    interface: str | None = None
    flag: Literal["reject", "blackhole"] | None = None

    def check(self, node: Node, report: Report) -> None:
        """Reject a new route without a destination."""
        if self.do != "delete" and self.gateway is None and self.interface is None:
            report(node, "expected a gateway, or the interface at which the route ends")


@dataclass(frozen=True)
class Open(Record):
    """A device node to open; ``name`` is its name in other steps, by default the driver's.

    ``block``: the node of the block device.
    """

    SHORTHAND: ClassVar[str] = "device"
    device: str
    unit: Annotated[int, Range(0, 0xFFFFF)] = 0
    flags: tuple[Literal["read", "write", "nonblock"], ...] = ("read", "write")
    name: str | None = None
    block: bool = False


@dataclass(frozen=True)
class Read(Record):
    """The number of bytes to read from an open device."""

    SHORTHAND: ClassVar[str] = "name"
    name: str
    size: Annotated[int, Range(0, 1 << 20)] = 1024


@dataclass(frozen=True)
class Write(Record):
    """A directory to whose file system a user writes, or text for an open device."""

    SHORTHAND: ClassVar[str] = "directory"
    directory: str | None = None
    name: str | None = None
    text: str = ""

    def check(self, node: Node, report: Report) -> None:
        """Reject both and neither."""
        if (self.directory is None) == (self.name is None):
            report(node, "expected a directory, or `name` of an open device with `text`")


@dataclass(frozen=True)
class Ioctl(Record):
    """A command for an open device: its number (sys/ioccom.h), and data: text or a number."""

    name: str
    command: Annotated[int, Range(0, 0xFFFFFFFF)]
    data: str | int = 0

    @property
    def content(self) -> bytes:
        """The data as memory holds it: a number takes eight bytes."""
        if isinstance(self.data, int):
            return self.data.to_bytes(8, "little", signed=self.data < 0)
        return self.data.encode("latin-1", "replace")


@dataclass(frozen=True)
class Poll(Record):
    """Events (POLLIN and so on, as a number) to poll an open device for, and seconds to wait."""

    SHORTHAND: ClassVar[str] = "name"
    name: str
    events: Annotated[int, Range(0, 0xFFFF)] = 0x5  # POLLIN | POLLOUT
    wait: Annotated[float, Range(0, 1_000_000)] = 0.0


@dataclass(frozen=True)
class Kevent(Record):
    """A call of kevent(2) for an open device: a change, and the seconds to wait.

    Without ``flags`` nothing is changed; ``low`` is the data of NOTE_LOWAT.
    """

    SHORTHAND: ClassVar[str] = "name"
    name: str
    filter: Literal["read", "write"] = "read"
    flags: tuple[
        Literal["add", "delete", "enable", "disable", "oneshot", "clear", "dispatch"], ...
    ] = ()
    low: Annotated[int, Range(0, 1 << 30)] | None = None
    wait: Annotated[float, Range(0, 1_000_000)] = 0.0


@dataclass(frozen=True)
class Fcntl(Record):
    """The new flags of an open file (F_SETFL); flags that are not named are cleared."""

    name: str
    flags: tuple[Literal["nonblock", "async"], ...] = ()


@dataclass(frozen=True)
class Seek(Record):
    """The offset of the next read or write of an open device."""

    name: str
    offset: Annotated[int, Range(-(1 << 63), (1 << 63) - 1)]
    whence: Literal["set", "current", "end"] = "set"


@dataclass(frozen=True)
class Map(Record):
    """An offset into an open device to map."""

    SHORTHAND: ClassVar[str] = "name"
    name: str
    offset: Annotated[int, Range(0, 1 << 40)] = 0


@dataclass(frozen=True)
class Watchdog(Record):
    """A watchdog, and the action on it; ``period`` in seconds, by default the driver's own."""

    SHORTHAND: ClassVar[str] = "name"
    name: str
    mode: Literal["kernel", "user", "external", "tickle", "disarm"] = "user"
    period: Annotated[int, Range(1, 0xFFFFFFFE)] | None = None


@dataclass(frozen=True)
class Nth(Record):
    """The number of the call that fails, counted over the calls that may fail; 0: none."""

    SHORTHAND: ClassVar[str] = "nth"
    nth: Annotated[int, Range(0, 1_000_000)]


@dataclass(frozen=True)
class Pressure(Record):
    """The bytes of memory that stay free, those that hold files, and the duration.

    After that all of the memory is free again.
    """

    SHORTHAND: ClassVar[str] = "free"
    free: Annotated[int, Range(0, 1 << 30)]
    files: Annotated[int, Range(0, 1 << 30)] = 0
    seconds: Annotated[float, Range(0, 1_000_000)] = 1.0


Pages = Annotated[int, Range(0, 0x7FFFFFFF)]


@dataclass(frozen=True)
class Usage(Record):
    """The use of the memory, in pages; None: as before.

    ``files`` and ``programs`` are pages of files; ``swap`` and ``swap_used`` are swap. The
    other fields are added to counters: pages read from swap and written to it, and switches between
    threads.
    """

    files: Pages | None = None
    programs: Pages | None = None
    swap: Pages | None = None
    swap_used: Pages | None = None
    page_in: Pages = 0
    page_out: Pages = 0
    switches: Pages = 0


@dataclass(frozen=True)
class Scripts(Record):
    """Scripts of powerd(8) for freeze and thaw: how long they take, and whether they fail."""

    SHORTHAND: ClassVar[str] = "seconds"
    seconds: Annotated[float, Range(0, 3600)] = 0.0
    fail: bool = False


@dataclass(frozen=True)
class Command(Verb):
    """A verb of the administrator.

    ``run`` returns the command as a model of the simulated kernel.  ``typed`` returns the calls of
    guest.sh, or the reason why it cannot be done on a console.
    """

    run: Callable[[Administrator, Any], Model]
    typed: Callable[[Any], Calls | str]


def _one(word: str) -> Callable[[Name], Calls]:
    return lambda given: [[word, given.name]]


def _alone(word: str) -> Callable[[Nothing], Calls]:
    return lambda _given: [[word]]


def _simulated(why: str) -> Callable[[Any], str]:
    return lambda _given: why


def _load(given: File) -> Calls | str:
    return "the path names a file on the simulator's machine" if given.path else [["load"]]


def _sysctl(given: Mapping[str, Scalar]) -> Calls:
    values = {name: int(each) if isinstance(each, bool) else each for name, each in given.items()}
    return [["sysctl", f"{name}={value}"] for name, value in values.items()]


def _addresses(given: Cards) -> Calls | str:
    if isinstance(given, Mapping):
        return "the guest has one network card"
    return [["addresses", *listed(given)]]


def _route(given: Route) -> Calls | str:
    if given.interface is not None:
        return "the guest's network card may have another name"
    family = "-inet6" if ":" in f"{given.gateway}{given.to}" else "-inet"
    words = ["route", given.do, family, *([f"-{given.flag}"] if given.flag else []), given.to]
    return [[*words, *([given.gateway] if given.gateway else [])]]


def _rpc(given: Message) -> Calls | str:
    if not all(0x20 <= byte < 0x7F for byte in given.content):
        return "the message has bytes that cannot be typed"
    return [["rpc", given.content.decode("ascii")]]


_NODE = "the guest of an acceptance run has no device node of another driver"

_TABLE = (
    Command("hostname", Name, "the administrator changes the host name",
            lambda admin, given: admin.hostname(given.name), _one("hostname")),
    Command("detach", Name, "drvctl -d DEVICE",
            lambda admin, given: admin.detach(given.name), _one("detach")),
    Command("rescan", Name, "drvctl -r BUS: devices that match attach again",
            lambda admin, given: admin.rescan(given.name), _one("rescan")),
    Command("load", File, "modload of the module under test, or of a path",
            lambda admin, given: admin.load(given.path), _load),
    Command("unload", Name, "modunload NAME",
            lambda admin, given: admin.unload(given.name), _one("unload")),
    Command("sysctl", Settings, "sysctl -w NAME=VALUE",
            lambda admin, given: admin.sysctl(given), _sysctl),
    Command("addresses", Cards, "set the addresses of network interfaces",
            lambda admin, given: admin.addresses(given), _addresses),
    Command("ifconfig", Ifconfig,
            "ifconfig INTERFACE; `reading: [CALLS, INSTRUCTIONS]` while the driver reads the lists",
            lambda admin, given: admin.ifconfig(given),
            _simulated("the change comes between two instructions of the driver")),
    Command("route", Route, "route add, delete or change, by default the default route",
            lambda admin, given: admin.route(given), _route),
    Command("write", Write,
            "a user writes to the file system mounted on DIRECTORY, or to an open device",
            lambda admin, given: admin.write(given),
            _simulated("data not yet on a disk cannot be seen on a console")),
    Command("open", Open, "a process opens unit UNIT of a driver's device",
            lambda admin, given: admin.devices.open(given), _simulated(_NODE)),
    Command("read", Read, "the process reads SIZE bytes",
            lambda admin, given: admin.devices.read(given), _simulated(_NODE)),
    Command("ioctl", Ioctl, "the process calls ioctl(2) with COMMAND",
            lambda admin, given: admin.devices.ioctl(given), _simulated(_NODE)),
    Command("poll", Poll, "the process polls for EVENTS",
            lambda admin, given: admin.devices.poll(given), _simulated(_NODE)),
    Command("mmap", Map, "the process maps the page at OFFSET",
            lambda admin, given: admin.devices.mmap(given), _simulated(_NODE)),
    Command("kevent", Kevent, "the process adds a filter to its kqueue, or waits for events",
            lambda admin, given: admin.devices.kevent(given), _simulated(_NODE)),
    Command("fcntl", Fcntl, "the process sets the flags of the file",
            lambda admin, given: admin.devices.fcntl(given), _simulated(_NODE)),
    Command("stat", Name, "the process calls fstat(2)",
            lambda admin, given: admin.devices.stat(given.name), _simulated(_NODE)),
    Command("seek", Seek, "the process calls lseek(2)",
            lambda admin, given: admin.devices.seek(given), _simulated(_NODE)),
    Command("size", Name, "the kernel asks a block device for its size, as for swap space",
            lambda admin, given: admin.devices.size(given.name), _simulated(_NODE)),
    Command("close", Name, "the process closes the device",
            lambda admin, given: admin.devices.close(given.name), _simulated(_NODE)),
    Command("envstat", Name, "envstat -d DEVICE: refresh and print the sensors",
            lambda admin, given: admin.envstat(given.name),
            _simulated("the guest of an acceptance run has no sensors of another driver")),
    Command("wdogctl", Watchdog, "wdogctl: arm, tickle or disarm a watchdog",
            lambda admin, given: admin.wdogctl(given),
            _simulated("the guest of an acceptance run has no watchdog of another driver")),
    Command("interrupt", Nothing, "send a signal to every process in a system call",
            lambda admin, _given: admin.interrupt(),
            _simulated("vmtsim does not know which processes of a real guest may be interrupted")),
    Command("fault", Nth,
            "fault(4): of the module's calls that may fail, the NTH from now on "
            "does",
            lambda admin, given: admin.fault(given.nth),
            _simulated("GENERIC has no fault(4)")),
    Command("pressure", Pressure,
            "leave only FREE bytes of memory for SECONDS; FILES bytes hold files",
            lambda admin, given: admin.pressure(given),
            _simulated("vmtsim does not know how much memory a real kernel has left")),
    Command("usage", Usage, "set the use of the pages of memory and of swap",
            lambda admin, given: admin.usage(given),
            _simulated("vmtsim does not know the memory use of a real guest")),
    Command("powerd", Switch, "start (true) or kill (false) powerd",
            lambda admin, given: admin.powerd(on=given.on),
            lambda given: [["powerd", "on" if given.on else "off"]]),
    Command("scripts", Scripts,
            "install powerd's hook and scripts for freeze and thaw, which take SECONDS",
            lambda admin, given: admin.site_scripts(given),
            _simulated("the disk does not contain a site's scripts")),
    Command("clock", Offset, "step the guest's clock by SECONDS",
            lambda admin, given: admin.clock(given.seconds),
            lambda given: [["clock", str(round(given.seconds))]]),
    Command("suspend", Nothing, "the guest's own power management: suspend",
            lambda admin, _given: admin.suspend(), _alone("suspend")),
    Command("resume", Nothing, "the guest's own power management: resume",
            lambda admin, _given: admin.resume(), _alone("resume")),
    Command("shutdown", Nothing, "the guest shuts down: shutdown hooks run",
            lambda admin, _given: admin.shutdown(), _alone("shutdown")),
    Command("panic", Nothing, "the kernel panics: the shutdown hooks run, and it reboots",
            lambda admin, _given: admin.panic(),
            _simulated("an acceptance run must not panic a real guest")),
    Command("rpc", Message, "the administrator sends an RPCI command and waits for its reply",
            lambda admin, given: admin.rpc(given.content), _rpc),
    Command("request", Message,
            "the administrator sends an RPCI command and never asks for its reply",
            lambda admin, given: admin.request(given.content),
            _simulated("a console does not show that a reply is dropped")),
    Command("look", Branch, "sysctl NODE, or sysctl -a: the administrator reads every node",
            lambda admin, given: admin.look(given.node),
            _simulated("its purpose is to wait for the simulated lock")),
)  # fmt: skip
COMMANDS: Mapping[str, Command] = {command.name: command for command in _TABLE}


@dataclass(frozen=True)
class Window(Record):
    """Registers of a byte each, by their numbers, at ``size`` ports or addresses.

    ``indexed: [I, D]``: the number of a register is written to the port at offset I, and the
    register is the port at offset D.  ``memory``: at an address of memory and no port.
    """

    registers: Mapping[str, Byte]
    size: Annotated[int, Range(1, 0x10000)] = 2
    indexed: Annotated[tuple[Offset16, ...], Length(2, 2)] | None = None
    memory: bool = False

    def check(self, node: Node, report: Report) -> None:
        """Refuse registers that are no numbers, and ports that are not in the window."""
        for name in self.registers:
            if not _number(name, 0xFFFF):
                report(node, f"expected the number of a register, as 0x20, not {name!r}")
        if self.indexed is not None and max(self.indexed) >= self.size:
            report(node, f"expected `indexed` ports at offsets below the size, {self.size}")


@dataclass(frozen=True)
class GuestSettings(Record):
    """The guest before the module is loaded; None: the guest's default.

    ``net_mpsafe`` and ``detachall`` choose another kernel and apply to the simulated one only, like
    ``memory``, how many bytes the kernel can allocate, and the registers of its processor:
    ``msrs`` by number ("0x19c") or, on aarch64, by name ("midr_el1"), and ``cpuid``, four words a
    leaf. ``without`` names drivers that GENERIC has built in and this kernel lacks, and
    ``properties`` are the options of modload(8) for the module under test. ``cpus`` is the number
    of processors. ``i2c`` are chips at iic0 by their addresses, each with the bytes of its
    registers. ``registers`` are those of other hardware by their addresses, at isa0 or where a
    driver maps. ``modules`` are files of modules that it requires: loaded before it, and unloaded
    after it.
    """

    hostname: str | None = None
    addresses: Cards = None
    powerd: bool = True
    sysctl: Settings | None = None
    net_mpsafe: bool = False
    detachall: bool = False
    memory: Annotated[int, Range(1 << 20, 1 << 30)] | None = None
    msrs: Registers | None = None
    cpuid: Leaves | None = None
    without: tuple[str, ...] = ()
    properties: Properties | None = None
    cpus: Annotated[int, Range(1, 8)] = 1
    modules: tuple[str, ...] = ()
    i2c: Chips | None = None
    registers: Mapping[str, Window] | None = None

    def check(self, node: Node, report: Report) -> None:
        """Reject invalid names of chips, registers and windows."""
        for name in self.registers or {}:
            if not _number(name, 0xFFFFFFFF):
                report(node, f"expected the address of registers, as 0x2e, not {name!r}")
        for chip, registers in (self.i2c or {}).items():
            if not _number(chip, 0x7F):
                report(node, f"expected the address of a chip, 0x08 to 0x77, not {chip!r}")
            for name in registers:
                if not _number(name, 0xFFFF):
                    report(node, f"expected the number of a register, as 0x05, not {name!r}")
