"""Finds accesses below the stack pointer: traces a function's stack and frame pointers.

The pointers are offsets from the stack pointer at the function's entry. The trace follows
the code and its jumps; where a path makes a pointer unknown, nothing is reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.kobj import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Instruction = tuple[int, int, str, str]  # address, size, mnemonic, operands
_State = tuple[int | None, int | None]  # stack pointer, frame pointer; None: not known

_NUMBER = r"(-?(?:0x[0-9a-f]+|[0-9]+))"
_UNKNOWN: _State = (None, None)


def below_stack(machine: Machine, code: Iterable[Instruction]) -> Iterator[Instruction]:
    """Yield the instructions of one function that use memory below the stack pointer.

    An address that is only computed may be used later: it is reported where the stack pointer is
    never below it in the whole function.
    """
    step = _arm if machine is Machine.AARCH64 else _x86
    state: _State | None = (0, None)
    waiting: dict[int, _State] = {}
    computed: list[tuple[int, Instruction]] = []
    lowest, lost = 0, False
    for instruction in code:
        address, _, mnemonic, operands = instruction
        if waiting or state is None:
            state = _joined(state, waiting.pop(address, None))
        if not _concerns(mnemonic, operands):
            continue
        if "[" in operands and state[0] is not None:
            below = [p for p in _used(machine, mnemonic, operands, state) if p < state[0]]
            if below and mnemonic == "lea":
                computed.append((min(below), instruction))
            elif below:
                yield instruction
        state, target, ends = step(machine, mnemonic, operands, state)
        if target is not None and target > address:
            waiting[target] = _joined(waiting.get(target), state)
        if state[0] is None:
            lost = True
        else:
            lowest = min(lowest, state[0])
        if ends:
            state = None
    for place, instruction in computed:
        if place < lowest and not lost:
            yield instruction


# Mnemonics that move the stack pointer or end a path, without naming the pointer.
_IMPLICIT = ("j", "push", "pop", "leave", "ret", "iret", "ud", "int3", "hlt", "sysret",
             "b", "cb", "tb", "eret")  # fmt: skip


def _concerns(mnemonic: str, operands: str) -> bool:
    """Whether an instruction can use or move one of the two pointers, or jump."""
    return (
        "sp" in operands
        or "bp" in operands
        or "x29" in operands
        or "fp" in operands
        or mnemonic.startswith(_IMPLICIT)
    )


def _joined(one: _State | None, other: _State | None) -> _State:
    """Join two paths: the lower stack pointer avoids a false report."""
    if one is None or other is None:
        return one or other or _UNKNOWN
    if None in (one[0], other[0]):
        return _UNKNOWN
    low = min(one[0], other[0])  # type: ignore[type-var]
    return low, one[1] if one[1] == other[1] else None


def _used(machine: Machine, mnemonic: str, operands: str, state: _State) -> Iterator[int]:
    """Yield the offsets of memory operands whose base is the stack or the frame pointer."""
    pattern = _ARM_MEMORY if machine is Machine.AARCH64 else _X86_MEMORY
    if mnemonic == "lea" and operands.split(",", maxsplit=1)[0] in ("rsp", "esp"):
        return  # moves the stack pointer
    for match in pattern.finditer(operands):
        base = state[0] if match[1] in ("rsp", "esp", "sp") else state[1]
        if base is None:
            continue
        if machine is Machine.AARCH64:
            if not match[3]:  # with ! the instruction moves the stack pointer there first
                yield base + int(match[2] or "0", 0)
        else:
            yield base + int((match[2] or "0").replace(" ", ""), 0)


# -- x86 ---------------------------------------------------------------------------------------

# [rbp + rcx*4 - 0x20]: an index only adds to it.
_X86_MEMORY = re.compile(
    r"\[([re]sp|[re]bp)(?: \+ [a-z0-9]+(?:\*[1248])?)?(?: ?([+-] 0x[0-9a-f]+|[+-] [0-9]+))?\]"
)
_X86_TARGET = re.compile(r"0x[0-9a-f]+")
_X86_ENDS = ("ret", "iret", "ud2", "int3", "hlt", "sysret")


def _x86(
    machine: Machine, mnemonic: str, operands: str, state: _State
) -> tuple[_State, int | None, bool]:
    sp, fp = state
    width = machine.pointer_size
    first, _, second = (part.strip() for part in operands.partition(","))
    if mnemonic.startswith("j"):
        target = int(operands, 0) if _X86_TARGET.fullmatch(operands) else None
        return state, target, mnemonic == "jmp"
    if mnemonic.startswith(_X86_ENDS):
        return state, None, True
    if mnemonic.startswith("push"):
        sp = _moved(sp, -width)
    elif mnemonic.startswith("pop"):
        sp = _moved(sp, width)
    elif mnemonic == "leave":
        sp = _moved(fp, width)
    elif first in ("rsp", "esp"):
        sp = _x86_stack_pointer(mnemonic, second, sp, fp)
    if mnemonic == "leave" or first in ("rbp", "ebp"):
        moved = mnemonic == "mov" and second in ("rsp", "esp")
        fp = sp if moved else None
        if mnemonic in ("cmp", "test", "push"):
            fp = state[1]
    return (sp, fp), None, False


def _x86_stack_pointer(mnemonic: str, second: str, sp: int | None, fp: int | None) -> int | None:
    if mnemonic in ("cmp", "test"):
        return sp
    if mnemonic in ("sub", "add") and re.fullmatch(_NUMBER, second):
        return _moved(sp, int(second, 0) * (-1 if mnemonic == "sub" else 1))
    if mnemonic == "mov" and second in ("rbp", "ebp"):
        return fp
    if mnemonic == "lea" and (match := _X86_MEMORY.fullmatch(second)):
        base = sp if match[1].endswith("sp") else fp
        return _moved(base, int((match[2] or "0").replace(" ", ""), 0))
    return None


def _moved(pointer: int | None, distance: int) -> int | None:
    return None if pointer is None else pointer + distance


# -- aarch64 -----------------------------------------------------------------------------------

_ARM_MEMORY = re.compile(rf"\[(sp|x29|fp)(?:, #{_NUMBER})?\](!?)(?:, #{_NUMBER})?")
_ARM_ADDRESS = re.compile(rf"(sp|x29|fp), (sp|x29|fp), #{_NUMBER}")
_ARM_TARGET = re.compile(r"#(0x[0-9a-f]+)$")


def _arm(
    machine: Machine,  # noqa: ARG001 - as _x86() has it
    mnemonic: str,
    operands: str,
    state: _State,
) -> tuple[_State, int | None, bool]:
    sp, fp = state
    if mnemonic in ("b", "cbz", "cbnz", "tbz", "tbnz") or mnemonic.startswith("b."):
        match = _ARM_TARGET.search(operands)
        return state, int(match[1], 16) if match else None, mnemonic == "b"
    if mnemonic in ("ret", "br", "eret", "udf", "brk"):
        return state, None, True
    memory = _ARM_MEMORY.search(operands)
    if memory and memory[1] == "sp" and (memory[3] or memory[4]):
        sp = _moved(sp, int(memory[2] if memory[3] else memory[4], 0))
    if operands.startswith(("sp,", "x29,", "fp,")) and not mnemonic.startswith(("st", "cmp")):
        target = operands.split(",", maxsplit=1)[0]
        value = _arm_value(mnemonic, operands, sp, fp)
        if target == "sp":
            sp = value
        else:
            fp = value
    return (sp, fp), None, False


def _arm_value(mnemonic: str, operands: str, sp: int | None, fp: int | None) -> int | None:
    if mnemonic == "mov" and operands.endswith((", sp", ", x29", ", fp")):
        return sp if operands.endswith("sp") else fp
    match = _ARM_ADDRESS.fullmatch(operands)
    if match and mnemonic in ("add", "sub"):
        base = sp if match[2] == "sp" else fp
        return _moved(base, int(match[3], 0) * (-1 if mnemonic == "sub" else 1))
    return None
