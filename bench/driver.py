"""The driver's costs for its guest, counted in the simulator: calls to the host, delays.

No figure here depends on the measuring machine: delays are in virtual seconds. The stock driver's
figures were counted on a real NetBSD/amd64 10.99.12, with a simulated VMware host on its ports.
Public sources explain them: vmt(4) polls for messages each second (a SENDSIZE and a RECVSIZE),
reports the uptime every 15 s and reads the host's clock each minute; an RPCI command takes seven
calls where each command opens a channel (open-vm-tools
lib/rpcOut/rpcout.c, lib/message/message.c). 2 * 3600 + 7 * 240 + 60 = 8940.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vmtsim.core.frame import high16
from vmtsim.host.channel import CLOSE, OPEN, SENDSIZE
from vmtsim.kernel.clock import SECOND

from bench.figures import Figure, Found
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.core.frame import Frame
    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.lwp import Lwp

    from bench.figures import Plan

CALLS = "calls to the host"
DELAYS = "delays, virtual"
STOCK = "stock vmt(4)"
STOCK_HOUR = 8940
STOCK_COMMAND = 7
STOCK_POLL = 1000  # ms
SOURCE = (
    "Not measured in this run: counted once on a real NetBSD/amd64 10.99.12 kernel with its"
    " built-in vmt(4) and a simulated host. It polls each second with 2 calls (so"
    " that a message waits for up to 1,000 ms),"
    " reports the uptime every 15 s in 7 (one channel for each command: open-vm-tools"
    " `lib/message/message.c`) and asks for the time once a minute:"
    " 2 · 3600 + 7 · 240 + 60 = 8,940."
)


class Counter:
    """Counts the backdoor calls of RPCI commands.

    ``commands`` counts those of each command from its SENDSIZE on; ``shared`` counts OPEN and
    CLOSE, which the commands of a batch share.
    """

    def __init__(self, machine: Rig) -> None:
        self.commands: list[int] = []
        self.shared = 0
        self._host = machine.host
        self._low, self._high = self._host.transport.call, self._host.high_bandwidth
        self._host.transport.call = self._call  # type: ignore[method-assign]
        self._host.high_bandwidth = self._buffer  # type: ignore[method-assign]

    def stop(self) -> None:
        """Stop counting."""
        self._host.transport.call = self._low  # type: ignore[method-assign]
        self._host.high_bandwidth = self._high  # type: ignore[method-assign]

    @property
    def total(self) -> int:
        """All calls so far."""
        return sum(self.commands) + self.shared

    def _is_rpci(self, number: int) -> bool:
        channel = self._host.transport.channels.get(number)
        return channel is not None and channel.protocol == "rpci"

    def _call(self, frame: Frame) -> None:
        kind, before = high16(frame.arg2), self._is_rpci(high16(frame.arg3))
        self._low(frame)
        if kind in {OPEN, CLOSE}:
            self.shared += before if kind == CLOSE else self._is_rpci(high16(frame.arg3))
        elif before:
            if kind == SENDSIZE:
                self.commands.append(0)
            self.commands[-1] += 1

    def _buffer(self, frame: Frame, memory: Any, *, to_host: bool) -> None:
        if self._is_rpci(high16(frame.arg3)):
            self.commands[-1] += 1
        self._high(frame, memory, to_host=to_host)


def idle(machine: Rig, seconds: int) -> int:
    """Return the backdoor calls of an idle time."""
    machine.run(120)
    before = machine.host.backdoor.calls
    machine.run(seconds)
    return machine.host.backdoor.calls - before


def alone(machine: Rig) -> int:
    """Return the backdoor calls of an RPCI command that root sends with sysctl(8)."""
    machine.run(60)
    counter = Counter(machine)
    machine.rpc(b"info-get guestinfo.none")
    return counter.total


def batch(module: Path) -> tuple[int, float]:
    """Return the backdoor calls of an RPCI command among those that follow a reset.

    The result is the maximum of a command without OPEN and CLOSE, and the mean with these.
    Raises RuntimeError where too few commands follow.
    """
    counters: list[Counter] = []
    Rig(module, before=lambda rig: counters.append(Counter(rig)))
    (counter,) = counters
    if len(counter.commands) < 10:
        raise RuntimeError(f"only {len(counter.commands)} commands after the reset")
    return max(counter.commands), counter.total / len(counter.commands)


def queued(machine: Rig, messages: int = 20) -> int:
    """Return how many of the queued messages the worker answers before it sleeps again."""
    machine.run(5)
    sleeps: list[int] = []

    def called(lwp: Lwp, entry: Entry) -> None:
        if lwp.name == "vmt0" and entry.name == "cv_timedwait":
            sleeps.append(machine.now)

    scheduler = machine.kernel.scheduler
    usual, scheduler.on_call = scheduler.on_call, called
    replies: list[int] = []
    for _ in range(messages):
        machine.host.tclo.send("ping", lambda _ok, _reply: replies.append(machine.now))
    until(machine, lambda: len(replies) == messages)
    scheduler.on_call = usual
    first = next(at for at in [*sleeps, machine.now] if at > replies[0])
    return sum(1 for at in replies if at <= first)


def until(machine: Rig, done: Callable[[], bool]) -> None:
    """Run until ``done()``; RuntimeError after a minute."""
    if not machine.until(done, 60):
        raise RuntimeError("the driver does not answer within a minute")


def follow(machine: Rig, gap: float) -> float:
    """Return the milliseconds until the driver reads a message ``gap`` seconds after another."""
    machine.run(5)
    machine.ask("ping")
    machine.run(gap)
    sent = machine.now
    read: list[int] = []
    cancel = machine.trace.subscribe(lambda event: read.append(event.at), ["tclo"])
    machine.host.send("ping")
    until(machine, lambda: bool(read))
    cancel()
    return (read[0] - sent) / SECOND * 1000


def answered(machine: Rig, silence: float) -> float:
    """Return the milliseconds until the answer to a ping after ``silence`` seconds.

    Raises RuntimeError where none comes.
    """
    machine.run(silence)
    sent = machine.now
    if machine.ask("ping") != b"OK ":
        raise RuntimeError("a ping is not answered")
    return (machine.now - sent) / SECOND * 1000


def pressed(machine: Rig, silence: float) -> float:
    """Return the milliseconds from the host's request to powerd's event, after silence."""
    machine.run(silence)
    sent, before = machine.now, len(machine.powerd)
    machine.host.send("OS_Resume")
    until(machine, lambda: len(machine.powerd) > before)
    return (machine.now - sent) / SECOND * 1000


def request(machine: Rig, silence: float) -> float:
    """Return the milliseconds from a write to machdep.vmt0.rpc.request to the host.

    Raises RuntimeError where the write fails.
    """
    machine.run(silence)
    command = b"info-get guestinfo.none"
    before = len(machine.requests(command.decode()))
    sent = machine.now
    reply = machine.call("rpc.request", new=command)
    if reply.error:
        raise RuntimeError(f"machdep.vmt0.rpc.request fails with error {reply.error}")
    until(machine, lambda: len(machine.requests(command.decode())) > before)
    passed = (machine.now - sent) / SECOND * 1000
    # The driver keeps VMT_REQUESTS replies until a process reads them.
    machine.call(f"rpc.reply.{reply.data.rstrip(bytes(1)).decode()}")
    return passed


def delays(machine: Rig) -> list[Figure]:
    """Return the delays, at many phases of the driver's polling."""
    phases = [5 + number * 0.05 for number in range(20)]
    found: list[Figure] = []
    for name, take, polled in (
        ("a ping after silence is answered", answered, True),
        ("a power request reaches powerd after silence", pressed, True),
        ("a command through machdep.vmt0.rpc reaches the host", request, False),
    ):
        values = [take(machine, phase) for phase in phases]
        found.append(Figure(DELAYS, f"{name}, median", statistics.median(values), "ms"))
        worst = Figure(DELAYS, f"{name}, worst", max(values), "ms")
        if polled:
            worst = replace(worst, beside=STOCK, base=STOCK_POLL, source=SOURCE)
        found.append(worst)
    gaps = [number / 100 for number in range(5, 95, 5)]
    late = max(follow(machine, gap) for gap in gaps)
    name = "a message within a second of another is read, worst"
    found.append(Figure(DELAYS, name, late, "ms", STOCK, STOCK_POLL, SOURCE, goal=100))
    return found


def measure(plan: Plan) -> Found:
    """Measure all these figures, on amd64."""
    module = plan.module("amd64")
    if plan.quick:
        hours = [Figure(CALLS, "an idle minute", idle(Rig(module), 60), "calls")]
    else:
        silent = Rig(module)
        silent.write("info.memory_period", 0)
        hours = [
            Figure(CALLS, "an idle hour", idle(Rig(module), 3600), "calls", STOCK, STOCK_HOUR,
                   SOURCE, goal=8640),
            Figure(CALLS, "an idle hour without statistics of the memory", idle(silent, 3600),
                   "calls", STOCK, STOCK_HOUR, SOURCE, goal=7440),
        ]  # fmt: skip
    machine = Rig(module)
    most, mean = batch(module)
    figures = [
        *hours,
        Figure(CALLS, "an RPCI command alone", alone(Rig(module)), "calls", STOCK,
               STOCK_COMMAND, SOURCE),
        Figure(CALLS, "one more RPCI command in a batch", most, "calls", STOCK,
               STOCK_COMMAND, SOURCE, goal=5),
        Figure(CALLS, "an RPCI command after a reset, OPEN and CLOSE shared", mean, "calls",
               STOCK, STOCK_COMMAND, SOURCE),
        Figure(CALLS, "of 20 queued messages, answered in one wake-up", queued(machine),
               "messages", goal=20, at_least=True),
        *delays(machine),
    ]  # fmt: skip
    return Found(tuple(figures))
