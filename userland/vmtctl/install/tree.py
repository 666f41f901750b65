"""Reads and replaces files below a root, without following a symbolic link.

Only the root itself may be a symbolic link. The code opens every directory of a path with
O_NOFOLLOW, relative to its parent's descriptor, so that no other process can insert a link between
a check and its use.
"""

from __future__ import annotations

import os
import stat

from vmtctl.exits import CANNOT_CREATE, DATA, TEMPORARY, Failure, from_os_error
from vmtctl.install.calls import Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The suffix of an incomplete file of vmtctl: `.NAME` and this.
NEW = ".vmtctl-new~"

# The suffix of the former file NAME, until all changes are done: `.NAME` and this.
OLD = ".vmtctl-old~"

# Configuration files are small; a larger file is not one.
SIZE_LIMIT = 1 << 20

# BSD's SF_IMMUTABLE, SF_APPEND, UF_IMMUTABLE, UF_APPEND (sys/stat.h)
_UNCHANGEABLE = 0x00020000 | 0x00040000 | 0x00000002 | 0x00000004

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Snapshot:
    """The state of a path when it was read: its kind, and a file's contents and attributes."""

    __slots__ = (
        "data", "flags", "gid", "identity", "kind", "mode", "path", "place", "times", "uid",
    )  # fmt: skip

    def __init__(self, path: str, kind: str, found: os.stat_result | None, data: bytes) -> None:
        self.path = path
        self.kind = kind  # absent, file, directory, link or other
        self.data = data
        self.mode = stat.S_IMODE(found.st_mode) if found else 0
        self.uid = found.st_uid if found else 0
        self.gid = found.st_gid if found else 0
        self.flags = getattr(found, "st_flags", 0) if found else 0
        self.times = (found.st_atime_ns, found.st_mtime_ns) if found else (0, 0)
        # The inode: two names with the same one are the same file.
        self.place = (found.st_dev, found.st_ino) if found else None
        # A directory's time changes with its entries.
        self.identity: tuple[object, ...] = (kind,)
        if found and kind == "file":
            self.identity = (kind, found.st_dev, found.st_ino, found.st_mtime_ns, data)
        elif found:
            self.identity = (kind, found.st_dev, found.st_ino)

    @property
    def exists(self) -> bool:
        """Whether the path exists."""
        return self.kind != "absent"

    def need_file_or_nothing(self) -> None:
        """Refuse a path that exists and is not a plain file. Raises Failure."""
        if self.kind in {"file", "absent"}:
            if self.flags & _UNCHANGEABLE:
                raise Failure(
                    f"{self.path} is immutable or append-only",
                    hint=f"chflags noschg,nosappnd,nouchg,nouappnd {self.path}",
                    status=CANNOT_CREATE,
                )
            return
        what = {"link": "a symbolic link", "directory": "a directory"}.get(
            self.kind, "no plain file"
        )
        raise Failure(
            f"{self.path} is {what}, and is not changed",
            hint="vmtctl follows no links; put a plain file there, or nothing",
            status=DATA,
        )


class Tree:
    """The files below ``root`` ("" is /), through ``calls``."""

    def __init__(self, root: str = "", calls: Calls | None = None) -> None:
        self.root = root.rstrip("/")
        self.calls = calls or Calls()

    def _open_directory(self, path: str) -> int:
        """Open the directory ``path``; the caller closes it."""
        calls = self.calls
        current = calls.open(self.root or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in path.split("/"):
            if not part:
                continue
            try:
                following = calls.open(part, _DIRECTORY, dir_fd=current)
            finally:
                calls.close(current)
            current = following
        return current

    def look(self, path: str) -> Snapshot:
        """Return what ``path`` (absolute, below the root) is. Raises Failure."""
        parent, _, name = path.rpartition("/")
        try:
            directory = self._open_directory(parent)
        except FileNotFoundError:
            return Snapshot(path, "absent", None, b"")
        except OSError as error:
            raise self._bad_parent(parent, error) from None
        try:
            try:
                return self._look_in(directory, name, path)
            finally:
                self.calls.close(directory)
        except OSError as error:
            raise from_os_error(error, f"read {path}") from None

    def _look_in(self, directory: int, name: str, path: str) -> Snapshot:
        calls = self.calls
        try:
            found = calls.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return Snapshot(path, "absent", None, b"")
        if not stat.S_ISREG(found.st_mode):
            kind = "other"
            if stat.S_ISLNK(found.st_mode):
                kind = "link"
            elif stat.S_ISDIR(found.st_mode):
                kind = "directory"
            return Snapshot(path, kind, found, b"")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = calls.open(name, flags, dir_fd=directory)
        except FileNotFoundError:  # another run has removed it
            return Snapshot(path, "absent", None, b"")
        try:
            found = calls.fstat(file)
            data = b""
            while chunk := calls.read(file, SIZE_LIMIT + 1 - len(data)):
                data += chunk
                if len(data) > SIZE_LIMIT:
                    raise Failure(f"{path} is too large to be a script", status=DATA)
        finally:
            calls.close(file)
        return Snapshot(path, "file", found, data)

    def _bad_parent(self, parent: str, error: OSError) -> Failure:
        # O_NOFOLLOW on a link: ELOOP in POSIX, EFTYPE (79) in NetBSD's open(2), and
        # ENOTDIR where O_DIRECTORY is checked first
        import errno

        if error.errno in {errno.ELOOP, errno.ENOTDIR, getattr(errno, "EFTYPE", 79)}:
            return Failure(
                f"a part of {parent} is a symbolic link or no directory; nothing is changed there",
                hint="vmtctl follows no links",
                status=DATA,
            )
        return from_os_error(error, f"open {parent}")

    def names(self, path: str) -> list[str]:
        """List the directory ``path``; empty when it does not exist. Raises Failure."""
        try:
            directory = self._open_directory(path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._bad_parent(path, error) from None
        try:
            try:
                return sorted(self.calls.listdir(directory))
            finally:
                self.calls.close(directory)
        except OSError as error:
            raise from_os_error(error, f"list {path}") from None

    # -- changes: each is atomic ---------------------------------------------

    def put(self, before: Snapshot, data: bytes, mode: int, like: Snapshot | None) -> None:
        """Replace or create ``before.path``; the former file keeps the name ``old(path)``.

        ``like`` gives owner, group, mode, times and flags; else the file is root's, with ``mode``.
        Raises Failure. After that the new file may still be in place, if only the directory
        could not be written to the disk: ``look`` decides.
        """
        with self._parent(before.path) as (directory, name):
            fresh, old = f".{name}{NEW}", f".{name}{OLD}"
            self._forget(directory, fresh)
            try:
                self._write(directory, fresh, data, mode, like)
                if like is not None and like.flags:
                    parent = before.path.rpartition("/")[0]
                    self.calls.chflags(f"{self.root}{parent}/{fresh}", like.flags)
                self._check(directory, name, before)
                if before.exists:
                    self.calls.link(name, old, src_dir_fd=directory, dst_dir_fd=directory)
                    self.calls.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
                else:
                    # Unlike rename(2), link(2) never replaces a file that was just created.
                    self.calls.link(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                self._forget(directory, fresh)
            self.calls.fsync(directory)

    def _write(
        self, directory: int, name: str, data: bytes, mode: int, like: Snapshot | None
    ) -> None:
        calls = self.calls
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = calls.open(name, flags, 0o600, dir_fd=directory)
        try:
            rest = data
            while rest:
                rest = rest[calls.write(file, rest) :]
            found = calls.fstat(file)
            owner = (found.st_uid, found.st_gid)
            target = owner
            if like is not None:
                target = (like.uid, like.gid)
                mode = like.mode
            elif os.geteuid() == 0:
                target = (0, 0)
            if target != owner:
                calls.fchown(file, *target)
            calls.fchmod(file, mode)  # after fchown, which clears the set-id bits
            if like is not None:
                # Keep the time of the administrator's last edit: vmtctl's block does not count.
                calls.utime(file, ns=like.times)
            calls.fsync(file)
        finally:
            calls.close(file)

    def _check(self, directory: int, name: str, before: Snapshot) -> None:
        if self._look_in(directory, name, before.path).identity != before.identity:
            raise Failure(
                f"{before.path} was changed by another program at the same time",
                hint="look at the change, then try again",
                status=TEMPORARY,
            )

    def _forget(self, directory: int, name: str) -> None:
        try:
            self.calls.unlink(name, dir_fd=directory)
        except OSError:
            pass  # there is none; a real error shows when the name is used

    def forget(self, path: str) -> None:
        """Remove the file ``path`` if that is possible."""
        try:
            with self._parent(path) as (directory, name):
                self._forget(directory, name)
        except Failure:
            pass  # the next run removes it

    def restore(self, kept: str, path: str) -> None:
        """Rename ``kept`` to ``path``, which needs no space on the disk."""
        with self._parent(kept) as (start, other), self._parent(path) as (directory, name):
            self.calls.rename(other, name, src_dir_fd=start, dst_dir_fd=directory)
            self._sync(directory)

    def set_aside(self, before: Snapshot) -> None:
        """Rename the file ``before`` to ``aside(path)``."""
        with self._parent(before.path) as (directory, name):
            self._check(directory, name, before)
            with self._parent(aside(before.path)) as (end, other):
                self.calls.rename(name, other, src_dir_fd=directory, dst_dir_fd=end)
            self.calls.fsync(directory)

    def remove(self, path: str) -> None:
        """Remove the file ``path``."""
        with self._parent(path) as (directory, name):
            self.calls.unlink(name, dir_fd=directory)
            self._sync(directory)

    def keep(self, before: Snapshot, kept: str) -> None:
        """Give the file ``before`` a second name in the same directory."""
        with self._parent(before.path) as (directory, name):
            self._check(directory, name, before)
            other = kept.rpartition("/")[2]
            self.calls.link(name, other, src_dir_fd=directory, dst_dir_fd=directory)
            self.calls.fsync(directory)

    def make_directory(self, path: str, mode: int, *, again: bool = False) -> None:
        """Make a directory with ``mode``, independent of the umask.

        With ``again`` it existed before: then it need not reach the disk.
        """
        with self._parent(path) as (directory, name):
            self.calls.mkdir(name, mode, dir_fd=directory)
            file = self.calls.open(name, _DIRECTORY, dir_fd=directory)
            try:
                self.calls.fchmod(file, mode)
            finally:
                self.calls.close(file)
            if again:
                self._sync(directory)
            else:
                self.calls.fsync(directory)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with self._parent(path) as (directory, name):
            self.calls.rmdir(name, dir_fd=directory)
            self._sync(directory)

    def _sync(self, directory: int) -> None:
        """Write a directory with changed names to the disk, if that is possible."""
        try:
            self.calls.fsync(directory)
        except OSError:
            pass

    def _parent(self, path: str) -> _Parent:
        return _Parent(self, path)

    def open_parent(self, path: str) -> tuple[int, str]:
        """Open the directory that holds ``path``; the caller closes it. Raises Failure."""
        parent, _, name = path.rpartition("/")
        try:
            return self._open_directory(parent), name
        except OSError as error:
            raise self._bad_parent(parent, error) from None


class _Parent:
    """The open directory of a path; OSErrors become Failures."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree = tree
        self._path = path
        self._directory = -1

    def __enter__(self) -> tuple[int, str]:
        self._directory, name = self._tree.open_parent(self._path)
        return self._directory, name

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._tree.calls.close(self._directory)
        except OSError:
            pass  # nothing was written through this descriptor
        if isinstance(error, OSError):
            failure = from_os_error(error, f"change {self._path}")
            import errno

            if error.errno == errno.EROFS:
                failure.hint = "the file system is read-only: mount -u -o rw"
            elif error.errno == errno.ENOSPC:
                failure.hint = "the file system is full: make room, then run the same command again"
            elif error.errno == errno.EPERM and os.geteuid() == 0:
                failure.hint = f"it or its directory is immutable: ls -ldo {self._path}"
            raise failure from None


def new(path: str) -> str:
    """Return the name of a file beside ``path`` until it is complete."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}{NEW}"


def old(path: str) -> str:
    """Return the name of a replaced file beside ``path`` until all changes are done."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}{OLD}"


def aside(path: str) -> str:
    """Return the name of a removed file until all changes are done.

    It is in /etc: the directory of ``path`` may have to be empty.
    """
    return f"/etc/.{path.removeprefix('/etc/').replace('/', '+')}{OLD}"


def lines_of(data: bytes) -> Iterator[str]:
    """Yield the lines of ``data`` with their ends, for a diff."""
    yield from data.decode("utf-8", "surrogateescape").splitlines(keepends=True)
