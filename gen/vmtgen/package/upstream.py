"""The driver as it would lie in NetBSD's own source tree.

The same templates as for kmod/, with NetBSD's tag and the licence at the top and with the tables
that config(1) makes, so that the sources serve a built-in driver and a module; and what a tree has
beside them (templates/upstream). See docs/upstream.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import __version__, resources
from vmtgen.common.errors import CannotCreateError, MissingInputError
from vmtgen.common.files import shown
from vmtgen.compiler.filters import comment_style
from vmtgen.compiler.render import Renderer
from vmtgen.compiler.spec.load import load

if TYPE_CHECKING:
    from collections.abc import Mapping

EDITS = "EDITS"
MANIFEST = "MANIFEST"
_FOLDERS = {"c": "sys/dev/vmt", "mdoc": "share/man/man4"}
_PLACES = {
    "files.vmt": "sys/dev/vmt/files.vmt",
    "Makefile": "sys/modules/vmt/Makefile",
    "vmt.ioconf": "sys/modules/vmt/vmt.ioconf",
    EDITS: EDITS,
}
# Sources of the driver that NetBSD has, as its config files name them (sys/dev/vmt/files.vmt,
# sys/arch/x86/conf/files.x86 and sys/arch/aarch64/conf/files.aarch64 of 10.99.12). Its headers
# have the names of ours.
_STOCK = (
    "sys/arch/aarch64/aarch64/vmt.c",
    "sys/arch/x86/x86/vmt.c",
    "sys/dev/vmt/vmt_subr.c",
)
_MANIFEST_HEAD = f"# vmtgen upstream, netbsd-vmt {__version__}\n"
_ENTRY = re.compile(r"([0-9a-f]{64})  (\S.*)")


def files() -> dict[str, str]:
    """Render everything; returns texts by their place in NetBSD's source tree.

    Raises MissingInputError outside of a checkout, which alone has the licence, and
    LocatedErrors where a spec or a template is wrong.
    """
    top = resources.root()
    if top is None or not (top / "LICENSE").is_file():
        raise MissingInputError(
            "no LICENSE: the tree is laid out from a checkout",
            hint="clone the repository and run it there",
        )
    licence = (top / "LICENSE").read_text(encoding="utf-8").partition("\n")[2].strip("\n")
    templates = resources.directory("templates")
    sources = sorted(path.name.removesuffix(".j2") for path in templates.glob("*.c.j2"))
    renderer = Renderer(
        templates,
        load(resources.directory("specs")),
        more=templates / "upstream",
        names={
            "tree": lambda output: _head(output, licence),
            "sources": sources,
            "stock_files": _STOCK,
        },
    )
    rendered = renderer.render_all()
    placed = {place: text for name, text in rendered.items() if (place := _place(name))}
    return dict(sorted(placed.items()))


def _place(name: str) -> str | None:
    if name in _PLACES:
        return _PLACES[name]
    folder = _FOLDERS.get(comment_style(name))
    return f"{folder}/{name}" if folder else None


def _head(output: str, licence: str) -> str:
    """Return how a file of NetBSD's begins (share/misc/style): its tag, then the licence."""
    style = comment_style(output)
    if style == "c":
        body = "".join(f" * {line}\n" if line else " *\n" for line in licence.split("\n"))
        return f"/*\t$NetBSD$\t*/\n\n/*-\n{body} */"
    if style == "mdoc":
        body = "\n".join(f'.\\" {line}' if line else '.\\"' for line in licence.split("\n"))
        return f'.\\"\t$NetBSD$\n.\\"\n{body}'
    return "#\t$NetBSD$\n"


def lay_out(texts: Mapping[str, str], out: Path) -> bool:
    """Make the directory `out` hold `texts` and a MANIFEST; tell whether anything changed.

    What is there is replaced as a whole, and only if nobody but an earlier run has touched it.
    Raises CannotCreateError.
    """
    wanted = {place: text.encode("utf-8") for place, text in texts.items()}
    wanted[MANIFEST] = _manifest(wanted).encode("ascii")
    target = out.resolve()
    there = _earlier(target, out)
    if there == wanted:
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.")
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            fresh, old = Path(place, "new"), Path(place, "old")
            for name, data in wanted.items():
                path = fresh / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            _open_up(fresh)
            if there is not None:
                target.rename(old)
            try:
                fresh.rename(target)
            except OSError:
                if there is not None:
                    old.rename(target)
                raise
    except OSError as error:
        raise CannotCreateError(f"cannot write {shown(out)}: {error.strerror or error}") from error
    return True


def _open_up(folder: Path) -> None:
    """Give the modes of a source tree, whatever the umask says."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _manifest(contents: Mapping[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items()]
    return _MANIFEST_HEAD + "".join(sorted(lines, key=lambda line: line[64:]))


def _earlier(target: Path, out: Path) -> dict[str, bytes] | None:
    """Return what an earlier run left at `target`, None where there is nothing.

    Raises CannotCreateError where anything there is somebody else's work.
    """
    if not target.exists():
        return None
    hint = "give an empty or new directory with --out, or move this one away"
    if not target.is_dir():
        raise CannotCreateError(f"{shown(out)}: is there and is no directory", hint=hint)
    found = {
        path.relative_to(target).as_posix(): path
        for path in sorted(target.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    if not found:
        return {}
    known = _recorded(found.get(MANIFEST))
    if known is None:
        raise CannotCreateError(f"{shown(out)}: holds files that are not of this verb", hint=hint)
    contents: dict[str, bytes] = {}
    for name, path in found.items():
        if not path.is_file() or path.is_symlink() or (name not in known and name != MANIFEST):
            raise CannotCreateError(f"{shown(out / name)}: is not of this verb", hint=hint)
        contents[name] = path.read_bytes()
        if name != MANIFEST and hashlib.sha256(contents[name]).hexdigest() != known[name]:
            raise CannotCreateError(f"{shown(out / name)}: was edited since", hint=hint)
    return contents


def _recorded(manifest: Path | None) -> dict[str, str] | None:
    """Return the digests by place that a MANIFEST of ours names, None for any other file."""
    if manifest is None or not manifest.is_file():
        return None
    head, *lines = manifest.read_text(encoding="utf-8", errors="replace").splitlines()[:1000] or [
        ""
    ]
    entries = [_ENTRY.fullmatch(line) for line in lines]
    if not head.startswith("# vmtgen upstream, ") or None in entries:
        return None
    return {entry[2]: entry[1] for entry in entries if entry is not None}
