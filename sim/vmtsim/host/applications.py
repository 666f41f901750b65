"""The names with which tools clients answer `reset`, and the host's policy for two of one name.

The status of a name is separate from the running status: 1 while its client answers, 2 from a
message that timed out until one is answered again, 0 once the client has closed its channel (E2,
E3, E4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.channel import CLOSED
from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.channel import Channel
    from vmtsim.host.context import Context
    from vmtsim.host.heartbeat import Heartbeat
    from vmtsim.host.transport import Transport

APPLICATION = "toolbox"
# The channel number in vmware.log for a name without a channel.
_NO_CHANNEL = 65535

GONE, ANSWERING, TIMED_OUT = 0, 1, 2


class Applications:
    """The names of channels.  ``bound`` maps a name to its channel.

    ``lost`` is called with a name that its channel has lost, for any reason.
    """

    def __init__(self, context: Context, transport: Transport, heartbeat: Heartbeat) -> None:
        self._context = context
        self._transport = transport
        self._heartbeat = heartbeat
        self.bound: dict[str, Channel] = {}
        self.statuses: dict[str, int] = {}
        self.lost: Callable[[str], None] = lambda _name: None

    def name_of(self, channel: Channel) -> str | None:
        """Return the name of a channel, None for none."""
        return next((name for name, bound in self.bound.items() if bound is channel), None)

    def claim(self, name: str, channel: Channel) -> bool:
        """Bind ``name`` to ``channel``; returns false if the channel is refused and closed.

        If another channel has the name, HostOptions.second_client decides.  A second client
        made by VMware was refused, NetBSD's vmt(4) handles a host that disconnects both (E14), and
        the log's words "changing channel A -> B" are those of a host that accepts the newer one.
        """
        before = self.bound.get(name)
        if before is channel:
            return True
        policy = self._context.options.second_client
        if before is not None and policy != "newest":
            self._context.trace.emit(
                "tclo.refused", name=name, channel=channel.number, holder=before.number,
                policy=policy,
            )  # fmt: skip
            if policy == "both":
                self._release(name)
                self._transport.kill(before, "stolen", CLOSED)
            self._transport.kill(channel, "in use", CLOSED)
            return False
        old = before.number if before is not None else _NO_CHANNEL
        self._context.log(
            f"GuestRpc: application {name}, changing channel {old} -> {channel.number}"
        )
        self._context.trace.emit("tclo.bound", name=name, channel=channel.number, before=old)
        if before is not None:
            self._release(name)
        self.bound[name] = channel
        if before is not None:
            self._transport.kill(before, "stolen", CLOSED)
        self._set_status(name, ANSWERING, guest=False)
        return True

    def gone(self, channel: Channel, reason: str) -> None:
        """Handle the end of a channel."""
        name = self.name_of(channel)
        if name is None:
            return
        self._release(name)
        if reason == "close":
            self._context.log(f"GuestRpc: Reinitializing Channel {channel.number}({name})")
            self._set_status(name, GONE, guest=True)

    def _release(self, name: str) -> None:
        del self.bound[name]
        self.lost(name)

    def answered(self, channel: Channel) -> None:
        """Handle an answer that came in time."""
        name = self.name_of(channel)
        if name is not None:
            self._set_status(name, ANSWERING, guest=False)

    def timed_out(self, channel: Channel | None, name: str = APPLICATION) -> None:
        """Handle a message to the guest that was not answered, or that no client fetched."""
        self._context.log(f"GuestRpcSendTimedOut: message to {name} timed out.")
        if channel is not None and channel is self.bound.get(name):
            self._context.log(f"Tools: [AppStatus] {self._heartbeat.describe()}")
            self._set_status(name, TIMED_OUT, guest=False)

    def _set_status(self, name: str, status: int, *, guest: bool) -> None:
        before = self.statuses.get(name, GONE)
        if status == before:
            return
        self.statuses[name] = status
        self._context.log(
            f"TOOLS: appName={name}, oldStatus={before}, status={status}, "
            f"guestInitiated={int(guest)}."
        )
        self._context.trace.emit("application", name=name, status=status, before=before)


class Rival:
    """Another tools client in the guest, simulated here, that claims a name again and again.

    Tools daemons reconnect a second after an error.  This client does so for ``seconds``, then
    stops. ``opened`` is called with each of its channels before that channel claims the name.
    """

    def __init__(
        self,
        context: Context,
        transport: Transport,
        applications: Applications,
        seconds: float,
        opened: Callable[[Rival, Channel], None],
    ) -> None:
        self._context = context
        self._transport = transport
        self._applications = applications
        self._opened = opened
        self._until = context.now() + round(seconds * NANOSECONDS)
        self._channel: Channel | None = None
        context.after(seconds, self._leave)
        self._try()

    def gone(self) -> None:
        """Handle the end of its channel."""
        self._channel = None
        self._context.after(1.0, self._try)

    def _try(self) -> None:
        if self._context.now() >= self._until:
            return
        channel = self._transport.create("tclo")
        if channel is None:
            self._context.after(1.0, self._try)
            return
        channel.guests = False
        self._channel = channel
        self._opened(self, channel)
        self._context.trace.emit("open", channel=channel.number, protocol="tclo", cookies=True)
        self._applications.claim(APPLICATION, channel)

    def _leave(self) -> None:
        if self._channel is not None:
            self._transport.kill(self._channel, "client left", CLOSED)
