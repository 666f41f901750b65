"""The information that the guest reports about itself (guestinfo.yaml)."""

from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from vmtgen.common.dataclass import dataclass, replace
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Pattern, Range, Record, Report, Unique, Valued
from vmtgen.compiler.spec.text import InterpolatedText
from vmtgen.compiler.spec.words import U8, U32, Bytes, Count, Doc, Member, Name, Printable, Seconds

# open-vm-tools lib/include/guestInfo.h knows 1 to 11; a newer host may know more.
Key = Annotated[int, Range(1, 255)]
Oui = Annotated[
    str, Pattern(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}", "the first half of a MAC address, as 00:0c:29")
]
Digits = Annotated[str, Pattern(r"[0-9]+", "a string of digits")]

# Bytes of a file system in the older form, and how many its count of one byte allows
# (open-vm-tools lib/include/guestInfo.h).
OLD_DISK = 116
OLD_DISKS = 255


@dataclass(frozen=True, slots=True)
class Variable(Record):
    """A fact of the kernel that a value may name."""

    name: Member
    type: Literal["text", "u64"]
    doc: Doc


@dataclass(frozen=True, slots=True)
class ShortName(Valued):
    """VMware's word for a machine, which is the entry's name."""

    SHORTHAND: ClassVar[str] = "value"
    name: Member
    value: Printable


@dataclass(frozen=True, slots=True)
class Item(Record):
    """One value of the guest information: ``period`` in seconds, ``limit`` in bytes."""

    name: Name
    key: Annotated[Key, Unique()]
    value: InterpolatedText
    send: Literal["always", "change"]
    period: Seconds
    limit: Annotated[int, Range(1, 1024)]  # the driver has it on the kernel's stack
    unless: Literal["detailed"] | None = None


@dataclass(frozen=True, slots=True)
class Pair(Valued):
    """A pair key='value' of the detailed description."""

    SHORTHAND: ClassVar[str] = "value"
    name: Name
    value: InterpolatedText


@dataclass(frozen=True, slots=True)
class Detailed(Record):
    """The operating system in detail; ``short`` and ``full`` are sizes in bytes of its names."""

    key: Key
    version: U32
    short: Annotated[int, Range(2, 4096)]
    full: Annotated[int, Range(2, 4096)]
    pairs: Entries[Pair]

    def check(self, node: Node, report: Report) -> None:
        """Expect pairs, and values that cannot end their quotes."""
        if not self.pairs:
            report(node["pairs"], "expected at least one pair")
        for pair in self.pairs:
            if "'" in pair.value.source or "\\" in pair.value.source:
                message = "the value stands in single quotes: it cannot hold ' or \\"
                report(node["pairs"][pair.name], message)


@dataclass(frozen=True, slots=True)
class NicMethod(Record):
    """A key of the interface information, and how many addresses of each interface it takes."""

    key: Annotated[Key, Unique()]
    addresses: Count


@dataclass(frozen=True, slots=True)
class AddressTypes(Record):
    """Numbers of the address families."""

    ipv4: U32
    ipv6: U32


@dataclass(frozen=True, slots=True)
class AddressStatus(Record):
    """Numbers of the states of an address; the driver stores them in a byte."""

    preferred: U8
    deprecated: U8
    inaccessible: U8
    unknown: U8
    tentative: U8
    duplicate: U8


@dataclass(frozen=True, slots=True)
class RouteTypes(Record):
    """Numbers of the kinds of routes."""

    local: U32
    remote: U32


@dataclass(frozen=True, slots=True)
class Nics(Record):
    """Interfaces and addresses; ``period`` in seconds, ``host_name`` in bytes."""

    period: Seconds
    version: U32
    methods: tuple[NicMethod, ...]
    interfaces: Annotated[int, Range(1, 255)]
    addresses: Annotated[int, Range(1, 0xFFFF)]
    host_name: Annotated[int, Range(1, 255)]
    routes: Annotated[int, Range(1, 100)]
    route_types: RouteTypes
    metric: U32
    servers: Annotated[int, Range(1, 16)]
    suffixes: Annotated[int, Range(1, 10)]
    vendors: tuple[Oui, ...]
    types: AddressTypes
    status: AddressStatus

    def check(self, node: Node, report: Report) -> None:
        """Expect at least one method and one vendor."""
        if not self.methods:
            report(node["methods"], "expected at least one method")
        if not self.vendors:
            report(node["vendors"], "expected at least one vendor")

    @property
    def largest(self) -> int:
        """Bytes of the largest message, without the words before it.

        A word is four bytes and a string is a length and whole words (open-vm-tools
        lib/guestRpc/nicinfo.x): 44 bytes an interface, up to 40 an address, 68 a route, 24 a name
        server, and the parts that occur once.  The sysctl node net.dns limits the domain and the
        search list.
        """
        name = (self.host_name + 3) // 4 * 4
        each = 44 * self.interfaces + 40 * self.addresses + 68 * self.routes + 24 * self.servers
        return each + name + 13 * 4


@dataclass(frozen=True, slots=True)
class MemoryParts(Record):
    """Bits of the mask that says which parts of a statistic follow."""

    namespace: U8
    id: U8
    type: U8
    unit: U8
    value: U8


@dataclass(frozen=True, slots=True)
class MemoryTypes(Record):
    """Numbers of the types: an unsigned integer, and a rate, which is a double."""

    integer: U8
    rate: U8


@dataclass(frozen=True, slots=True)
class MemoryStatistic(Record):
    """A statistic of the memory; a ``rate`` is per second, from a counter of the kernel."""

    name: Name
    id: Annotated[int, Range(1, 255), Unique()]
    unit: Annotated[int, Range(1, 0xFFFF)]
    kind: Literal["integer", "rate"]


@dataclass(frozen=True, slots=True)
class Memory(Record):
    """Statistics of the memory; ``period`` in seconds, ``reserve`` the divisor of the reserve."""

    key: Key
    version: U32
    period: Seconds
    total_flag: U32
    namespace: Printable
    parts: MemoryParts
    types: MemoryTypes
    reserve: Annotated[int, Range(1, 1000)]
    statistics: Entries[MemoryStatistic]


@dataclass(frozen=True, slots=True)
class Disks(Record):
    """File systems; ``period`` in seconds, ``text`` in bytes."""

    period: Seconds
    version: Digits
    old_key: Key
    count: Count
    text: Bytes
    types: tuple[Printable, ...]

    def check(self, node: Node, report: Report) -> None:
        """Compare the count with the limits of both forms."""
        if self.count > OLD_DISKS:
            report(node["count"], f"the older form holds at most {OLD_DISKS}")
        elif self.text < 1 + self.count * OLD_DISK:
            message = f"{self.count} file systems need {1 + self.count * OLD_DISK} bytes"
            report(node["text"], f"{message} in the older form")
        if not self.types:
            report(node["types"], "expected at least one name")


@dataclass(frozen=True, slots=True)
class Guestinfo(Record):
    """All of guestinfo.yaml."""

    spec: Literal["guestinfo"]
    doc: Doc
    variables: Entries[Variable]
    short_names: Entries[ShortName]
    items: Entries[Item]
    detailed: Detailed
    nics: Nics
    memory: Memory
    disks: Disks

    def check(self, node: Node, report: Report) -> None:
        """Refuse a key that two sections use: the host would see one overwrite the other."""
        places = [item["key"] for item in node["items"]]
        places += [node["detailed"]["key"]]
        places += [method["key"] for method in node["nics"]["methods"]]
        places += [node["memory"]["key"], node["disks"]["old_key"]]
        first: dict[object, Node] = {}
        for place in places:
            before = first.setdefault(place.scalar, place)
            # Unique reports duplicates inside a section.
            if before.where.partition(".")[0] != place.where.partition(".")[0]:
                message = f"{place.scalar} is taken: {before.where} has it in line {before.line}"
                report(place, message)

    def completed(self) -> "Guestinfo":
        """Return the spec with the types of the variables in every value."""
        types = MappingProxyType({variable.name: variable.type for variable in self.variables})

        def typed(value: InterpolatedText) -> InterpolatedText:
            return replace(value, types=types)

        detailed = replace(
            self.detailed,
            pairs=Entries(replace(pair, value=typed(pair.value)) for pair in self.detailed.pairs),
        )
        items = Entries(replace(item, value=typed(item.value)) for item in self.items)
        return replace(self, items=items, detailed=detailed)
