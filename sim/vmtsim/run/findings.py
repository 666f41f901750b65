"""What a run found: each finding is a value with the rule, its origin, and the code to blame."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtsim.kernel.rule_table import Consequence

if TYPE_CHECKING:
    from vmtsim.kernel.facts import Place
    from vmtsim.scenario.script import Phase

# Exit statuses of a run, the worse the higher.
FINE, PROPERTY_FAILED, NOT_LIVE, PANIC = 0, 1, 2, 3

STATUS = {
    Consequence.PANIC: PANIC,
    Consequence.DAMAGE: PROPERTY_FAILED,
    Consequence.WARNING: FINE,
}
"""The status of a broken rule of the kernel: a warning fails no run."""


class Origin(enum.Enum):
    """Who found it."""

    KERNEL = "kernel"  # the kernel model: a rule of its own, or a panic
    PROTOCOL = "protocol"  # the host
    SCENARIO = "scenario"
    RUN = "run"


@dataclass(frozen=True)
class Finding:
    """A property that does not hold, found at ``at`` (virtual ns).

    ``status`` is the exit status that it stands for, ``place`` the guest's code to blame, where
    one is known, ``phase`` the phase of a campaign's run whose expectation was not met.
    ``noticed`` says which kernels notice a broken rule of theirs.
    """

    rule: str
    message: str
    at: int
    status: int = PROPERTY_FAILED
    origin: Origin = Origin.RUN
    place: Place | None = None
    phase: Phase | None = None
    noticed: str = ""
