"""A plan: changes in an order in which every beginning is a working system.

A plan is made from snapshots, shown, and then carried out. A change whose file is no longer as in
its snapshot is refused. When a change fails, those before it are taken back.
"""

from __future__ import annotations

from vmtctl.exits import Failure
from vmtctl.install.tree import TEMPORARY_SUFFIX, lines_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.install.tree import Snapshot, Tree


class Change:
    """One change: what it is in words, its diff, how to do it, and how to take it back."""

    __slots__ = ("_do", "_undo", "diff", "path", "what")

    def __init__(
        self,
        what: str,
        path: str,
        do: Callable[[], object],
        undo: Callable[[], object],
        diff: str = "",
    ) -> None:
        self.what = what
        self.path = path
        self.diff = diff
        self._do = do
        self._undo = undo

    def do(self) -> None:
        """Do it. Raises Failure."""
        self._do()

    def undo(self) -> None:
        """Take it back. Raises Failure."""
        self._undo()


class Plan:
    """The changes, and the tree that they are for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.changes: list[Change] = []

    def __bool__(self) -> bool:
        return bool(self.changes)

    def put(self, before: Snapshot, data: bytes, *, mode: int = 0o644, keep: bool = True) -> None:
        """Make the file ``before`` hold ``data``.

        With ``keep`` an existing file's owner, mode and flags stay; else they are root's and
        ``mode``. Nothing is planned when the file is so already.
        """
        before.need_file_or_nothing()
        like = before if before.exists and keep else None
        if before.exists and before.data == data and keep:
            return
        tree, path = self.tree, before.path

        def undo() -> None:
            now = tree.look(path)
            if now.kind != "file" or now.data != data or now.identity == before.identity:
                return
            if before.exists:
                tree.put(now, before.data, before.mode, before)
            else:
                tree.remove(now)

        verb = "change" if before.exists else "create"
        diff = _diff(path, before.data if before.exists else None, data)
        self._add(f"{verb} {path}", path, lambda: tree.put(before, data, mode, like), undo, diff)

    def remove(self, before: Snapshot, *, what: str = "remove") -> None:
        """Remove the file ``before``."""
        before.need_file_or_nothing()
        tree = self.tree

        def undo() -> None:
            now = tree.look(before.path)
            if not now.exists:
                tree.put(now, before.data, before.mode, before)

        diff = _diff(before.path, before.data, None)
        self._add(f"{what} {before.path}", before.path, lambda: tree.remove(before), undo, diff)

    def keep_aside(self, before: Snapshot, kept: str) -> None:
        """Keep the file ``before`` under the name ``kept``, too."""
        before.need_file_or_nothing()
        tree = self.tree

        def undo() -> None:
            now = tree.look(kept)
            if now.identity == before.identity:
                tree.remove(now)

        self._add(f"keep {before.path} as {kept}", kept, lambda: tree.keep(before, kept), undo)

    def put_back(self, kept: Snapshot, before: Snapshot) -> None:
        """Let ``kept`` take the place of ``before``."""
        tree = self.tree

        def undo() -> None:
            now = tree.look(before.path)
            if now.identity != kept.identity or tree.look(kept.path).exists:
                return
            tree.keep(now, kept.path)
            if before.exists:
                tree.put(now, before.data, before.mode, before)
            else:
                tree.remove(now)

        diff = _diff(before.path, before.data if before.exists else None, kept.data)
        what = f"put {kept.path} back as {before.path}"
        self._add(what, before.path, lambda: tree.put_back(kept, before), undo, diff)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory."""
        tree = self.tree

        def undo() -> None:
            if tree.look(path).kind == "directory":
                tree.remove_directory(path)

        self._add(f"make the directory {path}", path, lambda: tree.make_directory(path, mode), undo)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        tree = self.tree
        mode = tree.look(path).mode

        def undo() -> None:
            if not tree.look(path).exists:
                tree.make_directory(path, mode)

        self._add(f"remove the directory {path}", path, lambda: tree.remove_directory(path), undo)

    def sweep(self, directory: str) -> None:
        """Remove the temporary files that a crash left in ``directory``."""
        for name in self.tree.names(directory):
            if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
                left = self.tree.look(f"{directory}/{name}")
                if left.kind == "file":
                    self.remove(left, what="remove what a crash left behind:")

    def _add(
        self,
        what: str,
        path: str,
        do: Callable[[], object],
        undo: Callable[[], object],
        diff: str = "",
    ) -> None:
        self.changes.append(Change(what, path, do, undo, diff))

    def diff(self) -> str:
        """Return the whole plan as a unified diff, with a line for what has no lines."""
        return "".join(change.diff or f"# {change.what}\n" for change in self.changes)

    def carry_out(self, done: Callable[[str], object]) -> None:
        """Do all changes, telling ``done`` of each, or none of them. Raises Failure."""
        begun: list[Change] = []
        try:
            for change in self.changes:
                # It may fail after its file was replaced, so it counts from its beginning.
                begun.append(change)
                change.do()
        except Failure as error:
            left = _take_back(begun)
            text = f"cannot {begun[-1].what}: {error}"
            hint = error.hint
            if left:
                text += f"; and this could not be taken back: {', '.join(left)}"
                hint = hint or "mend the cause, then run the same command again"
            else:
                text += "; nothing was changed"
            raise Failure(text, hint=hint, status=error.status) from None
        for change in self.changes:
            done(change.what)


def _take_back(begun: list[Change]) -> list[str]:
    left = []
    for change in reversed(begun):
        try:
            change.undo()
        except Failure:
            left.append(change.what)
    return left


def _diff(path: str, old: bytes | None, new: bytes | None) -> str:
    import difflib

    lines = difflib.unified_diff(
        list(lines_of(old or b"")),
        list(lines_of(new or b"")),
        "/dev/null" if old is None else path,
        "/dev/null" if new is None else path,
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
