"""The errors that vmtgen and vmtsim report to their user, and the exit statuses.

Statuses from 64 on are those of sysexits(3).
"""

from __future__ import annotations

USAGE, DATA, NO_INPUT, UNAVAILABLE, SOFTWARE = 64, 65, 66, 69, 70
CANNOT_CREATE, IO_ERROR, NO_PERMISSION, INTERRUPTED = 73, 74, 77, 130

STATUSES = {
    USAGE: "wrong usage",
    DATA: "invalid input",
    NO_INPUT: "no such input",
    UNAVAILABLE: "a tool, a package or a service is missing",
    SOFTWARE: "an internal error, or something that has no model",
    CANNOT_CREATE: "an output file cannot be created",
    IO_ERROR: "an error while reading or writing",
    NO_PERMISSION: "permission denied",
    INTERRUPTED: "interrupted",
}
"""The meaning of each status, for --help; a command lists its own, from 0 on, before them."""


class ReportedError(Exception):
    """An error that the user can correct.

    The text describes the error; ``hint``, if there is one, says what to do next.
    ``exit_status`` is the status with which the command ends.
    """

    exit_status: int = DATA
    hint: str | None = None

    def __init__(
        self, message: str, *, hint: str | None = None, exit_status: int | None = None
    ) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        if exit_status is not None:
            self.exit_status = exit_status


class UsageError(ReportedError):
    """The command line is invalid."""

    exit_status = USAGE


class MissingInputError(ReportedError):
    """A required file or directory does not exist."""

    exit_status = NO_INPUT


class UnavailableError(ReportedError):
    """A required tool or Python package is not installed."""

    exit_status = UNAVAILABLE


class CannotCreateError(ReportedError):
    """An output file or directory cannot be created."""

    exit_status = CANNOT_CREATE


def from_os_error(error: OSError, doing: str = "") -> ReportedError:
    """Turn ``error``, raised while ``doing`` ("read specs/tclo.yaml"), into a ReportedError."""
    if isinstance(error, FileNotFoundError):
        status = NO_INPUT
    elif isinstance(error, PermissionError):
        status = NO_PERMISSION
    else:
        status = IO_ERROR
    reason = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    text = f"cannot {doing}: {reason}" if doing else f"{where}{reason}"
    return ReportedError(text, exit_status=status)
