"""Effects of faults: each row of the catalogue has one, carried out by the part that it affects.

``POINTS`` of an effect are the points at which its part looks for it: a fault cannot be armed
elsewhere, so that every injected fault has an effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.core.rng import Rng
    from vmtsim.host.channel import Channel
    from vmtsim.host.clock import HostClock
    from vmtsim.host.power import Power
    from vmtsim.host.tclo import Tclo
    from vmtsim.host.transport import Transport


class Details(Protocol):
    """The parameters of an effect, drawn or given: lengths, contents, directions."""

    @property
    def rng(self) -> Rng:
        """The stream for the details of a fault."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of a fault that a script has armed."""


class Effect:
    """The base of all effects."""

    POINTS: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class CallFails(Effect):
    """A call on a channel fails: ``play`` changes the channel and returns the status word."""

    play: Callable[[Transport, Channel], int]
    POINTS = (
        "sendsize",
        "sendpayload",
        "recvsize",
        "recvpayload",
        "recvstatus",
        "hb-out",
        "hb-in",
        "close",
    )


@dataclass(frozen=True)
class OpenFails(Effect):
    """A channel is not opened."""

    POINTS = ("open",)


@dataclass(frozen=True)
class AnnouncesNothing(Effect):
    """A pending message is not announced yet."""

    POINTS = ("announce",)


@dataclass(frozen=True)
class AnnouncesLength(Effect):
    """The host announces one of these lengths instead of the message's."""

    lengths: tuple[int, ...]
    POINTS = ("announce",)


@dataclass(frozen=True)
class NamesWrongType(Effect):
    """EDX names another sub-command than the one that the guest has to use."""

    POINTS = ("announce", "recvpayload")


@dataclass(frozen=True)
class CommandNotRun(Effect):
    """An RPCI command is not executed: ``reply`` makes the reply, None for none at all."""

    reply: Callable[[Details], bytes | None]
    POINTS = ("rpci",)


@dataclass(frozen=True)
class ReplyChanged(Effect):
    """An RPCI command is executed, and ``change`` replaces its reply."""

    change: Callable[[Details, bytes], bytes]
    POINTS = ("rpci",)


@dataclass(frozen=True)
class Messages(Effect):
    """TCLO messages arrive: ``play`` queues them."""

    play: Callable[[Details, Tclo, Power], None]
    POINTS = ("recvsize",)


@dataclass(frozen=True)
class ChannelTaken(Effect):
    """Another TCLO client takes over the application."""

    POINTS = ("recvsize",)


@dataclass(frozen=True)
class TimeRefused(Effect):
    """A time command is refused."""

    POINTS = ("time",)


@dataclass(frozen=True)
class ClockChanged(Effect):
    """``play`` changes the host's clock before it answers, and restores it after that."""

    play: Callable[[Details, HostClock], None]
    POINTS = ("time",)
