"""The linter's rules on the code, instruction by instruction.

The linked module is disassembled with capstone along the symbol table's functions, so that data
between them is not read as code. Bytes outside functions are not checked.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass
from vmtgen.kobj import Machine
from vmtgen.kobj.instructions import disassembler, system_instructions
from vmtgen.kobj.relocations import RULES, bytes_touched
from vmtgen.lint.frame import below_stack
from vmtgen.lint.relocations import _KERNEL as KERNEL_BASE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmtgen.kobj import Loading, Module, Relocation, Section
    from vmtgen.lint.frame import Instruction

# Registers of MMX, SSE, AVX and AVX-512, and of the x87.
_X86_FPU = re.compile(r"\b(?:[xyz]?mm[0-9]+|k[0-7]|st\([0-7]\)|st)\b")
# x87 instructions all begin with f; other instructions on that state have no such operand.
_X86_STATE = re.compile(r"emms|v?(?:ld|st)mxcsr|xsave\w*|xrstor\w*|vzero(?:upper|all)")
_ARM_FPU = re.compile(r"\b(?:[bhsdq]|[vz])[0-9]{1,2}(?:\.[0-9]*[bhsdq])?\b|\bp[0-9]{1,2}[./]")
_WRITE = 2  # CS_AC_WRITE
_NUMBER = re.compile(r"#?(0x[0-9a-f]+)$")
_RIP = re.compile(r"\[rip(?: ([+-]) (0x[0-9a-f]+|[0-9]+))?\]")


@dataclass(frozen=True)
class CodeProblem:
    """A rule that an instruction breaks, the place, and the instruction as text."""

    rule: str
    where: str
    message: str


def code_problems(
    module: Module, loading: Loading, *, may_use_fpu: bool = False
) -> Iterator[CodeProblem]:
    """Yield the first instruction of each function that breaks a rule, per rule.

    `loading` is the module with every relocation applied.
    """
    look = _Look(module, loading)
    for name, start, code in _functions(module, loading):
        reported: set[str] = set()
        for instruction, rule, message in look.problems(_read(module.machine, code, start)):
            if rule not in reported and not (may_use_fpu and rule == "fpu-code"):
                reported.add(rule)
                address, _, mnemonic, operands = instruction
                text = f"instruction {mnemonic} {operands}" + (f": {message}" if message else "")
                yield CodeProblem(rule, f"{name}+{address - start:#x}", text)
    for found in system_instructions(module):
        yield CodeProblem("system-instruction", found.where, f"instruction {found.text}")


def _functions(module: Module, loading: Loading) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, address, code) of each function, no byte of the text twice.

    A function ends where the next one begins, whatever its size says.
    """
    for section in module.sections:
        if section.region != "text" or section.type != "PROGBITS" or not section.size:
            continue
        starts = sorted(
            {
                (symbol.value, symbol.value + symbol.size, symbol.name)
                for symbol in module.symbols
                if symbol.kind == "FUNC" and symbol.section == section.index and symbol.size
            }
        )
        base = loading.addresses[section.index]
        for number, (start, end, name) in enumerate(starts):
            following = starts[number + 1][0] if number + 1 < len(starts) else section.size
            size = min(end, following, section.size) - start
            found = loading.locate(base + start, max(size, 0))
            if size > 0 and found is not None:
                yield name, base + start, bytes(found[0][found[1] : found[1] + size])


@dataclass(frozen=True)
class _Function:
    """The instructions of a function, and their properties that do not depend on the module.

    `fpu` and `unrelocated` are indexes of `instructions`: those that use registers of the FPU, and
    those whose field still has the value from before relocation.
    """

    instructions: tuple[Instruction, ...]
    addresses: tuple[int, ...]
    below_stack: tuple[Instruction, ...]
    fpu: frozenset[int]
    unrelocated: frozenset[int]


# Builds for several releases, and successive builds, have most of their functions in common.
@lru_cache(maxsize=512)
def _read(machine: Machine, code: bytes, start: int) -> _Function:
    instructions = tuple(_plain(machine).disasm_lite(code, start))
    return _Function(
        instructions,
        tuple(address for address, *_ in instructions),
        tuple(below_stack(machine, instructions)),
        frozenset(
            number
            for number, (_, _, mnemonic, operands) in enumerate(instructions)
            if _uses_fpu(machine, mnemonic, operands)
        ),
        frozenset(
            number
            for number, instruction in enumerate(instructions)
            if _needs_relocation(machine, instruction)
        ),
    )


class _Look:
    """The rules, with the module's relocations by address."""

    def __init__(self, module: Module, loading: Loading) -> None:
        self.module = module
        self.loading = loading
        self.machine = module.machine
        self._relocations = sorted(
            (
                (loading.addresses[relocation.section] + relocation.offset, relocation)
                for relocation in module.relocations
                if module.sections[relocation.section].region == "text"
                and relocation.section in loading.addresses
                and self._changes(relocation)
            ),
            key=lambda pair: pair[0],
        )
        self._places = [place for place, _ in self._relocations]
        self._rules = RULES[self.machine]

    def _changes(self, relocation: Relocation) -> bool:
        """Whether the relocation should change something; the loader may not support its type."""
        rule = RULES[self.machine].get(relocation.type)
        return rule is None or rule.kind != "none"

    def problems(self, function: _Function) -> Iterator[tuple[Instruction, str, str]]:
        """Yield (instruction, rule, message) of one function."""
        for instruction in function.below_stack:
            yield instruction, "red-zone", ""
        relocated = self._by_instruction(function)
        for number in sorted({*function.fpu, *function.unrelocated, *relocated}):
            instruction = function.instructions[number]
            if number in function.fpu:
                yield instruction, "fpu-code", ""
            if number in relocated:
                for rule, message in self._relocated(instruction, relocated[number]):
                    yield instruction, rule, message
            elif number in function.unrelocated:
                yield instruction, "code-unrelocated", ""

    def _by_instruction(self, function: _Function) -> dict[int, list[tuple[int, Relocation]]]:
        """Return the relocations of a function by the place of their instruction in it."""
        found: dict[int, list[tuple[int, Relocation]]] = {}
        if not function.instructions:
            return found
        last, size, *_ = function.instructions[-1]
        first = bisect_left(self._places, function.addresses[0])
        for pair in self._relocations[first : bisect_left(self._places, last + size, first)]:
            number = bisect_right(function.addresses, pair[0]) - 1
            found.setdefault(number, []).append(pair)
        return found

    def _relocated(
        self, instruction: Instruction, found: Sequence[tuple[int, Relocation]]
    ) -> Iterator[tuple[str, str]]:
        address, size, mnemonic, operands = instruction
        for place, relocation in found:
            rule = self._rules.get(relocation.type)
            if rule is None:
                return  # the loader refuses it
            width = bytes_touched(rule)
            if place + width > address + size:
                yield "relocation-width", f"{relocation.type_name} writes {width} bytes"
                return
        symbols = [relocation.symbol for _, relocation in found]
        if any(symbol.special in ("UNDEF", "COMMON", "RESERVED") for symbol in symbols):
            return  # in the kernel, or reported with the relocation
        number = _NUMBER.search(operands)
        if number is not None and _branches(mnemonic):
            yield from self._branch(int(number[1], 16), symbols)
            return
        yield from self._memory(instruction, found)

    def _branch(self, target: int, symbols: Sequence[Any]) -> Iterator[tuple[str, str]]:
        section = self._section_at(target)
        if section is None:
            absolute = any(symbol.special == "ABS" for symbol in symbols)
            if not absolute or target < KERNEL_BASE[self.machine]:
                yield "relocation-target", f"{target:#x} is in no section"
        elif section.region != "text":
            yield "relocation-target", f"{section.name} holds no code"

    def _memory(
        self, instruction: Instruction, found: Sequence[tuple[int, Relocation]]
    ) -> Iterator[tuple[str, str]]:
        """Check loads and stores at a fixed address: it must exist, and be writable for a store."""
        for target, writes in self._accesses(instruction, found):
            section = self._section_at(target)
            if section is None:
                if target < KERNEL_BASE[self.machine] or self._near(target):
                    yield "relocation-target", f"{target:#x} is in no section"
            elif writes and section.region != "data":
                yield "code-read-only", f"{section.name} is loaded as {section.region}"

    def _accesses(
        self, instruction: Instruction, found: Sequence[tuple[int, Relocation]]
    ) -> Iterator[tuple[int, bool]]:
        """Yield (address, whether it is written) of the operands that use no register."""
        address, size, mnemonic, _ = instruction
        if self.machine is Machine.AARCH64:
            for _, relocation in found:
                name = relocation.type_name
                if "LDST" in name and relocation.addend is not None:
                    value = self.loading.values[relocation.symbol.index]
                    yield value + relocation.addend, mnemonic.startswith("st")
            return
        if mnemonic == "lea" or mnemonic.startswith("nop"):
            return
        image = self.loading.locate(address, size)
        if image is None:
            return
        yield from _x86_accesses(self.machine, bytes(image[0][image[1] : image[1] + size]), address)

    def _section_at(self, address: int) -> Section | None:
        for index, start in self.loading.addresses.items():
            if start <= address < start + self.module.sections[index].size:
                return self.module.sections[index]
        return None

    def _near(self, address: int) -> bool:
        """Whether an address is in one of the module's pages."""
        return self.loading.locate(address, 1) is not None


@lru_cache(maxsize=4096)  # as for _read
def _x86_accesses(machine: Machine, code: bytes, address: int) -> tuple[tuple[int, bool], ...]:
    """Return (address, whether it is written) of an instruction's operands without a register."""
    found = []
    for detail in _detailed(machine).disasm(code, address, count=1):
        for operand in detail.operands if detail.id else ():
            if operand.type != 3:  # X86_OP_MEM
                continue
            base = detail.reg_name(operand.mem.base) if operand.mem.base else ""
            if operand.mem.index or operand.mem.segment or base not in ("", "rip", "eip"):
                continue
            start = address + len(code) if base else 0
            limit = (1 << 8 * machine.pointer_size) - 1
            found.append(((start + operand.mem.disp) & limit, bool(operand.access & _WRITE)))
    return tuple(found)


# Creating one takes as long as disassembling a small function.
_plain = cache(disassembler)


@cache
def _detailed(machine: Machine) -> Any:
    tool = disassembler(machine)
    tool.detail = True
    return tool


def _needs_relocation(machine: Machine, instruction: Instruction) -> bool:
    """Whether the instruction's field still has the value from before relocation."""
    address, size, mnemonic, operands = instruction
    if "0x" not in operands and "[rip]" not in operands:
        return False
    number = _NUMBER.fullmatch(operands)
    if machine is Machine.AARCH64:
        return mnemonic == "bl" and number is not None and int(number[1], 16) == address
    if number is not None and (mnemonic == "call" or mnemonic.startswith("j")) and size >= 5:
        distance = int(number[1], 16) - (address + size)
        # Without an addend in the relocation, the field of a call holds it: -4.
        return distance == (-4 if machine is Machine.I386 else 0)
    rip = _RIP.search(operands)
    return rip is not None and int(rip[2] or "0", 0) == 0 and not mnemonic.startswith("nop")


def _branches(mnemonic: str) -> bool:
    return mnemonic in ("call", "b", "bl") or mnemonic.startswith("j")


def _uses_fpu(machine: Machine, mnemonic: str, operands: str) -> bool:
    if machine is Machine.AARCH64:
        return _ARM_FPU.search(operands) is not None
    # wait is x87's too, but compilers emit it only with the rest.
    return (
        mnemonic.startswith("f")
        or (
            ("mm" in operands or "st" in operands or "k" in operands)
            and _X86_FPU.search(operands) is not None
        )
        or _X86_STATE.fullmatch(mnemonic) is not None
    )
