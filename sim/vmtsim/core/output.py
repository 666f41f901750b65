"""Output files of a run, each written completely or not at all.

A regular file is written beside its destination and renamed into place, so that no reader sees half
of one and an old one survives a failure.  Anything else (a pipe, /dev/stdout) is opened and written
directly: a rename would replace it with a file.  Symbolic links are followed, never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from vmtgen.common.errors import CANNOT_CREATE, IO_ERROR, NO_PERMISSION, USAGE, ReportedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_FORBIDDEN = {errno.EACCES, errno.EPERM}


class OutputError(ReportedError):
    """A file that cannot be written; the text names the path as the user gave it."""

    def __init__(self, path: Path, reason: str, exit_status: int) -> None:
        super().__init__(f"{path}: {reason}", exit_status=exit_status)


def _refuse(path: Path, error: OSError, otherwise: int) -> NoReturn:
    status = NO_PERMISSION if error.errno in _FORBIDDEN else otherwise
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENOENT:
        reason = f"no directory {path.resolve().parent}"
    raise OutputError(path, f"cannot be written: {reason}", status) from error


def _found(path: Path) -> os.stat_result | None:
    """Return the status of the file at ``path``; None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def check(paths: Iterable[Path | None]) -> None:
    """Raise OutputError for a path that cannot be written, before the work starts.

    None means an option that was not given.  Pipes are not opened: that could block forever.
    """
    taken: dict[str, Path] = {}
    for path in paths:
        if path is None:
            continue
        try:
            found = _found(path)
            if found is not None and not stat.S_ISREG(found.st_mode):
                if stat.S_ISDIR(found.st_mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                if not os.access(path, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                continue
            place = os.path.realpath(path)
            if place in taken:
                raise OutputError(path, f"two outputs have this path, also {taken[place]}", USAGE)
            taken[place] = path
            if found is None or _inherited(found) is None:
                _Beside(path, found).discard()
        except OSError as error:
            _refuse(path, error, CANNOT_CREATE)


def _inherited(found: os.stat_result) -> int | None:
    """Return 1 or 2 if that descriptor is open on this file, as with /dev/stdout and `> FILE`."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), found):
                return descriptor
    return None


def replaceable(path: Path) -> bool:
    """Return whether a write to ``path`` replaces the whole file, so that it can be repeated.

    This is false for pipes, terminals, and files that the shell opened for this process.
    """
    found = _found(path)
    return found is None or (stat.S_ISREG(found.st_mode) and _inherited(found) is None)


class _Beside:
    """A temporary file in the directory of its destination; raises OSError."""

    def __init__(self, path: Path, found: os.stat_result | None) -> None:
        self.target = Path(os.path.realpath(path))
        if found is not None and not os.access(self.target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self.name = self.target.parent / f".vmtsim-{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self.descriptor = os.open(self.name, flags, 0o666)
        if found is not None:
            self.name.chmod(stat.S_IMODE(found.st_mode))

    def publish(self) -> None:
        self.name.replace(self.target)

    def discard(self) -> None:
        """Remove it; closes its descriptor unless a stream owns it."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        with contextlib.suppress(OSError):
            self.name.unlink()


class Output:
    """One text file being written; a context manager that publishes it unless there was an error.

    Raises OutputError: ``exit_status`` 73 if the file cannot be created, 77 if that is forbidden,
    74 if writing fails.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._beside: _Beside | None = None
        try:
            self._stream: IO[str] = os.fdopen(self._open(), "w", encoding="utf-8", newline="\n")
        except OSError as error:
            _refuse(self.path, error, CANNOT_CREATE)

    def _open(self) -> int:
        found = _found(self.path)
        # A file that the shell opened is continued at its offset, not from the start.
        inherited = None if found is None else _inherited(found)
        if inherited is not None:
            sys.stdout.flush()
            return os.dup(inherited)
        if found is None or stat.S_ISREG(found.st_mode):
            self._beside = _Beside(self.path, found)
            return self._beside.descriptor
        return os.open(self.path, os.O_WRONLY)

    def write(self, text: str) -> None:
        """Add ``text``."""
        try:
            self._stream.write(text)
        except OSError as error:
            self.discard()
            _refuse(self.path, error, IO_ERROR)

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        if self._stream.closed:
            return
        try:
            self._stream.close()
            if self._beside is not None:
                self._beside.publish()
        except OSError as error:
            self.discard()
            _refuse(self.path, error, IO_ERROR)

    def discard(self) -> None:
        """Discard what was written: an existing file of that name stays as it was."""
        with contextlib.suppress(OSError):
            self._stream.close()
        if self._beside is not None:
            with contextlib.suppress(OSError):
                self._beside.name.unlink()

    def __enter__(self) -> Output:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole file; raises OutputError."""
    with Output(path) as file:
        file.write(text)
