"""Files: how they are named, which are accepted, and how they are written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common import files
from vmtgen.common.errors import CannotCreateError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Callable


def test_paths_are_shown_relative_to_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.shown(tmp_path / "a" / "b") == "a/b"
    assert files.shown(tmp_path.parent) == str(tmp_path.parent)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to(os.devnull)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (a_directory, "is a directory"),
        (a_fifo, "is not a regular file"),
        (a_link_to_a_device, "is not a regular file"),
        (lambda _: None, "no such file"),
    ],
)
def test_unreadable_input_is_named(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "it")
    with pytest.raises(MissingInputError, match=f"it: {message}$"):
        files.expect_file(tmp_path / "it")


@pytest.mark.parametrize("make", [a_directory, a_fifo, a_link_to_a_device, a_link_to_itself])
def test_special_file_is_neither_read_nor_replaced(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    place = tmp_path / "it"
    make(place)
    before = place.lstat()
    with pytest.raises(CannotCreateError, match="it: it exists and is not a regular file"):
        files.write(place, b"text")
    assert (place.lstat().st_ino, place.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


@pytest.mark.parametrize("there", [True, False])
def test_symlink_target_is_written_and_link_kept(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "file"
    if there:
        target.parent.mkdir()
        target.write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere/file")
    assert files.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_file_is_written_once_with_same_mode_everywhere(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert files.write(tmp_path / "a" / "b", b"text")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o644
    assert not files.write(tmp_path / "a" / "b", b"text")


def no_space(*_: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["write", "replace", "chmod"])
def test_failure_keeps_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    if step == "write":
        made = tempfile.NamedTemporaryFile

        def full(**options: Any) -> Any:
            place = made(**options)
            place.write = no_space
            return place

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    else:
        monkeypatch.setattr(Path, step, no_space)
    with pytest.raises(CannotCreateError, match=r"cannot write .*file: No space left on device"):
        files.write(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []
