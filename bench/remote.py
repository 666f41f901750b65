"""Measures the backdoor calls per second that ``vmtsim host`` serves to a guest in QEMU.

The guest is that of tests/sim/gdb: one vCPU, TCG and the shipped driver, which sends commands and
reads the time, each as soon as the answer to the last one arrives.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure, Found

if TYPE_CHECKING:
    from guestkit import Guest

    from bench.figures import Plan

GROUP = "simulator"
ROOT = Path(__file__).resolve().parents[1]
GUEST = ROOT / "tests" / "sim" / "gdb"
COMMANDS = 500  # each takes about six calls, of which two move a buffer
_PATIENCE = 120.0


@dataclass(frozen=True)
class Served:
    """``calls`` in ``seconds`` of the wall clock, with the number of ``packets`` to the stub."""

    calls: int
    packets: int
    seconds: float


def served(qemu: str, guest: Guest, folder: Path, commands: int = COMMANDS) -> Served:
    """Measure it with a built guest; files go to ``folder``.

    Raises RuntimeError where the driver does not find the host.
    """
    from guestkit import BASES, running  # noqa: PLC0415 - needs the path
    from vmtsim.gdb import sites  # noqa: PLC0415
    from vmtsim.gdb.rsp import Client, connect  # noqa: PLC0415
    from vmtsim.gdb.session import Session, Settings  # noqa: PLC0415

    with running(qemu, guest, folder, words="load=0") as machine:
        client = Client(connect(machine.gdb))
        settings = Settings(sites.of_module(guest.module), text=BASES[0])
        session = Session(client, settings, lambda _line: None)
        thread = threading.Thread(target=session.run, daemon=True)
        thread.start()
        try:
            machine.wait_for("modload: 0", _PATIENCE)
            patience = time.monotonic() + _PATIENCE
            while not session.host.tools.power_operations:
                if not thread.is_alive() or time.monotonic() > patience:
                    raise RuntimeError("the driver in the guest does not find the host")
                time.sleep(0.01)
            before, packets = session.host.backdoor.calls, client.packets
            start = time.monotonic()
            machine.type(f"busy {commands}")
            machine.wait_for(f"busy: {commands} of {commands} commands", _PATIENCE)
            seconds = time.monotonic() - start
            calls = session.host.backdoor.calls - before
            packets = client.packets - packets
        finally:
            session.done = True
            thread.join(_PATIENCE)
    return Served(calls, packets, seconds)


def built_and_served() -> Served | None:
    """Build the guest and measure; None where QEMU is not installed."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return None
    sys.path.insert(0, str(GUEST))
    from guestkit import build_guest  # noqa: PLC0415 - needs the path

    with tempfile.TemporaryDirectory() as name:
        return served(qemu, build_guest(ROOT, Path(name)), Path(name))


def measure(plan: Plan) -> Found:
    """Measure the calls per second, where QEMU is installed."""
    name = "vmtsim host, a guest in QEMU with TCG: calls served"
    found = None if plan.quick else built_and_served()
    if found is None:
        note = "not in a quick run" if plan.quick else "qemu-system-x86_64 is not installed"
        return Found((Figure(GROUP, name, None, "", note=note),))
    return Found(
        (
            Figure(GROUP, name, found.calls / found.seconds, "per s"),
            Figure(GROUP, "packets to QEMU's GDB stub for a call", found.packets / found.calls,
                   "packets"),
        )
    )  # fmt: skip


def main() -> int:
    """Print the figures."""
    found = built_and_served()
    if found is None:
        print("qemu-system-x86_64 is not installed: nothing is measured")
        return 0
    print(
        f"vmtsim host, a guest in QEMU with TCG: {found.calls / found.seconds:.0f} backdoor calls"
        f" a second ({found.calls} calls, {found.packets} packets, {found.seconds:.2f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
