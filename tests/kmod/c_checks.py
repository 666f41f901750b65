"""Runs the compilers' analyzers on the driver's C: ``python -m tests.kmod.c_checks``.

Three checks, each with the flags and headers of the build: clang's -Weverything but for the
warnings below, clang's static analyzer, and gcc's -fanalyzer.  clang is the one that the ziglang
package holds.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vmtgen.build.sysroot import own_headers
from vmtgen.build.toolchain import toolchain
from vmtgen.common.errors import UnavailableError
from vmtgen.targets import load_targets

from tests import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vmtgen.build.toolchain import CompilerName

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ("amd64", "i386", "aarch64")
ANNOTATIONS = Path(__file__).parent / "checks" / "annotations.h"

# Warnings of -Weverything that are off, and why.  Another clang may have more.
WARNINGS_OFF = {
    "c11-extensions": "CTASSERT of NetBSD's headers is _Static_assert in gnu99, as there",
    "conditional-uninitialized": "cannot see that a loop runs at least once, or that a result "
    "is looked at only after success; the analyzer can, and -Wsometimes-uninitialized stays on",
    "declaration-after-statement": "C90; NetBSD's kernel is gnu99",
    "disabled-macro-expansion": "how NetBSD's headers mark a name that #ifdef can ask for",
    "format-nonliteral": "vmt_log() takes its formats from the generated vmt_texts",
    "gnu-statement-expression-from-macro-expansion": "as c11-extensions: NetBSD's headers",
    "implicit-int-enum-cast": "what C++ would not like; this is C",
    "implicit-void-ptr-cast": "what C++ would not like; style(9) asks for no cast of a void *",
    "missing-noreturn": "says of two threads' functions what kthread_exit(9) at their end says",
    "padded": "structures that only the driver sees may have holes; a test holds the others",
    "reserved-macro-identifier": "_DEV_VMT_VMTREG_H_ is how NetBSD's headers guard themselves",
    "sign-conversion": "as -Wsign-compare: NetBSD's kernel does without "
    "(sys/conf/Makefile.kern.inc); lengths are checked where they enter",
    "switch-default": "the opposite of -Wswitch, which is on: a switch over all values of an "
    "enumeration shall have no default",
    "switch-enum": "requires every value to be named in spite of a default",
    "tentative-definition-compat": "what C++ would not like; this is C",
    "unsafe-buffer-usage": "asks for C++ spans in place of pointers and arrays",
    "used-but-marked-unused": "inline functions of NetBSD's headers are marked so",
}

# Beyond those that are on by default.  The allocator of annotations.h is recognized by attributes,
# so the analyzer runs with Optimistic: it assumes that freed memory was allocated in the same way.
# Without alpha.security, which reports the step from a member to its structure in pslist(9).
_CHECKERS = (
    "alpha.core,alpha.unix,nullability,optin.core,optin.performance,optin.portability,"
    "optin.taint,security,unix"
)
_CLANG = (
    *("--analyze", "--analyzer-output", "text", "-Xclang", f"-analyzer-checker={_CHECKERS}"),
    *("-Xclang", "-analyzer-config", "-Xclang", "unix.DynamicMemoryModeling:Optimistic=true"),
    *("-Xclang", "-analyzer-config", "-Xclang"),
)
_GCC = ("-fanalyzer", "-S", "-fdiagnostics-plain-output")
_NAMES_A_CHECK = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:warning|error): .*\[(?:-W)?(?P<check>[\w.+-]+)\]$",
    re.MULTILINE,
)


class Finding(NamedTuple):
    """A compiler's remark: ``check`` is the warning's name, ``text`` the whole line."""

    file: str
    line: int
    check: str
    text: str


class CannotCheckError(Exception):
    """The compiler failed before the analysis."""


def driver(machine: str) -> list[Path]:
    """The driver's C files for a machine: vmt_module.c, and by themselves those in it."""
    other = "vmt_x86.c" if machine == "aarch64" else "vmt_aarch64.c"
    return [path for path in sorted((ROOT / "kmod" / "vmt").glob("*.c")) if path.name != other]


def everything(files: Iterable[Path], machine: str) -> list[Finding]:
    """The findings of clang's -Weverything, including the warnings that are off."""
    return _look(files, machine, "zig", ("-Weverything", "-fsyntax-only"))


def enabled(findings: Iterable[Finding]) -> list[Finding]:
    """The findings whose warning is not off."""
    return [finding for finding in findings if finding.check not in WARNINGS_OFF]


def analyzed(
    files: Iterable[Path], machine: str, compiler: CompilerName, nodes: int = 225_000
) -> list[Finding]:
    """The findings of the compiler's static analyzer.

    ``nodes`` is how many states of a function clang looks at before it gives up (its own number).
    """
    annotations = ("-include", str(ANNOTATIONS))
    if compiler == "gcc":
        # It also analyzes the files that a file includes: vmt_module.c would repeat its parts.
        files = [file for file in files if file.name != "vmt_module.c"]
        found = _look(files, machine, compiler, (*annotations, *_GCC))
        # The build checks its ordinary warnings.
        return [finding for finding in found if finding.check.startswith("analyzer-")]
    return _look(files, machine, compiler, (*annotations, *_CLANG, f"max-nodes={nodes}"))


def _look(
    files: Iterable[Path], machine: str, compiler: CompilerName, flags: Sequence[str]
) -> list[Finding]:
    targets = load_targets()
    tool = toolchain(compiler, targets.machine(machine), targets)
    release = targets.release(targets.default.release)
    command = [
        *tool.compile,
        "-U__NetBSD_Version__",
        f"-D__NetBSD_Version__={release.version}",
        "-nostdinc",
        f"-I{ROOT / 'kmod' / 'vmt'}",
        *own_headers(machine).flags,
        "-Wno-error",
        "-o",
        os.devnull,
        *flags,
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [found for part in pool.map(partial(_run, command), files) for found in part]


def _run(command: Sequence[str], file: Path) -> list[Finding]:
    words = [*command, str(file)]
    done = kept.run(words, file, lambda: subprocess.run(words, capture_output=True, check=False))
    printed = done.stderr.decode()
    if done.returncode != 0:
        raise CannotCheckError(f"{' '.join(words)}\n{printed}")
    return [
        Finding(match["file"], int(match["line"]), match["check"], match[0])
        for match in _NAMES_A_CHECK.finditer(printed)
    ]


def main() -> int:
    """Print the findings of every machine; return 1 if there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.kmod.c_checks", description=__doc__)
    parser.add_argument("--machine", action="append", choices=MACHINES, help="only this (all)")
    total = 0
    for machine in parser.parse_args().machine or MACHINES:
        looks: dict[str, Callable[[str], list[Finding]]] = {
            "clang -Weverything": lambda name: enabled(everything(driver(name), name)),
            "clang's analyzer": lambda name: analyzed(driver(name), name, "zig"),
            "gcc's analyzer": lambda name: analyzed(driver(name), name, "gcc"),
        }
        for title, look in looks.items():
            try:
                findings = look(machine)
            except UnavailableError as error:
                print(f"{machine}: {title}: not done: {error}")
                continue
            print(f"{machine}: {title}: {len(findings) or 'no'} findings")
            for finding in findings:
                print(finding.text)
            total += len(findings)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
