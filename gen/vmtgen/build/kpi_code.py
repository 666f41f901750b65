"""Compares the machine code built with the project's headers and with a real tree's, by function.

Sources, compiler and flags are the same; only the headers differ. If the loaded parts of both
modules are equal, no function differs. Otherwise both are built again with a section for each
function, so that a function's bytes do not depend on the length of its neighbours.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.build.compile import Built, build_module, loaded_image
from vmtgen.common.dataclass import asdict, dataclass
from vmtgen.kobj import LineTable, Machine, Module, Relocation
from vmtgen.kobj.instructions import disassembler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.targets import MachineTarget, Release, Targets

_BETWEEN_FUNCTIONS = ("-ffunction-sections",)
# Relocations of x86 that count from the end of their four bytes (R_X86_64_PC32 and _PLT32,
# R_386_PC32): the addend of what they mean is 4 less.
_RELATIVE = {Machine.AMD64: {2, 4}, Machine.I386: {2}, Machine.AARCH64: set[int]()}


@dataclass(frozen=True)
class CodeDifference:
    """A function or data section that differs, and the first difference."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CodeComparison:
    """How many functions were compared, and which differ; `bytes` is the text's size."""

    functions: int
    bytes: int
    differences: tuple[CodeDifference, ...]


def compare_code(
    targets: Targets, release: Release, machine: MachineTarget, sys: Path, source: Path
) -> CodeComparison:
    """Build the module in `source` with the project's headers and with the tree's, and compare.

    `release` is the tree's. Raises ReportedError where one of them cannot be built.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def built(where: str, tree: Path | None, *flags: str) -> Built:
            return build_module(
                source,
                release=release.name if tree is None else None,
                machine=machine.name,
                out=folder / where,
                sys=tree,
                extra_flags=flags,
                targets=targets,
            )

        ours, theirs = built("ours", None), built("theirs", sys)
        count = sum(1 for _ in _functions(ours.module))
        size = ours.module.sizes["text"]
        if loaded_image(ours.module) == loaded_image(theirs.module):
            return CodeComparison(count, size, ())
        found = _differing(
            built("ours-apart", None, *_BETWEEN_FUNCTIONS),
            built("theirs-apart", sys, *_BETWEEN_FUNCTIONS),
        )
        return CodeComparison(count, size, found or _sections(ours.module, theirs.module))


@dataclass(frozen=True)
class _Function:
    """A function's bytes with zeros at its relocations, and what the relocations refer to."""

    start: int
    code: bytes
    targets: tuple[tuple[int, int, str], ...]


def _functions(module: Module) -> Iterator[tuple[str, _Function]]:
    for symbol in module.symbols:
        if symbol.kind != "FUNC" or symbol.section is None:
            continue
        section = module.sections[symbol.section]
        end = symbol.value + symbol.size
        code = bytearray(section.data[symbol.value : end])
        targets: list[tuple[int, int, str]] = []
        for relocation in module.relocations:
            if relocation.section != symbol.section:
                continue
            if not symbol.value <= relocation.offset < end:
                continue
            place = relocation.offset - symbol.value
            addend = relocation.addend
            if addend is None:  # REL: in place, four bytes on i386
                addend = int.from_bytes(code[place : place + 4], "little", signed=True)
                code[place : place + 4] = bytes(4)
            targets.append((place, relocation.type, _target(module, relocation, addend)))
        offset = section.offset + symbol.value
        yield symbol.name, _Function(offset, bytes(code), tuple(sorted(targets)))


def _target(module: Module, relocation: Relocation, addend: int) -> str:
    """Describe a relocation in terms that do not depend on addresses."""
    symbol = relocation.symbol
    if symbol.section is None or symbol.kind != "SECTION":
        return f"{symbol.name}{addend:+}"
    bias = 4 if relocation.type in _RELATIVE[module.machine] else 0
    place = symbol.value + addend + bias
    section = module.sections[symbol.section]
    if section.name.startswith(".rodata.str"):
        text = section.data[place:].partition(b"\0")[0]
        return repr(text.decode("utf-8", "backslashreplace"))
    for other in module.symbols:
        inside = other.value <= place < other.value + max(other.size, 1)
        if inside and other.section == symbol.section and other.kind in ("FUNC", "OBJECT"):
            return f"{other.name}{place - other.value:+}"
    return section.name


def _differing(ours: Built, theirs: Built) -> tuple[CodeDifference, ...]:
    mine, real = dict(_functions(ours.module)), dict(_functions(theirs.module))
    lines = LineTable.read(ours.debug)
    found: list[CodeDifference] = []
    for name in sorted(mine.keys() | real.keys()):
        if name not in real:
            found.append(CodeDifference(name, "a function only with the project's headers"))
        elif name not in mine:
            found.append(CodeDifference(name, "only the tree's headers make it a function"))
        elif (mine[name].code, mine[name].targets) != (real[name].code, real[name].targets):
            reason = _reason(ours.module.machine, mine[name], real[name], lines)
            found.append(CodeDifference(name, reason))
    return tuple(found)


def _reason(machine: Machine, mine: _Function, real: _Function, lines: LineTable) -> str:
    """Return the names that only one function uses, and the first instruction that differs."""
    entries: list[str] = []
    ours, theirs = (
        Counter(target for _, _, target in function.targets) for function in (mine, real)
    )
    for more, less, whose in ((ours, theirs, "ours"), (theirs, ours, "the tree's")):
        names = sorted(more - less)
        if names:
            entries.append(f"only {whose} refers to {', '.join(names)}")
    code = list(_instructions(machine, mine))
    other = [text for _, text in _instructions(machine, real)]
    for index, (one, two) in enumerate(zip_longest((text for _, text in code), other)):
        if one != two:
            # A constant that the compiler moved out of a loop has no line: take the next one.
            rows = (lines.lookup(mine.start + offset) for offset, _ in code[index:])
            place = next(filter(None, rows), None)
            where = f"{place[0]}:{place[1]}: " if place is not None else ""
            texts = [f"`{text}'" if text is not None else "nothing" for text in (one, two)]
            entries.append(
                f"{where}first {texts[0]} with the project's headers, {texts[1]} with the tree's"
            )
            break
    sizes = f"{len(mine.code)} and {len(real.code)} bytes"
    return "; ".join([*entries, sizes])


def _instructions(machine: Machine, function: _Function) -> Iterator[tuple[int, str]]:
    for offset, size, name, operands in disassembler(machine).disasm_lite(function.code, 0):
        inside = range(offset, offset + size)
        used = [target for place, _, target in function.targets if place in inside]
        yield offset, " ".join([name, operands, *used]).strip()


def _sections(ours: Module, theirs: Module) -> tuple[CodeDifference, ...]:
    """Name the sections that differ where no function does."""
    contents = [
        {section.name: (section.data, section.size) for section in of.sections if section.loaded}
        for of in (ours, theirs)
    ]
    names = sorted(contents[0].keys() | contents[1].keys())
    differing = [name for name in names if contents[0].get(name) != contents[1].get(name)]
    return tuple(
        CodeDifference(f"section {name}", "its contents differ, though no function does")
        for name in differing or ["relocations"]
    )
