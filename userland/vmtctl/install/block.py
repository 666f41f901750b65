"""A marked block in a file of the site.

The markers say that the block is vmtctl's, whether the file ended without a newline or did not
exist, and the checksum of the block.  Removing the block restores every byte.  A line ends
with a newline, as for sh(1); a carriage return is a byte like any other.
"""

from __future__ import annotations

from vmtctl.exits import DATA, Failure

_BEGIN = b"# >>> vmtctl >>>"
_END = b"# <<< vmtctl <<<"
_NO_NEWLINE = b" no newline before"
_NEW_FILE = b" new file"
_SUM = b" sha256="

# The last line of a file of vmtctl.
_OWN_SUM = b"# vmtctl: sha256="

# Hexadecimal digits of the sum that are kept: it detects edits, not attacks.
_DIGITS = 16


class Parts:
    """The parts of a file: before the block, inside it, and after it."""

    __slots__ = ("after", "before", "inside", "note", "sum")

    def __init__(
        self, before: bytes, inside: bytes | None, after: bytes, note: bytes, sum_: bytes = b""
    ) -> None:
        self.before = before
        self.inside = inside
        self.after = after
        self.note = note  # _NO_NEWLINE, _NEW_FILE or nothing
        self.sum = sum_

    @property
    def edited(self) -> bool:
        """Whether the inside was edited since it was written, by any version of vmtctl."""
        return self.inside is not None and self.sum != _sum(self.inside)


def _sum(data: bytes) -> bytes:
    from hashlib import sha256

    return sha256(data).hexdigest()[:_DIGITS].encode()


def sealed(data: bytes) -> bytes:
    """Return ``data`` (a file of vmtctl, ending with a newline) with its checksum as last line."""
    return data + _OWN_SUM + _sum(data) + b"\n"


def unsealed(data: bytes) -> bytes | None:
    """Return a file of vmtctl without its checksum; None when the sum is wrong or missing."""
    start = data.rfind(b"\n", 0, -1) + 1
    body, last = data[:start], data[start:]
    return body if last == _OWN_SUM + _sum(body) + b"\n" else None


def split(data: bytes, path: str) -> Parts:
    """Split ``data``. Raises Failure when a marker is unmatched."""
    position = 0
    begin = end = -1
    inside_start = after_start = 0
    note = b""
    for number, line in enumerate(_lines(data), 1):
        bare = line.rstrip(b"\r\n")
        if bare.startswith(_BEGIN):
            if begin >= 0:
                raise _broken(path, number, "begins a second time")
            begin, inside_start = position, position + len(line)
            note = bare[len(_BEGIN) :]
        elif bare == _END:
            if begin < 0 or end >= 0:
                raise _broken(path, number, "ends without a beginning")
            end, after_start = position, position + len(line)
        position += len(line)
    if begin < 0:
        return Parts(data, None, b"", b"")
    if end < 0:
        raise _broken(path, data.count(b"\n", 0, begin) + 1, "begins but does not end")
    note, _, sum_ = note.partition(_SUM)
    return Parts(data[:begin], data[inside_start:end], data[after_start:], note, sum_)


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _broken(path: str, line: int, what: str) -> Failure:
    return Failure(
        f"{path}:{line}: vmtctl's block {what}; the file is not changed",
        hint="remove the stray marker line by hand",
        status=DATA,
    )


def with_block(data: bytes | None, inside: bytes, path: str, *, top: bool) -> bytes:
    """Return ``data`` (None: no file) with the block, which replaces an older one.

    A new block goes after the #! line with ``top``, else to the end.
    """
    inside = inside if not inside or inside.endswith(b"\n") else inside + b"\n"
    marked = _SUM + _sum(inside) + b"\n" + inside + _END + b"\n"
    if data is None:
        return b"#!/bin/sh\n" * top + _BEGIN + _NEW_FILE + marked
    parts = split(data, path)
    if parts.inside is None:
        before, after = data, b""
        if top:
            first = data[: data.find(b"\n") + 1] or data
            before = first if first.startswith(b"#!") else b""
            after = data[len(before) :]
        note = b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
            note = _NO_NEWLINE
        parts = Parts(before, b"", after, note)
    return parts.before + _BEGIN + parts.note + marked + parts.after


def without_block(data: bytes, path: str) -> bytes | None:
    """Return ``data`` without the block; None when the file was created for the block."""
    parts = split(data, path)
    if parts.inside is None:
        return data
    if parts.note == _NEW_FILE and not parts.after and parts.before in {b"", b"#!/bin/sh\n"}:
        return None
    before = parts.before
    if parts.note == _NO_NEWLINE and not parts.after and before.endswith(b"\n"):
        before = before[:-1]
    return before + parts.after
