"""The record of vmtctl between runs, until the next boot: the modules that it loaded.

The kernel does not report from which file a module came.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

PATH = "/var/run/vmtctl.{}"  # with the name of the module


def _identity(path: str) -> str:
    """Return an identity that changes whenever the file does."""
    found = os.stat(path)
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def read(context: Context, name: str) -> dict[str, object] | None:
    """Return the record of the module ``name``, or None."""
    text = context.read(PATH.format(name))
    if not text:
        return None
    import json

    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def is_current(context: Context, name: str, path: str) -> bool:
    """Return whether the last loaded module ``name`` is the current file ``path``."""
    found = read(context, name)
    try:
        return bool(found) and found == {**(found or {}), "path": path, "file": _identity(path)}
    except OSError:
        return False


def write(context: Context, name: str, path: str) -> None:
    """Record that the module ``name`` was loaded from ``path``.

    A failure to write the record is a warning: the record only makes status more precise.
    """
    import json

    target = context.file(PATH.format(name))
    document = {"path": path, "file": _identity(path)}
    temporary = f"{target}.{os.getpid()}"
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(json.dumps(document) + "\n")
        os.replace(temporary, target)
    except OSError as error:
        context.warn(f"cannot record the module in {target}: {error.strerror}")


def forget(context: Context, name: str) -> None:
    """Remove the record."""
    try:
        os.unlink(context.file(PATH.format(name)))
    except OSError:
        pass
