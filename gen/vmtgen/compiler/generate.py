"""Writes the templates' outputs, or reports how they differ from the existing files."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.common.files import GENERATED, destination, write
from vmtgen.common.located import LocatedErrors
from vmtgen.compiler.render import Renderer
from vmtgen.compiler.spec.load import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from vmtgen.common.located import Problem

# Where outputs go below the output directory; each module has a directory of its own in kmod.
_DOCUMENTS = "docs"
_DRIVER = "kmod"
# The head of every output (templates/_macros.j2), without the comment marks.
_HEAD = f"SPDX-License-Identifier: BSD-2-Clause {GENERATED} "
_COMMENT_MARKS = re.compile(r'/\*|<!--|^\.\\"|^ \*|^#', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Output:
    """An output file: its place below the output directory, and its contents."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs from its output; None means that the file does not exist."""

    place: str
    before: str | None
    after: str | None

    def diff(self) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            (self.after or "").splitlines(keepends=True),
            "/dev/null" if self.before is None else f"a/{self.place}",
            "/dev/null" if self.after is None else f"b/{self.place}",
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )


def outputs(templates: Path, specs: Path, modules: Iterable[str]) -> list[Output]:
    """Render every template of ``modules``; raises LocatedErrors with the errors of all.

    ``templates`` and ``specs`` each have a directory for each module.
    """
    found: list[Output] = []
    problems: list[Problem] = []
    for module in modules:
        needs = templates / module / "needs.yaml"
        try:
            specifications = load(specs / module, needs if needs.is_file() else None)
            rendered = Renderer(templates, specifications).render_all()
        except LocatedErrors as errors:
            problems += errors.problems
            continue
        found += [
            Output(f"{_folder(module, name)}/{name}", text) for name, text in rendered.items()
        ]
    if problems:
        raise LocatedErrors(problems)
    return found


def sources(kmod: Path) -> list[Output]:
    """Return a module's handwritten C, to copy it into another directory."""
    generated = {path for path, _ in _generated(kmod)}
    return [
        Output(f"{_folder(kmod.name, path.name)}/{path.name}", path.read_text(encoding="utf-8"))
        for path in sorted(kmod.glob("*.[ch]"))
        if path not in generated
    ]


def _folder(module: str, name: str) -> str:
    return _DOCUMENTS if name.endswith(".md") else f"{_DRIVER}/{module}"


def changes(expected: list[Output], out: Path, modules: Iterable[str]) -> list[Change]:
    """Return the changes to make below ``out``: stale and missing files, and leftovers.

    A leftover is a file whose head says that it is generated from the templates of one of
    ``modules``, and which no template makes.
    """
    found = [
        Change(output.place, before, output.text)
        for output in expected
        if (before := _read(out / output.place)) != output.text
    ]
    places = {output.place for output in expected}
    if places:  # without any output there is nothing to compare with
        leftovers = (place for place in _of_modules(out, modules) if place not in places)
        found += [Change(place, _read(out / place), None) for place in leftovers]
    return sorted(found, key=lambda change: change.place)


def apply(found: list[Change], out: Path) -> None:
    """Make every change below ``out``; raises CannotCreateError."""
    for change in found:
        path = out / change.place
        if change.after is None:
            path.unlink(missing_ok=True)
        else:
            write(path, change.after.encode())


def _read(path: Path) -> str | None:
    """Return the text at ``path``, None where there is none; CannotCreateError for a non-file."""
    target = destination(path)
    try:
        return target.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _of_modules(out: Path, modules: Iterable[str]) -> Iterator[str]:
    """Yield the places of the files below ``out`` that were generated for one of ``modules``."""
    documents = list(_generated(out / _DOCUMENTS))
    for module in modules:
        folder = f"{_DRIVER}/{module}"
        yield from (f"{folder}/{path.name}" for path, _ in _generated(out / folder))
        for path, head in documents:
            if f"templates/{module}/" in head:
                yield f"{_DOCUMENTS}/{path.name}"


def _generated(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that begin as every output does, each with its head.

    A file that has the marker elsewhere is the user's own.
    """
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            head = " ".join(_COMMENT_MARKS.sub(" ", file.read(600)).split())
        if head.startswith(_HEAD):
            yield path, head
