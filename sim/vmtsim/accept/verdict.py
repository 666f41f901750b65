"""The result of a scenario on a real guest: each property held, broken, or not judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtsim.accept.compare import Comparison
    from vmtsim.core.trace import Event
    from vmtsim.scenario.script import SkippedStep

HELD, BROKEN, NOT_JUDGED = "held", "broken", "not judged"
# Verdicts of a scenario, the worst last.
OK, SKIPPED, UNJUDGED, DIFFERS, FAILED, CRASHED = (
    "ok", "skipped", "not judged", "differs", "FAILED", "CRASHED",
)  # fmt: skip
EXIT = {OK: 0, SKIPPED: 0, UNJUDGED: 1, DIFFERS: 1, FAILED: 1, CRASHED: 3}


@dataclass(frozen=True)
class Property:
    """One property of vmtsim.run.simulation, as far as it is visible from outside the kernel."""

    name: str
    state: str
    detail: str = ""


@dataclass
class Result:
    """One scenario.  Events are those of the real run; times are nanoseconds."""

    scenario: str
    summary: str = ""
    properties: list[Property] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    skipped_steps: list[SkippedStep] = field(default_factory=list)
    expected: int = 0
    judged: int = 0
    comparison: Comparison | None = None
    simulated: Sequence[Event] = ()
    real: Sequence[Event] = ()
    origin: int = 0
    seconds: float = 0.0
    calls: int = 0
    crash: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """The verdict: OK, SKIPPED, UNJUDGED, DIFFERS, FAILED or CRASHED."""
        if self.skipped:
            return SKIPPED
        if self.crash:
            return CRASHED
        if self.findings or any(each.state == BROKEN for each in self.properties):
            return FAILED
        if self.comparison is not None and self.comparison.differences:
            return DIFFERS
        judged = sum(each.state != NOT_JUDGED for each in self.properties)
        if 2 * judged < len(self.properties) or 2 * self.judged < self.expected:
            return UNJUDGED
        return OK


def status(results: Sequence[Result]) -> int:
    """Return the exit status of a whole run: that of the worst scenario, 1 if nothing ran."""
    played = [each for each in results if each.verdict != SKIPPED]
    return max((EXIT[each.verdict] for each in played), default=1)


def properties(
    *,
    loaded: str,
    crash: str,
    rules: Sequence[str],
    failures: Sequence[str],
    judged: int,
    ends: Any,
) -> list[Property]:
    """Return the properties that `vmtsim run` checks, in its order.

    ``loaded`` is modload's result ("0": success), ``rules`` are the protocol's rules that were
    broken, ``failures`` the expectations that were not met, ``ends`` a session's End.
    """
    found = [
        Property(
            "the module loads", HELD if loaded == "0" else BROKEN, "" if loaded == "0" else loaded
        )
    ]
    kernel = "the kernel's rules are kept"
    if crash:
        found.append(Property(kernel, BROKEN, crash))
    else:
        found.append(
            Property(
                kernel,
                NOT_JUDGED,
                "no panic, LOCKDEBUG or sanitizer report; a kernel without those options checks "
                "little",
            )
        )
    if loaded != "0" or ends is None:
        unknown = "the driver did not run"
        return [
            *found,
            *(
                Property(name, NOT_JUDGED, unknown)
                for name in (
                    "the protocol's rules are kept",
                    "threads make progress",
                    "the scenario's expectations are met",
                    "the module unloads and leaks nothing",
                )
            ),
        ]
    found.append(
        Property("the protocol's rules are kept", BROKEN if rules else HELD, "; ".join(rules))
    )
    found.append(_progress(ends, crash))
    found.append(_expectations(failures, judged))
    found.append(_leaves(ends, crash))
    return found


def _progress(ends: Any, crash: str) -> Property:
    name = "threads make progress"
    if crash:
        return Property(name, NOT_JUDGED, "the guest crashed")
    if ends.alive is None:
        return Property(name, NOT_JUDGED, "the driver was not in contact with the host at the end")
    return Property(
        name, HELD if ends.alive else BROKEN, "" if ends.alive else "no answer to a ping, no poll"
    )


def _expectations(failures: Sequence[str], judged: int) -> Property:
    name = "the scenario's expectations are met"
    if failures:
        return Property(name, BROKEN, f"{len(failures)} are not met")
    if not judged:
        return Property(name, NOT_JUDGED, "none could be checked")
    return Property(name, HELD)


def _leaves(ends: Any, crash: str) -> Property:
    name = "the module unloads and leaks nothing"
    if crash or not ends.unload:
        return Property(name, NOT_JUDGED, "it was not unloaded")
    if ends.unload != "0":
        return Property(name, BROKEN, f"modunload: {ends.unload}")
    if ends.device:
        return Property(name, BROKEN, f"{ends.device} is still attached")
    if ends.channels:
        numbers = ", ".join(str(each) for each in ends.channels)
        return Property(name, BROKEN, f"channels to the host are open: {numbers}")
    if ends.pages:
        return Property(name, BROKEN, f"the host's balloon still has {ends.pages} pages")
    return Property(name, HELD, "memory use is not visible from outside")
