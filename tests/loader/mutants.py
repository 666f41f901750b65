"""The modules that were loaded on a real kernel, and the results.

base.kmod is an earlier version of the driver, for NetBSD/amd64 10.99.12; mutate.py makes 342
broken copies of it; verdicts.json says what a 10.99.12 kernel (DIAGNOSTIC, no built-in vmt, no
module files) did with 257 of them on modctl(MODCTL_LOAD): errno (a number, PANIC or HANG),
console, attached.

    .venv/bin/python -m tests.loader.mutants

prints how far the linter and the simulator agree with it, and every exception with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .random_mutants import targets

HERE = Path(__file__).parent
RELEASE = "10.99.12"
VERSION = 1_099_001_200
MOST_EXCEPTIONS = 18

UNKNOWABLE = "data whose meaning no reader can know"
SILENT = "the kernel does harm and says nothing, and the linter rightly refuses"
NO_FILES = "the recorded guest had no module files"

# Cases in which the linter's verdict differs from the kernel's, and why.  An unused entry is an
# error in both tables.
EXCEPTIONS: dict[str, tuple[str, str]] = {
    "m062": (SILENT, "the strings' section has no byte: mi_name was read from the code after it"),
    "m072": (UNKNOWABLE, "the pointers in .data are NULL, which some are on purpose"),
    "m088": (SILENT, "an alignment of two pages: whether it loads depends on free memory (m094)"),
    "m100": (SILENT, "as m088"),
    "m225": (SILENT, "a call has lost its relocation; it is made only where properties are passed"),
    "m252": (SILENT, "a relocation is written after .text, and the call of m225 has lost it"),
    "m253": (SILENT, "as m252"),
    "m254": (SILENT, "as m252"),
    "m257": (SILENT, "as m252, in front of .text"),
    "m261": (SILENT, "the call of m225 leads to address 0"),
    "m262": (SILENT, "the call of m225: the relocation is skipped"),
    "m264": (SILENT, "as m262"),
    "m320": (NO_FILES, "tap is a module of NetBSD (sys/modules/tap), so a real system has it"),
}


@dataclass(frozen=True)
class Mutant:
    """One broken module, the change, and the kernel's result (None: not recorded)."""

    name: str
    path: Path
    what: str
    verdict: dict[str, Any] | None

    @property
    def refused(self) -> bool:
        """Whether the kernel refused it, panicked, or never came back."""
        assert self.verdict is not None
        return bool(self.verdict["errno"] != 0)


def make(folder: Path) -> list[Mutant]:
    """Write all mutants into a folder; return them in order."""
    command = [sys.executable, str(HERE / "mutate.py"), str(HERE / "base.kmod"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    verdicts = json.loads((HERE / "verdicts.json").read_text(encoding="utf-8"))
    listed = json.loads((folder / "list.json").read_text(encoding="utf-8"))
    return [
        Mutant(Path(file).stem, folder / file, what, verdicts.get(Path(file).stem))
        for file, what in listed
    ]


def lint_errors(path: Path) -> list[str]:
    """Return the rules of the errors that the linter finds, as for the recorded kernel."""
    from vmtgen.kobj import Machine
    from vmtgen.lint.check import lint_file

    found = lint_file(path, targets=targets(), release=RELEASE, machine=Machine.AMD64)
    return [finding.rule for finding in found if finding.severity == "error"]


def simulated(path: Path) -> tuple[int | str, list[str]]:
    """Load a module in the simulator; return (errno or PANIC, console lines)."""
    from vmtsim.core.rng import Rng
    from vmtsim.core.trace import Trace
    from vmtsim.host import Host, HostOptions
    from vmtsim.kernel.clock import Clock
    from vmtsim.kernel.console import Console
    from vmtsim.kernel.errors import KernelPanic
    from vmtsim.kernel.kernel import Kernel, KernelOptions
    from vmtsim.run.administrator import Administrator

    trace, rng, clock = Trace(keep=True), Rng(1), Clock()
    host = Host(now=lambda: clock.now, rng=rng, options=HostOptions(), trace=trace)
    kernel = Kernel(
        KernelOptions(machine="amd64", version=VERSION, builtin_vmt=False),
        backdoor=host,
        rng=rng.fork("kernel"),
        trace=trace,
        clock=clock,
    )
    trace.now = lambda: clock.now
    kernel.scheduler.outside_next = host.next_event
    kernel.scheduler.outside_advance = host.advance
    admin = Administrator(kernel, path)
    kernel.boot()
    console = kernel.subject(Console)
    before = len(console.lines)
    try:
        result: int | str = admin.wait("load", admin.load())
    except KernelPanic:
        result = "PANIC"
    return result, [line.text for line in console.lines[before:]]


def agrees(verdict: dict[str, Any], result: int | str) -> bool:
    """Whether the simulator's result is the kernel's; a hang is a panic there."""
    return result == ("PANIC" if verdict["errno"] == "HANG" else verdict["errno"])


def report(mutants: list[Mutant]) -> tuple[str, bool]:
    """Return the table in words, and whether nothing but the exceptions disagrees."""
    recorded = [mutant for mutant in mutants if mutant.verdict is not None]
    lint = [m.name for m in recorded if bool(lint_errors(m.path)) is not m.refused]
    sim = [m.name for m in recorded if not agrees(m.verdict or {}, simulated(m.path)[0])]
    lines = [
        f"{len(recorded)} verdicts of a NetBSD/amd64 {RELEASE} kernel on broken modules",
        f"vmtgen lint  agrees {len(recorded) - len(lint):>3}, differs {len(lint):>3}",
        f"vmtsim       agrees {len(recorded) - len(sim):>3}, differs {len(sim):>3}",
        "",
        f"Exceptions of vmtgen lint ({len(lint)}, at most {MOST_EXCEPTIONS}):",
    ]
    by_name = {mutant.name: mutant for mutant in recorded}
    for name in lint:
        mutant = by_name[name]
        kind, reason = EXCEPTIONS.get(name, ("NOT EXPECTED", ""))
        kernel = (mutant.verdict or {})["errno"]
        lines.append(f"  {name}  kernel {kernel!s:<6} {mutant.what}\n        {kind}: {reason}")
    lines += [f"  {name}  vmtsim: NOT EXPECTED" for name in sim]
    return "\n".join(lines), set(lint) == set(EXCEPTIONS) and not sim


def main() -> int:
    """Print the table; return 0 where only the exceptions differ."""
    with tempfile.TemporaryDirectory() as folder:
        text, right = report(make(Path(folder)))
    print(text)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
