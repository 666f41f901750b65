"""Output of a run: files replaced atomically, pipes, symbolic links, and early errors."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from vmtsim import cli
from vmtsim.core.output import Output, OutputError, check, write_text
from vmtsim.core.trace import Event, TraceFile, read_events

from .modkit import built

ROOT = os.geteuid() == 0
needs_permissions = pytest.mark.skipif(ROOT, reason="root may write everywhere")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_replaced_atomically_and_keeps_mode(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")
    path.chmod(0o640)
    with Output(path) as file:
        file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert _names(tmp_path) == ["o.json"]


def test_new_file_has_mode_of_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "o.json", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "o.json").stat().st_mode & 0o777 == 0o640


def test_maximum_length_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_text(path, "x")
    assert path.read_text() == "x"


def test_symlink_is_followed_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "real" / "o.json"
    target.parent.mkdir()
    target.write_text("old")
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(target)
    dangling.symlink_to(target.parent / "new.json")
    check((link, dangling))
    write_text(link, "one")
    write_text(dangling, "two")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert target.read_text() == "one"
    assert (target.parent / "new.json").read_text() == "two"
    assert _names(target.parent) == ["new.json", "o.json"]


@pytest.mark.parametrize("linked", [False, True])
def test_pipe_is_written_and_kept(tmp_path: Path, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = pipe
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    check((path,))  # must not wait for a reader
    reader.start()
    write_text(path, "through the pipe")
    reader.join(20)
    assert read == ["through the pipe"]
    assert pipe.is_fifo()


def test_pipe_with_closed_reader_is_named_error(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open for reading without waiting for a writer, and close before anything is written.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = Output(pipe)
    os.close(reader)
    file.write("x")
    with pytest.raises(OutputError, match="pipe: cannot be written: Broken pipe") as caught:
        file.close()
    assert caught.value.exit_status == 74


def test_exception_publishes_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")

    def fail() -> None:
        with Output(path) as file:
            file.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["o.json"]


def test_trace_is_not_published_after_exception(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def fail() -> None:
        with TraceFile(path, seed=1) as file:
            file(Event(0, 0, "rpci"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _names(tmp_path) == []


def test_full_disk_keeps_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.json"
    path.write_text("old")

    def full(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"o\.json: .*No space left") as caught:
        write_text(path, "new")
    assert caught.value.exit_status == 74
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["o.json"]


def test_unwritable_output_is_reported_before_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = str(built("twin", "amd64"))
    (tmp_path / "file").write_text("")
    for option in ("--json", "--trace", "--svg"):
        for name in ("nowhere/x", "file/x", "."):
            path = tmp_path / name
            assert cli.main(["run", module, option, str(path)]) == 73
            printed = capsys.readouterr()
            assert f"vmtsim: error: {path}: cannot be written" in printed.err
            assert printed.out == ""  # it did not run
    same = ["--json", str(tmp_path / "a"), "--svg", str(tmp_path / "a")]
    assert cli.main(["run", module, *same]) == 64
    assert _names(tmp_path) == ["file"]


@needs_permissions
def test_permission_error_has_its_own_status(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    read_only = tmp_path / "read-only"
    read_only.write_text("mine")
    read_only.chmod(0o400)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o400)
    for path in (closed / "x", read_only, pipe):
        with pytest.raises(OutputError) as caught:
            check((path,))
        assert caught.value.exit_status == 77
    assert read_only.read_text() == "mine"


def test_trace_is_written_through_symlink(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "run.jsonl")
    with TraceFile(link) as file:
        file(Event(0, 5, "rpci"))
    assert [event.at for event in read_events(tmp_path / "run.jsonl")] == [5]
