"""A detach at any point of a busy conversation: the n-th kernel call or trap of the driver.

``python -m pytest`` tries a sample of the points; all of them::

    PYTHONPATH=sim:gen .venv/bin/python tests/driver/anywhere.py [--seeds 3] [--every 1]

builds the driver, counts the points and tries each, with each seed.  Exit status 1: some failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import types
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.points import Points, sweep

if TYPE_CHECKING:
    from vmtsim.kernel.lwp import Lwp

    from .rig import Rig

if not __package__:
    # When run as a script, make this directory a package for its relative imports.
    _package = types.ModuleType("driver_tests")
    _package.__path__ = [str(Path(__file__).parent)]
    sys.modules[_package.__name__] = _package
    __package__ = _package.__name__

_rig = importlib.import_module(".rig", __package__)

SECONDS = 9.0  # of conversation


def busy(machine: Rig) -> None:
    """Queue one of everything that the driver does."""
    host = machine.host
    host.guestinfo.variables["a"] = b"x" * 3000
    host.send("Set_Option broadcastIP 1")
    host.send("Set_Option synctime 1")
    host.send("OS_Suspend")
    host.send("OS_Resume")
    host.send("Time_Synchronize 1")
    host.clock.jump(2_000_000_000)
    host.backup.start(snapshot=1.0)
    host.send(b"Set_Option guestLogLevel " + b"y" * 3000)
    host.send("unknown command")
    machine.start("rpc", "info-get guestinfo.a")
    machine.start("sysctl", {"machdep.vmt0.clock_sync.now": 1})
    machine.start("hostname", "other.example")
    host.context.after(5.0, host.lose_channel)
    host.faults.arm("checkpoint", at="hb-out", skip=5, protocol="rpci")
    host.send("OS_Reboot")


def play(module: Path, point: int | None, *, seed: int = 1) -> tuple[Rig, int]:
    """Run the conversation; detach at the ``point``-th kernel call or trap of a driver thread.

    Returns the machine, detached and attached again in working order, and the number of points.
    """
    machine: Rig = _rig.Rig(module, seed=seed)
    process: list[Lwp] = []

    def detach() -> None:
        process.append(machine.start("detach", "vmt0"))

    reached = Points(machine.kernel, "vmt0", point, detach)
    busy(machine)
    machine.run(SECONDS)
    points = reached.stop()
    if point is not None:
        assert machine.until(lambda: process[0].state == "gone", 60)
        assert process[0].result == 0
        assert not machine.attached
        assert machine.threads == []
        assert machine.host.guest_channels == []
        machine.host.faults.disarm()
        assert machine.do("rescan", "cpu0") == 0
        machine.run(70)
        assert machine.ask("ping") == b"OK "
        assert machine.host.guestinfo.decoded[1] == "other.example"
    machine.leave()
    return machine, points


def main() -> int:
    """Try them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th point")
    parser.add_argument("--module", type=Path, metavar="FILE", help="instead of building kmod/")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        module = args.module
        if module is None:
            from vmtgen.build.compile import build_module

            top = Path(__file__).resolve().parents[2]
            module = build_module(top / "kmod" / "vmt", out=Path(out)).module.path
        failed = tried = 0
        for seed in range(1, args.seeds + 1):
            _machine, points = play(module, None, seed=seed)
            chosen = range(1, points + 1, args.every)
            done = sweep(f"seed {seed}", chosen, partial(play, module, seed=seed))
            tried, failed = tried + done[0], failed + done[1]
    sys.stdout.write(f"{tried} points tried, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
