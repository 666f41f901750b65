"""The result of a session, as lines and as the JSON that ``vmtsim run`` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vmtsim.report import chart
from vmtsim.report.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.trace import Event, Trace
    from vmtsim.gdb.session import Session

OK, FAILED = 0, 1
# The verdict that is neither a failure of the guest nor a success.
NOT_JUDGED = "not judged"
_LONGEST = 400


def conversation(trace: Trace, show: Callable[[str], None]) -> None:
    """Print the conversation live, in the format of ``vmtsim run``."""

    def happened(event: Event) -> None:
        for row in chart.rows((event,)):
            text = f"{event.at / 1e9:9.3f}  {row.kind:<6}  {row.left or row.right}"
            show(text.rstrip())

    trace.subscribe(happened, chart.KINDS)


# A guest that opened its channels with another host breaks these rules.
_OF_CHANNELS = frozenset({"channel-unknown", "channel-closed", "channel-dead", "cookie"})


class Findings:
    """Collects the rules of the protocol that the guest broke.

    A guest that connects in the middle of a conversation continues with channels that this host
    never opened.  Violations do not count until the guest has opened its own channel and was reset.
    The status of a state change that another host requested does not count either: the guest
    resends it on a new channel.
    """

    def __init__(self, trace: Trace) -> None:
        self.events: list[Event] = []
        self.inherited = 0
        self._opened = False
        self._between = False
        self._reset = False
        trace.subscribe(self._happened, ("violation", "open", "tclo.reply"))

    def _happened(self, event: Event) -> None:
        if event.kind == "open":
            self._opened = True
        elif event.kind == "tclo.reply":
            self._reset = self._reset or event["message"] == b"reset"
            self._between = self._between and event["message"] != b"reset"
        elif event["rule"] in _OF_CHANNELS and (self._between or not self._opened):
            self._between = True
            self.inherited += 1
        elif event["rule"] == "state-change" and not self._reset:
            self.inherited += 1
        else:
            self.events.append(event)

    def of(self, session: Session) -> list[dict[str, Any]]:
        """Return all findings, those of the scenario too."""
        found = [
            {
                "rule": f"protocol: {event['rule']}",
                "message": str(event.get("detail")),
                "at": event.at,
                "status": FAILED,
            }
            for event in self.events
        ]
        found += [
            {"rule": "scenario", "message": str(failure), "at": session.clock(), "status": FAILED}
            for failure in session.failures
        ]
        if 2 * session.judged < session.expected:
            found.append(
                {
                    "rule": NOT_JUDGED,
                    "message": f"{session.judged} of the scenario's {session.expected} expectations"
                    " could be judged from outside the guest: fewer than half",
                    "at": session.clock(),
                    "status": FAILED,
                }
            )
        return found


def record(session: Session, findings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result; keys that ``vmtsim run`` also writes have the same meaning."""
    scenario, program = session.settings.scenario, session.settings.program
    rules = {finding["rule"].partition(":")[0] for finding in findings}
    return {
        "format": "vmtsim-outcome",
        "version": 2,
        "module": {"name": program.name, "machine": program.machine},
        "seed": session.settings.seed,
        "scenario": None if scenario is None else scenario.name,
        "status": FAILED if findings else OK,
        "ended": session.ended,
        "properties": {
            "the protocol's rules are kept": "protocol" not in rules,
            "the scenario's expectations are met": "scenario" not in rules,
        },
        "expectations": {"all": session.expected, "judged": session.judged},
        "skipped_steps": [
            {"place": each.place, "verb": each.verb, "reason": each.reason}
            for each in session.skipped_steps
        ],
        "violations": session.host.violations,
        "findings": findings,
        "real_ns": session.clock(),
        "traps": session.host.summary()["calls"],
        "served": dict(session.server.served),
    }


def lines(session: Session, findings: list[dict[str, Any]]) -> list[str]:
    """Return the verdict in a few lines."""
    shown = [f"finding  {finding['rule']}: {_short(finding['message'])}" for finding in findings]
    calls = session.host.summary()["calls"]
    if any(finding["rule"] != NOT_JUDGED for finding in findings):
        text = verdict(FAILED)
    elif findings:
        text = "NOT JUDGED: `vmtsim accept` can also look inside the guest"
    else:
        text = verdict(OK)
    if session.expected:
        text += f"; {session.judged} of {session.expected} expectations judged"
    return [*shown, f"verdict  {text}; {calls} calls served in {session.clock() / 1e9:.1f} s"]


def _short(message: str) -> str:
    """Return a message without the middle part if it is longer than a few lines."""
    if len(message) <= _LONGEST:
        return message
    half = _LONGEST // 2
    return f"{message[:half]} [... {len(message) - 2 * half} characters ...] {message[-half:]}"


def as_json(session: Session, findings: list[dict[str, Any]]) -> str:
    """Return ``record`` as text."""
    return json.dumps(record(session, findings), indent=2) + "\n"
