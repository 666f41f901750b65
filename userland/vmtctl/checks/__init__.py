"""The checks of ``vmtctl doctor``."""

from __future__ import annotations

# The severity of a finding; also doctor's exit status.
OK, WARNING, ERROR = 0, 1, 2
WORDS = ("ok", "warning", "error")


class Finding:
    """A finding, the reason why it matters, and its fix.

    ``name`` is stable across versions.  ``fix`` is a command line for sh(1) that removes the
    finding; ``advice`` describes what no command can do.
    """

    __slots__ = ("advice", "fix", "name", "severity", "what", "why")

    def __init__(
        self,
        severity: int,
        name: str,
        what: str,
        why: str = "",
        *,
        fix: str = "",
        advice: str = "",
    ) -> None:
        self.severity = severity
        self.name = name
        self.what = what
        self.why = why
        self.fix = fix
        self.advice = advice

    @property
    def document(self) -> dict[str, str]:
        """The finding for --json."""
        return {
            "name": self.name,
            "severity": WORDS[self.severity],
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "advice": self.advice,
        }
