"""The trap instructions with which a program calls the backdoor, from a module or an ELF file.

A site is one instruction.  In a module of a few kilobytes every function is disassembled; in a
whole kernel or daemon only those that have a known name or contain the magic number.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, replace
from vmtgen.common.errors import ReportedError
from vmtgen.kobj import Machine as KobjMachine
from vmtgen.kobj import Module, read_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOW, LOW_OUT, IN, OUT, HYPERCALL, ARM = "in", "out", "rep insb", "rep outsb", "vmcall", "mrs"

# Capstone's text of the instructions: mnemonic, and the operands if they matter.
_X86 = {
    ("in", "eax, dx"): LOW,
    ("out", "dx, eax"): LOW_OUT,
    ("rep insb", ""): IN,
    ("rep outsb", ""): OUT,
    ("vmcall", ""): HYPERCALL,
    ("vmmcall", ""): HYPERCALL,
}
# mrs xzr, mdccsr_el0 (open-vm-tools lib/include/backdoor_def.h).
_MRS = (0xD533011F).to_bytes(4, "little")
_MAGIC = (0x564D5868).to_bytes(4, "little")

# Functions that contain traps but not the magic number: of this project, of NetBSD's
# sys/dev/vmt/vmt_subr.c, of OpenBSD's sys/dev/pv/vmt.c, of open-vm-tools lib/backdoor.
_NAMES = ("vmt_trap_", "vm_cmd", "vm_ins", "vm_outs", "Backdoor_InOut", "BackdoorHb")
_MACHINES = {"EM_X86_64": "amd64", "EM_386": "i386", "EM_AARCH64": "aarch64"}
_SIGNATURE = 48


class SitesError(ReportedError):
    """A file without sites, or an invalid address."""


@dataclass(frozen=True)
class Site:
    """One trap instruction: its address, its length in bytes, its kind, its function's name."""

    address: int
    size: int
    kind: str
    name: str = ""

    @property
    def high(self) -> bool:
        """Whether it transfers a buffer."""
        return self.kind in {IN, OUT}

    def text(self) -> str:
        """Return ``rep insb at 0x... (vmt_trap_in)``."""
        where = f" ({self.name})" if self.name else ""
        return f"{self.kind} at {self.address:#x}{where}"


@dataclass(frozen=True)
class Program:
    """The program to serve: its sites, and bytes that identify its text in memory.

    Addresses are relative to the text's base if ``moves``.  ``signature`` are bytes that no
    relocation changes, at ``signature_at`` from the base or absolute.
    """

    name: str
    machine: str
    sites: tuple[Site, ...]
    moves: bool = False
    signature: bytes = b""
    signature_at: int = 0

    def at(self, base: int) -> tuple[Site, ...]:
        """Return the sites of a program whose text begins at ``base``."""
        return tuple(replace(site, address=site.address + base) for site in self.sites)


def kind_of(code: bytes, machine: str) -> tuple[str, int] | None:
    """Return kind and length of the trap at the start of ``code``, None for anything else."""
    if machine == "aarch64":
        return (ARM, 4) if code[:4] == _MRS else None
    for _, size, kind in _x86(code[:16], machine):
        return (kind, size) if kind else None
    return None


def traps(code: bytes, machine: str, *, name: str = "") -> Iterator[Site]:
    """Yield the traps of one function, their addresses relative to its beginning."""
    if machine == "aarch64":
        for offset in range(0, len(code) - 3, 4):
            if code[offset : offset + 4] == _MRS:
                yield Site(offset, 4, ARM, name)
        return
    for offset, size, kind in _x86(code, machine):
        if kind:
            yield Site(offset, size, kind, name)


@cache
def _disassembler(machine: str) -> Any:
    import capstone  # noqa: PLC0415 - slow, and not for ARM

    tool = capstone.Cs(
        capstone.CS_ARCH_X86, capstone.CS_MODE_64 if machine == "amd64" else capstone.CS_MODE_32
    )
    tool.skipdata = True
    return tool


def _x86(code: bytes, machine: str) -> Iterator[tuple[int, int, str]]:
    """Yield (offset, size, kind of trap or "") of each instruction.

    ``ed`` inside another instruction is not an ``in``: only disassembly from the function's start
    shows it.
    """
    for offset, size, mnemonic, operands in _disassembler(machine).disasm_lite(bytes(code), 0):
        yield offset, size, _X86.get((mnemonic, operands)) or _X86.get((mnemonic, ""), "")


def of_module(path: Path) -> Program:
    """Return the sites of a kernel module.

    Raises vmtgen.kobj.KobjError if it is not a module, SitesError if it does not call the backdoor.
    """
    module = read_module(path)
    machine = module.machine.value
    found = sorted(_module_traps(module, machine), key=lambda site: site.address)
    named = [site for site in found if site.name.startswith(_NAMES)]
    sites = tuple(named or found)
    if not sites:
        raise SitesError(
            f"{path}: no backdoor call in this module: none of {LOW}, {IN}, {OUT}, {HYPERCALL}, "
            f"{ARM}",
            hint="give the module of a VMware Tools driver, as `vmtgen build` makes it",
        )
    signature, at = _signature(module, sites[0].address)
    return Program(module.path.name.partition(".")[0], machine, sites, True, signature, at)


def _module_traps(module: Module, machine: str) -> Iterator[Site]:
    for symbol in module.symbols:
        if symbol.kind != "FUNC" or symbol.section is None:
            continue
        section = module.sections[symbol.section]
        if section.region != "text":
            continue
        code = section.data[symbol.value : symbol.value + symbol.size]
        for site in traps(code, machine, name=symbol.name):
            yield replace(site, address=site.address + section.offset + symbol.value)


def _signature(module: Module, address: int) -> tuple[bytes, int]:
    """Return bytes near a site that linking does not change, and their offset in the text."""
    for section in module.sections:
        if section.region != "text" or not 0 <= address - section.offset < section.size:
            continue
        here = address - section.offset
        wide = 4 if module.machine is KobjMachine.I386 else 8
        holes = [r.offset for r in module.relocations if r.section == section.index]
        first = max((hole + wide for hole in holes if hole + wide <= here), default=0)
        last = min((hole for hole in holes if hole > here), default=section.size)
        first = max(first, here - _SIGNATURE // 2)
        last = min(last, here + _SIGNATURE // 2)
        return section.data[first:last], section.offset + first
    raise AssertionError("a site outside of every section")


def of_elf(path: Path) -> Program:
    """Return the sites of a kernel or a program: of functions that call the backdoor.

    Without a symbol table, from all executable segments, near the magic number.  Raises SitesError.
    """
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - for --elf alone
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            machine = _MACHINES.get(elf["e_machine"], "")
            found = list(_elf_traps(elf, machine)) if machine else []
            moves = elf["e_type"] == "ET_DYN"
        except ELFError as error:
            raise SitesError(f"{path}: not an ELF file: {error}") from error
    if not machine:
        raise SitesError(f"{path}: not for amd64, i386 or aarch64")
    if not found:
        raise SitesError(
            f"{path}: its symbols show no function that calls the backdoor",
            hint="give the addresses of the trap instructions with --sites",
        )
    return Program(path.name, machine, tuple(sorted(found, key=lambda s: s.address)), moves)


def _elf_traps(elf: Any, machine: str) -> Iterator[Site]:
    seen: set[int] = set()
    for address, code, name in _functions(elf):
        if not name.startswith(_NAMES) and _MAGIC not in code and machine != "aarch64":
            continue
        for site in traps(code, machine, name=name):
            if site.address + address not in seen:
                seen.add(site.address + address)
                yield replace(site, address=site.address + address)


def _functions(elf: Any) -> Iterator[tuple[int, bytes, str]]:
    segments = [
        (segment["p_vaddr"], segment.data())
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_flags"] & 1
    ]
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    named = False
    for symbol in table.iter_symbols() if table is not None else ():
        size, start = symbol["st_size"], symbol["st_value"]
        if symbol["st_info"]["type"] != "STT_FUNC" or not size:
            continue
        for base, data in segments:
            if base <= start < base + len(data):
                named = True
                yield start, data[start - base : start - base + size], symbol.name
    if named and elf.get_section_by_name(".symtab") is not None:
        return
    # Stripped: each piece of text around the magic number.
    for base, data in segments:
        at = data.find(_MAGIC)
        while at >= 0:
            # The magic is the immediate of a five-byte mov: an instruction boundary to start from.
            yield base + at - 1, data[at - 1 : at + 160], ""
            at = data.find(_MAGIC, at + 1)


def of_addresses(addresses: list[int], machine: str = "") -> Program:
    """Return sites by address only; their kinds are read from the guest's memory later."""
    return Program("--sites", machine, tuple(Site(address, 0, "") for address in addresses))
