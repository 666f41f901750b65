"""What the driver costs its guest, counted in the simulator: calls to the host, delays, bytes.

Nothing here depends on the machine that measures.  The stock driver's figures were counted on a
real NetBSD/amd64 10.99.12 with a VMware host played on its ports: a poll of 2 calls each second,
an uptime of 7 calls every 15 s and one look at the host's clock a minute are 8940 calls in an
idle hour.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.kobj import read_module
from vmtsim.host.channel import CLOSE, OPEN
from vmtsim.host.frame import high16
from vmtsim.host.options import HostOptions
from vmtsim.kernel.clock import SECOND
from vmtsim.scenario import Scenario
from vmtsim.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.frame import Frame
    from vmtsim.kernel.dispatch import Entry
    from vmtsim.kernel.scheduler import Lwp

MODULE = Path(__file__).resolve().parents[1] / "build" / "11.0" / "amd64" / "vmt.kmod"
STOCK_HOUR = 8940
STOCK_COMMAND = 7
_QUIET: dict[str, Any] = {"option_burst": (), "power_on": False, "broadcast_ip": 0, "ping": 0}


@dataclass(frozen=True)
class Row:
    """A figure: ``goal`` is the most that it may be (the least, if ``at_least``)."""

    name: str
    value: float
    unit: str
    goal: float
    stock: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """The figure as a share of the stock driver's, where that is known."""
        return None if self.stock is None else self.value / self.stock

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


class Guest:
    """A machine with the driver loaded, whose host has said what it says after a reset."""

    def __init__(self, module: Path) -> None:
        scenario = Scenario("bench", "", 0, HostOptions(**_QUIET), (), {})
        self.simulation = Simulation(module, scenario)
        self.host = self.simulation.host
        self.kernel = self.simulation.kernel
        self.trace = self.simulation.trace
        self.kernel.boot()
        admin = self.simulation.admin
        admin.set_powerd(on=True)

    def load(self) -> None:
        admin = self.simulation.admin
        if admin.wait("modload", admin.do_load(None)):
            raise RuntimeError("the module does not load")
        self.run(2)
        if not self.host.tools.running:
            raise RuntimeError("the driver does not answer the host")

    @property
    def now(self) -> int:
        return self.simulation.clock.now

    def run(self, seconds: float) -> None:
        self.kernel.run_for(round(seconds * SECOND))

    def until(self, done: Callable[[], bool]) -> None:
        if not self.kernel.run(done, self.now + 60 * SECOND):
            raise RuntimeError("the driver does not answer within a minute")


def idle_hour(module: Path) -> int:
    """Backdoor calls in an hour in which nothing happens."""
    guest = Guest(module)
    guest.load()
    guest.run(120)
    before = guest.host.backdoor.calls
    guest.run(3600)
    return guest.host.backdoor.calls - before


def batch(module: Path) -> float:
    """Backdoor calls of one RPCI command among those that follow a reset; the most of any."""
    guest = Guest(module)
    transport = guest.host.transport
    calls: list[int] = []
    low, high = transport.call, guest.host.high_bandwidth

    def count(number: int) -> None:
        channel = transport.channels.get(number)
        if channel is not None and channel.protocol == "rpci" and calls:
            calls[-1] += 1

    def call(frame: Frame) -> None:
        kind = high16(frame.arg2)
        if kind == OPEN + 1:
            channel = transport.channels.get(high16(frame.arg3))
            if channel is not None and channel.protocol == "rpci":
                calls.append(0)
        if kind not in {OPEN, CLOSE}:
            count(high16(frame.arg3))
        low(frame)

    def buffer(frame: Frame, memory: Any, *, to_host: bool) -> None:
        count(high16(frame.arg3))
        high(frame, memory, to_host=to_host)

    transport.call = call  # type: ignore[method-assign]
    guest.host.high_bandwidth = buffer  # type: ignore[method-assign]
    guest.load()
    if len(calls) < 10:
        raise RuntimeError(f"only {len(calls)} commands after the reset")
    return max(calls)


def queued(module: Path, messages: int = 20) -> int:
    """How many of so many queued messages are answered before the worker sleeps again."""
    guest = Guest(module)
    guest.load()
    guest.run(5)
    sleeps: list[int] = []

    def called(lwp: Lwp, entry: Entry) -> None:
        if lwp.name == "vmt0" and entry.name == "cv_timedwait":
            sleeps.append(guest.now)

    guest.kernel.scheduler.on_call = called
    replies: list[int] = []
    for _ in range(messages):
        guest.host.tclo.send("ping", lambda _ok, _reply: replies.append(guest.now))
    guest.until(lambda: len(replies) == messages)
    first = next(at for at in [*sleeps, guest.now] if at > replies[0])
    return sum(1 for at in replies if at <= first)


def delay(module: Path) -> float:
    """Seconds until a message is picked up that follows another within a second; the worst."""
    guest = Guest(module)
    guest.load()
    worst = 0
    for gap in range(5, 95, 5):
        guest.run(5)
        for pause in (0.0, gap / 100):
            guest.run(pause)
            sent = guest.now
            read: list[int] = []
            cancel = guest.trace.subscribe(lambda event, read=read: read.append(event.at), ["tclo"])
            guest.host.send("ping")
            guest.until(lambda read=read: bool(read))
            cancel()
        worst = max(worst, read[0] - sent)
    return worst / SECOND


def size(module: Path) -> float:
    """KiB of text and rodata."""
    sizes = read_module(module).sizes
    return (sizes["text"] + sizes["rodata"]) / 1024


def rows(module: Path = MODULE) -> list[Row]:
    """Measure everything; ``module`` is the driver for amd64."""
    return [
        Row("backdoor calls in an idle hour", idle_hour(module), "calls", 7800, STOCK_HOUR),
        Row("an RPCI command inside a batch", batch(module), "calls", 5, STOCK_COMMAND),
        Row("of 20 queued messages, answered in one wake-up", queued(module), "", 20,
            at_least=True),
        Row("a message within a second of another is read after", delay(module), "s", 0.1),
        Row("text and rodata on amd64", size(module), "KiB", 40),
    ]  # fmt: skip


def main() -> int:
    """Print the figures."""
    print("| what | measured | goal | stock | ratio | |")
    print("|---|---:|---:|---:|---:|---|")
    missed = False
    for row in rows(Path(sys.argv[1]) if len(sys.argv) > 1 else MODULE):
        missed |= not row.met
        stock = "" if row.stock is None else f"{row.stock:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        print(
            f"| {row.name} | {row.value:.4g} {row.unit} | {row.goal:g} | {stock} | {ratio} "
            f"| {'ok' if row.met else 'MISSED'} |"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
