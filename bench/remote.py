"""Backdoor calls per second that ``vmtsim host`` serves to a guest in QEMU.

The guest is that of tests/sim/remote: one vCPU, TCG, the driver as it ships,
which sends commands and asks for the time as fast as it is answered.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = 500  # each is some six calls, of which two move a buffer
_PATIENCE = 120.0


def rows(commands: int = COMMANDS) -> list[dict[str, Any]]:
    """Return one row, or none where QEMU is not installed.

    ``calls`` were served in ``seconds`` of the wall clock; ``packets`` are those to the stub.
    """
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return []
    sys.path.insert(0, str(ROOT / "tests" / "sim" / "remote"))
    from guestkit import BASES, build_guest, running  # noqa: PLC0415 - needs the path
    from vmtsim.remote import sites  # noqa: PLC0415
    from vmtsim.remote.rsp import Client, connect  # noqa: PLC0415
    from vmtsim.remote.session import Session, Settings  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guest = build_guest(ROOT, folder)
        with running(qemu, guest, folder, words="load=0") as machine:
            client = Client(connect(machine.gdb))
            settings = Settings(sites.of_module(guest.module), text=BASES[0])
            session = Session(client, settings, lambda _line: None)
            thread = threading.Thread(target=session.run, daemon=True)
            thread.start()
            try:
                machine.wait_for("modload: 0", _PATIENCE)
                while not session.host.tools.power_operations:
                    time.sleep(0.01)
                before, packets, start = session.host.backdoor.calls, client.packets, time.time()
                machine.tell(f"busy {commands}")
                machine.wait_for(f"busy: {commands} of {commands} commands", _PATIENCE)
                seconds = time.time() - start
                calls = session.host.backdoor.calls - before
                packets = client.packets - packets
            finally:
                session.done = True
                thread.join(_PATIENCE)
    return [
        {
            "name": "vmtsim host: backdoor calls served, QEMU with TCG",
            "calls": calls,
            "packets": packets,
            "seconds": seconds,
            "calls_per_second": calls / seconds,
        }
    ]


def main() -> int:
    """Print the rows."""
    for row in rows():
        print(
            f"{row['name']}: {row['calls_per_second']:.0f} a second "
            f"({row['calls']} calls, {row['packets']} packets, {row['seconds']:.2f} s)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
