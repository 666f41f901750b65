"""What must hold at every moment of a run, over what kernel and host check by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.fslayout import MNT_LOCAL
from vmtsim.kernel.mounts import NORMAL, Mounts

if TYPE_CHECKING:
    from vmtsim.core.trace import Event
    from vmtsim.run.simulation import Simulation

ABANDONED = "channel-abandoned"
# Rules that are seen to be broken while the guest is inside a call to the host.
QUIESCED = "snapshot-not-written"
IN_TRAP = frozenset({ABANDONED})


def watch(simulation: Simulation) -> None:
    """Check the invariants of a run; what does not hold is reported once, as a violation."""
    broken: set[str] = set()
    began = 0  # the latest backup, in virtual ns

    def opened(_event: Event) -> None:
        """Check that a guest which opens a channel has closed the one that it had."""
        channels = simulation.host.transport.channels
        held = [channels[number] for number in simulation.host.guest_channels]
        for protocol in ("tclo", "rpci"):
            numbers = [channel.number for channel in held if channel.protocol == protocol]
            if len(numbers) > 1 and ABANDONED not in broken:
                broken.add(ABANDONED)
                simulation.kernel.violation(
                    ABANDONED,
                    f"the guest opens a channel for {protocol.upper()} and has not closed what "
                    f"it had: channels {', '.join(map(str, numbers))} are open",
                )

    def backup(event: Event) -> None:
        """Check that what was written before a quiesced snapshot began is on its disk."""
        nonlocal began
        if event["name"] == "reset":
            began = event.at
        if event["name"] != "prov.snapshotCommit" or QUIESCED in broken:
            return
        for mount in simulation.kernel.subject(Mounts).mounted:
            late = mount.dirty_since >= began and mount.state == NORMAL
            if mount.dirty and not late and mount.flags & MNT_LOCAL:
                broken.add(QUIESCED)
                simulation.kernel.violation(
                    QUIESCED,
                    f"the guest lets the host take a quiesced snapshot, and what was written to "
                    f"{mount.directory} before it {'began' if mount.state == NORMAL else 'froze'} "
                    "is not on the disk yet",
                )

    simulation.trace.subscribe(opened, ["open"])
    simulation.trace.subscribe(backup, ["backup.event"])
