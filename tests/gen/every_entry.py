"""Deletes and alters each entry of each spec: an error with a place, or C that compiles.

``python -m tests.gen.every_entry`` does all of them (minutes); the tests do every so-many-th.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.build.sysroot import own_headers
from vmtgen.build.toolchain import toolchain
from vmtgen.common.located import LocatedErrors, load_yaml
from vmtgen.compiler import generate
from vmtgen.targets import load_targets

from tests import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SPECS = ("backdoor", "transport", "rpci", "tclo", "guestinfo", "driver")
MODULES = {"vmt": SPECS, "vmmemctl": ("balloon", "driver")}
"""The specs of each module."""
_DELETED = object()


@dataclass(frozen=True)
class Change:
    """One entry of one spec, and its replacement."""

    spec: str
    path: tuple[str | int, ...]
    value: Any

    def __str__(self) -> str:
        """Return SPEC.PATH and the change."""
        return f"{self.where}: {'deleted' if self.value is _DELETED else repr(self.value)}"

    @property
    def where(self) -> str:
        """SPEC.PATH of the entry."""
        return ".".join(map(str, (self.spec, *self.path)))


def changes(module: str = "vmt") -> list[Change]:
    """Every deletion and every alteration, in the order of the specs."""
    found = []
    for spec in MODULES[module]:
        data = load_yaml(ROOT / "specs" / module / f"{spec}.yaml").plain()
        for path, value in entries(data, ()):
            values = [_DELETED, *_altered(value)]
            found += [Change(spec, path, each) for each in values]
    return found


def entries(data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every entry at or below ``data`` with its path."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*path, key), value
        if isinstance(value, (dict, list)):
            yield from entries(value, (*path, key))


def _altered(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 0, -1, 0x7FFFFFFF]
    if isinstance(value, str):
        return [f"{value}x", "", 'a "quote" \\ and %s']
    return []


class SpecsTrial:
    """A directory with specs to change and the driver's C to compile with what they make."""

    def __init__(self, top: Path, module: str = "vmt") -> None:
        self.module = module
        self.specs = top / "specs"
        self.kmod = top / "kmod" / module
        (self.specs / module).mkdir(parents=True)
        self.kmod.mkdir(parents=True)
        self.data = {}
        for spec in MODULES[module]:
            self.data[spec] = load_yaml(ROOT / "specs" / module / f"{spec}.yaml").plain()
            self._write(spec, self.data[spec])
        text = (ROOT / "specs" / "netbsd.yaml").read_text(encoding="utf-8")
        (self.specs / "netbsd.yaml").write_text(text, encoding="utf-8")
        for output in generate.sources(ROOT / "kmod" / module):
            (top / output.place).write_text(output.text, encoding="utf-8")
        targets = load_targets()
        tool = toolchain("zig", targets.machine("amd64"), targets)
        self.command = [
            *tool.compile,
            "-D__NetBSD_Version__=1100000000",
            "-nostdinc",
            f"-I{self.kmod}",
            *own_headers("amd64").flags,
            "-fsyntax-only",
            str(self.kmod / f"{module}_module.c"),
        ]
        self.known = {self._c(): ""}
        made = generate.outputs(ROOT / "templates", self.specs, [module])
        self.outputs = {output.place: output.text for output in made}

    def _write(self, spec: str, data: Any) -> None:
        # JSON is YAML.
        (self.specs / self.module / f"{spec}.yaml").write_text(
            json.dumps(data, indent=1), encoding="utf-8"
        )

    def _c(self) -> str:
        made = generate.outputs(ROOT / "templates", self.specs, [self.module])
        for output in made:
            if output.place.endswith((".c", ".h")):
                (self.kmod.parents[1] / output.place).write_text(output.text, encoding="utf-8")
        return "".join(output.text for output in made if output.place.endswith((".c", ".h")))

    def made(self, change: Change) -> LocatedErrors | list[generate.Output]:
        """Return the files that a change alters, or the loader's error."""
        with self._changed(change):
            try:
                made = generate.outputs(ROOT / "templates", self.specs, [self.module])
            except LocatedErrors as errors:
                return errors
        return [output for output in made if output.text != self.outputs.get(output.place)]

    @contextmanager
    def _changed(self, change: Change) -> Iterator[None]:
        data: Any = copy.deepcopy(self.data[change.spec])
        place = data
        for key in change.path[:-1]:
            place = place[key]
        if change.value is _DELETED:
            del place[change.path[-1]]
        else:
            place[change.path[-1]] = change.value
        self._write(change.spec, data)
        try:
            yield
        finally:
            self._write(change.spec, self.data[change.spec])

    def _compiled(self) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command, capture_output=True, check=False)

    def trouble(self, change: Change) -> str:
        """Return the error in the result of a change, or ""."""
        try:
            with self._changed(change):
                made = self._c()
        except LocatedErrors as errors:
            bare = [str(problem) for problem in errors.problems if not problem.line]
            return f"no place: {bare}" if bare else ""
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if made not in self.known:
            done = kept.run(self.command, Path(self.command[-1]), self._compiled)
            self.known[made] = done.stderr.decode() if done.returncode else ""
        return self.known[made]


def main() -> int:
    """Try all; 1 if any is neither an error with a place nor C that compiles."""
    parser = argparse.ArgumentParser(prog="python -m tests.gen.every_entry", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth (1)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="beginning with (0)")
    arguments = parser.parse_args()
    wrong = tried = 0
    for module in MODULES:
        chosen = changes(module)[arguments.first :: arguments.every]
        tried += len(chosen)
        with tempfile.TemporaryDirectory() as folder:
            trial = SpecsTrial(Path(folder), module)
            for number, change in enumerate(chosen, 1):
                if number % 100 == 0:
                    print(f"{module}: {number} of {len(chosen)}", file=sys.stderr)
                if trouble := trial.trouble(change):
                    wrong += 1
                    print(f"{module}, {change}\n    {trouble.splitlines()[0][:200]}")
    print(f"{tried} changes, {wrong} neither refused with a place nor compiled")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
