"""Builds modules of NetBSD's sys/modules, drawn by a seed, and lists what each needs.

``python tools/netbsd_modules.py SYS [--count 40] [--seed 19] [--machine amd64] [--page FILE]``

The draw is from all directories of SYS/modules whose Makefile builds a kernel module for the
machine. The table has each drawn module: whether its own Makefile builds it, the result of vmtgen
lint, and the imports without a model in vmtsim.  Then the modules of tools/netbsd_runs.py run in
their scenarios, unmodified and with a line broken.  SYS is a NetBSD sys/ tree; the program does not
write into it.  The exit status is 1 if a module of the second table does not run, or if vmtsim does
not notice its broken line.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build.compile import Built, build_module
from vmtgen.build.makefile import RefusedMakefileError, make_program, read_makefile
from vmtgen.build.sysroot import tree_version
from vmtgen.common.errors import ReportedError, UnavailableError
from vmtgen.kobj.known import nearest_modules
from vmtgen.lint.check import lint_file
from vmtgen.targets import load_targets
from vmtsim.run.needs import needs

from tools import netbsd_runs

if TYPE_CHECKING:
    from vmtgen.kobj import Module


@dataclass
class Row:
    """One module and its results; the texts are those of the table."""

    name: str
    builds: str = ""
    lint: str = "-"
    lacks: str = "-"
    missing: tuple[str, ...] = ()

    @property
    def built(self) -> bool:
        """Whether it was built."""
        return self.builds.startswith("yes")


def candidates(sys_tree: Path, machine: str) -> list[Path]:
    """Return the directories that can be drawn, in the order of their names."""
    target = load_targets().machine(machine)
    found = []
    for makefile in sorted(sys_tree.glob("modules/**/Makefile")):
        text = makefile.read_text(encoding="utf-8", errors="replace")
        if "bsd.kmodule.mk" not in text or not _is_for(makefile, target, sys_tree):
            continue
        found.append(makefile.parent)
    return found


def _is_for(makefile: Path, target: object, sys_tree: Path) -> bool:
    """Return whether make(1) accepts the Makefile for this machine: some refuse, with .error."""
    try:
        read_makefile(makefile, target, "zig", sys_tree)  # type: ignore[arg-type]
    except RefusedMakefileError:
        return False
    except ReportedError:
        # A module with a source that the tree lacks can be drawn, too, and fails in the table.
        return True
    return True


def tried(directory: Path, sys_tree: Path, machine: str, out: Path) -> Row:
    """Build and check one module."""
    row = Row(directory.relative_to(sys_tree / "modules").as_posix())
    try:
        built = build_module(
            directory, machine=machine, sys=sys_tree, out=out, cache=out / ".cache"
        )
    except ReportedError as error:
        row.builds = f"no: {_reason(str(error))}"
        return row
    warnings = built.warnings.count("warning:")
    row.builds = "yes" + (f", {_counted(warnings, 'warning')}" if warnings else "")
    try:
        row.lint = _lint(built)
        # The required modules are loaded before it: they define names, and have imports, too.
        itself = frozenset({built.module.modinfo.name})
        set_of = [built.module, *required(built.module, sys_tree, machine, out, itself)]
        row.missing = tuple(dict.fromkeys(name for each in needs(set_of) for name in each.missing))
        row.lacks = _lacks(row.missing)
    except ReportedError as error:
        row.lint = str(error).rpartition(": ")[2]
    return row


def required(
    module: Module, sys_tree: Path, machine: str, out: Path, known: frozenset[str] = frozenset()
) -> list[Module]:
    """Build the modules that a module requires, and theirs, without built-in ones.

    A name without a directory, or whose module does not build, is omitted.
    """
    found: list[Module] = []
    for name in module.modinfo.required:
        if name in nearest_modules().builtin | known or any(
            each.modinfo.name == name for each in found
        ):
            continue
        directory = module_directory(name, sys_tree)
        if directory is None:
            continue
        try:
            built = build_module(
                directory, machine=machine, sys=sys_tree, out=out, cache=out / ".cache"
            )
        except ReportedError:
            continue
        seen = known | {name} | {each.modinfo.name for each in found}
        found += [built.module, *required(built.module, sys_tree, machine, out, seen)]
    return found


def module_directory(name: str, sys_tree: Path) -> Path | None:
    """Return the directory of sys/modules whose Makefile makes the module of that name."""
    own = sys_tree / "modules" / name
    if (own / "Makefile").is_file():
        return own
    for makefile in sorted(sys_tree.glob("modules/**/Makefile")):
        text = makefile.read_text(encoding="utf-8", errors="replace")
        if re.search(rf"^KMOD=\s*{re.escape(name)}\s*$", text, re.MULTILINE):
            return makefile.parent
    return None


def _reason(text: str) -> str:
    """Return the first line of an error that names the problem."""
    lines = text.splitlines()
    message = next((line for line in lines if "error:" in line), lines[0])
    short = message.rpartition("error: ")[2].rpartition("/modules/")[2]
    return short if len(short) < 90 else short[:87] + "..."


def _lint(built: Built) -> str:
    findings = lint_file(built.path, targets=load_targets(), release=built.release)
    # The names of required modules are in no kernel's list.
    counts = Counter(each.severity for each in findings if each.rule != "import-missing")
    lines = [_counted(counts[kind], kind) for kind in ("error", "warning") if counts[kind]]
    return ", ".join(lines) or "clean"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


def _lacks(names: tuple[str, ...]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def run_all(sys_tree: Path, machine: str, out: Path) -> tuple[list[str], int]:
    """Run the modules; return lines of the page, and the number of unexpected results."""
    lines = [
        "## In a scenario",
        "",
        "Each module runs unmodified. With the fragment in this function replaced, the run fails.",
        "",
        "| module | scenario | function | fragment | replacement | fails with |",
        "|---|---|---|---|---|---|",
    ]
    failed = 0
    for run in netbsd_runs.RUNS:
        print(f"run {run.module}", file=sys.stderr)
        wrong, rule = netbsd_runs.verdict(run, sys_tree, machine, out)
        failed += bool(wrong)
        broken = run.broken
        lines.append(
            f"| {run.module} | {run.does} | {broken.function} | `{broken.old}` | `{broken.new}` | "
            f"{f'**{_cell(wrong)}**' if wrong else rule} |"
        )
    lines += ["", f"{len(netbsd_runs.RUNS) - failed} of {len(netbsd_runs.RUNS)} run.", ""]
    lines += ["## Defects that vmtsim finds in the unmodified modules", ""]
    lines += ["| module | scenario | rules | defect in the source |", "|---|---|---|---|"]
    for defect in netbsd_runs.DEFECTS:
        wrong = netbsd_runs.shown(defect, sys_tree, machine, out)
        failed += bool(wrong)
        rules = f"**{wrong}**" if wrong else ", ".join(defect.rules)
        lines.append(f"| {defect.module} | {defect.scenario} | {rules} | {defect.why} |")
    return lines, failed


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:200]


def main() -> int:
    """Print the table; 0, or the status of the error that ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sys", type=Path, metavar="SYS", help="a NetBSD sys/ tree")
    parser.add_argument(
        "--count", type=int, default=40, help="how many modules to draw (default: 40)"
    )
    parser.add_argument("--seed", type=int, default=19, help="random seed (default: 19)")
    parser.add_argument("--machine", default="amd64", help="amd64, i386 or aarch64")
    parser.add_argument("--page", type=Path, help="write the table there too, as Markdown")
    args = parser.parse_args()
    try:
        version = tree_version(args.sys)
        if make_program() is None:
            raise UnavailableError("no bmake in PATH", hint="install bmake")
        found = candidates(args.sys.resolve(), args.machine)
    except ReportedError as error:
        print(f"netbsd_modules: error: {error}", file=sys.stderr)
        return error.exit_status
    drawn = sorted(random.Random(args.seed).sample(found, min(args.count, len(found))))
    rows = []
    runs, failed = [""], 0
    with tempfile.TemporaryDirectory() as out:
        for number, directory in enumerate(drawn, 1):
            print(f"{number}/{len(drawn)} {directory.name}", file=sys.stderr)
            rows.append(tried(directory, args.sys.resolve(), args.machine, Path(out)))
        if args.machine == "amd64":  # the scenarios set registers of its processor
            try:
                runs, failed = run_all(args.sys.resolve(), args.machine, Path(out))
            except (ReportedError, netbsd_runs.FragmentError) as error:
                print(f"netbsd_modules: error: {error}", file=sys.stderr)
                return 1
    release = load_targets().release_of(version).name
    page = "\n".join([*table(rows, len(found), release, args), "", *runs])
    print(page)
    if args.page:
        args.page.write_text(page + "\n", encoding="utf-8")
    return int(failed > 0)


def table(rows: list[Row], total: int, release: str, args: argparse.Namespace) -> list[str]:
    """Return the page, line by line."""
    built = sum(row.built for row in rows)
    whole = sum(row.lacks == "nothing" for row in rows)
    return [
        "# NetBSD's own modules",
        "",
        f"{len(rows)} of the {total} modules for {args.machine} in sys/modules of",
        f"NetBSD {release}, drawn with",
        f"`python tools/netbsd_modules.py SYS --count {args.count} --seed {args.seed}`.",
        "",
        f"{built} of {len(rows)} build from their own Makefile;",
        f"vmtsim has a model of everything that {whole} of them need, with the modules that they",
        "require and no kernel has built in.",
        "",
        "| module | builds | lint | no model for |",
        "|---|---|---|---|",
        *(f"| {row.name} | {row.builds} | {row.lint} | {row.lacks} |" for row in rows),
        "",
        "The names without a model that most of them need, with the number of modules:",
        ", ".join(f"{name} {count}" for name, count in _most(rows)) + ".",
    ]


def _most(rows: list[Row]) -> list[tuple[str, int]]:
    counts = Counter(name for row in rows for name in row.missing)
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:12]


if __name__ == "__main__":
    sys.exit(main())
