"""Power operations: the administrator's requests to the guest, and its answers.

State ids and TCLO commands: open-vm-tools lib/include/vmware/guestrpc/powerops.h.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.timers import Timer
    from vmtsim.host.context import Context
    from vmtsim.host.tclo import Tclo
    from vmtsim.host.tools import Tools

OPERATIONS: dict[str, tuple[int, str]] = {
    "halt": (1, "OS_Halt"),
    "reboot": (2, "OS_Reboot"),
    "power-on": (3, "OS_PowerOn"),
    "resume": (4, "OS_Resume"),
    "suspend": (5, "OS_Suspend"),
}
# Operations that end the guest, and the client's text until then.
_ENDING: dict[int, str] = {1: "shutting down", 2: "resetting"}
BY_MESSAGE: dict[bytes, int] = {text.encode(): number for number, text in OPERATIONS.values()}
NAMES: dict[int, str] = {number: name for name, (number, _) in OPERATIONS.items()}


def _number(message: bytes) -> int | None:
    """Return the number of the state change that a message requests; None for other messages."""
    return BY_MESSAGE.get(message.rstrip(b"\0 ").partition(b" ")[0])


@dataclass
class _Request:
    """A state change that the host requested; ends with its status."""

    number: int
    timer: Timer
    status: bool | None = None
    done: Callable[[bool], None] | None = None


class Power:
    """Sends power operations and checks the answers."""

    def __init__(self, context: Context, tools: Tools) -> None:
        self._context = context
        self._tools = tools
        self.tclo: Tclo
        # Requests that the guest has fetched without reporting a status yet, by state id.
        self._open: dict[int, list[_Request]] = {}
        # Number of requests that the host abandoned, by state id: their status is late, no
        # violation.
        self._given_up: Counter[int] = Counter()
        # Last status by state id.
        self.statuses: dict[int, bool] = {}
        self._then: dict[int, list[Callable[[bool], None]]] = {}
        # An accepted halt or reboot that the guest, as far as the host knows, has not carried out.
        self._pending: int | None = None
        # Operations that a guest has failed: the next attempt ignores the guest's status (E10).
        self._failed: set[int] = set()
        self.restarts = 0

    @property
    def guest_state(self) -> str:
        """Return the guest's state in a management client: running, shutting down or resetting."""
        return "running" if self._pending is None else _ENDING[self._pending]

    def request(self, operation: str, done: Callable[[bool], None] | None = None) -> bool:
        """Request ``operation`` (a key of OPERATIONS) from the guest.

        ``done(accepted)`` is called with the guest's status, or with false if the guest never
        fetches the message. A second failure in a row counts as accepted (E10).

        Returns false, and sends nothing, if a management client would grey the button out, and
        while an accepted halt or reboot is in progress: "Cannot execute scripts" (E9).
        """
        number, message = OPERATIONS[operation]
        by_host = operation in {"power-on", "resume"}
        allowed = by_host or (self._tools.power_operations and self._pending is None)
        self._context.trace.emit(
            "host.power", operation=operation, offered=allowed, guest=self.guest_state
        )
        if not allowed:
            return False
        if done is not None:
            self._then.setdefault(number, []).append(done)

        def ended(_ok: bool, _reply: bytes) -> None:
            # The message is still in the queue: the guest never fetched it.
            if done is not None and done in self._then.get(number, ()):
                self._then[number].remove(done)
                done(False)

        self.tclo.send(message, ended)
        return True

    def fetched(self, message: bytes) -> None:
        """Handle a message that the guest has read: a state change begins with it.

        Only the name counts (open-vm-tools services/plugins/powerOps/powerOps.c).
        """
        number = _number(message)
        if number is None:
            return
        request = _Request(number, self._context.after(
            self._context.options.power_timeout, lambda: self._late(request)
        ))  # fmt: skip
        waiting = self._then.get(number)
        if waiting:
            request.done = waiting.pop(0)
        self._open.setdefault(number, []).append(request)

    def replied(self, message: bytes, *, ok: bool) -> None:
        """Handle the TCLO reply to a message; a refused state change needs no status."""
        number = _number(message)
        requests = self._open.get(number, []) if number is not None else []
        if not ok and requests:
            self._end(requests[0], accepted=False)

    def reported(self, *, success: bool, number: int) -> None:
        """Handle ``tools.os.statechange.status SUCCESS NUMBER`` from the guest."""
        requests = self._open.get(number, [])
        self.statuses[number] = success
        name = NAMES[number]
        self._context.log(f"TOOLS state change {number} returned status {int(success)}")
        self._context.trace.emit("power.status", operation=name, success=success, id=number)
        if requests:
            if success and number in _ENDING and self._context.options.power_pending:
                self._pending = number
            self._end(requests[0], accepted=success)
        elif self._given_up[number]:
            self._given_up[number] -= 1
        else:
            self._context.violation(
                "state-change", f"status {int(success)} for {name}, which the host did not request"
            )

    def registered(self, uptime: int, before: int | None) -> None:
        """Handle the uptime that the guest registers with, in 1/100 s; ``before`` is the last one.

        A smaller one shows the host that the guest was restarted without a reset of the machine.
        An uptime that comes at another time shows nothing (E9).
        """
        if before is not None and uptime < before:
            self.restarts += 1
            self._pending = None
            self._context.trace.emit("power.restarted", uptime=uptime, before=before)

    def _end(self, request: _Request, *, accepted: bool) -> None:
        request.timer.cancel()
        self._open[request.number].remove(request)
        forced = not accepted and request.number in self._failed
        if accepted or forced:
            self._failed.discard(request.number)
        else:
            self._failed.add(request.number)
        if request.done is not None:
            request.done(accepted or forced)

    def _late(self, request: _Request) -> None:
        if request in self._open.get(request.number, []):
            self._open[request.number].remove(request)
            self._given_up[request.number] += 1
            self._context.trace.emit("power.timeout", operation=NAMES[request.number])
            if request.done is not None:
                request.done(False)

    @property
    def underway(self) -> tuple[str, ...]:
        """Operations that the guest has read and not reported on yet."""
        return tuple(NAMES[number] for number, requests in self._open.items() if requests)
