"""The context of each part of the host: clock, random numbers, options, trace, rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.core.timers import Timer, TimerHeap
from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.rng import Rng
    from vmtsim.core.trace import Trace
    from vmtsim.host.options import HostOptions

# Each rule that a guest can break, by the name in a `violation` event.
RULES: dict[str, str] = {
    "magic": "EAX holds the magic 0x564D5868 in every backdoor call",
    "port": "DX holds the port of the call: 0x5658, or 0x5659 for high bandwidth",
    "foreign-port": "the driver accesses no I/O port except 0x5658 and 0x5659",
    "dead-port": "on a host whose ports do not answer, the driver sends only GETVERSION",
    "hypercall": "VMCALL and VMMCALL are executed only where CPUID offers them",
    "backdoor-command": "a tools driver uses only MESSAGE, version, UUID, time and similar ones",
    "version-probe": "GETVERSION is called with a value other than the magic in EBX",
    "message-type": "message sub-commands are 0 to 6",
    "open-protocol": "a channel is opened for RPCI or TCLO",
    "cookie": "every call on a channel carries the cookies that OPEN returned",
    "channel-unknown": "calls go to a channel that is open",
    "channel-closed": "a channel is not used after its CLOSE",
    "channel-dead": "a channel that fails is closed and opened again, not retried forever",
    "sequence": "a message is SENDSIZE then its payload, or RECVSIZE, its payload, RECVSTATUS",
    "message-length": "a message is at most 64 KiB long",
    "payload-size": "the payload has exactly the length given by SENDSIZE or RECVSIZE",
    "payload-padding": "unused bytes of the last SENDPAYLOAD are 0",
    "payload-status": "RECVPAYLOAD and RECVSTATUS have 1 for success or 0 for abort in EBX",
    "high-bandwidth-refused": "high bandwidth is used only where the host offered it",
    "high-bandwidth-status": "EBX of a high-bandwidth call is 0x00010000",
    "high-bandwidth-memory": "the buffer of a high-bandwidth call is mapped",
    "tclo-reply-owed": "a TCLO message is answered before the next one is requested",
    "tclo-unrequested": "a non-empty send on a TCLO channel is the answer to a message",
    "tclo-recv-without-send": "each turn of the TCLO loop begins with a send",
    "tclo-reply": "a TCLO reply begins with 'OK ' or 'ERROR '",
    "tclo-reply-nul": "a TCLO reply to an old host ends without a NUL",
    "tclo-reset": "reset is answered with 'OK ATR' and the application's name",
    "rpci-empty": "an RPCI message names a command",
    "rpci-space": "on an old host, a command without arguments is followed by a space",
    "rpci-nul": "capabilities without a value and binary messages carry no NUL at the end",
    "rpci-embedded-nul": "text ends at its NUL, with no bytes after it",
    "rpci-arguments": "a command carries the arguments of its definition",
    "guestinfo-delimiter": "SetGuestInfo is followed by two spaces, the key, one space",
    "guestinfo-key": "SetGuestInfo keys are 1 to 11",
    "guestinfo-value": "a value has the form of its key",
    "os-name": "the short OS name is one that VMware knows",
    "state-change": "a state change is reported once, and only if the host requested it",
    "balloon-magic": "EAX holds the magic 0x456C6D6F in every call on the balloon's port",
    "balloon-command": "a balloon uses only the commands that START negotiated",
    "balloon-start": "a balloon begins with START, also after the host's RESET",
    "balloon-guest": "a balloon reports its operating system: 1 Linux, 2 BSD",
    "balloon-page": "a page is locked only once, and unlocked only while it is locked",
    "balloon-batch": "a batch is 1 to 512 pages in a page of the guest's memory",
    "balloon-freed": "a page is not used while the host has it",
    "backup-event": "backup events come in the defined order, during an operation of the host",
}


class Context:
    """Shared state of the parts of one host."""

    def __init__(
        self, *, now: Callable[[], int], rng: Rng, options: HostOptions, trace: Trace
    ) -> None:
        self.now = now
        self.rng = rng
        self.options = options
        self.trace = trace
        self.timers = TimerHeap()
        self.violations = 0

    def violation(self, rule: str, detail: str, channel: int | None = None) -> None:
        """Record that the guest broke ``rule`` (a key of RULES)."""
        self.violations += 1
        self.trace.emit(
            "violation",
            rule=rule,
            text=RULES[rule],
            detail=detail,
            channel=channel,
            side="protocol",
        )

    def log(self, text: str) -> None:
        """Write a line to the host's log, worded as in public vmware.log files."""
        self.trace.emit("host.log", text=text)

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call ``action`` in ``seconds`` of virtual time."""
        return self.timers.push(self.now() + max(round(seconds * NANOSECONDS), 0), action)
