"""The operations of the host's operator: one table for scenarios, campaigns and prompts.

An operation has the same name everywhere: ``host.lose: all`` in a scenario is ``lose all`` at the
prompt of ``vmtsim host`` and in ``vmtsim guest-control DIR host lose all``.  A schema of
vmtgen.common.schema checks its arguments, whatever their source.  A new operation is one row here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

from vmtgen.common.dataclass import asdict, dataclass
from vmtgen.common.errors import UnavailableError
from vmtgen.common.located import Node, Problems, listed, nearest
from vmtgen.common.schema import Range, Record, keys_of

from vmtsim.core.verb import ArgumentError, Message, Nothing, Scalar, Switch, Verb
from vmtsim.host.backup import quiesce_parameters
from vmtsim.host.faults import FAULTS, POINTS
from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmtgen.common.schema import Report

    from vmtsim.host.machine import Host

Number = float | None
_FOREVER = 1e10  # seconds: three centuries


class RefusedError(UnavailableError):
    """The host cannot do it now; the text gives the reason."""


# Arguments.


@dataclass(frozen=True)
class Power(Record):
    """A power operation; ``suspend`` with ``seconds`` also suspends the machine."""

    SHORTHAND: ClassVar[str] = "operation"
    operation: Literal["halt", "reboot", "suspend", "resume", "power-on"]
    seconds: Number = None
    lose_channels: bool = False


@dataclass(frozen=True)
class Channels(Record):
    """The channels that an operation concerns: those of one protocol, or all."""

    SHORTHAND: ClassVar[str] = "channels"
    channels: Literal["tclo", "rpci", "all"] = "tclo"


@dataclass(frozen=True)
class Protocol(Record):
    """The channels of one protocol."""

    SHORTHAND: ClassVar[str] = "protocol"
    protocol: Literal["tclo", "rpci"] = "tclo"


@dataclass(frozen=True)
class Seconds(Record):
    """A duration, or an age."""

    SHORTHAND: ClassVar[str] = "seconds"
    seconds: float = 3.0


@dataclass(frozen=True)
class Migration(Record):
    """A migration; under heavy load it loses the channels."""

    SHORTHAND: ClassVar[str] = "now"
    now: bool = True
    lose_channels: bool = False


@dataclass(frozen=True)
class Revert(Record):
    """The age of the snapshot in seconds, and whether the host synchronises the guest's time."""

    SHORTHAND: ClassVar[str] = "seconds"
    seconds: float = 3.0
    lose_channels: bool = False
    time_synchronize: bool = True


@dataclass(frozen=True)
class Clock(Record):
    """Changes of the host's clock; times in seconds."""

    set: Number = None
    jump: Number = None
    drift_ppm: Number = None
    lag_us: Number = None
    max_lag_us: Number = None

    def check(self, node: Node, report: Report) -> None:
        """Reject times that no calendar has."""
        for name in ("set", "jump"):
            value = self[name]
            if value is not None and not abs(value) < _FOREVER:
                report(node[name], "expected a number of seconds within three centuries")


@dataclass(frozen=True)
class Backup(Record):
    """A quiesced snapshot; ``version`` and ``timeout`` choose the newer request."""

    SHORTHAND: ClassVar[str] = "do"
    do: Literal["start", "abort"]
    manifest: float = 1
    volumes: str = ""
    version: Number = None
    timeout: Number = None
    snapshot: float = 2.0


@dataclass(frozen=True)
class BalloonOrder(Record):
    """The balloon's target in pages; how many calls are busy, how many pages are refused."""

    SHORTHAND: ClassVar[str] = "target"
    target: Annotated[int, Range(0, 0x7FFFFFFF)] | None = None
    refuse: Annotated[int, Range(0, 1 << 20)] = 0
    busy: Annotated[int, Range(0, 1 << 20)] = 0
    reset: bool = False


@dataclass(frozen=True)
class FaultArguments(Record):
    """The time of a fault, and its details."""

    times: int = 1
    skip: int = 0
    at: str | None = None
    protocol: Literal["rpci", "tclo"] | None = None
    command: str | None = None
    reply: str | None = None
    size: int | None = None
    seconds: Number = None


# The operations.  Each returns a description of its effect.


def _send(host: Host, given: Message) -> str:
    host.tclo.send(given.content)
    return f"sent {given.message}"


def _power(host: Host, given: Power) -> str:
    seconds = given.seconds
    if given.operation == "suspend" and seconds is not None:
        offered = host.suspend(seconds, lose_channels=given.lose_channels)
        done = f"suspending the machine for {seconds:g} s"
    else:
        offered = host.power.request(given.operation)
        done = f"asked the guest: {given.operation}"
    if not offered:
        state = host.power.guest_state
        reason = (
            "the guest has not registered tools.capability.statechange (yet)"
            if state == "running"
            else f"the guest is {state} until it registers with a smaller uptime"
        )
        raise RefusedError(f"{given.operation} is not offered: {reason}")
    return done


def _fault(host: Host, given: Mapping[str, FaultArguments | None]) -> str:
    for name, arguments in given.items():
        if name == "none":
            host.faults.disarm()
            host.faults.enabled = False
            continue
        chosen = asdict(arguments) if arguments is not None else {}
        host.faults.arm(name, **{key: value for key, value in chosen.items() if value is not None})
    return f"armed: {', '.join(host.faults.armed) or 'nothing'}"


def _lose(host: Host, given: Channels) -> str:
    count = host.lose_channel(given.channels)
    return f"the host forgot {count} channel{'' if count == 1 else 's'}"


def _close(host: Host, given: Protocol) -> str:
    count = host.close_channel(given.protocol)
    return f"the host closed {count} channel{'' if count == 1 else 's'}"


def _steal(host: Host, given: Seconds) -> str:
    if not host.steal_channel(given.seconds):
        raise RefusedError("no client in the guest has the channel")
    return f"another client claims the channel for {given.seconds:g} s"


def _checkpoint(host: Host, _given: Nothing) -> str:
    host.checkpoint()
    return "interrupted the messages in transfer"


def _balloon(host: Host, given: BalloonOrder) -> str:
    balloon = host.balloon
    if given.reset:
        balloon.reset()
    if given.target is not None:
        balloon.target = given.target
    balloon.refuse += given.refuse
    balloon.busy += given.busy
    return f"the balloon has {balloon.size} of {balloon.target} pages"


def _migrate(host: Host, given: Migration) -> str:
    host.migrate(lose_channels=given.lose_channels)
    return "the machine is on another host"


def _revert(host: Host, given: Revert) -> str:
    host.snapshot_revert(
        given.seconds, lose_channels=given.lose_channels, time_synchronize=given.time_synchronize
    )
    return f"reverted to a snapshot that is {given.seconds:g} s old"


def _clock(host: Host, given: Clock) -> str:
    clock = host.clock
    if given.set is not None:
        clock.set(round(given.set * NANOSECONDS))
    if given.jump is not None:
        clock.jump(round(given.jump * NANOSECONDS))
    if given.drift_ppm is not None:
        clock.drift(round(given.drift_ppm))
    if given.lag_us is not None or given.max_lag_us is not None:
        clock.lag(
            round(clock.interrupt_lag_us if given.lag_us is None else given.lag_us),
            None if given.max_lag_us is None else round(given.max_lag_us),
        )
    changed = [f"{key.name} {given[key.name]:g}" for key in keys_of(Clock)
               if given[key.name] is not None]  # fmt: skip
    return f"the host's clock: {', '.join(changed) or 'nothing changed'}"


def _options(host: Host, given: Mapping[str, Scalar]) -> str:
    for name, value in given.items():
        host.tclo.set_option(name, str(int(value)) if isinstance(value, bool) else str(value))
    return f"sent Set_Option for {', '.join(given)}"


def _synctime(host: Host, given: Switch) -> str:
    host.set_synctime(on=given.on)
    return f"time synchronisation is {'on' if given.on else 'off'}"


def _backup(host: Host, given: Backup) -> str:
    if given.do == "abort":
        host.backup.abort()
        return "the snapshot was aborted"
    parameters = None
    if given.version is not None or given.timeout is not None:
        parameters = quiesce_parameters(
            version=round(1 if given.version is None else given.version),
            timeout=round(given.timeout or 0),
        )
    host.backup.start(
        manifest=round(given.manifest),
        volumes=given.volumes,
        parameters=parameters,
        snapshot=given.snapshot,
    )
    return "a quiesced snapshot was started"


def _guestinfo(host: Host, given: Mapping[str, Scalar]) -> str:
    for name, value in given.items():
        content = str(value).encode("utf-8", "surrogateescape")
        if not host.guestinfo.set_variable(name.removeprefix("guestinfo."), content):
            raise RefusedError("the variables of the guest would be larger than the host allows")
    return f"set {', '.join(given)}"


def _high_bandwidth(host: Host, given: Switch) -> str:
    host.offer_high_bandwidth(on=given.on)
    return f"high bandwidth is {'offered' if given.on else 'not offered'} for the next messages"


@dataclass(frozen=True)
class Operation(Verb):
    """A verb of the host's operator.  ``run`` executes it and returns a description."""

    run: Callable[[Host, Any], str]

    @property
    def usage(self) -> str:
        """The operation with its arguments, as a user types them."""
        if self.free:
            what = "FAULT [KEY=VALUE ...]" if self.name == "fault" else "NAME=VALUE ..."
            return f"{self.name} {what}"
        # A scenario needs a value; a typed operation does not.
        keys = [key for key in keys_of(self.arguments) if key.name != "now"]
        words = []
        for key in keys:
            if key.name != self.shorthand:
                words.append(f"[{key.name}=X]")
                continue
            choices = get_args(key.hint) if get_origin(key.hint) is Literal else ()
            word = "|".join(map(str, choices)) or key.name.upper()
            words.append(word if key.required else f"[{word}]")
        return " ".join([self.name, *words])

    def read(self, node: Node, problems: Problems) -> Any:
        """Return the argument as a value; rejects an unknown fault."""
        if self.name != "fault":
            return super().read(node, problems)
        _check_faults(node, problems)
        return None if node.kind == "scalar" else super().read(node, problems)

    def whole(self, plain: Any) -> Any:
        """Return the plain form without shorthands."""
        if self.name == "fault":
            given = plain if isinstance(plain, dict) else {str(plain): None}
            return {name: arguments or {} for name, arguments in given.items()}
        return super().whole(plain)

    def carry_out(self, host: Host, plain: Any) -> str:
        """Execute it, with the argument in plain form; return a description of its effect.

        Raises ArgumentError for invalid arguments, RefusedError if the host cannot do it now.
        """
        try:
            value = self.value(plain)
        except ArgumentError as error:
            raise ArgumentError(f"{error} (usage: {self.usage})") from None
        return self.run(host, value)

    def parse(self, line: str) -> Any:
        """Return the plain form of arguments typed in a line; raises ArgumentError."""
        if self.arguments is Message:
            return self.plain([line] if line else [])
        try:
            import shlex  # noqa: PLC0415 - scenarios give words, not lines

            return self.plain(shlex.split(line))
        except ValueError as error:
            raise ArgumentError(f"{error} (usage: {self.usage})") from None

    def plain(self, words: Sequence[str]) -> Any:
        """Return the plain form of typed arguments; raises ArgumentError."""
        if self.arguments is Message:
            if not words:
                raise ArgumentError(f"usage: {self.usage}")
            return " ".join(words)
        bare = [word for word in words if "=" not in word]
        pairs = {name: _scalar(value) for name, _, value in (
            word.partition("=") for word in words if "=" in word)}  # fmt: skip
        if self.name == "fault" and len(bare) == 1:
            return {bare[0]: pairs or None}
        shorthand = self.shorthand
        if len(bare) > 1 or (bare and (self.free or shorthand is None)):
            raise ArgumentError(f"usage: {self.usage}")
        if bare and not pairs and len(keys_of(self.arguments)) == 1:
            return _scalar(bare[0])
        if bare:
            pairs = {str(shorthand): _scalar(bare[0]), **pairs}
        if not pairs and not self.free and len(keys_of(self.arguments)) == 1:
            (key,) = keys_of(self.arguments)
            if key.required:
                raise ArgumentError(f"usage: {self.usage}")
            return getattr(self.arguments(), key.attribute)
        if not pairs and (self.free or self.arguments is Clock):
            raise ArgumentError(f"usage: {self.usage}")
        return pairs


def _check_faults(node: Node, problems: Problems) -> None:
    names = {str(node.scalar): node} if node.kind == "scalar" else node.entries
    for name, value in names.items():
        if name not in FAULTS and name != "none":
            problems.add(
                value.key if node.kind == "mapping" and value.key else value,
                f"unknown fault {name!r}: expected one of {listed(FAULTS, limit=40)}",
                hint=nearest(name, FAULTS),
            )
            continue
        at = value.get("at")
        if name == "none" or at is None or not isinstance(at.scalar, str):
            continue
        possible = FAULTS[name].effect.POINTS
        if at.scalar not in POINTS:
            problems.add(
                at, f"unknown point {at.scalar!r}: expected one of {listed(POINTS)}",
                hint=nearest(at.scalar, POINTS),
            )  # fmt: skip
        elif at.scalar not in possible:
            problems.add(at, f"{name} has no effect at {at.scalar}: expected {listed(possible)}")


def _scalar(text: str) -> bool | int | float | str:
    """Parse a value as YAML does: true, 5, 0.5, or text."""
    if text in {"true", "false"}:
        return text == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text):
        return float(text)
    return text


_TABLE = (
    Operation("tclo", Message, "send a TCLO message", _send),
    Operation("power", Power, "request a power operation; suspend: sleep SECONDS", _power),
    Operation("fault", Mapping[str, FaultArguments | None],
              "inject a fault at its next opportunity; none: disarm all faults", _fault),
    Operation("lose", Channels, "forget channels without notice", _lose),
    Operation("close", Protocol, "close channels; the guest can see it", _close),
    Operation("steal", Seconds, "another client claims the channel for SECONDS", _steal),
    Operation("checkpoint", Nothing, "interrupt messages in transfer", _checkpoint),
    Operation("migrate", Migration, "vMotion: move to another host", _migrate),
    Operation("revert", Revert, "revert to a snapshot SECONDS old", _revert),
    Operation("clock", Clock, "set the host's clock, or make it jump, drift or lag", _clock),
    Operation("options", Mapping[str, Scalar], "send Set_Option NAME VALUE", _options),
    Operation("synctime", Switch, "set the machine's time synchronisation switch", _synctime),
    Operation("backup", Backup, "start or abort a quiesced snapshot", _backup),
    Operation("guestinfo", Mapping[str, Scalar], "set guestinfo.* variables", _guestinfo),
    Operation("balloon", BalloonOrder, "set the balloon's target in pages, or reset it", _balloon),
    Operation("high-bandwidth", Switch, "offer high bandwidth, or stop", _high_bandwidth),
)  # fmt: skip
OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _TABLE}


def find(name: str) -> Operation:
    """Return the operation called ``name``; raises ArgumentError with a suggestion."""
    found = OPERATIONS.get(name)
    if found is None:
        near = nearest(name, OPERATIONS)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise ArgumentError(
            f"unknown operation {name!r}{meant}: expected one of {', '.join(OPERATIONS)}"
        )
    return found
