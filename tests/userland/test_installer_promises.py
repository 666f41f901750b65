"""What the installer promises beyond old or new: synced names, modes, words, where a block goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtctl.exits import Failure
from vmtctl.install import hookplan
from vmtctl.install.calls import Calls
from vmtctl.install.plan import Change, Plan
from vmtctl.install.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


def _put_back(tree: Tree) -> None:
    tree.put_back(tree.look("/other"), tree.look("/file"))


@pytest.mark.parametrize(
    ("change", "call"),
    [
        (lambda tree: tree.remove(tree.look("/file")), "unlink"),
        (_keep, "link"),
        (_put_back, "rename"),
        (lambda tree: tree.make_directory("/new", 0o755), "mkdir"),
        (lambda tree: tree.remove_directory("/empty"), "rmdir"),
    ],
    ids=["remove", "keep", "put back", "make directory", "remove directory"],
)
def test_a_name_that_changes_is_synced(
    tmp_path: Path, change: Callable[[Tree], None], call: str
) -> None:
    (tmp_path / "file").write_text("file")
    (tmp_path / "other").write_text("other")
    (tmp_path / "empty").mkdir()
    calls = Recorded()
    change(Tree(str(tmp_path), calls))
    assert "fsync" in calls.seen[calls.seen.index(call) :]


@pytest.mark.parametrize("meanwhile", ["file", "other"])
def test_nothing_is_put_back_over_what_somebody_else_wrote(tmp_path: Path, meanwhile: str) -> None:
    for name in ("file", "other"):
        (tmp_path / name).write_text(name)
    tree = Tree(str(tmp_path))
    kept, before = tree.look("/other"), tree.look("/file")
    (tmp_path / "fresh").write_text("fresh")
    (tmp_path / "fresh").replace(tmp_path / meanwhile)
    with pytest.raises(Failure, match=f"/{meanwhile} was changed by somebody else"):
        tree.put_back(kept, before)


@pytest.mark.parametrize("change", [Tree.remove, lambda tree, was: tree.keep(was, "/file.kept")])
def test_what_somebody_else_wrote_meanwhile_is_not_touched(
    tmp_path: Path, change: Callable[[Tree, Any], None]
) -> None:
    (tmp_path / "file").write_text("file")
    tree = Tree(str(tmp_path))
    before = tree.look("/file")
    (tmp_path / "fresh").write_text("fresh")
    (tmp_path / "fresh").replace(tmp_path / "file")
    with pytest.raises(Failure, match="/file was changed by somebody else"):
        change(tree, before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_kept_as_it_was_or_made_anew(tmp_path: Path) -> None:
    for keep, mode in ((True, 0o600), (False, 0o755)):
        file = tmp_path / "file"
        file.write_text("old")
        file.chmod(0o600)
        tree = Tree(str(tmp_path))
        plan = Plan(tree)
        plan.put(tree.look("/file"), b"new", mode=0o755, keep=keep)
        plan.carry_out(lambda _: None)
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", mode)


def test_a_file_that_goes_is_shown_to_go_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("line\n")
    tree = Tree(str(tmp_path))
    plan = Plan(tree)
    plan.remove(tree.look("/file"))
    assert plan.diff().startswith("--- /file\n+++ /dev/null\n")


def test_what_cannot_be_taken_back_is_named(tmp_path: Path) -> None:
    def fail() -> None:
        raise Failure("planted")

    plan = Plan(Tree(str(tmp_path)))
    plan.changes = [
        Change("paint", "/p", lambda: None, fail),
        Change("build", "/b", fail, lambda: None),
    ]
    with pytest.raises(Failure) as caught:
        plan.carry_out(lambda _: None)
    assert str(caught.value) == "cannot build: planted; and this could not be taken back: paint"
    assert caught.value.hint == "mend the cause, then run the same command again"


def test_our_block_comes_before_what_a_script_does_itself(tmp_path: Path) -> None:
    scripts = tmp_path / "etc/powerd/scripts"
    scripts.mkdir(parents=True)
    (scripts / "power_button").write_text("#!/bin/sh\n\n/sbin/shutdown -p now\n")
    hookplan.install(Tree(str(tmp_path)), typed=False, force=False).carry_out(lambda _: None)
    text = (scripts / "power_button").read_text()
    assert text.startswith("#!/bin/sh\n")
    assert text.index("vmtctl") < text.index("/sbin/shutdown -p now")
