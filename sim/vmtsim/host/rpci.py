"""The RPCI server: one command, one reply, every argument checked.

Commands and replies: open-vm-tools services/vmtoolsd/toolsRpc.c, services/plugins and
lib/include/vmware/guestrpc; which commands need a trailing space, and which may contain a NUL:
lib/rpcOut/rpcout.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtsim.host import backup as backup_module
from vmtsim.host.fault_effects import CommandNotRun, ReplyChanged
from vmtsim.host.guestinfo import BINARY_KEYS, KEY_NAMES, UPTIME, ValueProblem
from vmtsim.host.options import NANOSECONDS
from vmtsim.host.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.backup import Backup
    from vmtsim.host.channel import Channel
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect
    from vmtsim.host.faults import Faults
    from vmtsim.host.guestinfo import GuestInfo
    from vmtsim.host.power import Power
    from vmtsim.host.tclo import Tclo
    from vmtsim.host.tools import Tools

OK = b"1 "
UNKNOWN = b"0 Unknown command"
NOT_FOUND = b"0 No value found"
TWO_ARGUMENTS = b"0 Two and exactly two arguments expected"
# VMware's words for these are not public; a guest may rely only on the "0 ".
MALFORMED = b"0 Invalid argument"

_APPLICATION = rb"toolbox(?:-dnd)?"
_NUMBER = rb"\d{1,10}\Z"
# Capabilities with a value: the format of the value, compiled at the first use.
_CAPABILITIES = {
    "hgfs_server": _APPLICATION + rb" [01]\Z",
    "features": rb"\d+=\d+(?: \d+=\d+)*\Z",
    "guest_conf_directory": rb"(?s).+\Z",
    "resolution_server": _APPLICATION + rb" [01]\Z",
    "display_topology_set": rb"[012]\Z",
    "display_global_offset": rb"[01]\Z",
    "resolution_set": rb"[01]\Z",
    "dnd_version": _NUMBER,
    "copypaste_version": _NUMBER,
}
_FLAGS = ("statechange", "softpowerop_retry")
_WITHOUT_NUL = frozenset(
    {"tools.capability.resolution_server", "update.tools.health"}
    | {f"tools.capability.{flag}" for flag in _FLAGS}
)
# Commands that report an event.  A guest that did not receive the reply resends them, as
# open-vm-tools' lib/rpcOut does; the host answers again without executing them again.
_REPORTS = frozenset({"tools.os.statechange.status", "vmbackup.eventSet"})
_AT_ONCE = 10 * NANOSECONDS
_TAKEN_AS_THEY_ARE = (
    "log",
    "guest.log.state",
    "guest.log.text",
    "deployPkg.update.state",
    "tools.vmsupport.status",
)


class Rpci:
    """Executes RPCI commands; the endpoint of all RPCI channels."""

    def __init__(
        self,
        context: Context,
        faults: Faults,
        tools: Tools,
        guestinfo: GuestInfo,
        power: Power,
        backup: Backup,
        tclo: Tclo,
    ) -> None:
        self._context = context
        self._faults = faults
        self._tools = tools
        self._info = guestinfo
        self._power = power
        self._backup = backup
        self._tclo = tclo
        self.guest_log: list[str] = []
        # The last report and its reply, until the guest has read it: (channel, report, reply).  A
        # guest repeats it at once; a later one is another report.
        self._unread: tuple[int, bytes, bytes] | None = None
        self._repeated_until = 0
        # Command name -> function of the arguments, NUL at the end removed.
        self._commands: dict[str, Callable[[bytes], bytes]] = {
            "vmx.capability.unified_loop": self._unified_loop,
            "tools.set.version": self._version,
            "tools.set.versiontype": self._version_type,
            "tools.os.statechange.status": self._state_change,
            "info-set": self._info_set,
            "info-get": self._info_get,
            "vmx.set_option": self._set_option,
            "vmbackup.eventSet": self._backup_event,
            "update.tools.health": self._health,
            "SetGuestDiskInfo": self._disks,
        }
        for name in _CAPABILITIES:
            self._commands[f"tools.capability.{name}"] = self._capability(name)
        for name in _TAKEN_AS_THEY_ARE:
            self._commands[name] = self._taken(name)

    # Endpoint of the transport.

    def opened(self, channel: Channel) -> None:
        """Do nothing: the guest sends first."""

    def received(self, channel: Channel, message: bytes) -> None:
        """Execute a command and put its reply into the outbox."""
        # Any message of the guest is a heartbeat (E1).
        self._tools.heartbeat.beat()
        reply = self.execute(message, channel.number)
        channel.outbox.clear()
        if reply is not None:
            channel.outbox.append(reply)

    def asked(self, channel: Channel, fault: Effect | None) -> None:
        """Do nothing: there is a reply, or there is none."""

    def fetched(self, channel: Channel, message: bytes) -> None:
        """Handle the guest's acknowledgement of its reply."""
        unread = self._unread
        if unread is not None and (unread[0], unread[2]) == (channel.number, message):
            self._unread = None

    def dropped(self, channel: Channel, message: bytes) -> None:
        """Record that the guest did not fetch its reply."""
        self._context.trace.emit("rpci.dropped", channel=channel.number, reply=message)

    def gone(self, channel: Channel, reason: str) -> None:
        """Do nothing: replies end with their channel."""

    # Commands.

    def execute(self, message: bytes, channel: int | None = None) -> bytes | None:
        """Return the reply to ``message``; None if a fault suppresses it."""
        name = message.split(b" ", 1)[0].split(b"\0", 1)[0].decode("latin-1")
        injected = self._faults.inject("rpci", "rpci", name)
        unread = self._unread
        reply: bytes | None
        if isinstance(injected, CommandNotRun):
            reply = injected.reply(self._faults)
        else:
            again = (
                unread is not None
                and unread[1] == message
                and self._context.now() <= self._repeated_until
            )
            reply = unread[2] if unread and again else self._answer(name, message, channel)
            if isinstance(injected, ReplyChanged):
                reply = injected.change(self._faults, reply)
            if name in _REPORTS and channel is not None:
                self._unread = (channel, message, reply)
                self._repeated_until = self._context.now() + _AT_ONCE
        ok = reply is not None and reply[:2] == OK
        self._context.trace.emit(
            "rpci", channel=channel, command=name, request=message, reply=reply, ok=ok
        )
        return reply

    def _answer(self, name: str, message: bytes, channel: int | None) -> bytes:
        if not message.strip(b"\0 "):
            self._context.violation("rpci-empty", f"{len(message)} bytes", channel)
            return UNKNOWN
        if name in self._context.options.unknown_commands:
            return UNKNOWN
        refused = refusal(self._context.options, name)
        if refused is not None:
            return refused
        if name == "SetGuestInfo":
            return self._set_guest_info(message, channel)
        flag = name.removeprefix("tools.capability.")
        if flag != name and flag in _FLAGS:
            return self._flag(flag, name, message, channel)
        command = self._commands.get(name)
        if command is None:
            self._context.trace.emit("rpci.unknown", command=name)
            return UNKNOWN
        text = message.removesuffix(b"\0")
        if text != message and name in _WITHOUT_NUL:
            self._context.violation("rpci-nul", name, channel)
        if b"\0" in text:
            self._context.violation("rpci-embedded-nul", name, channel)
            text = text.split(b"\0", 1)[0]
        _, space, arguments = text.partition(b" ")
        if not space and self._context.options.age == "old":
            self._context.violation("rpci-space", name, channel)
            return UNKNOWN
        try:
            return command(arguments)
        except ValueProblem as problem:
            self._context.violation(problem.rule, f"{name}: {problem}", channel)
            return TWO_ARGUMENTS if name == "info-set" else MALFORMED

    def _flag(self, flag: str, name: str, message: bytes, channel: int | None) -> bytes:
        rest = message[len(name) :]
        if rest.endswith(b"\0"):
            self._context.violation("rpci-nul", name, channel)
            rest = rest.rstrip(b"\0")
        if rest.strip(b" "):
            self._context.violation("rpci-arguments", f"{name}{rest!r}", channel)
            return MALFORMED
        if not rest and self._context.options.age == "old":
            self._context.violation("rpci-space", name, channel)
            return UNKNOWN
        self._tools.set_capability(flag, "")
        return OK

    def _capability(self, name: str) -> Callable[[bytes], bytes]:
        pattern = _CAPABILITIES[name]

        def take(arguments: bytes) -> bytes:
            if not re.match(pattern, arguments):
                raise ValueProblem(f"value {arguments!r}", "rpci-arguments")
            text = arguments.decode("utf-8", "replace")
            self._tools.set_capability(name, text)
            if name == "features":
                pairs = (pair.split("=") for pair in text.split())
                self._tools.features.update((int(index), int(value)) for index, value in pairs)
            return OK

        return take

    def _taken(self, name: str) -> Callable[[bytes], bytes]:
        def take(arguments: bytes) -> bytes:
            text = arguments.decode("utf-8", "replace")
            if name == "log":
                self.guest_log.append(text)
            self._context.trace.emit("guest.note", command=name, text=text)
            return OK

        return take

    def _unified_loop(self, arguments: bytes) -> bytes:
        if not re.fullmatch(_APPLICATION, arguments):
            raise ValueProblem(f"application {arguments!r}", "rpci-arguments")
        self._tools.set_capability("unified_loop", arguments.decode())
        return OK

    def _version(self, arguments: bytes) -> bytes:
        self._tools.set_version(_number(arguments))
        return OK

    def _version_type(self, arguments: bytes) -> bytes:
        version, _, kind = arguments.partition(b" ")
        if _number(kind) > 4:
            raise ValueProblem(f"tools type {kind!r}", "rpci-arguments")
        self._tools.set_version(_number(version), int(kind))
        return OK

    def _state_change(self, arguments: bytes) -> bytes:
        match = re.fullmatch(rb"([01]) ([1-5])", arguments)
        if match is None:
            raise ValueProblem(f"status and state {arguments!r}", "rpci-arguments")
        self._power.reported(success=match[1] == b"1", number=int(match[2]))
        return OK

    def _info_set(self, arguments: bytes) -> bytes:
        key, space, value = arguments.partition(b" ")
        name = key.decode("utf-8", "replace")
        if not space or not name.startswith("guestinfo.") or name == "guestinfo.":
            raise ValueProblem(f"{arguments[:40]!r}", "rpci-arguments")
        if self._info.set_variable(name.removeprefix("guestinfo."), value):
            return OK
        return b"0 Too much guest information"

    def _info_get(self, arguments: bytes) -> bytes:
        name = arguments.decode("utf-8", "replace")
        value = self._info.variables.get(name.removeprefix("guestinfo."))
        if not name.startswith("guestinfo.") or value is None:
            return NOT_FOUND
        return OK + value

    def _set_option(self, arguments: bytes) -> bytes:
        parts = arguments.split(b" ")
        if len(parts) != 3:
            raise ValueProblem(f"NAME OLD NEW, not {arguments!r}", "rpci-arguments")
        name, _, new = (part.decode("utf-8", "replace") for part in parts)
        self._context.trace.emit("host.option", name=name, value=new)
        # The host sends it to all clients, including the sender.
        self._tclo.set_option(name, new)
        return OK

    def _backup_event(self, arguments: bytes) -> bytes:
        event, _, rest = arguments.decode("utf-8", "replace").partition(" ")
        code, _, text = rest.partition(" ")
        if event not in backup_module.EVENTS or not code.isdecimal() or int(code) > 5:
            raise ValueProblem(f"event {arguments!r}", "rpci-arguments")
        return OK if self._backup.event(event, int(code), text) else b"0 No backup in progress"

    def _health(self, arguments: bytes) -> bytes:
        if arguments not in {b"normal", b"hung", b"guest_slow"}:
            raise ValueProblem(f"health {arguments!r}", "rpci-arguments")
        self._tools.health = arguments.decode()
        return OK

    def _disks(self, arguments: bytes) -> bytes:
        self._info.set_disks(arguments)
        return OK

    def _set_guest_info(self, message: bytes, channel: int | None) -> bytes:
        match = re.match(rb"SetGuestInfo  (\d{1,3}) ", message)
        if match is None:
            self._context.violation("guestinfo-delimiter", repr(message[:24]), channel)
            return MALFORMED
        key, value = int(match[1]), message[match.end() :]
        if key not in KEY_NAMES:
            self._context.violation("guestinfo-key", f"key {key}", channel)
            return MALFORMED
        if key in self._context.options.unknown_guestinfo_keys:
            return MALFORMED
        if key not in BINARY_KEYS:
            value = value.removesuffix(b"\0")
        before = self._info.decoded.get(UPTIME)
        try:
            self._info.store(key, value)
        except ValueProblem as problem:
            self._context.violation(
                problem.rule, f"SetGuestInfo key {key} ({KEY_NAMES[key]}): {problem}", channel
            )
            return MALFORMED
        if key == UPTIME and self._tclo.registering:
            self._power.registered(self._info.decoded[UPTIME], before)
        return OK


def _number(text: bytes) -> int:
    if not re.match(_NUMBER, text) or int(text) > 0xFFFFFFFF:
        raise ValueProblem(f"number {text!r}", "rpci-arguments")
    return int(text)
