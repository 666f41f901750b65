"""The installer loses no file in unusual trees."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from vmtctl import hooks
from vmtctl.install import hookplan
from vmtctl.install.tree import Tree

from tests.userland.trees import Unsynced, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtctl.install.calls import Calls
    from vmtctl.install.plan import Plan

PLACES = (
    *tuple(f"{place}/{name}" for place in ("scripts", "scripts/acpi") for name in hooks.SCRIPTS),
    "vmt-event",
    "vmt.d/10-site",
)
CONTENT = st.sampled_from(
    [
        b"",
        b"#!/bin/sh\n",
        b"#!/bin/sh\nexit 0\n",
        b"#!/bin/sh -\n\nexit 0\n",
        b"#!/bin/sh\r\nexit 0\r\n",
        b"#!/bin/sh\necho no newline",
        b"# >>> conda initialize >>>\n# <<< conda initialize <<<\n",
        b"\xff\xfe\x00binary",
    ]
)
# Only root may change a file's owner.
OWNERS = st.sampled_from([0, 1, 1000, 65534]) if os.geteuid() == 0 else st.just(os.geteuid())
FILE = st.tuples(st.just("file"), CONTENT, st.sampled_from([0o755, 0o644, 0o4755, 0o500]), OWNERS)
ENTRY = st.one_of(
    FILE,
    st.tuples(st.just("link"), st.sampled_from(["outside", "nowhere", "../lid_switch"])),
    st.just(("directory",)),
    st.just(("fifo",)),
)


@st.composite
def trees(draw: st.DrawFn, odd: bool = True) -> dict[str, Any]:
    """Entries below /etc/powerd; with ``odd``, other things than files and linked directories."""
    places = draw(st.lists(st.sampled_from(PLACES), unique=True, max_size=5))
    entry = ENTRY if odd else FILE
    # A foreign vmt-event is refused; another test covers that.
    found: dict[str, Any] = {p: draw(entry) for p in places if odd or p != "vmt-event"}
    if odd and draw(st.booleans()):
        found["scripts/acpi"] = ("link", "outside-directory")
        found = {p: e for p, e in found.items() if not p.startswith("scripts/acpi/")}
    return found


def picture(root: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        what: tuple[Any, ...] = (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode))
        what += (found.st_uid, found.st_gid)
        if path.is_symlink():
            what += (path.readlink(),)
        elif stat.S_ISREG(found.st_mode):
            what += (path.read_bytes(),)
        seen[str(path.relative_to(root))] = what
    return seen


@contextmanager
def planted(tree: dict[str, Any]) -> Iterator[Path]:
    """A directory with ``system``, the tree, and ``outside``, which must not change."""
    top = Path(tempfile.mkdtemp())
    try:
        (top / "outside").write_text("not ours")
        (top / "outside-directory").mkdir()
        (top / "outside-directory/power_button").write_text("not ours either")
        base = top / "system/etc/powerd"
        (base / "scripts").mkdir(parents=True)
        for place, (kind, *rest) in tree.items():
            path = base / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                content, mode, owner = rest
                path.write_bytes(content)
                os.chown(path, owner, -1)
                path.chmod(mode)
            elif kind == "link":
                path.symlink_to(top / rest[0] if rest[0].startswith("outside") else rest[0])
            elif kind == "directory":
                path.mkdir()
            else:
                os.mkfifo(path)
        yield top
    finally:
        shutil.rmtree(top)


def install(top: Path, *, typed: bool, calls: Calls | None = None) -> Plan:
    tree = Tree(str(top / "system"), calls or Unsynced())
    return hookplan.install(tree, typed=typed, force=False)


@settings(max_examples=80)
@given(trees(), st.booleans())
def test_install_completes_or_touches_nothing(tree: dict[str, Any], typed: bool) -> None:
    with planted(tree) as top:
        before = picture(top)
        if refusal(lambda: install(top, typed=typed)) is not None:
            assert picture(top) == before
            return
        after = picture(top)
        for name in ("outside", "outside-directory", "outside-directory/power_button"):
            assert after[name] == before[name]
        # Paths that are not files were neither replaced nor followed.
        for place, entry in tree.items():
            if entry[0] != "file":
                name = f"system/etc/powerd/{place}"
                assert after[name] == before[name]


@settings(max_examples=60)
@given(trees(odd=False), st.booleans())
def test_owners_modes_and_bytes_are_restored(tree: dict[str, Any], typed: bool) -> None:
    with planted(tree) as top:
        before = picture(top)
        if refusal(lambda: install(top, typed=typed)) is None:
            hookplan.uninstall(Tree(str(top / "system"), Unsynced()), force=False).carry_out()
        assert picture(top) == before


class ReadOnly(Unsynced):
    """A system in which one directory (by its inode; None: every one) cannot be written to."""

    def __init__(self, inode: int | None) -> None:
        self.inode = inode

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"open", "link", "rename", "unlink", "mkdir", "rmdir"}:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return found(*arguments, **named)
            places = [named[key] for key in ("dir_fd", "src_dir_fd", "dst_dir_fd") if key in named]
            inodes = {os.fstat(place).st_ino for place in places if place is not None}
            if self.inode is None or self.inode in inodes:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return found(*arguments, **named)

        return call


@settings(max_examples=60)
@given(trees(odd=False), st.booleans(), st.sampled_from([None, "", "scripts", "scripts/acpi"]))
def test_unwritable_directory_leaves_everything_unchanged(
    tree: dict[str, Any], typed: bool, place: str | None
) -> None:
    with planted(tree) as top:
        path = top / "system/etc/powerd" / (place or "")
        inode = None
        if place is not None and path.exists():
            inode = path.stat().st_ino
        elif place is not None:
            return
        before = picture(top)
        calls = ReadOnly(inode)
        refused = refusal(lambda: install(top, typed=typed, calls=calls))
        if refused is None:
            assert not install(top, typed=typed)  # nothing had to be done there
        else:
            assert "Read-only" in str(refused) or "script of the site" in str(refused)
            assert picture(top) == before


@settings(max_examples=60)
@given(trees(odd=False), st.booleans(), st.sampled_from(PLACES[:6]), st.booleans())
def test_concurrent_writes_are_never_lost(
    tree: dict[str, Any], typed: bool, place: str, replace: bool
) -> None:
    mine = b"#!/bin/sh\n# edited meanwhile\n"
    with planted(tree) as top:
        if refusal(lambda: install(top, typed=typed)) is not None:
            return
        hookplan.uninstall(Tree(str(top / "system"), Unsynced()), force=False).carry_out()
        plan = install(top, typed=typed)
        path = top / "system/etc/powerd" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if replace and path.exists():
            other = path.with_name("editor")
            other.write_bytes(mine)
            other.replace(path)
        else:
            # Only root writes to a file that its owner may not write.
            assume(not path.exists() or os.access(path, os.W_OK))
            path.write_bytes(mine)
        edited = picture(top)
        if refusal(lambda: plan) is not None:
            now = picture(top)
            assert {name: now[name] for name in edited} == edited
            return
        # The plan does not concern this file.
        assert path.read_bytes() == mine
