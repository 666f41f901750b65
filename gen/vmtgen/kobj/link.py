"""kobj_load()'s and kobj_affix()'s linking: symbols looked up, relocations applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmtgen.kobj.errors import KobjCorruptionError, KobjError, Message
from vmtgen.kobj.model import PAGE_SIZE, REGIONS, Machine, Module, Region, Relocation, Symbol
from vmtgen.kobj.relocations import (
    RULES,
    RelocationRefusedError,
    apply,
    bytes_touched,
    in_place_addend,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Names that kobj_checksyms() lets a module define although the kernel has them too.
DUPLICATES_ALLOWED = frozenset(
    {
        "_bss_start",
        "__bss_start",
        "_bss_end__",
        "__bss_end__",
        "_edata",
        "_end",
        "__end",
        "__end__",
    }
)
_LINK_SET = "link_set_"

# Where the check of local relocations pretends to load: in each machine's module area.
_PRETENDED_BASE = {
    Machine.AMD64: 0xFFFFFFFF_82000000,
    Machine.I386: 0xC2000000,
    Machine.AARCH64: 0xFFFFC000_02000000,
}


def may_be_defined_twice(name: str) -> bool:
    """Whether kobj_checksyms() tolerates that kernel and module both define the name.

    The kernel compares 16 characters of the 17 in __stop_link_set_, which makes no
    difference for any name in use.
    """
    return name in DUPLICATES_ALLOWED or name.startswith(("__start_link_set_", "__stop_link_set"))


@dataclass(frozen=True)
class Linked:
    """A module as it lies in the kernel's memory after linking.

    `images` holds the bytes of each region (absent: the region is empty), `bases` their
    addresses.  `link_sets` maps the name behind 'link_set_' to the pointers in it.
    """

    module: Module
    images: Mapping[Region, bytes] = field(repr=False)
    bases: Mapping[Region, int]
    link_sets: Mapping[str, tuple[int, ...]]
    values: tuple[int, ...] = field(repr=False)

    def address_of(self, symbol_name: str) -> int:
        """Return the address of a symbol, also a local one; KeyError when none or many."""
        return self.values[self.module.symbol(symbol_name).index]

    def symbol_at(self, address: int) -> tuple[Symbol, int] | None:
        """Return the function or object that holds `address`, and the distance into it."""
        best: tuple[Symbol, int] | None = None
        for symbol in self.module.symbols:
            if symbol.kind not in ("FUNC", "OBJECT") or symbol.section is None:
                continue
            distance = address - self.values[symbol.index]
            inside = 0 <= distance < max(symbol.size, 1)
            if inside and (best is None or distance < best[1]):
                best = symbol, distance
        return best


def link(
    module: Module, bases: Mapping[Region, int], resolve: Callable[[str], int | None]
) -> Linked:
    """Load `module` at `bases` (page-aligned addresses) and link it.

    `resolve` is the kernel's symbol table: the address of a name, or None.  It is asked
    for what the module imports and also for every global that the module defines,
    because the kernel refuses such a name when it has it too.  Raises KobjError as
    kobj_load() and kobj_affix() refuse, in their order.
    """
    linker = _Linker(module, bases)
    linker.check_duplicates(resolve)
    for refusal in linker.relocate(local=True):
        raise refusal
    linker.look_up(resolve)
    for refusal in linker.relocate(local=False):
        raise refusal
    return linker.linked()


def local_refusals(module: Module) -> Iterator[KobjError]:
    """Yield what kobj_load() refuses among the relocations against local symbols."""
    yield from _Linker(module, pretended_bases(module)).relocate(local=True)


def refusals(module: Module) -> Iterator[KobjError]:
    """Yield every relocation that the loader refuses, imports taken for granted."""
    bases = pretended_bases(module)
    try:
        linker = _Linker(module, bases)
    except KobjError as error:  # an alignment that is no power of two
        yield error
        return
    yield from linker.relocate(local=True)
    # Kernel text lies below the module area, near enough for every branch.
    linker.look_up(lambda _: bases["text"] - 0x100000)
    yield from linker.relocate(local=False)


def link_locally(module: Module) -> Linked:
    """Apply only the local relocations, at pretended addresses, as kobj_load() does."""
    linker = _Linker(module, pretended_bases(module))
    for refusal in linker.relocate(local=True):
        raise refusal
    return linker.linked()


def pretended_bases(module: Module) -> dict[Region, int]:
    """Return addresses at which the module could lie in a kernel of its machine."""
    bases: dict[Region, int] = {}
    address = _PRETENDED_BASE[module.machine]
    for region in REGIONS:
        aligns = (section.align for section in module.sections if section.region == region)
        step = max(PAGE_SIZE, *aligns, 1)
        address = (address + step - 1) // step * step
        bases[region] = address
        address += module.sizes[region]
    return bases


class _Linker:
    """The state between loading and the end of kobj_affix()."""

    def __init__(self, module: Module, bases: Mapping[Region, int]) -> None:
        self.module = module
        self.bases = bases
        self.images: dict[Region, bytearray] = {
            region: bytearray(module.sizes[region]) for region in REGIONS if module.sizes[region]
        }
        self.addresses: dict[int, int] = {}
        for section in module.sections:
            if section.region is None:
                continue
            base = bases[section.region]
            if base & (section.align - 1) and section.align > PAGE_SIZE:
                raise KobjCorruptionError(
                    f"section {section.index} ({section.name}) wants an alignment of "
                    f"{section.align} bytes, but the kernel's regions are aligned to {PAGE_SIZE}: "
                    "it would panic with a wrong map size"
                )
            self.addresses[section.index] = base + section.offset
            image = self.images.get(section.region)
            if image is not None:
                image[section.offset : section.offset + len(section.data)] = section.data
        # Symbols of sections that are not loaded keep the value in the file.
        self.values = [
            symbol.value
            + (self.addresses.get(symbol.section, 0) if symbol.section is not None else 0)
            for symbol in module.symbols
        ]

    def check_duplicates(self, resolve: Callable[[str], int | None]) -> None:
        """kobj_checksyms(ko, false): globals that the kernel defines at another address."""
        messages = []
        for symbol in self.module.symbols:
            if symbol.binding != "GLOBAL" or not symbol.name or symbol.special == "UNDEF":
                continue
            known = resolve(symbol.name)
            if known is None or known == self.values[symbol.index]:
                continue
            if not may_be_defined_twice(symbol.name):
                messages.append(
                    Message(f"global symbol `{symbol.name}' redefined", "kobj_checksyms", 1046)
                )
        if messages:
            raise KobjError(*messages)

    def look_up(self, resolve: Callable[[str], int | None]) -> None:
        """kobj_checksyms(ko, true): addresses of what the module imports."""
        messages = []
        for symbol in self.module.symbols:
            if symbol.binding != "GLOBAL" or not symbol.name or symbol.special != "UNDEF":
                continue
            address = resolve(symbol.name)
            if address is None:
                messages.append(
                    Message(f"symbol `{symbol.name}' not found", "kobj_checksyms", 1014)
                )
            else:
                self.values[symbol.index] = address
        if messages:
            raise KobjError(*messages)

    def relocate(self, *, local: bool) -> Iterator[KobjError]:
        """kobj_relocate(): yield each refusal (the kernel stops at the first)."""
        for relocation in self.module.relocations:
            if (relocation.symbol.binding == "LOCAL") is not local:
                continue
            try:
                self._relocate_one(relocation)
            except KobjError as error:
                yield error

    def _relocate_one(self, relocation: Relocation) -> None:
        machine = self.module.machine
        section = self.module.sections[relocation.section]
        region = section.region
        assert region is not None, "only relocations of PROGBITS sections are read"
        base = self.addresses[section.index]
        place = base + relocation.offset
        if machine is Machine.AARCH64 and relocation.addend is None:
            raise self._failure(relocation, Message("kobj_reloc: REL relocations not supported"))
        rule = RULES[machine].get(relocation.type)
        if rule is None:
            if machine is Machine.AARCH64:
                self._symbol_value(relocation, place)
                text = (
                    f"kobj_reloc: unsupported relocation type {relocation.type} at {place:#x} "
                    f"(base+{relocation.offset:#x}) symidx {relocation.symbol.index}"
                )
            else:
                text = f"kobj_reloc: unexpected relocation type {relocation.type}"
            raise self._failure(relocation, Message(text))
        if rule.kind == "none":
            return
        if relocation.offset + bytes_touched(rule) > section.size:
            raise KobjCorruptionError(
                f"relocation at {relocation.offset:#x} lies outside section {section.index} "
                f"({section.name}, {section.size:#x} bytes): the kernel would write there unasked",
                relocation,
            )
        image = self.images[region]
        offset = section.offset + relocation.offset
        value = 0 if rule.kind == "base" else self._symbol_value(relocation, place)
        addend = relocation.addend
        if addend is None:
            addend = in_place_addend(rule, image, offset, machine)
        try:
            apply(
                rule,
                image,
                offset,
                place=place,
                symbol=value,
                addend=addend,
                base=base,
                section_offset=relocation.offset,
            )
        except RelocationRefusedError as error:
            raise self._failure(relocation, Message(str(error))) from error

    def _symbol_value(self, relocation: Relocation, place: int) -> int:
        """kobj_sym_lookup(): the symbol's address, or the reason why there is none."""
        symbol = relocation.symbol
        value = self.values[symbol.index]
        if symbol.index == 0 or symbol.special != "UNDEF":
            return value
        if symbol.binding == "LOCAL":
            text, line = f"local symbol @{symbol.index} undefined", 927
        elif symbol.binding == "GLOBAL":
            if symbol.name and value != 0:
                return value
            if symbol.name:
                text, line = f"{symbol.name} @{symbol.index}: bad value", 942
            else:
                text, line = f"bad symbol @{symbol.index} name", 937
        elif symbol.binding == "WEAK":
            text, line = f"weak symbol @{symbol.index} not supported", 951
        else:
            text, line = f"bad binding {symbol.binding} for symbol @{symbol.index}", 956
        messages = [Message(text, "kobj_sym_lookup", line)]
        if self.module.machine is Machine.AARCH64:
            messages.append(
                Message(
                    f"kobj_reloc: symidx {symbol.index} lookup failure. relocation type "
                    f"{relocation.type} at {place:#x} (base+{relocation.offset:#x})"
                )
            )
        raise self._failure(relocation, *messages)

    def _failure(self, relocation: Relocation, *messages: Message) -> KobjError:
        kind, line = ("rel", 1101) if relocation.addend is None else ("rela", 1138)
        return KobjError(
            *messages,
            Message(
                f"unresolved {kind} relocation @{relocation.offset:#x} type={relocation.type} "
                f"symidx={relocation.symbol.index}",
                "kobj_relocate",
                line,
            ),
            relocation=relocation,
        )

    def linked(self) -> Linked:
        """Return the result, with the link sets read from the relocated memory."""
        sets: dict[str, tuple[int, ...]] = {}
        size = self.module.machine.pointer_size
        for section in self.module.sections:
            if section.region is None or not section.name.startswith(_LINK_SET):
                continue
            image = self.images.get(section.region, bytearray())
            content = image[section.offset : section.offset + section.size]
            pointers = tuple(
                int.from_bytes(content[i : i + size], "little")
                for i in range(0, len(content) - size + 1, size)
            )
            sets.setdefault(section.name.removeprefix(_LINK_SET), pointers)
        return Linked(
            self.module,
            MappingProxyType({region: bytes(image) for region, image in self.images.items()}),
            MappingProxyType(dict(self.bases)),
            MappingProxyType(sets),
            tuple(self.values),
        )
