"""What the guest reports about itself (specs/guestinfo.yaml)."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from vmtgen.spec.schema import Entries, Range, Record, Unique, Valued
from vmtgen.spec.text import Mixture
from vmtgen.spec.words import Count, Doc, Member, Name, Printable


@dataclass(frozen=True, slots=True)
class Variable(Record):
    """Something that the kernel knows and a value may name."""

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
    # open-vm-tools lib/include/guestInfo.h knows 1 to 11.
    key: Annotated[int, Range(1, 11), Unique()]
    value: Mixture
    send: Literal["always", "change"]
    period: Count
    limit: Count


@dataclass(frozen=True, slots=True)
class Guestinfo(Record):
    """All of specs/guestinfo.yaml."""

    spec: Literal["guestinfo"]
    doc: Doc
    variables: Entries[Variable]
    short_names: Entries[ShortName]
    items: Entries[Item]

    def completed(self) -> "Guestinfo":
        """Return the same with the types of the variables in every value."""
        types = MappingProxyType({variable.name: variable.type for variable in self.variables})
        items = [replace(item, value=replace(item.value, types=types)) for item in self.items]
        return replace(self, items=Entries(items))
