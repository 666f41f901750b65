"""Two locks: one for vmt0 and the modules, one for the files of a tree.

``vmtctl run`` holds the first as long as its command needs the channel, which may be days.  The
second is held briefly, and independently of the device.  Only root can open the two files:
flock(2) needs no more than an open file, so another user who could open one could hold the lock.
"""

from __future__ import annotations

import os

from vmtctl.exits import CANNOT_CREATE, TEMPORARY, Failure, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.context import Context
    from vmtctl.install.plan import Plan
    from vmtctl.install.tree import Tree

PATH = "/var/run/vmtctl.lock"
FILES = "/etc/.vmtctl.lock"

# Seconds. A run that changes files needs much less.
PATIENCE = 10.0

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _open(name: str, directory: int | None = None) -> int:
    """Open the lock file ``name``, which only its owner can open."""
    file = os.open(name, _FLAGS, 0o600, dir_fd=directory)
    found = os.fstat(file)
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return file
    # Another user may hold it already: replace it with a new file.
    os.close(file)
    os.unlink(name, dir_fd=directory)
    return os.open(name, _FLAGS | os.O_EXCL, 0o600, dir_fd=directory)


class Lock:
    """Holds /var/run/vmtctl.lock while the ``with`` block runs; the kernel frees it on death.

    The file has the pid and the current action. vmtctl empties it at the end, so that the pid of
    a dead process in it shows that a run was killed (``vmtctl doctor`` looks for it).
    """

    def __init__(self, context: Context, doing: str) -> None:
        self._path = context.file(PATH)
        self._doing = doing
        self._file = -1

    def __enter__(self) -> None:
        import fcntl

        try:
            self._file = _open(self._path)
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
                f"another vmtctl is running ({holder or 'starting'})",
                hint="wait for it to end",
                status=TEMPORARY,
            ) from None
        self.note()

    def note(self) -> None:
        """Write the holder into the file."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()} {self._doing}\n".encode(), 0)

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self._file, 0)
        os.close(self._file)


class FilesLock:
    """Keeps other runs of vmtctl from changing files of ``tree`` while the ``with`` block runs.

    It is in the tree that is changed, so an image and the running system do not block each other,
    and two names of one tree mean one lock.  The lock file is removed at the end.  Plan the
    changes inside of the block: the state from before it may have changed.  Raises Failure
    when another run does not end in time.
    """

    def __init__(self, tree: Tree, patience: float = PATIENCE) -> None:
        self._tree = tree
        self._patience = patience
        self._directory = -1
        self._file = -1

    def __enter__(self) -> None:
        self._directory, name = self._tree.open_parent(FILES)
        try:
            self._take(name)
        except OSError as error:
            os.close(self._directory)
            raise from_os_error(error, f"make the lock {self._tree.root}{FILES}") from None
        except BaseException:
            os.close(self._directory)
            raise

    def _take(self, name: str) -> None:
        import fcntl
        import time

        end = time.monotonic() + self._patience
        while True:
            self._file = _open(name, self._directory)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have removed the file after this process opened it.
                if os.path.samestat(
                    os.fstat(self._file),
                    os.stat(name, dir_fd=self._directory, follow_symlinks=False),
                ):
                    return
            except (BlockingIOError, FileNotFoundError):
                pass
            os.close(self._file)
            if time.monotonic() >= end:
                raise Failure(
                    f"another vmtctl changes files in {self._tree.root or '/'}",
                    hint="wait for it to end, then try again",
                    status=TEMPORARY,
                )
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        try:
            os.unlink(FILES.rpartition("/")[2], dir_fd=self._directory)
        except OSError:
            pass  # a leftover file holds no lock
        os.close(self._file)
        os.close(self._directory)


def first_look(context: Context, make: Callable[[], Plan]) -> Plan:
    """Return the plan for the files as they are before the lock is taken.

    It shows whether there is anything to change, so whether root and the lock are needed.  Where
    it fails, another run may be in the middle of its change: make the plan again under the
    lock.  Raises Failure when that fails, too.
    """
    try:
        return make()
    except Failure:
        if context.dry_run or not context.may_change:
            raise
        from vmtctl.install.tree import Tree

        with FilesLock(Tree(context.files_root)):
            return make()


def left_over(context: Context) -> str | None:
    """Return the contents of the lock file if the lock is free, else None."""
    import fcntl

    try:
        file = os.open(context.file(PATH), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(file, 200).decode("utf-8", "replace").strip()
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return None  # a run is in progress
    finally:
        os.close(file)
    return text or None
