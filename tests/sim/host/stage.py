"""A guest in Python that runs scenarios: no kernel, no driver, only the register client."""

from __future__ import annotations

import struct
import uuid
from typing import TYPE_CHECKING, Any

from vmtsim.scenario.script import Scenario, ScenarioRun

from .client import CPT, MAGIC, Channel, Guest, Refused

if TYPE_CHECKING:
    from vmtsim.scenario.script import Failure, Step

POLL = 250_000_000
SWITCHES = {
    b"OS_Halt": ("power_button", "pressed"),
    b"OS_Reboot": ("reset_button", "pressed"),
    b"OS_Resume": ("sleep_button", "released"),
}


# nicinfo.x, version 3: one card with one preferred address, and no optional part.
NIC_INFO = b"".join(
    (
        struct.pack(">III", 3, 1, 1),
        struct.pack(">I20s", 17, b"00:0c:29:3e:5a:01"),
        struct.pack(">III4sI", 1, 1, 4, bytes((192, 0, 2, 10)), 24),
        struct.pack(">III", 0, 1, 1),  # no origin; a status: 1, preferred
        bytes(4 * 4 + 4 + 4 * 4),
    )
)


class PythonGuest(Guest):
    """Runs scenarios: reports its name and address, raises power events, attaches and detaches."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        super().__init__(seed, **vars(scenario.host))
        self.hostname = scenario.guest.hostname or "guest.example"
        self.channel: Channel | None = None
        self.attached = True
        self.owed = b""
        self.frozen = False
        self.clock = 0
        self.nodes: dict[str, Any] = {"machdep.vmt0.clock_sync.period": 60}
        self.nodes.update({f"machdep.vmt0.stats.{each}_errors": 0 for each in ("send", "receive")})
        self.nodes["machdep.vmt0.stats.refused"] = 0
        frame = self.low(19)
        words = (frame.arg0, frame.arg1, frame.arg2, frame.arg3)
        self.nodes["machdep.vmt0.uuid"] = str(uuid.UUID(bytes=struct.pack("<4I", *words)))
        self.run_of = ScenarioRun(scenario, self)
        self.until = scenario.duration

    # The interface of a stage.

    def now(self) -> int:
        return self.time

    def sysctl(self, name: str) -> Any:
        return self.nodes.get(name)

    def fact(self, name: str) -> str | None:
        addresses = {"address": "192.0.2.10", "prefix": "24"}
        return {"hostname": self.hostname, "release": "11.0", **addresses}.get(name)

    def unable(self, step: Step) -> str:
        del step
        return ""

    def guest(self, verb: str, argument: Any) -> None:
        if verb == "hostname":
            self.hostname = argument
        elif verb == "sysctl":
            self.nodes.update(argument)
        elif verb == "detach":
            self.attached = False
            if self.channel is not None:
                self.close(self.channel)
                self.channel = None
            self.trace.emit("console", text=f"{argument}: detached")
        elif verb == "rescan":
            self.attached = True
            self.trace.emit("console", text=f"vmt0 at {argument}")
        elif verb != "addresses":
            raise NotImplementedError(verb)

    # The transport, with the retries of a correct guest.

    def open(self, protocol: bytes, *, cookies: bool = True) -> Channel:
        try:
            return super().open(protocol, cookies=cookies)
        except Refused:
            return super().open(protocol, cookies=False)

    def send(self, channel: Channel, message: bytes, *, high: bool = True) -> None:
        try:
            super().send(channel, message, high=high)
        except Refused as refused:
            if refused.status != CPT:
                raise
            super().send(channel, message, high=high)

    def rpci(self, message: bytes, *, high: bool = True) -> bytes | None:
        reply = super().rpci(message, high=high)
        self.nodes["machdep.vmt0.stats.refused"] += (reply or b"")[:1] != b"1"
        return reply

    def receive(self, channel: Channel, *, high: bool = True) -> bytes | None:
        try:
            return super().receive(channel, high=high)
        except Refused as refused:
            if refused.status != CPT:
                raise
            return super().receive(channel, high=high)

    # The tools.

    def once(self) -> None:
        """Poll until no message arrives or the channel is lost."""
        try:
            self.channel = self.channel or self.open(b"TCLO")
            for _ in range(64):
                reply, self.owed = self.owed, b""
                message = self.turn(self.channel, reply)
                if message is None:
                    return
                self.owed = self.answer(message)
        except Refused:
            self.channel, self.owed = None, b""

    def answer(self, message: bytes) -> bytes:
        if message == b"Capabilities_Register":
            self.report()
        elif message == b"Set_Option broadcastIP 1":
            self.rpci(b"info-set guestinfo.ip 192.0.2.10")
        elif message.startswith(b"Time_Synchronize "):
            return b"OK " if self.sync(back=message.endswith(b"1")) else b"ERROR Unable to sync"
        elif message.startswith(b"vmbackup."):
            return self.back_up(message)
        reply = super().answer(message)
        if message in SWITCHES:
            script, name = SWITCHES[message]
            self.trace.emit("powerd", script=script, name=name, device="vmt0")
        return reply

    def report(self) -> None:
        """Report the guest information, in an older form to an older host."""
        self.rpci(b"SetGuestInfo  1 " + self.hostname.encode())
        detailed = struct.pack("<I129s513sxx", 1, b"other-64", b"NetBSD 11.0 x86_64")
        if self.rpci(b"SetGuestInfo  11 " + detailed + b"distroName='NetBSD'\0") != b"1 ":
            self.rpci(b"SetGuestInfo  5 NetBSD 11.0 x86_64")
            self.rpci(b"SetGuestInfo  6 other-64")
        if self.rpci(b"SetGuestInfo  10 " + NIC_INFO) != b"1 ":
            self.rpci(b"SetGuestInfo  9 " + NIC_INFO)
            # A host of that age has no JSON of disks either: one disk of 8 GB, half of it free.
            self.rpci(b"SetGuestInfo  3 \1" + struct.pack("<QQ100s", 1 << 32, 1 << 33, b"/"))
        self.rpci(b"SetGuestInfo  7 %d" % (self.time // 10_000_000))

    def sync(self, *, back: bool = False) -> bool:
        """Follow the host's clock: in steps above 0.5 s, slewing below."""
        frame = self.low(55)
        if frame.arg0 != MAGIC:
            frame = self.low(46)
        seconds = frame.arg4 << 32 | frame.arg3
        if frame.arg0 != MAGIC or frame.arg1 >= 1_000_000 or not 0 < seconds < 1 << 40:
            return False
        error = seconds * 10**9 + frame.arg1 * 1000 - self.time - self.clock
        if abs(error) < 5 * 10**8:
            self.trace.emit("clock.slew", by=error)
        elif error > 0 or back:
            self.trace.emit("clock.step", by=error)
        else:
            return True
        self.clock += error
        return True

    def back_up(self, message: bytes) -> bytes:
        events = {
            b"vmbackup.start": ("reset 0 ", "prov.snapshotCommit 0 "),
            b"vmbackup.snapshotDone": ("req.done 0 ",),
            b"vmbackup.abort": ("req.aborted 4 Quiesce canceled.", "req.done 0 "),
        }
        name = message.split(b" ")[0]
        for event in events[name]:
            self.rpci(f"vmbackup.eventSet {event}".encode())
        self.frozen = name == b"vmbackup.start"
        return b"OK "

    def play(self) -> list[Failure]:
        """Run the scenario to its end; returns the unmet expectations."""
        poll, period = 0, 60 * 10**9
        self.sync()
        while self.time <= self.until:
            self.run_of.advance()
            self.host.advance()
            if self.attached and self.time >= poll:
                self.once()
                if self.frozen:
                    self.rpci(b"vmbackup.eventSet req.keepAlive 0 ")
                poll = self.time + POLL
            if self.time >= period:
                self.sync()
                period += 60 * 10**9
            times = [self.run_of.next_event(), self.host.next_event(), poll]
            soonest = min(t for t in times if t is not None)
            self.time = max(soonest, self.time + 1_000_000)
        return self.run_of.finish()
