"""Trees with an /etc/powerd as a site may have it, and their content afterwards."""

from __future__ import annotations

import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtctl.exits import Failure
from vmtctl.install import block, hookplan
from vmtctl.install.calls import Calls
from vmtctl.install.tree import NEW, OLD, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmtctl.install.plan import Plan

# Below /etc/powerd: bytes and mode.
SITE: dict[str, Any] = {
    "scripts/power_button": (b"#!/bin/sh\nexit 0", 0o755),
    "scripts/acpi/power_button": (b"#!/bin/sh -\necho mine\n", 0o750),
    "scripts/sleep_button": (b"#!/bin/sh\nexit 0\n", 0o555),
}

# Each verb as a plan, and whether an installation comes before it.
VERBS: dict[str, tuple[Callable[[Tree], Plan], str]] = {
    "install": (lambda tree: hookplan.install(tree, typed=True, force=False), ""),
    "install blocks": (lambda tree: hookplan.install(tree, typed=False, force=False), ""),
    "upgrade": (lambda tree: hookplan.install(tree, typed=True, force=False), "other version"),
    "upgrade blocks": (
        lambda tree: hookplan.install(tree, typed=False, force=False),
        "other version of blocks",
    ),
    "force": (lambda tree: hookplan.install(tree, typed=True, force=True), "edited"),
    "uninstall": (lambda tree: hookplan.uninstall(tree, force=False), "this version"),
    "uninstall blocks": (lambda tree: hookplan.uninstall(tree, force=False), "blocks"),
}


class Unsynced(Calls):
    """The system calls, without waiting for the disk."""

    @staticmethod
    def fsync(_: int) -> None:
        """Nothing."""


@contextmanager
def built(files: dict[str, Any], top: Path | None = None) -> Iterator[Path]:
    """A tree with ``files`` below etc/powerd: bytes and mode, or None for a directory."""
    root = Path(tempfile.mkdtemp(dir=top))
    try:
        fill(root, files)
        yield root
    finally:
        shutil.rmtree(root)


def fill(root: Path, files: dict[str, Any]) -> None:
    """Make ``files`` below ``root``/etc/powerd."""
    (root / "etc").mkdir(exist_ok=True)
    for name, entry in files.items():
        path = root / "etc/powerd" / name
        if entry is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry[0])
        path.chmod(entry[1])


def prepare(root: Path, before: str) -> None:
    """Set up ``before``: "", or an installation of some version, edited or not."""
    if not before:
        return
    tree = Tree(str(root), Unsynced())
    hookplan.install(tree, typed="blocks" not in before, force=False).carry_out()
    for path in sorted((root / "etc/powerd").rglob("*")):
        if not path.is_file() or path.name == "vmt.installed":
            continue
        data = path.read_bytes()
        body = block.unsealed(data)
        if before == "edited" and path.name in {"vmt-event", "reset_button"}:
            _rewrite(path, data + b"# an edit\n")
        elif before.startswith("other") and body is not None:
            _rewrite(path, block.sealed(body + b"# of another version\n"))
        elif before.startswith("other"):
            inside = block.split(data, "").inside
            if inside is not None:
                other = inside + b"# of another version\n"
                _rewrite(path, block.with_block(data, other, "", top=True))


def _rewrite(path: Path, data: bytes) -> None:
    """Replace the bytes of a file that its owner may only read, as root can."""
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    path.write_bytes(data)
    path.chmod(mode)


def refusal(make: Callable[[], Plan]) -> Failure | None:
    """Make a plan and carry it out; the reason where that is refused."""
    try:
        make().carry_out()
    except Failure as failure:
        return failure
    return None


def temporary(name: str) -> bool:
    """Whether it is the name of a temporary file of the installer."""
    return name.startswith(".") and name.endswith((NEW, OLD))


def picture(root: Path) -> dict[str, Any]:
    """Everything below ``root`` except temporary files: the kind, and for files mode and bytes."""
    seen: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            seen[name] = ("link", path.readlink())
        elif path.is_dir():
            seen[name] = ("directory", mode)
        elif not temporary(path.name):
            seen[name] = ("file", mode, path.read_bytes())
    return seen


def lost(root: Path, files: dict[str, tuple[bytes, int]], message: str) -> list[str]:
    """Which of ``files`` (path below root: bytes, mode) is neither in its place nor in the message.

    A file counts as in its place, too, when vmtctl's block is its only change.
    """
    gone = []
    for name, (data, mode) in files.items():
        path = root / name
        named = [root / word.strip(";,:").lstrip("/") for word in message.split() if "/" in word]
        for place in [path, *named]:
            if (
                place.is_file()
                and place.read_bytes() == data
                and stat.S_IMODE(place.stat().st_mode) == mode
            ):
                break
        else:
            gone.append(name)
    return gone
