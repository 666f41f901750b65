"""kobj_load()'s and kobj_affix()'s linking: symbols looked up, relocations applied."""

from __future__ import annotations

from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed
from vmtgen.kobj.errors import KobjError, KobjPanicError, Message
from vmtgen.kobj.model import (
    PAGE_SIZE,
    Machine,
    Module,
    Region,
    Relocation,
    Section,
    Symbol,
    aligned,
    name_is_readable,
)
from vmtgen.kobj.modinfo import fetch
from vmtgen.kobj.relocations import (
    RULES,
    RelocationRefusedError,
    apply,
    bytes_touched,
    in_place_addend,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtgen.kobj.model import ModInfo

# The order in which kobj_load() allocates from module_map, one after the other.
ALLOCATION_ORDER: tuple[Region, ...] = ("data", "rodata", "text")

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
# Results of a module's relocation that are kept, by addresses; the oldest goes first.
_MOST_RELOCATED = 64

# The pretended load address for the check of local relocations: in each machine's module area.
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
    """A module as it is in the kernel's memory after linking.

    `images` holds the bytes of each region (absent: the region is empty), without the
    zeros at its end; `bases` are their addresses (0 for an empty one).  `link_sets` maps
    the name after 'link_set_' to the pointers in it.
    """

    module: Module
    images: Mapping[Region, bytes | bytearray] = field(repr=False)
    bases: Mapping[Region, int]
    link_sets: Mapping[str, tuple[int, ...]]
    values: tuple[int, ...] = field(repr=False)

    def address_of(self, symbol_name: str) -> int:
        """Return the address of a symbol, also a local one; KeyError for none or several."""
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

    `resolve` is the kernel's symbol table: the address of a name, or None.  It is called
    for the module's imports and also for every global that the module defines,
    because the kernel refuses a global that it defines itself.  Raises KobjError as
    kobj_load() and kobj_affix() refuse, in their order.
    """
    loading = Loading(module, bases)
    loading.load(resolve)
    return loading.affix(resolve)


def local_refusals(module: Module) -> Iterator[KobjError]:
    """Yield what kobj_load() refuses among the relocations against local symbols."""
    try:
        loading = Loading(module, pretended_bases(module))
    except KobjPanicError as error:
        yield error
        return
    yield from loading.relocate(local=True)


def link_as_pretended(module: Module) -> tuple[Loading, tuple[KobjError, ...]]:
    """Link at pretended addresses, with every import at the same one; continue after a refusal.

    Returns the module in memory and the loader's refusals.  Raises KobjPanicError where
    the sections cannot be placed.
    """
    loading = Loading(module, pretended_bases(module))
    refused = list(loading.relocate(local=True))
    loading.look_up(lambda _: loading.pretended_import)
    refused += loading.relocate(local=False)
    return loading, tuple(refused)


def pretended_bases(module: Module) -> dict[Region, int]:
    """Return addresses at which the module could be in a kernel of its machine."""
    return consecutive_bases(module, _PRETENDED_BASE[module.machine])


def consecutive_bases(module: Module, start: int) -> dict[Region, int]:
    """Return the regions' addresses where module_map's free space begins at `start`.

    An empty region has no address in the kernel: kobj_load() does not allocate it.
    """
    bases: dict[Region, int] = {}
    for region in ALLOCATION_ORDER:
        bases[region] = start if module.sizes[region] else 0
        start += round_page(module.sizes[region])
    return bases


def round_page(size: int) -> int:
    """Return the size rounded up to whole pages."""
    return (size + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE


class Loading:
    """A module between the start of kobj_load() and the end of kobj_affix()."""

    def __init__(self, module: Module, bases: Mapping[Region, int]) -> None:
        """Place the sections at `bases` and fill them.

        Raises KobjPanicError where a section falls out of its region.
        """
        self.module = module
        self.bases = {region: base if module.sizes[region] else 0 for region, base in bases.items()}
        self._limit = (1 << 8 * module.machine.pointer_size) - 1
        self.images: dict[Region, bytearray] = {
            region: bytearray() for region, size in module.sizes.items() if size
        }
        self._mapped = [
            (self.bases[region], self.bases[region] + round_page(module.sizes[region]), image)
            for region, image in self.images.items()
        ]
        self._rules = RULES[module.machine]
        self.addresses: dict[int, int] = {}
        self._place()
        # Symbols of sections that are not loaded keep the value in the file.
        self.values = [
            (
                symbol.value
                + (self.addresses.get(symbol.section, 0) if symbol.section is not None else 0)
            )
            & self._limit
            for symbol in module.symbols
        ]
        # Kernel text lies below the module area, near enough for every branch.
        self.pretended_import = _PRETENDED_BASE[module.machine] - 0x100000

    def _place(self) -> None:
        """Place and fill the sections: the second loop of kobj_load() over their headers."""
        place = dict(self.bases)
        for section in self.module.sections:
            region = section.region
            if region is None:
                continue
            address = aligned(place[region], section.align, self.module.machine)
            place[region] = (address + section.size) & self._limit
            self.addresses[section.index] = address
            if section.type == "PROGBITS":
                self._fill(section, address)
            elif section.size and not self._segment(address, section.size):
                raise self._page_fault("write", address)
        for region, end in place.items():
            if end != self.bases[region] + self.module.sizes[region]:
                base, size = self.bases[region], self.module.sizes[region]
                raise KobjPanicError(
                    f"kobj_load: map_{region}_base {end:#x} != address {base:x} + "
                    f"map_{region}_size {size} ({base + size:#x})"
                )

    def _segment(self, address: int, size: int) -> Region | None:
        """Return the region that holds these bytes, by its exact size."""
        for region, base in self.bases.items():
            if base <= address and address + size <= base + self.module.sizes[region]:
                return region
        return None

    def _fill(self, section: Section, address: int) -> None:
        """kobj_read_vfs(): a DIAGNOSTIC kernel checks that the place is in a region."""
        region = self._segment(address, section.size)
        if region is None:
            raise KobjPanicError("kobj_read_vfs: not in a dedicated segment")
        found = self.locate(address, section.size)
        if found is not None:
            image, start = found
            image[start : start + section.size] = section.data

    def locate(self, address: int, size: int) -> tuple[bytearray, int] | None:
        """Return the region's memory that holds these bytes, and their place in it.

        A region's pages are mapped whole, so there may be bytes after its last section.
        """
        for base, end, image in self._mapped:
            if base <= address and address + size <= end:
                start = address - base
                missing = start + size - len(image)
                if missing > 0:
                    # A section without contents takes no memory: a NOBITS section can be large.
                    image.extend(bytes(missing))
                return image, start
        return None

    def string_at(self, address: int) -> bytes | None:
        """Return the bytes before the NUL at or after an address, None where no NUL is mapped."""
        found = self.locate(address, 1)
        if found is None:
            return None
        image, start = found
        end = image.find(b"\0", start)
        if end < 0:
            end = len(image)
            # Zeros follow, unless the last page is full.
            if self.locate(address, end - start + 1) is None:
                return None
        return bytes(image[start:end])

    def _page_fault(
        self, access: str, address: int, relocation: Relocation | None = None
    ) -> KobjPanicError:
        return KobjPanicError(
            f"fatal page fault in supervisor mode: {access} of {address & self._limit:#x}",
            relocation,
        )

    # -- the two halves ----------------------------------------------------------------------

    def load(self, resolve: Callable[[str], int | None]) -> None:
        """Do the rest of kobj_load(): no name twice, then relocations against local symbols.

        Raises KobjError.
        """
        self.check_duplicates(resolve)
        for refusal in self.relocate(local=True):
            raise refusal

    def info(self) -> ModInfo:
        """module_fetch_info(), with the pointers in modinfo_t followed."""
        return fetch(self)

    def affix(self, resolve: Callable[[str], int | None]) -> Linked:
        """kobj_affix(): imports, then relocations against all other symbols. Raises KobjError."""
        self.look_up(resolve)
        for refusal in self.relocate(local=False):
            raise refusal
        return self.linked()

    def check_duplicates(self, resolve: Callable[[str], int | None]) -> None:
        """kobj_checksyms(ko, false): globals that the kernel defines at another address.

        Raises KobjError.
        """
        messages = []
        for symbol in self.module.symbols:
            if symbol.binding != "GLOBAL" or not symbol.name_offset or symbol.special == "UNDEF":
                continue
            known = resolve(symbol.name)
            if known is None or known == self.values[symbol.index]:
                continue
            if not may_be_defined_twice(symbol.name):
                messages.append(
                    Message(f"global symbol `{symbol.name}' redefined", "kobj_checksyms", 1045)
                )
        if messages:
            raise KobjError(*messages)

    def look_up(self, resolve: Callable[[str], int | None]) -> None:
        """kobj_checksyms(ko, true): addresses of what the module imports. Raises KobjError."""
        messages = []
        for symbol in self.module.symbols:
            if symbol.binding != "GLOBAL" or not symbol.name_offset or symbol.special != "UNDEF":
                continue
            address = resolve(symbol.name)
            if address is None:
                messages.append(
                    Message(f"symbol `{symbol.name}' not found", "kobj_checksyms", 1013)
                )
            else:
                self.values[symbol.index] = address
        if messages:
            raise KobjError(*messages)

    def relocate(self, *, local: bool) -> Iterator[KobjError]:
        """kobj_relocate(): yield each refusal (the kernel stops at the first).

        The result depends on the module, its addresses and its memory alone; where nothing was
        refused, it is kept: a campaign loads the same file at the same addresses again and again.
        """
        before = blake2b()
        for image in self.images.values():
            before.update(image)
            before.update(len(image).to_bytes(8, "little"))
        key = (local, *self.bases.values(), *self.values, before.digest())
        known = self.module.relocated
        images = known.get(key)
        if images is not None:
            for region, content in images.items():
                self.images[region][:] = content
            return
        refused = False
        for refusal in self._relocate_all(local=local):
            refused = True
            yield refusal
        if not refused:
            while len(known) >= _MOST_RELOCATED:
                del known[next(iter(known))]
            known[key] = {region: bytes(image) for region, image in self.images.items()}

    def _relocate_all(self, *, local: bool) -> Iterator[KobjError]:
        for table in self.module.tables:
            base = self.addresses.get(table.target, 0)
            if base == 0:
                kind, line = ("relatab", 1119) if table.addends else ("reltab", 1082)
                yield KobjPanicError(
                    f"kobj_relocate:{line}: lost base for e_{kind}[{table.number}] "
                    f"sec {table.target}"
                )
                continue
            for relocation in table.entries:
                if (relocation.symbol.binding == "LOCAL") is not local:
                    continue
                try:
                    self._relocate_one(relocation, base)
                except KobjError as error:
                    yield error

    def _relocate_one(self, relocation: Relocation, base: int) -> None:
        """kobj_reloc() of the machine."""
        machine = self.module.machine
        place = (base + relocation.offset) & self._limit
        if machine is Machine.AARCH64 and relocation.addend is None:
            raise self._failure(relocation, Message("kobj_reloc: REL relocations not supported"))
        rule = self._rules.get(relocation.type)
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
        value = 0 if rule.kind == "base" else self._symbol_value(relocation, place)
        found = self.locate(place, bytes_touched(rule))
        if found is None:
            raise self._page_fault("write", place, relocation)
        image, offset = found
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
        if symbol.index in (0, 0xFFF1) or symbol.special != "UNDEF":
            return value
        if symbol.binding == "LOCAL":
            text, line = f"local symbol @{symbol.index} undefined", 926
        elif symbol.binding == "GLOBAL":
            if symbol.name and value != 0:
                return value
            if symbol.name:
                text, line = f"{symbol.name} @{symbol.index}: bad value", 941
            else:
                text, line = f"bad symbol @{symbol.index} name", 936
        elif symbol.binding == "WEAK":
            text, line = f"weak symbol @{symbol.index} not supported", 950
        else:
            text, line = f"bad binding {symbol.binding} for symbol @{symbol.index}", 955
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
        kind, line = ("rel", 1097) if relocation.addend is None else ("rela", 1134)
        # The kernel prints the type with %d.
        type_ = signed(relocation.type, 32)
        return KobjError(
            *messages,
            Message(
                f"unresolved {kind} relocation @{relocation.offset:#x} type={type_} "
                f"symidx={relocation.symbol.index}",
                "kobj_relocate",
                line,
            ),
            relocation=relocation,
        )

    def find_section(self, name: str) -> Section | None:
        """kobj_find_section(): the first loaded section of that name.

        Raises KobjPanicError where an earlier section's name is in unmapped memory.
        """
        for section in self.module.sections:
            if not section.loaded:
                continue
            if not name_is_readable(section):
                raise self._page_fault("strcmp: read", section.name_offset)
            if section.name == name and section.name_inside:
                return section
        return None

    def linked(self) -> Linked:
        """Return the result, with the link sets read from the relocated memory."""
        sets: dict[str, tuple[int, ...]] = {}
        size = self.module.machine.pointer_size
        for section in self.module.sections:
            if section.region is None or not section.name.startswith(_LINK_SET):
                continue
            found = self.locate(self.addresses[section.index], section.size)
            content = b"" if found is None else found[0][found[1] : found[1] + section.size]
            pointers = tuple(
                int.from_bytes(content[i : i + size], "little")
                for i in range(0, len(content) - size + 1, size)
            )
            sets.setdefault(section.name.removeprefix(_LINK_SET), pointers)
        return Linked(
            self.module,
            MappingProxyType(self.images),
            MappingProxyType(dict(self.bases)),
            MappingProxyType(sets),
            tuple(self.values),
        )


def module_info(module: Module) -> ModInfo:
    """Return MODULE()'s information; raises KobjError where module_fetch_info() refuses it."""
    loading = Loading(module, pretended_bases(module))
    for refusal in loading.relocate(local=True):
        raise refusal
    return loading.info()
