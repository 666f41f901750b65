"""The verdicts of runs, campaigns and sessions, by exit status: one table for all reports."""

from __future__ import annotations

from vmtgen.common.errors import SOFTWARE

from vmtsim.run.findings import NOT_LIVE, OK, PANIC, PROPERTY_FAILED

# status -> (the class of a failure, its meaning)
_TABLE = {
    PROPERTY_FAILED: ("FAILED", "a property did not hold"),
    NOT_LIVE: ("NOT LIVE", "the guest hangs, or did not recover"),
    PANIC: ("PANIC", "the kernel would have panicked"),
    SOFTWARE: ("SIMULATOR", "internal error of vmtsim: the result is not valid"),
}


def failure_class(status: int) -> str:
    """Return the class of a failure in capitals."""
    return _TABLE[status][0]


def verdict(status: int, held: str = "every property held") -> str:
    """Return the verdict in a line; ``held`` is the text if nothing failed."""
    if status == OK:
        return f"ok: {held}"
    return ": ".join(_TABLE[status])
