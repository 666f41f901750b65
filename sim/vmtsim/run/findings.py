"""Findings of a run: each is a value with the rule, its origin, and the responsible code."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.rule_table import Consequence

if TYPE_CHECKING:
    from vmtsim.kernel.facts import Place
    from vmtsim.scenario.script import Phase

# Exit statuses of a run; a higher one is worse.
OK, PROPERTY_FAILED, NOT_LIVE, PANIC = 0, 1, 2, 3

STATUS = {
    Consequence.PANIC: PANIC,
    Consequence.DAMAGE: PROPERTY_FAILED,
    Consequence.WARNING: OK,
}
"""The status of a broken rule of the kernel: a warning does not fail a run."""


class Origin(enum.Enum):
    """The component that made the finding."""

    KERNEL = "kernel"  # the kernel model: a broken rule, or a panic
    PROTOCOL = "protocol"  # the host
    SCENARIO = "scenario"
    RUN = "run"


@dataclass(frozen=True)
class Finding:
    """A property that does not hold, found at ``at`` (virtual ns).

    ``status`` is its exit status, ``place`` the responsible code of the guest,
    if known, ``phase`` the phase of a campaign's run whose expectation was not met.  ``detected``
    names the kernels that detect a broken rule of theirs.
    """

    rule: str
    message: str
    at: int
    status: int = PROPERTY_FAILED
    origin: Origin = Origin.RUN
    place: Place | None = None
    phase: Phase | None = None
    detected: str = ""
