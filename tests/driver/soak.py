"""A million virtual seconds of a guest with a busy host: nothing may grow.

    PYTHONPATH=sim:gen .venv/bin/python tests/driver/soak.py [--seconds 1000000]

Each hour the host sends every request, loses a channel, changes its clock and takes a snapshot.
After it the kernel's memory and the host's channel table hold what they held after the first hours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vmtgen.build.compile import build_module
from vmtsim.core.trace import Trace
from vmtsim.host.options import HostOptions
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.evcnt import EventCounters
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.kthread import KThreads
from vmtsim.kernel.sysctltree import SysctlTree
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import Scenario

HOUR = 3600
# Hours after which every permanent object has been allocated.
WARM = 3


def trouble(simulation: Simulation, hour: int) -> None:
    """The actions of the host in an hour."""
    host = simulation.host
    host.send("Set_Option broadcastIP 1")
    host.send("OS_Suspend")
    host.send("OS_Resume")
    host.clock.jump((-5, 3, 60, -1)[hour % 4] * SECOND)
    host.send(f"Time_Synchronize {hour % 2}")
    host.send(b"Set_Option guestLogLevel " + b"x" * (hour % 60_000))
    host.backup.start()
    host.context.after(600, host.lose_channel)
    host.context.after(1200, lambda: host.steal_channel(3))
    host.context.after(1800, lambda: host.lose_channel("all"))
    host.context.after(2400, host.migrate)
    host.context.after(3000, host.tclo.reset)
    simulation.guest("hostname", f"guest{hour}.example")
    simulation.guest("rpc", "info-get guestinfo.ip")
    if hour % 5 == 4:
        simulation.guest("detach", "vmt0")
        host.context.after(30, lambda: simulation.guest("rescan", "cpu0"))


def holds(simulation: Simulation) -> dict[str, int]:
    """Resources that could grow: objects and bytes of kmem, threads, nodes, counters, channels."""
    kernel = simulation.kernel
    live = [each for each in kernel.subject(Kmem).live.values() if each.owner == "kmem"]
    return {
        "objects": len(live),
        "bytes": sum(each.size for each in live),
        "threads": len(kernel.subject(KThreads).live),
        "nodes": len(kernel.subject(SysctlTree).leaves("machdep")),
        "counters": len(kernel.subject(EventCounters).attached),
        "channels": len(simulation.host.guest_channels),
    }


def main() -> int:
    """Let the time pass and compare."""
    parser = argparse.ArgumentParser(description="a million virtual seconds without growth")
    parser.add_argument("--seconds", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--module", type=Path, metavar="FILE", help="instead of building kmod/")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        module = args.module
        if module is None:
            top = Path(__file__).resolve().parents[2]
            module = build_module(top / "kmod" / "vmt", out=Path(place)).module.path
        broken: list[str] = []
        trace = Trace(keep=False)
        trace.subscribe(
            lambda event: broken.append(f"{event['rule']}: {event.get('detail', '')}"),
            ["violation"],
        )
        scenario = Scenario("soak", "", 0, HostOptions(), ())
        simulation = Simulation(module, scenario, seed=args.seed, trace=trace)
        simulation.kernel.boot()
        simulation.admin.set_powerd(on=True)
        if not simulation._load():
            sys.stdout.write("the module does not load\n")
            return 1
        first: dict[str, int] = {}
        now = most = 0
        for hour in range(max(-(-args.seconds // HOUR), WARM + 1)):
            trouble(simulation, hour)
            simulation.kernel.run_for(HOUR * SECOND)
            now = simulation.clock.now // SECOND
            held = holds(simulation)
            most = max(most, held["bytes"])
            if hour == WARM:
                first = held
            if hour >= WARM and held != first:
                sys.stdout.write(f"after {now} s: {held}, but {first} after {WARM + 1} hours\n")
                return 1
        simulation._leave()
        broken += [str(finding) for finding in simulation.outcome.findings]
        if broken:
            sys.stdout.write("\n".join(broken) + "\n")
            return 1
    sys.stdout.write(f"{now} virtual seconds, at most {most} bytes of kmem, always {first}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
