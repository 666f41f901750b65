"""A plan: ordered changes; the system works after each of them.

vmtctl makes a plan from snapshots, shows it, and then carries it out. It refuses a change whose
file differs from its snapshot. When a change fails, vmtctl undoes the earlier ones.

Undoing writes no data: a replaced file keeps a second name beside its place until all changes are
done, and returns to its place by rename(2), which works on a full disk.  When even that fails,
vmtctl stops undoing, and the error has the place of each file.
"""

from __future__ import annotations

from vmtctl.exits import DATA, Failure
from vmtctl.install.tree import aside, lines_of, new, old

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.install.tree import Snapshot, Tree


class Change:
    """One change: its description, the path, and its diff."""

    diff = ""

    def __init__(self, tree: Tree, what: str, path: str) -> None:
        self.tree = tree
        self.what = what
        self.path = path

    def do(self) -> None:
        """Make the change. Raises Failure; ``undo`` then finds out how far it came."""
        raise NotImplementedError

    def undo(self) -> None:
        """Undo the change, as far as it was made. Raises Failure."""
        raise NotImplementedError

    def left(self) -> str:
        """Return where the previous file is, when it is not in its place; else ""."""
        return ""

    def finish(self) -> None:
        """Discard the data for undoing."""


class _Put(Change):
    """A file is created or replaced."""

    def __init__(
        self, tree: Tree, before: Snapshot, data: bytes, mode: int, like: Snapshot | None
    ) -> None:
        verb = "change" if before.exists else "create"
        super().__init__(tree, f"{verb} {before.path}", before.path)
        self.diff = _diff(before.path, before.data if before.exists else None, data)
        self._before = before
        self._data = data
        self._mode = mode
        self._like = like

    def do(self) -> None:
        self.tree.put(self._before, self._data, self._mode, self._like)

    def _ours(self) -> bool:
        """Whether the file in place is the one that this change put there."""
        now = self.tree.look(self.path)
        return now.kind == "file" and now.data == self._data and now.place != self._before.place

    def undo(self) -> None:
        if not self._before.exists:
            if self._ours():
                self.tree.remove(self.path)
        elif self._kept():
            if self._ours():
                self.tree.restore(old(self.path), self.path)
            elif self.tree.look(self.path).place == self._before.place:
                self.tree.forget(old(self.path))
            else:
                raise Failure(f"{self.path} was changed by another program at the same time")

    def _kept(self) -> bool:
        """Whether the previous file has a second name."""
        return self.tree.look(old(self.path)).place == self._before.place is not None

    def left(self) -> str:
        if not self._kept() or self.tree.look(self.path).place == self._before.place:
            return ""
        return f"{old(self.path)} is the former {self.path}"

    def finish(self) -> None:
        if self._before.exists:
            self.tree.forget(old(self.path))


class _Remove(Change):
    """A file is removed."""

    def __init__(self, tree: Tree, before: Snapshot) -> None:
        super().__init__(tree, f"remove {before.path}", before.path)
        self.diff = _diff(before.path, before.data, None)
        self._before = before

    def do(self) -> None:
        self.tree.set_aside(self._before)

    def undo(self) -> None:
        if (
            not self.tree.look(self.path).exists
            and self.tree.look(aside(self.path)).place == self._before.place
        ):
            self.tree.restore(aside(self.path), self.path)

    def left(self) -> str:
        if self.tree.look(self.path).place == self._before.place:
            return ""
        return f"{aside(self.path)} is the former {self.path}"

    def finish(self) -> None:
        self.tree.forget(aside(self.path))


class _Keep(Change):
    """A file gets a second name, for the administrator."""

    def __init__(self, tree: Tree, before: Snapshot, kept: str) -> None:
        super().__init__(tree, f"keep {before.path} as {kept}", kept)
        self._before = before

    def do(self) -> None:
        self.tree.keep(self._before, self.path)

    def undo(self) -> None:
        # Never the last name.
        places = [self.tree.look(path).place for path in (self.path, self._before.path)]
        if places[0] == places[1] == self._before.place:
            self.tree.remove(self.path)


class _MakeDirectory(Change):
    """A directory is created."""

    def __init__(self, tree: Tree, path: str, mode: int) -> None:
        super().__init__(tree, f"make the directory {path}", path)
        self._mode = mode

    def do(self) -> None:
        self.tree.make_directory(self.path, self._mode)

    def undo(self) -> None:
        if self.tree.look(self.path).kind == "directory":
            self.tree.remove_directory(self.path)


class _RemoveDirectory(Change):
    """An empty directory is removed."""

    def __init__(self, tree: Tree, path: str) -> None:
        super().__init__(tree, f"remove the directory {path}", path)
        self._mode = tree.look(path).mode

    def do(self) -> None:
        self.tree.remove_directory(self.path)

    def undo(self) -> None:
        if not self.tree.look(self.path).exists:
            self.tree.make_directory(self.path, self._mode, again=True)


class _Sweep(Change):
    """A leftover of an interrupted run is removed."""

    def __init__(self, tree: Tree, path: str) -> None:
        super().__init__(tree, f"remove a leftover of an interrupted run: {path}", path)

    def do(self) -> None:
        self.tree.remove(self.path)

    def undo(self) -> None:
        """Do nothing: the file was useless."""


class Plan:
    """The changes, and the tree that they are for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.changes: list[Change] = []

    def __bool__(self) -> bool:
        return bool(self.changes)

    def put(self, before: Snapshot, data: bytes, *, mode: int = 0o644, keep: bool = True) -> None:
        """Make the file ``before`` hold ``data``.

        With ``keep`` an existing file keeps its owner, mode, times and flags; else the owner is
        root, with ``mode``. Nothing is planned when the file is already like that.
        """
        before.need_file_or_nothing()
        like = before if before.exists and keep else None
        if before.exists and before.data == data and keep:
            return
        self.changes.append(_Put(self.tree, before, data, mode, like))

    def remove(self, before: Snapshot) -> None:
        """Remove the file ``before``."""
        before.need_file_or_nothing()
        self.changes.append(_Remove(self.tree, before))

    def keep_aside(self, before: Snapshot, kept: str) -> None:
        """Keep the file ``before`` also under the name ``kept``."""
        before.need_file_or_nothing()
        self.changes.append(_Keep(self.tree, before, kept))

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory."""
        self.changes.append(_MakeDirectory(self.tree, path, mode))

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        self.changes.append(_RemoveDirectory(self.tree, path))

    def sweep(self, path: str, ours: Callable[[Snapshot], bool] = lambda _: False) -> None:
        """Clean up beside ``path`` after an interrupted run.

        An incomplete file is removed. The former file of ``path`` is removed if ``path`` exists,
        with everything that others wrote, or if the former file was vmtctl's.
        Raises Failure where the former file may be the last copy.
        """
        fresh = self.tree.look(new(path))
        if fresh.kind == "file":
            self.changes.append(_Sweep(self.tree, fresh.path))
        for was in (self.tree.look(old(path)), self.tree.look(aside(path))):
            if was.kind != "file":
                continue
            if self.tree.look(path).kind != "file" and not ours(was):
                raise Failure(
                    f"{path} is missing, and {was.path} is its former file",
                    hint=f"to restore it: mv {was.path} {path}; if it is not needed: rm {was.path}",
                    status=DATA,
                )
            self.changes.append(_Sweep(self.tree, was.path))

    def diff(self) -> str:
        """Return the whole plan as a unified diff; a change without one is a comment line."""
        return "".join(change.diff or f"# {change.what}\n" for change in self.changes)

    def carry_out(self) -> None:
        """Do all changes, or none of them. Raises Failure."""
        begun: list[Change] = []
        try:
            for change in self.changes:
                # It may fail after its file was replaced, so add it before it starts.
                begun.append(change)
                change.do()
        except Failure as error:
            raise _taken_back(begun, error) from None
        except KeyboardInterrupt as error:
            raise _taken_back(begun, Failure("interrupted")) from error
        for change in self.changes:
            change.finish()


def _taken_back(begun: list[Change], error: Failure) -> Failure:
    """Undo the changes that were begun, the last first; return the error to report."""
    text = str(error)
    if begun[-1].path not in text:
        text = f"cannot {begun[-1].what}: {text}"
    rest = list(begun)
    try:
        while rest:
            rest[-1].undo()
            rest.pop()
    except Failure as another:
        # Nothing more is undone: each further step depends on the one that failed.
        left = "; ".join(filter(None, (_left(change) for change in rest)))
        done = ", ".join(change.what for change in rest[:-1])
        text += f"; and this cannot be undone: {rest[-1].what}: {another}"
        if done:
            text += f"; these are done: {done}"
        if left:
            text += f"; nothing is lost: {left}"
        hint = error.hint or "remove the cause, then run the same command again"
        return Failure(text, hint=hint, status=error.status)
    return Failure(f"{text}; nothing was changed", hint=error.hint, status=error.status)


def _left(change: Change) -> str:
    try:
        return change.left()
    except Failure:
        return f"{change.path} cannot be read; {old(change.path)} may be its former contents"


def _diff(path: str, before: bytes | None, after: bytes | None) -> str:
    import difflib

    lines = difflib.unified_diff(
        list(lines_of(before or b"")),
        list(lines_of(after or b"")),
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
