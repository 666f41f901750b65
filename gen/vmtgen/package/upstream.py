"""Copies the driver, kmod/NAME/, into the layout of NetBSD's source tree. See docs/upstream.md.

The copy has NetBSD's tag and licence at the top and includes of <dev/NAME/...>. It omits the lines
that let a module exist beside another of its name. kmod/NAME/upstream/ has the files that only a
tree needs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.build.sysroot import tree_version
from vmtgen.common.errors import CannotCreateError, MissingInputError, ReportedError
from vmtgen.common.files import shown, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EDITS = "EDITS"
MANIFEST = "MANIFEST"
# The place of a file of the module NAME, by the end of its name; all others are the driver's.
_PLACES = (
    ("_x86.c", "sys/arch/x86/x86"),
    ("_aarch64.c", "sys/arch/aarch64/aarch64"),
    (".4", "share/man/man4"),
    ("Makefile", "sys/modules/{name}"),
    (".ioconf", "sys/modules/{name}"),
    (EDITS, ""),
    ("", "sys/dev/{name}"),
)
_FIRST_COMMENT = {"c": re.compile(r"/\*.*?\*/\n", re.DOTALL), "4": re.compile(r'(?:\.\\".*\n)+')}
# Lines of the header and the manual for a module beside another of its name.
_BESIDE = re.compile(
    r'/\*\n \* The linkage of what the files share\..*?#endif\n\n|\.\\" Beside .*?\.\\" End\n',
    re.DOTALL,
)
_FIELDS = {"delete": 1, "remove": 2, "add": 2, "keep": 2}


def files(name: str) -> dict[str, str]:
    """Return every file of the module `name` by its place in NetBSD's source tree.

    Raises MissingInputError outside of a checkout, which alone has the licence, and where the
    module has no files for a tree.
    """
    top = resources.root()
    if top is None or not (top / "LICENSE").is_file():
        raise MissingInputError(
            "no LICENSE: vmtgen upstream needs a checkout",
            hint="clone the repository and run it there",
        )
    licence = (top / "LICENSE").read_text(encoding="utf-8").partition("\n")[2].strip("\n")
    source = top / "kmod" / name
    if not (source / "upstream").is_dir():
        raise MissingInputError(
            f"{shown(source / 'upstream')}: no such directory",
            hint="the module has no files for NetBSD's source tree yet",
        )
    found = {path.name: path for pattern in ("*.c", "*.h", "*.4") for path in source.glob(pattern)}
    found |= {path.name: path for path in (source / "upstream").iterdir()}
    texts = {}
    for file, path in sorted(found.items()):
        folder = next(place for end, place in _PLACES if file.endswith(end)).format(name=name)
        text = _converted(name, file, path.read_text(encoding="utf-8"), licence)
        texts[f"{folder}/{file}".removeprefix("/")] = text
    return texts


def _converted(name: str, file: str, text: str, licence: str) -> str:
    text = _BESIDE.sub("", text)
    if file.endswith(".4"):
        head = "".join(f'.\\" {line}'.rstrip() + "\n" for line in licence.split("\n"))
        return _FIRST_COMMENT["4"].sub(lambda _: f'.\\"\t$NetBSD$\n.\\"\n{head}', text, count=1)
    if not file.endswith((".c", ".h")):
        return text
    body = "".join(f" * {line}".rstrip() + "\n" for line in licence.split("\n"))
    text = _FIRST_COMMENT["c"].sub(lambda _: f"/*\t$NetBSD$\t*/\n\n/*-\n{body} */\n", text, count=1)
    text = re.sub(rf'#include "({name}\w+\.h)"', rf"#include <dev/{name}/\1>", text)
    local = f"{name.upper()}_LOCAL"
    return re.sub(
        rf"^{local}(?:_TABLE)?[ \t]",
        "",
        text.replace(f"{local}_DATA", "extern"),
        flags=re.MULTILINE,
    )


def lay_out(texts: Mapping[str, str], out: Path) -> bool:
    """Make the directory `out` hold `texts` and a MANIFEST; return whether anything changed.

    Raises CannotCreateError where `out` has files other than an unchanged earlier output.
    """
    expected = {place: text.encode() for place, text in texts.items()}
    sums = {place: hashlib.sha256(data).hexdigest() for place, data in expected.items()}
    expected[MANIFEST] = "".join(f"{sums[place]}  {place}\n" for place in sorted(sums)).encode()
    there = _contents(out)
    if there == expected:
        return False
    for line in there.pop(MANIFEST, b"").decode("utf-8", "replace").splitlines():
        digest, _, place = line.partition("  ")
        if hashlib.sha256(there.get(place, b"")).hexdigest() == digest:
            del there[place]
    if there:
        raise CannotCreateError(
            f"{shown(out / min(there))}: was changed since `vmtgen upstream` wrote it",
            hint="give an empty or new directory with --out, or move this one away",
        )
    shutil.rmtree(out, ignore_errors=True)
    for place, data in expected.items():
        write(out / place, data)
    return True


def _contents(out: Path) -> dict[str, bytes]:
    """Return the files of a directory by path; a link counts as a file without contents."""
    if out.exists() and not out.is_dir():
        raise CannotCreateError(f"{shown(out)}: exists and is not a directory")
    return {
        path.relative_to(out).as_posix(): b"" if path.is_symlink() else path.read_bytes()
        for path in out.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def edit_mismatches(edits: str, sys: Path) -> list[str]:
    """Return the lines of EDITS that do not fit the NetBSD tree at `sys`, each with its file.

    Missing files outside of sys/ are ignored. Raises MissingInputError where `sys`
    is no NetBSD sys/ tree, and ReportedError where a line of EDITS is invalid.
    """
    tree_version(sys)
    found = []
    for number, line in enumerate(edits.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        action, *fields = line.split("\t")
        if len(fields) != _FIELDS.get(action) or "" in fields:
            raise ReportedError(f"{EDITS}:{number}: not an action, a file and a line: {line!r}")
        path = sys.resolve().parent / fields[0]
        if fields[0].startswith("sys/"):
            path = sys / fields[0].removeprefix("sys/")
        if not path.is_file():
            found += [f"{fields[0]}: no such file"] if fields[0].startswith("sys/") else []
        elif action in {"remove", "keep"} and fields[1] not in _lines(path):
            found.append(f"{fields[0]}: no line: {fields[1]}")
    return found


def _lines(path: Path) -> set[str]:
    """Return the lines of a file without comments, and with single blanks."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return {" ".join(line.partition("#")[0].split()) for line in text.splitlines()}
