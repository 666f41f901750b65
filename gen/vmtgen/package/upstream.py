"""The driver as it would lie in NetBSD's own source tree: kmod/, copied. See docs/upstream.md.

The copy has NetBSD's tag and licence at the top and includes of <dev/vmt/...>; without what
serves a module beside another vmt(4). kmod/upstream/ has what only a tree has.
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
_DRIVER = "sys/dev/vmt"
_MODULE = "sys/modules/vmt"
_PLACES = {
    "vmt_x86.c": "sys/arch/x86/x86",
    "vmt_aarch64.c": "sys/arch/aarch64/aarch64",
    "vmt.4": "share/man/man4",
    "Makefile": _MODULE,
    "vmt.ioconf": _MODULE,
    EDITS: ".",
}
_FIRST_COMMENT = {"c": re.compile(r"/\*.*?\*/\n", re.DOTALL), "4": re.compile(r'(?:\.\\".*\n)+')}
# Lines for a module beside another vmt(4): of vmtvar.h and of vmt.4.
_BESIDE = re.compile(
    r'/\*\n \* How the files see each other\..*?#endif\n\n|\.\\" Beside .*?\.\\" End\n', re.DOTALL
)
_FIELDS = {"delete": 1, "remove": 2, "add": 2, "keep": 2}


def files() -> dict[str, str]:
    """Return every file by its place in NetBSD's source tree; MissingInputError if there is none.

    A checkout alone has the licence.
    """
    top = resources.root()
    if top is None or not (top / "LICENSE").is_file():
        raise MissingInputError(
            "no LICENSE: the tree is laid out from a checkout",
            hint="clone the repository and run it there",
        )
    licence = (top / "LICENSE").read_text(encoding="utf-8").partition("\n")[2].strip("\n")
    found = {
        path.name: path for pattern in ("*.c", "*.h", "*.4") for path in top.glob(f"kmod/{pattern}")
    }
    found |= {path.name: path for path in (top / "kmod/upstream").iterdir()}
    texts = {}
    for name, path in sorted(found.items()):
        place = f"{_PLACES.get(name, _DRIVER)}/{name}".removeprefix("./")
        texts[place] = _converted(name, path.read_text(encoding="utf-8"), licence)
    return texts


def _converted(name: str, text: str, licence: str) -> str:
    text = _BESIDE.sub("", text)
    if name.endswith(".4"):
        head = "".join(f'.\\" {line}'.rstrip() + "\n" for line in licence.split("\n"))
        return _FIRST_COMMENT["4"].sub(lambda _: f'.\\"\t$NetBSD$\n.\\"\n{head}', text, count=1)
    if not name.endswith((".c", ".h")):
        return text
    body = "".join(f" * {line}".rstrip() + "\n" for line in licence.split("\n"))
    text = _FIRST_COMMENT["c"].sub(lambda _: f"/*\t$NetBSD$\t*/\n\n/*-\n{body} */\n", text, count=1)
    text = re.sub(r'#include "(vmt\w+\.h)"', r"#include <dev/vmt/\1>", text)
    return re.sub(
        r"^VMT_LOCAL(?:_TABLE)?[ \t]",
        "",
        text.replace("VMT_LOCAL_DATA", "extern"),
        flags=re.MULTILINE,
    )


def lay_out(texts: Mapping[str, str], out: Path) -> bool:
    """Make the directory `out` hold `texts` and a MANIFEST; return whether anything changed.

    Raises CannotCreateError where `out` holds anything but what an earlier run left there.
    """
    wanted = {place: text.encode() for place, text in texts.items()}
    sums = {place: hashlib.sha256(data).hexdigest() for place, data in wanted.items()}
    wanted[MANIFEST] = "".join(f"{sums[place]}  {place}\n" for place in sorted(sums)).encode()
    there = _contents(out)
    if there == wanted:
        return False
    for line in there.pop(MANIFEST, b"").decode("utf-8", "replace").splitlines():
        digest, _, place = line.partition("  ")
        if hashlib.sha256(there.get(place, b"")).hexdigest() == digest:
            del there[place]
    if there:
        raise CannotCreateError(
            f"{shown(out / min(there))}: is not as `vmtgen upstream` left it",
            hint="give an empty or new directory with --out, or move this one away",
        )
    shutil.rmtree(out, ignore_errors=True)
    for place, data in wanted.items():
        write(out / place, data)
    return True


def _contents(out: Path) -> dict[str, bytes]:
    """Return what is in a directory, by place; a link counts as a file without contents."""
    if out.exists() and not out.is_dir():
        raise CannotCreateError(f"{shown(out)}: is there and is no directory")
    return {
        path.relative_to(out).as_posix(): b"" if path.is_symlink() else path.read_bytes()
        for path in out.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def misfits(edits: str, sys: Path) -> list[str]:
    """Return what of EDITS does not fit the NetBSD tree at `sys`, each with its file.

    Files outside of sys/ count only where they are there. Raises MissingInputError where `sys`
    is no NetBSD sys/ tree, and ReportedError where a line of EDITS is none.
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
