"""Instructions that no kernel function stands for: found in a module by disassembly.

A driver reads a time stamp counter, writes a model-specific register or turns interrupts off with
one instruction, and imports nothing for it.  The linter lists them; the simulator serves them, or
stops where one is executed.  What an instruction does is in the processors' manuals: Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 2; Arm Architecture Reference Manual, C5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    from vmtgen.kobj.model import Module

# Of x86, by mnemonic.  in, out, cpuid, vmcall and vmmcall reach the hypervisor and are none here.
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
# Registers of aarch64 that are a thread's own, and the one whose reading calls the hypervisor.
_PLAIN = frozenset([
    "tpidr_el1", "tpidr_el0", "tpidrro_el0", "sp_el0", "mdccsr_el0", "nzcv", "fpcr", "fpsr",
    "currentel",
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class SystemInstruction:
    """One instruction: where it is, and what it is called, as "rdtsc" or "mov to cr0".

    ``symbol`` is the index of the function that it is in, ``distance`` how far behind its start in
    bytes, ``size`` its length; ``where`` says the same in words.
    """

    name: str
    text: str
    symbol: int
    distance: int
    size: int
    where: str


def disassembler(machine: Machine) -> Any:
    """Return capstone's disassembler for a machine; what is no instruction is passed over."""
    import capstone  # noqa: PLC0415 - slow to import

    arch, mode = {
        Machine.AMD64: (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        Machine.I386: (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
        Machine.AARCH64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    }[machine]
    tool = capstone.Cs(arch, mode)
    tool.skipdata = True
    return tool


_found: dict[tuple[Machine, bytes], tuple[SystemInstruction, ...]] = {}


def system_instructions(module: Module) -> tuple[SystemInstruction, ...]:
    """Return the system instructions in the functions of a module, in the order of its text."""
    texts = [s for s in module.sections if s.region == "text" and s.type == "PROGBITS" and s.size]
    key = (module.machine, b"".join(s.data for s in texts))
    if key not in _found:
        tool = disassembler(module.machine)
        found: list[SystemInstruction] = []
        for section in texts:
            functions = sorted(
                (symbol.value, symbol.size, symbol.index, symbol.name)
                for symbol in module.symbols
                if symbol.kind == "FUNC" and symbol.section == section.index and symbol.size
            )
            seen = 0
            for start, size, index, function in functions:
                begin = max(start, seen)
                seen = max(seen, start + size)
                for offset, length, mnemonic, operands in tool.disasm_lite(
                    section.data[begin : start + size], begin
                ):
                    name = system_name(module.machine, mnemonic, operands)
                    if name:
                        found.append(
                            SystemInstruction(
                                name,
                                f"{mnemonic} {operands}".strip(),
                                index,
                                offset - start,
                                length,
                                f"{function}+{offset - start:#x}",
                            )
                        )
        _found[key] = tuple(found)
    return _found[key]


def system_name(machine: Machine, mnemonic: str, operands: str) -> str:
    """Return what a system instruction is called, "" for any other."""
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
