"""Compares the project's kernel headers with NetBSD's, by compiling the same probes with both."""

from __future__ import annotations

import struct
import tempfile
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.build.compile import default_output
from vmtgen.build.kpi_probes import GROUPS
from vmtgen.build.objects import run_tool
from vmtgen.build.sysroot import own_headers, tree_headers
from vmtgen.build.toolchain import toolchain, zig_program
from vmtgen.common.dataclass import asdict, dataclass
from vmtgen.common.errors import ReportedError
from vmtgen.common.files import shown
from vmtgen.kobj.elf import LAYOUTS, SectionHeader, string_at
from vmtgen.kobj.model import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtgen.targets import MachineTarget, Release, Targets

_SECTION = "kpi_answers"
# Kernel files include these two first, and NetBSD's headers rely on it.
KERNEL_FIRST = ("sys/param.h", "sys/systm.h")
_ZIG_NAMES = {"amd64": "x86_64", "i386": "x86", "aarch64": "aarch64"}


@dataclass(frozen=True)
class Difference:
    """An expression whose value differs between the project's headers and NetBSD's."""

    headers: tuple[str, ...]
    expression: str
    ours: int
    theirs: int

    def as_dict(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.headers[-1]}: {self.expression} is {self.ours} in the project's headers "
            f"and {self.theirs} in NetBSD's"
        )


@dataclass(frozen=True)
class Comparison:
    """How many expressions were compared, and which differ."""

    compared: int
    differences: tuple[Difference, ...]


def compare_installed(
    targets: Targets, release: Release, machine: MachineTarget, include: Path
) -> Comparison:
    """Compare with the headers that NetBSD installs, as zig carries them in `include`.

    `include` is the wheel's lib/libc/include; its headers must be of `release`.
    """
    directories = (include / f"{_ZIG_NAMES[machine.name]}-netbsd-none", include / "generic-netbsd")
    theirs = (
        zig_program(),
        "clang",
        f"--target={machine.triple}",
        "-D_KMEMUSER",
        *_version_flags(release),
        "-nostdinc",
        *(flag for directory in directories for flag in ("-isystem", str(directory))),
    )
    return _compare(targets, release, machine, theirs, kernel=False)


def compare_tree(
    targets: Targets, release: Release, machine: MachineTarget, sys: Path
) -> Comparison:
    """Compare with a real NetBSD sys/ tree, all expressions, as the kernel sees them."""
    headers = tree_headers(sys, machine, default_output() / ".cache" / "links")
    tool = toolchain("zig", machine, targets)
    theirs = (*tool.compile, *_version_flags(release), "-nostdinc", *headers.flags)
    return _compare(targets, release, machine, theirs, kernel=True)


def _version_flags(release: Release) -> tuple[str, str]:
    return ("-U__NetBSD_Version__", f"-D__NetBSD_Version__={release.version}")


def _compare(
    targets: Targets,
    release: Release,
    machine: MachineTarget,
    theirs: Sequence[str],
    *,
    kernel: bool,
) -> Comparison:
    tool = toolchain("zig", machine, targets)
    headers = own_headers(machine.name)
    ours = (*tool.compile, *_version_flags(release), "-nostdinc", *headers.flags)
    groups = [
        (group.headers, expressions)
        for group in GROUPS
        if (expressions := group.installed + (group.kernel if kernel else ()))
        and (not group.machines or machine.name in group.machines)
        and release.version >= group.since
    ]
    first = KERNEL_FIRST if kernel else ()
    mine = _all_answers(ours, first, groups, machine.name)
    real = _all_answers(theirs, first, groups, machine.name)
    compared = sum(len(expressions) for _headers, expressions in groups)
    found = [
        Difference(headers, expression, a, b)
        for (headers, expressions), our_answers, real_answers in zip(
            groups, mine, real, strict=True
        )
        for expression, a, b in zip(expressions, our_answers, real_answers, strict=True)
        if a != b
    ]
    return Comparison(compared, tuple(found))


def _all_answers(
    command: Sequence[str],
    first: Sequence[str],
    groups: Sequence[tuple[Sequence[str], Sequence[str]]],
    machine: str,
) -> list[list[int]]:
    """Return the answers of each group of (headers, expressions).

    Parsing headers is the slow part, so one file has all expressions.  Where the headers do not
    compile together, each group gets a file of its own, and an error names the group's headers.
    """
    headers = dict.fromkeys([*first, *(header for group, _ in groups for header in group)])
    expressions = tuple(chain.from_iterable(asked for _, asked in groups))
    try:
        together = iter(_answers(command, tuple(headers), expressions, machine))
    except ReportedError:
        return [_answers(command, (*first, *group), asked, machine) for group, asked in groups]
    return [list(islice(together, len(asked))) for _, asked in groups]


def _answers(
    command: Sequence[str], headers: Sequence[str], expressions: Sequence[str], machine: str
) -> list[int]:
    """Compile the expressions into a section of 64-bit numbers and read them."""
    lines = [f"#include <{header}>" for header in headers]
    # The installed sys/stddef.h needs a user program's standard headers.
    lines.append("#undef offsetof")
    lines.append("#define offsetof(type, member) __builtin_offsetof(type, member)")
    lines.append(f'__attribute__((__section__("{_SECTION}"), __used__))')
    lines.append("static const long long answers[] = {")
    lines += [f"\t(long long)({expression})," for expression in expressions]
    lines.append("};\n")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "probe.c", Path(folder) / "probe.o"
        source.write_text("\n".join(lines), encoding="ascii")
        quiet = ("-w", "-g0", "-c", str(source), "-o", str(target))
        done = run_tool([*command, *quiet], Path(folder))
        if done.returncode != 0:
            text = done.stderr.decode("utf-8", "replace").rstrip()
            names = ", ".join(f"<{header}>" for header in headers)
            raise ReportedError(f"cannot compile the probes of {names}:\n{text}")
        return _numbers(target.read_bytes(), machine)


def _numbers(data: bytes, machine: str) -> list[int]:
    layout = LAYOUTS[Machine(machine)]
    header = layout.unpack_header(data)
    headers = [
        SectionHeader(*layout.section.unpack_from(data, header.shoff + i * header.shentsize))
        for i in range(header.shnum)
    ]
    names = headers[header.shstrndx]
    table = data[names.offset : names.offset + names.size]
    for section in headers:
        if string_at(table, section.name) == _SECTION:
            content = data[section.offset : section.offset + section.size]
            return [number for (number,) in struct.iter_unpack("<q", content)]
    raise ReportedError(f"{shown(Path(zig_program()))}: the probe has no {_SECTION}")
