"""One call of a guest's tool: its arguments, and its output."""

from __future__ import annotations

import getopt
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from pathlib import Path

# strerror(3) of NetBSD, lib/libc/gen/errlist.c.
_ERRORS = {
    1: "Operation not permitted",
    2: "No such file or directory",
    4: "Interrupted system call",
    5: "Input/output error",
    6: "Device not configured",
    8: "Exec format error",
    12: "Cannot allocate memory",
    14: "Bad address",
    16: "Device busy",
    17: "File exists",
    19: "Operation not supported by device",
    21: "Is a directory",
    22: "Invalid argument",
    34: "Result too large or too small",
    35: "Resource temporarily unavailable",
    40: "Message too long",
    45: "Operation not supported",
    60: "Connection timed out",
    75: "Program version wrong",
    78: "Function not implemented",
    86: "Not supported",
}


def strerror(number: int) -> str:
    """Return NetBSD's text of an errno."""
    return _ERRORS.get(number, f"Unknown error: {number}")


@dataclass(frozen=True)
class Answer:
    """The output of a tool, and its exit status."""

    out: str = ""
    err: str = ""
    status: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a tool: its arguments, the caller's directory, the guest's."""

    name: str
    arguments: tuple[str, ...]
    directory: str
    root: Path

    def options(self, letters: str) -> tuple[dict[str, list[str]], list[str]]:
        """Return options (each with its values) and operands; raises GetoptError."""
        pairs, operands = getopt.getopt(list(self.arguments), letters)
        found: dict[str, list[str]] = {}
        for option, value in pairs:
            found.setdefault(option[1:], []).append(value)
        return found, operands


def refuse(text: str, status: int = 1) -> Answer:
    """Return the answer of a tool that fails with a message."""
    return Answer(err=text + "\n", status=status)
