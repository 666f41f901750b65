"""What the linter looks for in the code itself: FPU and SIMD registers, the red zone.

The functions are disassembled with capstone, one by one along the symbol table, so that data
between them is not taken for code. What is not in a function is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmtgen.kobj import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import Module, Symbol

_X86_FPU = re.compile(r"\b(?:[xyz]?mm[0-9]+|st\([0-7]\)|st)\b")
# x87 instructions all begin with f; those of MMX and SSE state do not.
_X86_STATE = frozenset({"emms", "ldmxcsr", "stmxcsr", "vldmxcsr", "vstmxcsr", "xsave", "xrstor"})
_ARM_FPU = re.compile(r"\b(?:[bhsdq]|v)[0-9]{1,2}(?:\.[0-9]*[bhsd])?\b")
_RED_ZONE = re.compile(r"\[rsp - ")


@dataclass(frozen=True)
class CodeProblem:
    """A rule that an instruction breaks, where, and the instruction in words."""

    rule: str
    where: str
    message: str


def disassembler(machine: Machine) -> Any:
    """Return capstone's disassembler for a machine."""
    import capstone  # noqa: PLC0415 - slow to import

    arch, mode = {
        Machine.AMD64: (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        Machine.I386: (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
        Machine.AARCH64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    }[machine]
    return capstone.Cs(arch, mode)


def code_problems(module: Module) -> Iterator[CodeProblem]:
    """Yield the first instruction of each function that breaks a rule, per rule."""
    tool = disassembler(module.machine)
    for symbol, code in _functions(module):
        told: set[str] = set()
        for offset, _, mnemonic, operands in tool.disasm_lite(code, 0):
            for rule in _broken(module.machine, mnemonic, operands):
                if rule not in told:
                    told.add(rule)
                    where = f"{symbol.name}+{offset:#x}"
                    yield CodeProblem(rule, where, f"instruction {mnemonic} {operands}")


def _functions(module: Module) -> Iterator[tuple[Symbol, bytes]]:
    for symbol in module.symbols:
        if symbol.kind == "FUNC" and symbol.section is not None:
            data = module.sections[symbol.section].data
            yield symbol, data[symbol.value : symbol.value + symbol.size]


def _broken(machine: Machine, mnemonic: str, operands: str) -> Iterator[str]:
    if machine is Machine.AARCH64:
        if _ARM_FPU.search(operands):
            yield "fpu-code"
        return
    # wait is x87's too, but compilers emit it only with the rest.
    if mnemonic.startswith("f") or mnemonic in _X86_STATE or _X86_FPU.search(operands):
        yield "fpu-code"
    if machine is Machine.AMD64 and mnemonic != "lea" and _RED_ZONE.search(operands):
        yield "red-zone"
