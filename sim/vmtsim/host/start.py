"""The messages that the host sends after the guest has answered `reset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host import vix

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.timers import Timer
    from vmtsim.host.context import Context
    from vmtsim.host.power import Power
    from vmtsim.host.tclo import Tclo
    from vmtsim.host.tools import Tools

_BROADCAST = "broadcastIP"


class Start:
    """Greets an application, and pings it until its channel ends.

    The order is that of public logs: Time_Synchronize 0 first (E6), the options within 2 ms with
    broadcastIP as the fourth (E7), Capabilities_Register 3 ms after the first of them (E5),
    OS_PowerOn.  The tests of govmomi's toolbox also have options before Capabilities_Register.
    That client gets them on ESXi without ever sending `vmx.capability.unified_loop`, so they do not
    wait for it here.  In its pull request 778 broadcastIP comes up to 30 s later.
    """

    def __init__(self, context: Context, tools: Tools, power: Power, tclo: Tclo) -> None:
        self._context = context
        self._tools = tools
        self._power = power
        self._tclo = tclo
        self._announced = False
        self._cookie = 0
        self._timers: list[Timer] = []

    def begin(self) -> None:
        """Send everything, then the messages in the queue."""
        options = self._context.options
        self.stop()
        self._tools.forget()
        waiting = [message for message in self._tclo.queue if not message.start]
        for message in self._tclo.queue:
            if message.start:
                message.withdraw()
        self._tclo.queue.clear()
        late = options.broadcast_ip
        if options.option_burst:
            self._tclo.send("Time_Synchronize 0", start=True)
        for name, value in options.option_burst:
            if name != _BROADCAST or not late:
                self._tclo.set_option(name, value, start=True)
        if options.capabilities_register:
            self._tclo.send("Capabilities_Register", start=True)
        self._tclo.queue.extend(waiting)
        if options.power_on and not self._announced:
            self._power.request("power-on")
        self._announced = True
        if late:
            self._later(late, lambda: self._tclo.set_option(_BROADCAST, "1"))
        if options.vix_probe:
            self._later(options.vix_probe, self._probe)
        if options.ping:
            self._later(options.ping, self._ping)

    def stop(self) -> None:
        """Stop sending: the application's channel has ended."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers = [timer for timer in self._timers if timer.pending]
        self._timers.append(self._context.after(seconds, action))

    def _ping(self) -> None:
        if not any(message.text == b"ping" for message in self._tclo.queue):
            self._tclo.send("ping")
        self._later(self._context.options.ping, self._ping)

    def _probe(self) -> None:
        self._cookie += 1
        self._tclo.send(
            vix.tools_state(self._cookie),
            lambda ok, reply: self._tools.set_guest_operations(ready=ok and vix.is_ready(reply)),
        )
