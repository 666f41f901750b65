"""Two concurrent runs of vmtctl, and the permissions of the locks."""

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


def test_concurrent_runs_end_in_clean_state(tmp_path: Path) -> None:
    assert rounds.play(tmp_path / "image", 20) == []


def test_changes_are_serialised(image: Path) -> None:
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
def test_change_is_refused_during_another(
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


def test_image_and_system_have_separate_locks(vmtctl: Control, image: Path) -> None:
    with FilesLock(Tree(str(image))):
        assert vmtctl("powerd", "install").status == 0


def test_concurrent_changes_are_seen(
    vmtctl: Control, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def install(tree: Tree, **options: Any) -> Any:
        plans.append(real(tree, **options))
        if len(plans) == 1:  # the other run comes between this run's read and its lock
            real(tree, **options).carry_out()
        return plans[-1]

    real = hookplan.install
    monkeypatch.setattr(hookplan, "install", install)
    done = vmtctl("powerd", "install", "-R", str(image), "--json")
    assert (done.status, done.json["changed"]) == (0, False)


def test_file_removed_during_read_counts_as_absent(image: Path) -> None:
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
def test_failed_read_is_repeated_under_lock(
    vmtctl: Control, image: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    looks = []

    def sweep(self: Plan, *args: Any, **options: Any) -> None:
        looks.append((image / FILES[1:]).exists())
        if not looks[-1]:
            raise Failure("the files are inconsistent: another run is changing them")
        real(self, *args, **options)

    real = Plan.sweep
    monkeypatch.setattr(Plan, "sweep", sweep)
    assert vmtctl(*verb, "-R", str(image)).status == 0
    assert looks[:2] == [False, True]


def test_failed_read_under_lock_is_reported(vmtctl: Control, image: Path) -> None:
    (image / "etc/powerd/vmt-event").mkdir()
    done = vmtctl("powerd", "install", "-R", str(image))
    assert done.status == exits.DATA
    assert "vmt-event" in done.err


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_device_lock_requires_root(guest: Any, vmtctl: Control, mode: int) -> None:
    path = guest.root / "var/run/vmtctl.lock"
    path.touch()
    path.chmod(mode)
    # As with flock(1) of another user, who could open a file with the mode of an older version.
    with path.open() as other:
        if mode != 0o600:
            fcntl.flock(other, fcntl.LOCK_SH)
        assert vmtctl("detach").status == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_lock_requires_root(image: Path) -> None:
    with FilesLock(Tree(str(image))):
        assert (image / FILES[1:]).stat().st_mode & 0o777 == 0o600


def test_stale_lock_file_holds_no_lock(image: Path) -> None:
    (image / FILES[1:]).touch(0o600)
    with FilesLock(Tree(str(image)), 0.0):
        pass
    assert not (image / FILES[1:]).exists()


def test_lock_file_symlink_is_not_followed(image: Path, tmp_path: Path) -> None:
    (image / FILES[1:]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="make the lock"), FilesLock(Tree(str(image))):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_load_does_not_attach_during_run(vmtctl: Control, guest: Any) -> None:
    module = guest.module()
    assert vmtctl("load", "-m", module).status == 0
    assert vmtctl("detach").status == 0
    context = _context(guest)
    with lock.Lock(context, "run vmtoolsd"):
        done = vmtctl("load", "-m", module)
    assert done.status == exits.TEMPORARY
    assert guest.get()["attached"] is None


def test_detach_waits_for_load(vmtctl: Control, guest: Any) -> None:
    with lock.Lock(_context(guest), "load"):
        assert vmtctl("detach").status == exits.TEMPORARY
    assert guest.get()["attached"] == "stock"


def _context(guest: Any) -> Any:
    from vmtctl.context import Context
    from vmtctl.grammar import Values

    values = Values()
    values.options["tools-root"] = str(guest.root)
    return Context(values)
