"""Finds the system instructions in a module by disassembly.

A driver reads a time stamp counter, writes a model-specific register or turns interrupts off with
one instruction, without an import.  The linter lists these instructions; the simulator executes
them, or stops at one that it does not model.  The processors' manuals define them: Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 2; Arm Architecture Reference Manual, C5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common import cache
from vmtgen.common.dataclass import asdict, dataclass
from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmtgen.kobj.model import Module

# Of x86, by mnemonic.  in, out, cpuid, vmcall and vmmcall reach the hypervisor and are not listed.
_X86 = frozenset([
    "rdtsc", "rdtscp", "rdrand", "rdseed", "rdmsr", "wrmsr", "rdpmc", "cli", "sti", "std", "hlt",
    "popf", "popfd", "popfq", "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "sgdt", "sidt",
    "sldt", "str", "smsw", "lar", "lsl", "verr", "verw", "invd", "wbinvd", "wbnoinvd", "invlpg",
    "invpcid", "xgetbv", "xsetbv", "swapgs", "syscall", "sysret", "sysretq", "sysenter",
    "sysexit", "sysexitq", "iret", "iretd", "iretq", "monitor", "mwait", "monitorx", "mwaitx",
    "rsm", "stac", "clac", "rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase", "rdpid", "vmxon",
    "vmxoff", "vmlaunch", "vmresume", "vmread", "vmwrite", "vmptrld", "vmptrst", "vmclear",
    "vmfunc", "vmrun", "vmload", "vmsave", "skinit", "stgi", "clgi", "invept", "invvpid",
    "getsec",
])  # fmt: skip
_AARCH64 = frozenset(["tlbi", "at", "hvc", "smc", "eret", "drps", "wfi", "wfit", "brk", "hlt"])
# Per-thread registers of aarch64, and the one that calls the hypervisor when it is read.
_PLAIN = frozenset([
    "tpidr_el1", "tpidr_el0", "tpidrro_el0", "sp_el0", "mdccsr_el0", "nzcv", "fpcr", "fpsr",
    "currentel",
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class SystemInstruction:
    """One instruction: its place and its name, as "rdtsc" or "mov to cr0".

    ``symbol`` is the index of its function, ``distance`` its offset there in bytes, ``size`` its
    length; ``where`` is the place as text.
    """

    name: str
    text: str
    symbol: int
    distance: int
    size: int
    where: str


def disassembler(machine: Machine) -> Any:
    """Return capstone's disassembler for a machine; it skips bytes that are no instruction."""
    import capstone  # noqa: PLC0415 - slow to import

    arch, mode = {
        Machine.AMD64: (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        Machine.I386: (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
        Machine.AARCH64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    }[machine]
    tool = capstone.Cs(arch, mode)
    tool.skipdata = True
    return tool


_found: dict[bytes, tuple[SystemInstruction, ...]] = {}


def system_instructions(module: Module) -> tuple[SystemInstruction, ...]:
    """Return the system instructions in the functions of a module, in the order of its text.

    The result is cached by content, in the process and for the next one: see common.cache.
    """
    parts: list[tuple[bytes, list[tuple[int, int, int, str]]]] = []
    for section in module.sections:
        if section.region == "text" and section.type == "PROGBITS" and section.size:
            functions = sorted(
                (symbol.value, symbol.size, symbol.index, symbol.name)
                for symbol in module.symbols
                if symbol.kind == "FUNC" and symbol.section == section.index and symbol.size
            )
            parts.append((section.data, functions))
    names = repr([module.machine.value, *(functions for _code, functions in parts)])
    key = b"".join((names.encode(), *(code for code, _functions in parts)))
    if key not in _found:
        kept = cache.get("instructions", key)
        if kept is None:
            kept = [list(asdict(each).values()) for each in _look(module.machine, parts)]
            cache.put("instructions", key, kept)
        _found[key] = tuple(SystemInstruction(*each) for each in kept)
    return _found[key]


def _look(
    machine: Machine, parts: Sequence[tuple[bytes, Sequence[tuple[int, int, int, str]]]]
) -> Iterator[SystemInstruction]:
    """Disassemble functions, no byte of a section twice."""
    tool = disassembler(machine)
    for code, functions in parts:
        seen = 0
        for start, size, index, function in functions:
            begin = max(start, seen)
            seen = max(seen, start + size)
            for offset, length, mnemonic, operands in tool.disasm_lite(
                code[begin : start + size], begin
            ):
                name = system_name(machine, mnemonic, operands)
                if name:
                    text = f"{mnemonic} {operands}".strip()
                    where = f"{function}+{offset - start:#x}"
                    yield SystemInstruction(name, text, index, offset - start, length, where)


def system_name(machine: Machine, mnemonic: str, operands: str) -> str:
    """Return the name of a system instruction, "" for any other."""
    first, _, last = operands.partition(", ")
    if machine is Machine.AARCH64:
        if mnemonic == "mrs":
            return "" if last.lower() in _PLAIN else f"mrs {last.lower()}"
        if mnemonic == "msr":
            return "" if first.lower() in _PLAIN else f"msr {first.lower()}"
        return mnemonic if mnemonic in _AARCH64 else ""
    if mnemonic == "mov":
        for register, words in ((first, "to"), (last, "from")):
            if register[:2] in {"cr", "dr"} and register[2:].isdigit():
                return f"mov {words} {register}"
        return ""
    return mnemonic if mnemonic in _X86 else ""
