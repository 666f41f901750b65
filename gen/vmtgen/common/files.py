"""Files as vmtgen names them in messages, looks at them, and writes them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vmtgen.common.errors import CannotCreateError, MissingInputError


def shown(path: Path) -> str:
    """Return ``path`` as messages print it: relative to where the user is, when it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except (ValueError, OSError, RuntimeError):  # RuntimeError: links that go round in a circle
        return str(path)


def expect_file(path: Path, *, hint: str | None = None) -> None:
    """Raise MissingInputError, which says what is there instead, unless ``path`` is a file."""
    if path.is_file():
        return
    if path.is_dir():
        raise MissingInputError(f"{shown(path)}: is a directory", hint=hint)
    if path.exists():
        raise MissingInputError(f"{shown(path)}: is not a regular file", hint=hint)
    raise MissingInputError(f"{shown(path)}: no such file", hint=hint)


def destination(path: Path) -> Path:
    """Return the file that writing to ``path`` makes or replaces: what a link leads to.

    Raises CannotCreateError where something stands there that is no regular file, such as a
    device: it must be neither read nor replaced.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise CannotCreateError(
            f"cannot write {shown(path)}: it is there and is not a regular file",
            hint="remove it, or write elsewhere with --out",
        )
    return target


def write(path: Path, content: bytes) -> bool:
    """Write ``content`` in one step, unless ``path`` already holds it; tell whether it was written.

    Nobody ever reads half of it, and what goes wrong leaves nothing behind. Raises
    CannotCreateError.
    """
    try:
        target = destination(path)
        if target.is_file() and target.read_bytes() == content:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as place:
            temporary = Path(place.name)
            try:
                place.write(content)
                place.close()  # a full disk may be told only here
                temporary.chmod(0o644)  # whatever the umask says
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotCreateError(f"cannot write {shown(path)}: {reason}") from error
    return True
