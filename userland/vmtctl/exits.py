"""Exit statuses of vmtctl, and the error that carries one.

The numbers are those of sysexits(3).
"""

from __future__ import annotations

import errno
import os

OK = 0
USAGE = 64  # the command line is wrong
DATA = 65  # a file is invalid
NO_INPUT = 66  # an input file does not exist
UNAVAILABLE = 69  # a tool, the driver or the host failed or lacks support
SOFTWARE = 70  # an internal error
CANNOT_CREATE = 73  # a file cannot be created
IO_ERROR = 74  # reading or writing failed
TEMPORARY = 75  # try again later
NO_PERMISSION = 77  # only root may do it, or the system does not allow it
CONFIG = 78  # the system's configuration does not allow it

# The text of the manual for each.
MEANINGS = (
    (OK, "Success, or no change was needed."),
    (USAGE, "The command line is wrong."),
    (DATA, "A file is invalid: a damaged module, an incomplete managed block."),
    (NO_INPUT, "An input file does not exist."),
    (UNAVAILABLE, "A tool, the driver or the host failed or does not support the request."),
    (SOFTWARE, "An internal error of vmtctl."),
    (CANNOT_CREATE, "A file cannot be created."),
    (IO_ERROR, "Reading or writing failed."),
    (TEMPORARY, "Another process uses the resource; try again later."),
    (NO_PERMISSION, "Permission denied: not root, or the system does not allow it."),
    (CONFIG, "The system's configuration does not allow the operation."),
)


class Failure(Exception):  # noqa: N818 - not an error of the program
    """An error that the administrator can correct.

    The text describes the error; ``hint``, if there is one, says what to do next, and
    ``status`` is the status with which the command ends.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = UNAVAILABLE) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status


def from_os_error(error: OSError, doing: str) -> Failure:
    """Turn ``error``, raised while ``doing`` ("read /etc/rc.conf"), into a Failure."""
    if isinstance(error, FileNotFoundError):
        status = NO_INPUT
    elif isinstance(error, PermissionError):
        status = NO_PERMISSION
    else:
        status = IO_ERROR
    reason = error.strerror or str(error)
    hint = ""
    if status == NO_PERMISSION and os.geteuid() != 0:
        hint = "become root first"
    elif status == NO_PERMISSION:
        hint = "root may not do it either: check the flags (ls -lo), the mount and kern.securelevel"
    elif error.errno == errno.EROFS:
        hint = "the file system is read-only: mount -u -o rw"
    return Failure(f"cannot {doing}: {reason}", hint=hint, status=status)
