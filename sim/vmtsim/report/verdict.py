"""The verdicts of runs, campaigns and sessions, by exit status: one table for all reports."""

from __future__ import annotations

from vmtgen.common.errors import SOFTWARE

from vmtsim.run.findings import FINE, NOT_LIVE, PANIC, PROPERTY_FAILED

# status -> (the class of a failure, what it means)
_TABLE = {
    PROPERTY_FAILED: ("FAILED", "a property did not hold"),
    NOT_LIVE: ("NOT LIVE", "the guest hangs, or did not recover"),
    PANIC: ("PANIC", "the kernel would have gone down"),
    SOFTWARE: ("SIMULATOR", "an error of vmtsim itself: the result cannot be trusted"),
}


def failure_class(status: int) -> str:
    """Return the class of a failure in capitals."""
    return _TABLE[status][0]


def verdict(status: int, fine: str = "every property held") -> str:
    """Return the verdict in a line; ``fine`` says what holds where nothing failed."""
    if status == FINE:
        return f"fine: {fine}"
    return ": ".join(_TABLE[status])
