"""The lock that keeps two runs of vmtctl from changing vmt0 at the same time."""

from __future__ import annotations

import os

from vmtctl.exits import CANNOT_CREATE, TEMPORARY, Failure, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

PATH = "/var/run/vmtctl.lock"


class Lock:
    """Holds /var/run/vmtctl.lock while the ``with`` block runs; the kernel frees it on death.

    The file holds the pid and what is being done. It is emptied at the end, so that a file with a
    pid whose process has died tells of a run that was killed (``vmtctl doctor`` looks for it).
    """

    def __init__(self, context: Context, doing: str) -> None:
        self._path = context.file(PATH)
        self._doing = doing
        self._file = -1

    def __enter__(self) -> None:
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self._path, flags, 0o644)
        except OSError as error:
            failure = from_os_error(error, f"open the lock {self._path}")
            if isinstance(error, FileNotFoundError):
                failure.status = CANNOT_CREATE
            raise failure from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise Failure(
                f"another vmtctl is at work ({holder or 'starting'})",
                hint="wait for it to end",
                status=TEMPORARY,
            ) from None
        self.note()

    def note(self) -> None:
        """Write into the file who holds it."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()} {self._doing}\n".encode(), 0)

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self._file, 0)
        os.close(self._file)


def left_over(context: Context) -> str | None:
    """Return what the lock file says though nobody holds the lock, or None."""
    import fcntl

    try:
        file = os.open(context.file(PATH), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(file, 200).decode("utf-8", "replace").strip()
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return None  # somebody is at work
    finally:
        os.close(file)
    return text or None
