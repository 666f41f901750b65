"""The cost of a message by its length: calls to the host, and real time in the simulator.

The host sends a Set_Option of that length and gets the answer. The guest, through
machdep.vmt0.rpc, sends a line for the host's log and reads a guest variable.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.driver import Counter
from bench.figures import Found, Growth, Series
from tests.driver.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Plan

SIZES = (16, 64, 256, 1024, 4096, 16384, 65536)


def from_host(machine: Rig, size: int) -> tuple[int, float]:
    """Send a message of ``size`` bytes, right after another; return calls and CPU seconds.

    Raises RuntimeError for a wrong answer.
    """
    head = b"Set_Option x " if size < 64 else b"Set_Option guestLogLevel "
    expected = b"ERROR" if size < 64 else b"OK"
    message = head + b"x" * (size - len(head))
    machine.run(5)
    machine.ask("ping")
    calls, start = machine.host.backdoor.calls, time.process_time()
    reply = machine.ask(message)
    used, calls = time.process_time() - start, machine.host.backdoor.calls - calls
    if not reply.startswith(expected):
        raise RuntimeError(f"a message of {size} bytes is answered {reply[:40]!r}")
    return calls, used


def _counted(machine: Rig, request: bytes) -> tuple[int, float]:
    machine.run(5)
    counter = Counter(machine)
    start = time.process_time()
    reply = machine.rpc(request)
    used = time.process_time() - start
    counter.stop()
    if reply.error or not reply.data.startswith(b"1 "):
        raise RuntimeError(f"{request[:40]!r} fails: {reply.error} {reply.data[:40]!r}")
    return counter.total, used


def from_guest(machine: Rig, size: int) -> tuple[int, float]:
    """Write a line of ``size`` bytes, command included, to the host's log."""
    head = b"log "
    return _counted(machine, head + b"x" * (size - len(head)))


def reply_to_guest(machine: Rig, size: int) -> tuple[int, float]:
    """Read a guest variable whose reply has ``size`` bytes."""
    machine.host.guestinfo.variables["a"] = b"y" * (size - 2)
    return _counted(machine, b"info-get guestinfo.a")


def best(take: Callable[[int], tuple[int, float]], size: int, runs: int) -> tuple[int, float]:
    """Return the maximum of the calls and the minimum of the CPU seconds of all runs."""
    found = [take(size) for _ in range(runs)]
    return max(calls for calls, _ in found), min(used for _, used in found)


def measure(plan: Plan) -> Found:
    """Measure all lengths, with and without the high-bandwidth port."""
    sizes = (16, 1024) if plan.quick else SIZES
    module = plan.module("amd64")
    high, low = Rig(module), Rig(module, high_bandwidth=False)
    cases: tuple[tuple[str, Callable[[int], tuple[int, float]]], ...] = (
        ("from the host", lambda size: from_host(high, size)),
        ("from the host, 4 bytes a call", lambda size: from_host(low, size)),
        ("request of the guest", lambda size: from_guest(high, size)),
        ("reply to the guest", lambda size: reply_to_guest(high, size)),
    )
    calls: list[Series] = []
    times: list[Series] = []
    for name, take in cases:
        found = [best(take, size, 2 if plan.quick else 5) for size in sizes]
        calls.append(Series(name, "calls to the host", tuple(one[0] for one in found)))
        times.append(Series(name, "CPU ms", tuple(one[1] * 1000 for one in found)))
    growth = Growth(
        "messages",
        "Messages",
        "One message and its answer: backdoor calls, and real time in the simulator (amd64)."
        " Without the high-bandwidth port each call moves four bytes.",
        "bytes",
        sizes,
        (*calls, *times),
        "The guest's side goes through `machdep.vmt0.rpc`.",
    )
    return Found(growth=(growth,))
