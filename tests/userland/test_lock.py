"""Two runs of vmtctl at the same time, and who may hold the locks."""

from __future__ import annotations

import fcntl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from vmtctl import exits, lock
from vmtctl.exits import Failure
from vmtctl.install import hookplan
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree
from vmtctl.lock import FILES, FilesLock

from tests.userland import rounds

if TYPE_CHECKING:
    from pathlib import Path

    from answers import Control


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    rounds.image(root)
    return root


def test_runs_at_once_end_in_a_clean_state(tmp_path: Path) -> None:
    assert rounds.play(tmp_path / "image", 20) == []


def test_changes_wait_for_one_another(image: Path) -> None:
    tree, order = Tree(str(image)), []

    def second() -> None:
        with FilesLock(tree):
            order.append("second")

    with FilesLock(tree):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert not (image / FILES[1:]).exists()


@pytest.mark.parametrize(
    "words",
    [
        ("powerd", "install"),
        ("powerd", "uninstall"),
        ("service", "install"),
        ("clock", "5m", "--persist"),
        ("clock", "--follow-host", "on", "--persist"),
    ],
)
def test_a_change_is_refused_while_another_lasts(
    vmtctl: Control, image: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(FilesLock.__init__, "__defaults__", (0.0,))
    assert rounds.change(image, ("powerd", "install")) == 0
    if words == ("powerd", "install"):
        (image / "etc/powerd/vmt-event").unlink()
    before = rounds.contents(image)
    with FilesLock(Tree(str(image))):
        done = vmtctl(*words, "-R", str(image))
    assert done.status == exits.TEMPORARY
    assert "another vmtctl changes files" in done.err
    assert rounds.contents(image) == before


def test_an_image_and_the_system_do_not_hinder_each_other(vmtctl: Control, image: Path) -> None:
    with FilesLock(Tree(str(image))):
        assert vmtctl("powerd", "install").status == 0


def test_what_another_run_did_meanwhile_counts(
    vmtctl: Control, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def install(tree: Tree, **options: Any) -> Any:
        plans.append(real(tree, **options))
        if len(plans) == 1:  # the other run comes between our look and our lock
            real(tree, **options).carry_out()
        return plans[-1]

    real = hookplan.install
    monkeypatch.setattr(hookplan, "install", install)
    done = vmtctl("powerd", "install", "-R", str(image), "--json")
    assert (done.status, done.json["changed"]) == (0, False)


def test_a_file_that_another_run_removes_during_the_look_is_absent(image: Path) -> None:
    tree = Tree(str(image))
    button = image / "etc/powerd/scripts/power_button"
    real = tree.calls.open

    def after_the_other_run(name: str, *args: Any, **options: Any) -> int:
        if name == button.name:
            button.unlink()
        return real(name, *args, **options)

    tree.calls.open = after_the_other_run  # type: ignore[method-assign]
    assert tree.look("/etc/powerd/scripts/power_button").kind == "absent"


@pytest.mark.parametrize("verb", [("powerd", "install"), ("clock", "5m", "--persist")])
def test_a_look_that_fails_is_repeated_under_the_lock(
    vmtctl: Control, image: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    looks = []

    def sweep(self: Plan, *args: Any, **options: Any) -> None:
        looks.append((image / FILES[1:]).exists())
        if not looks[-1]:
            raise Failure("cannot make sense of files that another run is changing")
        real(self, *args, **options)

    real = Plan.sweep
    monkeypatch.setattr(Plan, "sweep", sweep)
    assert vmtctl(*verb, "-R", str(image)).status == 0
    assert looks[:2] == [False, True]


def test_a_look_that_fails_under_the_lock_too_is_reported(vmtctl: Control, image: Path) -> None:
    (image / "etc/powerd/vmt-event").mkdir()
    done = vmtctl("powerd", "install", "-R", str(image))
    assert done.status == exits.DATA
    assert "vmt-event" in done.err


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_only_root_can_hold_the_lock_of_the_device(guest: Any, vmtctl: Control, mode: int) -> None:
    path = guest.root / "var/run/vmtctl.lock"
    path.touch()
    path.chmod(mode)
    # As flock(1) of another user, who could open a file with the mode of an older version.
    with path.open() as other:
        if mode != 0o600:
            fcntl.flock(other, fcntl.LOCK_SH)
        assert vmtctl("detach").status == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_root_can_open_the_lock_of_the_files(image: Path) -> None:
    with FilesLock(Tree(str(image))):
        assert (image / FILES[1:]).stat().st_mode & 0o777 == 0o600


def test_a_file_that_a_killed_run_left_is_no_lock(image: Path) -> None:
    (image / FILES[1:]).touch(0o600)
    with FilesLock(Tree(str(image)), 0.0):
        pass
    assert not (image / FILES[1:]).exists()


def test_a_link_is_not_followed(image: Path, tmp_path: Path) -> None:
    (image / FILES[1:]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="make the lock"), FilesLock(Tree(str(image))):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_load_does_not_attach_in_the_middle_of_a_run(vmtctl: Control, guest: Any) -> None:
    module = guest.module()
    assert vmtctl("load", "-m", module).status == 0
    assert vmtctl("detach").status == 0
    context = _context(guest)
    with lock.Lock(context, "run vmtoolsd"):
        done = vmtctl("load", "-m", module)
    assert done.status == exits.TEMPORARY
    assert guest.get()["attached"] is None


def test_detach_does_not_disturb_a_load(vmtctl: Control, guest: Any) -> None:
    with lock.Lock(_context(guest), "load"):
        assert vmtctl("detach").status == exits.TEMPORARY
    assert guest.get()["attached"] == "stock"


def _context(guest: Any) -> Any:
    from vmtctl.context import Context
    from vmtctl.grammar import Values

    values = Values()
    values.options["tools-root"] = str(guest.root)
    return Context(values)
