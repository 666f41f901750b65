"""Further guarantees of the installer: synced directories, modes, messages, block position."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import USERLAND
from vmtctl.exits import IO_ERROR, Failure
from vmtctl.install import hookplan
from vmtctl.install.calls import Calls
from vmtctl.install.plan import Change, Plan
from vmtctl.install.tree import Tree

from tests.patience import HANG

if TYPE_CHECKING:
    from collections.abc import Callable


class Recorded(Calls):
    """Remembers the names of the calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != "seen" and callable(found):
            self.seen.append(name)
        return found


def _keep(tree: Tree) -> None:
    tree.keep(tree.look("/file"), "/file.kept")


def _put(tree: Tree) -> None:
    tree.put(tree.look("/file"), b"new", 0o644, None)


def _create(tree: Tree) -> None:
    tree.put(tree.look("/fresh"), b"new", 0o644, None)


@pytest.mark.parametrize(
    ("change", "call"),
    [
        (lambda tree: tree.remove("/file"), "unlink"),
        (lambda tree: tree.set_aside(tree.look("/file")), "rename"),
        (lambda tree: tree.restore("/other", "/file"), "rename"),
        (_keep, "link"),
        (_put, "rename"),
        (_create, "link"),
        (lambda tree: tree.make_directory("/new", 0o755), "mkdir"),
        (lambda tree: tree.remove_directory("/empty"), "rmdir"),
    ],
    ids=[
        "remove",
        "set aside",
        "restore",
        "keep",
        "put",
        "create",
        "make directory",
        "remove directory",
    ],
)
def test_changed_directory_entry_is_synced(
    tmp_path: Path, change: Callable[[Tree], None], call: str
) -> None:
    (tmp_path / "file").write_text("file")
    (tmp_path / "other").write_text("other")
    (tmp_path / "empty").mkdir()
    (tmp_path / "etc").mkdir()
    calls = Recorded()
    change(Tree(str(tmp_path), calls))
    assert "fsync" in calls.seen[calls.seen.index(call) :]


@pytest.mark.parametrize(
    "change",
    [
        Tree.set_aside,
        lambda tree, was: tree.keep(was, "/file.kept"),
        lambda tree, was: tree.put(was, b"new", 0o644, was),
    ],
)
def test_concurrent_change_by_others_is_kept(
    tmp_path: Path, change: Callable[[Tree, Any], None]
) -> None:
    (tmp_path / "file").write_text("file")
    tree = Tree(str(tmp_path))
    before = tree.look("/file")
    (tmp_path / "fresh").write_text("fresh")
    (tmp_path / "fresh").replace(tmp_path / "file")
    with pytest.raises(Failure, match="/file was changed by another program"):
        change(tree, before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_keeps_or_resets_its_mode(tmp_path: Path) -> None:
    for keep, mode in ((True, 0o600), (False, 0o755)):
        file = tmp_path / "file"
        file.write_text("old")
        file.chmod(0o600)
        tree = Tree(str(tmp_path))
        plan = Plan(tree)
        plan.put(tree.look("/file"), b"new", mode=0o755, keep=keep)
        plan.carry_out()
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", mode)


def test_removed_file_is_shown_in_diff(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("line\n")
    tree = Tree(str(tmp_path))
    plan = Plan(tree)
    plan.remove(tree.look("/file"))
    assert plan.diff().startswith("--- /file\n+++ /dev/null\n")


class Planted(Change):
    """A change that fails when applied, or when rolled back."""

    def __init__(self, tree: Tree, what: str, *, done: bool) -> None:
        super().__init__(tree, what, f"/{what}")
        self._done = done

    def do(self) -> None:
        if not self._done:
            raise Failure("planted")

    def undo(self) -> None:
        if self._done:
            raise Failure("stuck")

    def left(self) -> str:
        return f"/old{self.path} is what {self.path} was" if self._done else ""


def test_failed_rollback_is_reported_and_stops(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    plan = Plan(tree)
    plan.changes = [Planted(tree, what, done=what != "d") for what in "abcd"]
    with pytest.raises(Failure) as caught:
        plan.carry_out()
    assert str(caught.value) == (
        "cannot d: planted; and this cannot be undone: c: stuck; these are done: a, b; "
        "nothing is lost: /old/a is what /a was; /old/b is what /b was; /old/c is what /c was"
    )
    assert caught.value.hint == "remove the cause, then run the same command again"


def test_rollback_keeps_file_changed_by_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("old")
    tree = Tree(str(tmp_path))

    class ChangedDuringApply(Planted):
        def do(self) -> None:
            (tmp_path / "file").write_text("theirs")
            raise Failure("planted")

    plan = Plan(tree)
    plan.put(tree.look("/file"), b"new")
    plan.changes.append(ChangedDuringApply(tree, "x", done=False))
    with pytest.raises(
        Failure, match="/file was changed by another program at the same time"
    ) as caught:
        plan.carry_out()
    assert "/.file.vmtctl-old~ is the former /file" in str(caught.value)
    assert (tmp_path / "file").read_text() == "theirs"
    assert (tmp_path / ".file.vmtctl-old~").read_text() == "old"


def test_interrupt_rolls_everything_back(tmp_path: Path) -> None:
    class Interrupted(Planted):
        def do(self) -> None:
            raise KeyboardInterrupt

    (tmp_path / "file").write_text("old")
    tree = Tree(str(tmp_path))
    plan = Plan(tree)
    plan.put(tree.look("/file"), b"new")
    plan.changes.append(Interrupted(tree, "x", done=False))
    with pytest.raises(Failure, match="interrupted; nothing was changed"):
        plan.carry_out()
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_block_precedes_commands_of_script(tmp_path: Path) -> None:
    scripts = tmp_path / "etc/powerd/scripts"
    scripts.mkdir(parents=True)
    (scripts / "power_button").write_text("#!/bin/sh\n\n/sbin/shutdown -p now\n")
    (scripts / "power_button").chmod(0o755)
    hookplan.install(Tree(str(tmp_path)), typed=False, force=False).carry_out()
    text = (scripts / "power_button").read_text()
    assert text.startswith("#!/bin/sh\n")
    assert text.index("vmtctl") < text.index("/sbin/shutdown -p now")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EPERM, "it or its directory is immutable: ls -ldo /file"),
        (errno.ENOSPC, "the file system is full: make room, then run the same command again"),
        (errno.EROFS, "the file system is read-only: mount -u -o rw"),
    ],
)
def test_system_refusal_has_matching_hint(tmp_path: Path, number: int, hint: str) -> None:
    class Refused(Calls):
        @staticmethod
        def rename(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

    if number == errno.EPERM and os.geteuid() != 0:
        pytest.skip("for users other than root the hint is to become root")
    (tmp_path / "file").write_text("old")
    tree = Tree(str(tmp_path), Refused())
    plan = Plan(tree)
    plan.put(tree.look("/file"), b"new")
    with pytest.raises(Failure) as caught:
        plan.carry_out()
    assert caught.value.hint == hint
    assert str(caught.value).endswith("; nothing was changed")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to root")
def test_unwritable_report_states_that_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vmtctl", "powerd", "install", "-R", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(USERLAND)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=HANG,
        )
    assert done.returncode == IO_ERROR
    assert "the changes were made" in done.stderr
    assert (tmp_path / "etc/powerd/vmt-event").exists()
