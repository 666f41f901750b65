"""The errors that vmtgen shows to its user, and the exit statuses that go with them.

Statuses are those of sysexits(3), which every BSD documents.
"""

from __future__ import annotations

USAGE = 64  # the command line is wrong
DATA = 65  # what was read is wrong: a spec, a template, a module
NO_INPUT = 66  # what should be read is not there
UNAVAILABLE = 69  # a tool or a package is missing
SOFTWARE = 70  # a fault of our own
CANNOT_CREATE = 73  # an output cannot be made
IO_ERROR = 74  # reading or writing failed half-way
NO_PERMISSION = 77  # the file system says no


class VmtgenError(Exception):
    """Something the user can put right.

    The text says what is wrong; ``hint``, where there is one, says what to do next.
    ``exit_status`` is the status with which the command ends.
    """

    exit_status: int = DATA

    def __init__(
        self, message: str, *, hint: str | None = None, exit_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        if exit_status is not None:
            self.exit_status = exit_status


class UsageError(VmtgenError):
    """The command line asks for something that cannot be."""

    exit_status = USAGE


class MissingInputError(VmtgenError):
    """A file or directory that is needed is not there."""

    exit_status = NO_INPUT


class UnavailableError(VmtgenError):
    """A tool or a Python package that is needed is not installed."""

    exit_status = UNAVAILABLE


class CannotCreateError(VmtgenError):
    """An output file or directory cannot be made."""

    exit_status = CANNOT_CREATE


def from_os_error(error: OSError, doing: str) -> VmtgenError:
    """Turn ``error``, met while ``doing`` ("read specs/tclo.yaml"), into a VmtgenError."""
    if isinstance(error, FileNotFoundError):
        status = NO_INPUT
    elif isinstance(error, PermissionError):
        status = NO_PERMISSION
    else:
        status = IO_ERROR
    reason = error.strerror or str(error)
    return VmtgenError(f"cannot {doing}: {reason}", exit_status=status)
