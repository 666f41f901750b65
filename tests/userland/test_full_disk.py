"""The installer on a full or broken disk: no file of the administrator is lost."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from vmtctl import cli, exits
from vmtctl.install.tree import Tree

from tests.userland.trees import (
    SITE,
    VERBS,
    Unsynced,
    built,
    fill,
    lost,
    picture,
    prepare,
    temporary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Calls that need space, and calls that write directories.
CALLS = ("write", "rename", "link", "unlink", "fsync", "mkdir", "rmdir", "fchmod", "utime")


class Broken(Unsynced):
    """Let one kind of call fail: the ``number``-th, or that and every later one."""

    def __init__(self, call: str, number: int, error: int, *, lasting: bool) -> None:
        self.call = call
        self.number = number
        self.error = error
        self.lasting = lasting
        self.count = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != super().__getattribute__("call"):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.number or (self.lasting and self.count > self.number):
                raise OSError(self.error, os.strerror(self.error))
            return found(*arguments, **named)

        return call


def _site_files(root: Path) -> dict[str, tuple[bytes, int]]:
    """The files of the site as they are now, by their path below ``root``."""
    seen = picture(root)
    return {f"etc/powerd/{name}": (seen[f"etc/powerd/{name}"][2], entry[1])
            for name, entry in SITE.items()}  # fmt: skip


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("verb", VERBS)
def test_any_failing_call_loses_nothing(verb: str, lasting: bool) -> None:
    make, before = VERBS[verb]
    with built(SITE) as model:
        prepare(model, before)
        old, files = picture(model), _site_files(model)
        with built({}) as other:
            shutil.copytree(model, other, symlinks=True, dirs_exist_ok=True)
            make(Tree(str(other), Unsynced())).carry_out()
            new = picture(other)
        assert new != old
        points = 0
        for call in CALLS:
            number = 0
            while True:
                number += 1
                # Each call fails both ways: once, and always after that.
                error = (errno.ENOSPC, errno.EIO)[(number + lasting) % 2]
                with built({}) as root:
                    shutil.copytree(model, root, symlinks=True, dirs_exist_ok=True)
                    calls = Broken(call, number, error, lasting=lasting)
                    message = ""
                    try:
                        make(Tree(str(root), calls)).carry_out()
                    except exits.Failure as failure:
                        message = f"{failure}"
                    if calls.count < number:
                        break
                    points += 1
                    now = picture(root)
                    if not message:
                        # The failure had no effect.
                        assert now == new, (call, number)
                    elif "nothing was changed" in message:
                        assert now == old, (call, number, message)
                    else:
                        assert lasting, (call, number, message)
                        assert "cannot be undone" in message
                        assert lost(root, files, message) == [], (call, number, message)
                    if not lasting and call != "unlink":
                        assert not [path for path in root.rglob("*") if temporary(path.name)]
                    # Without the cause, the same command succeeds and cleans up.
                    make(Tree(str(root), Unsynced())).carry_out()
                    make(Tree(str(root), Unsynced())).carry_out()
                    assert picture(root) == new, (call, number, message)
                    assert not [path for path in root.rglob("*") if temporary(path.name)]
        assert points > 15


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB and 40 files."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "small"
    place.mkdir()
    if libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, b"size=64k,nr_inodes=40") != 0:
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    yield place
    assert libc.umount2(bytes(place), 2) == 0


def _free(place: Path, blocks: int) -> None:
    """Leave ``blocks`` pages of 4 KiB free."""
    filler = place / "filler"
    filler.unlink(missing_ok=True)
    found = os.statvfs(place)
    filler.write_bytes(b"x" * (found.f_bavail - blocks) * found.f_frsize)


@pytest.mark.parametrize("option", [(), ("--no-acpi",)], ids=["acpi", "blocks"])
def test_full_file_system_keeps_site_files(
    small: Path, option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    root = small / "root"
    ended = set()
    for blocks in range(14):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        fill(root, SITE)
        old, files = picture(root), _site_files(root)
        _free(small, blocks)
        status = cli.main(["powerd", "install", *option, "-R", str(root)])
        message = capsys.readouterr().err
        ended.add(status)
        if status:
            assert status == exits.IO_ERROR, message
            assert "No space left" in message
            assert "make room" in message
            assert lost(root, files, message) == [], (blocks, message)
            assert picture(root) == old, (blocks, message)
        else:
            assert cli.main(["powerd", "uninstall", "-R", str(root)]) == 0
            assert picture(root) == old
            assert capsys.readouterr().err == ""
    assert ended == {0, exits.IO_ERROR}


def test_without_free_inodes_nothing_changes(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small / "root"
    root.mkdir()
    fill(root, SITE)
    ended = set()
    for free in range(12):
        for path in small.glob("empty*"):
            path.unlink()
        old = picture(root)
        for number in range(os.statvfs(small).f_favail - free):
            (small / f"empty{number}").touch()
        status = cli.main(["powerd", "install", "-R", str(root)])
        ended.add(status)
        if status:
            assert picture(root) == old, capsys.readouterr().err
        else:
            assert cli.main(["powerd", "uninstall", "-R", str(root)]) == 0
            assert picture(root) == old
    assert ended == {0, exits.IO_ERROR}
