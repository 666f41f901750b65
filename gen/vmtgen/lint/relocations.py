"""Rules about relocations: each must resolve to a valid address.

The module is first linked at pretended addresses. The rules check the values that the kernel would
write, so that a sum that wraps round to a valid address is accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj import Machine
from vmtgen.kobj.relocations import RULES, bytes_touched
from vmtgen.lint.findings import finding
from vmtgen.lint.sections import is_debug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import Loading, Module, Relocation, Section
    from vmtgen.lint.findings import Finding

_ENTRY = {"REL": {4: 8, 8: 16}, "RELA": {4: 12, 8: 24}}  # bytes of an entry by pointer size
# Sections that cannot be the target of a relocation.
_NO_CONTENTS = ("NULL", "SYMTAB", "STRTAB", "REL", "RELA", "DYNSYM", "HASH")
# Where a machine's kernel begins (VM_MIN_KERNEL_ADDRESS; amd64: KERNBASE, as its text is there).
_KERNEL = {
    Machine.AMD64: 0xFFFFFFFF_80000000,
    Machine.I386: 0xC0000000,
    Machine.AARCH64: 0xFFFF0000_00000000,
}


def relocation_findings(module: Module, loading: Loading) -> Iterator[Finding]:
    """Yield the relocations that the loader skips, and those with an invalid target."""
    for section in module.sections:
        if section.type in _ENTRY and section.size:
            yield from _table_findings(module, section)
    for index, offset, symbol in module.skipped:
        where = f"{module.sections[index].name}+{offset:#x}"
        yield finding("relocation-symbol", where, f"symbol index {symbol} is out of range")
    for relocation in module.relocations:
        section = module.sections[relocation.section]
        for rule, message in _problems(module, loading, relocation, section):
            where = f"{section.name}+{relocation.offset:#x}"
            target = module.describe(relocation.symbol)
            yield finding(rule, where, f"{relocation.type_name} against {target}: {message}")


def _table_findings(module: Module, table: Section) -> Iterator[Finding]:
    """kobj_load() reads the tables whose sh_info names a PROGBITS section, in whole entries."""
    if table.info >= len(module.sections):
        message = f"it is for section {table.info}, and there are {len(module.sections)}"
        yield finding("relocation-lost", table.name, message)
        return
    target = module.sections[table.info]
    entry = _ENTRY[table.type][module.machine.pointer_size]
    if target.type == "PROGBITS":
        if table.size % entry:
            message = f"its last {table.size % entry} bytes are no whole entry of {entry}"
            yield finding("relocation-lost", table.name, message)
    elif target.type in _NO_CONTENTS or target.loaded:
        name = target.name or f"section {target.index}"
        message = f"it is for {name}, which is {target.type} and not PROGBITS"
        yield finding("relocation-lost", table.name, message)


def _problems(
    module: Module, loading: Loading, relocation: Relocation, section: Section
) -> Iterator[tuple[str, str]]:
    rule = RULES[module.machine].get(relocation.type)
    symbol = relocation.symbol
    if rule is None:
        return  # the loader refuses it
    if rule.kind == "none":
        if symbol.index:
            yield "relocation-none", "nothing is changed here"
        return
    width = bytes_touched(rule)
    if relocation.offset + width > section.size:
        yield "relocation-outside", f"writes {width} bytes, the section has {section.size:#x}"
        return
    if is_debug(section) or rule.kind == "base":
        return
    if symbol.index == 0:
        yield "relocation-target", "no symbol: the address is the addend alone"
    elif symbol.special == "RESERVED":
        yield "symbol-unloaded", "its section does not exist"
    elif symbol.section is not None and not module.sections[symbol.section].loaded:
        target = module.sections[symbol.section]
        name = target.name or f"section {target.index}"
        yield "symbol-unloaded", f"it is in {name}, which is {target.type}"
    elif symbol.special == "ABS" and rule.kind in ("relative", "branch26", "page21"):
        address = loading.values[symbol.index] + (relocation.addend or 0)
        if address < _KERNEL[module.machine]:
            yield "relocation-target", f"address {address:#x} is not in the kernel"
    elif symbol.section is not None and rule.kind == "absolute":
        pointer = rule.width == 8 * module.machine.pointer_size
        if pointer and section.region != "text":
            yield from _pointer(module, loading, relocation)


def _pointer(module: Module, loading: Loading, relocation: Relocation) -> Iterator[tuple[str, str]]:
    """Check that a pointer in data leads into its symbol's section, or to the end of it."""
    size = module.machine.pointer_size
    place = loading.addresses[relocation.section] + relocation.offset
    found = loading.locate(place, size)
    assert relocation.symbol.section is not None
    if found is None:
        return
    value = int.from_bytes(found[0][found[1] : found[1] + size], "little")
    target = module.sections[relocation.symbol.section]
    start = loading.addresses[target.index]
    if not start <= value <= start + target.size:
        distance = value - start
        yield (
            "relocation-target",
            (f"leads to {target.name}{distance:+#x}, and that has {target.size:#x} bytes"),
        )
