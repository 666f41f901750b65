"""The ways in which a run ends early."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from vmtgen.common.errors import SOFTWARE, ReportedError

from vmtsim.kernel.rule_table import Consequence

if TYPE_CHECKING:
    from vmtsim.kernel.facts import Place


class Errno(enum.IntEnum):
    """errno(2) of NetBSD, as far as kernel models use it."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EINTR = 4
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    EDEADLK = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    ENODEV = 19
    ENOTDIR = 20
    EISDIR = 21
    EINVAL = 22
    ENOTTY = 25
    ENOSPC = 28
    ESPIPE = 29
    ERANGE = 34
    EAGAIN = 35
    EWOULDBLOCK = 35
    EMSGSIZE = 40
    EOPNOTSUPP = 45
    ETIMEDOUT = 60
    ENAMETOOLONG = 63
    EPROGMISMATCH = 75
    ENOSYS = 78
    ENOTSUP = 86
    ERESTART = -3
    EMOVEFD = -6


class Ending(Exception):  # noqa: N818 - it is no error of this program
    """The guest's run ended early; run/ and fakeguest/ turn it into a verdict."""


class KernelPanic(Ending):
    """The run ends here: the kernel has panicked, or its state is damaged.

    ``rule`` names the property that was broken, ``consequence`` is one of the two.
    ``place`` is the guest's code that broke it, if known.
    """

    def __init__(
        self, rule: str, message: str, consequence: Consequence, place: Place | None = None
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.consequence = consequence
        self.place = place

    @property
    def console(self) -> str:
        """The console's text: nothing if no kernel detects it."""
        return f"panic: {self.message}\n" if self.consequence is Consequence.PANIC else ""


class Halted(Ending):
    """The machine went down as requested: ``how`` is 'halt', 'reboot' or 'power off'."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Unmodelled(ReportedError):  # noqa: N818
    """The guest needs a part of the kernel that has no model."""

    exit_status = SOFTWARE
    hint = "docs/kernel-models.md explains how to add a model of a kernel function"


class Stalled(Ending):
    """No thread can run and no event is pending: a deadlock, or a lost wake-up."""


class Spinning(Stalled):
    """A thread never sleeps: an infinite loop."""
