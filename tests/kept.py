"""Keeps what a compiler made, in build/.cache: an unchanged source is not compiled again.

The builder keeps objects itself, but not those whose headers are in a directory that it does not
know: a NetBSD source tree, or one that a test writes.  The analyzers have no such cache at all.
The key is everything that the compiler reads: its program, its flags, and each file of the
directories of the source and of the headers.  It does not contain the paths of the directories.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build import kpi, objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest

FOLDER = Path(__file__).resolve().parent.parent / "build" / ".cache" / "compiled"
_DIRECTORIES = ("-I", "-isystem")
_plain = objects.run_tool


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the builder and `vmtgen kpi check` keep what they compile."""
    for module in (objects, kpi):
        monkeypatch.setattr(module, "run_tool", _tool)


def _tool(
    command: Sequence[str], cache: Path, directory: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    if "-c" not in command:  # a link takes less time than this
        return _plain(command, cache, directory)
    source = Path(command[command.index("-c") + 1])
    target = Path(command[command.index("-o") + 1])
    return run(command, source, lambda: _plain(command, cache, directory), directory, target)


def run(
    command: Sequence[str],
    source: Path,
    compile_it: Callable[[], subprocess.CompletedProcess[bytes]],
    directory: Path | None = None,
    target: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Return what ``command`` printed about ``source``, and write ``target``.

    ``compile_it`` runs it in ``directory``.  A compilation that fails is not kept.
    """
    where = directory or Path()
    places = dict.fromkeys([source.parent, *_included(command)])
    # The longest first: a directory may be in another one.
    names = {
        str(place): f"<{number}:{_contents(where / place)}>"
        for number, place in enumerate(sorted(places, key=lambda each: -len(str(each))))
        if place.is_absolute()
    }
    relative = [_contents(where / place) for place in places if not place.is_absolute()]
    words = [word for word in command[1:] if target is None or word != str(target)]
    key = json.dumps([_program(command[0]), _replaced(words, names), source.name, relative])
    entry = FOLDER / hashlib.sha256(key.encode()).hexdigest()
    try:
        printed, made = json.loads(entry.read_bytes())
    except FileNotFoundError:
        done = compile_it()
        if done.returncode == 0:
            (printed,) = _replaced([done.stderr.decode()], names)
            made = None if target is None else base64.b64encode(target.read_bytes()).decode()
            _write(entry, json.dumps([printed, made]))
        return done
    if target is not None:
        target.write_bytes(base64.b64decode(made))
    (printed,) = _replaced([printed], {name: place for place, name in names.items()})
    return subprocess.CompletedProcess(command, 0, b"", printed.encode())


def _included(command: Sequence[str]) -> Iterator[Path]:
    """Yield the directories of headers."""
    for before, word in pairwise(command):
        if before in _DIRECTORIES:
            yield Path(word)
        elif before == "-include":
            yield Path(word).parent
        elif word.startswith("-I") and word != "-I":
            yield Path(word.removeprefix("-I"))


def _replaced(texts: Sequence[str], names: dict[str, str]) -> list[str]:
    changed = list(texts)
    for place, name in names.items():
        changed = [text.replace(place, name) for text in changed]
    return changed


def _contents(directory: Path) -> str:
    """Return a hash of the names and the contents of all files below a directory."""
    files = sorted(
        Path(at, name) for at, _, names in os.walk(directory, followlinks=True) for name in names
    )
    stamps = tuple((str(file), *_stamp(file)) for file in files if file.is_file())
    return _hashed(str(directory), stamps)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@cache
def _hashed(directory: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, size, _ in stamps:
        total.update(f"{os.path.relpath(name, directory)}\0{size}\0".encode())
        total.update(Path(name).read_bytes())
    return total.hexdigest()


@cache
def _program(path: str) -> list[object]:
    return [path, *_stamp(Path(path))]


def _write(entry: Path, text: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(entry)
