"""The checks of ``vmtctl doctor``."""

from __future__ import annotations

# How bad a finding is; also doctor's exit status.
FINE, BETTER, BROKEN = 0, 1, 2
WORDS = ("fine", "better", "broken")


class Finding:
    """What was found, why it matters, and the command that mends it."""

    __slots__ = ("mend", "severity", "what", "why")

    def __init__(self, severity: int, what: str, why: str = "", mend: str = "") -> None:
        self.severity = severity
        self.what = what
        self.why = why
        self.mend = mend

    @property
    def document(self) -> dict[str, str]:
        """The finding for --json."""
        return {
            "severity": WORDS[self.severity],
            "what": self.what,
            "why": self.why,
            "mend": self.mend,
        }
