"""Invariants that must hold throughout a run, beyond the checks in kernel and host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.facts import Place
from vmtsim.kernel.fslayout import MNT_LOCAL
from vmtsim.kernel.mounts import NORMAL, Mounts
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.run.sitescripts import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.core.trace import Event
    from vmtsim.run.simulation import Simulation

ABANDONED = "channel-abandoned"
QUIESCED = "snapshot-not-written"
EARLY = "suspended-before-scripts"
NOT_THAWED = "freeze-without-thaw"
_FREEZE = (SCRIPT, "pressed")
_HOOK = 60 * SECOND  # limit for powerd's hook
# Rules whose violation is detected while the guest is inside a call to the host.
IN_TRAP = frozenset({ABANDONED})


def watch(simulation: Simulation) -> Callable[[], None]:
    """Check the invariants of a run; a violation is reported once.

    Returns a function that makes the final check at the end of the run.
    """
    broken: set[str] = set()
    began = 0  # the latest backup, in virtual ns
    limit = 0  # time limit of the scripts, in virtual ns
    admin = simulation.admin
    power = simulation.kernel.subject(SysmonPower)

    def opened(_event: Event) -> None:
        """Check that a guest closes its channel before it opens another."""
        channels = simulation.host.transport.channels
        held = [channels[number] for number in simulation.host.guest_channels]
        for protocol in ("tclo", "rpci"):
            numbers = [channel.number for channel in held if channel.protocol == protocol]
            if len(numbers) > 1 and ABANDONED not in broken:
                broken.add(ABANDONED)
                simulation.kernel.violation(
                    ABANDONED,
                    f"the guest opens a channel for {protocol.upper()} but has not closed its old "
                    f"one: channels {', '.join(map(str, numbers))} are open",
                    # Not the context of the last kernel call, which has returned.
                    Place("a call to the host"),
                )

    def backup(event: Event) -> None:
        """Check that data written before a quiesced snapshot is on its disk."""
        nonlocal began, limit
        if event["name"] == "reset":
            began, limit = event.at, admin.scripts_limit * SECOND
        if event["name"] != "prov.snapshotCommit" or QUIESCED in broken:
            return
        for mount in simulation.kernel.subject(Mounts).mounted:
            late = mount.dirty_since >= began and mount.state == NORMAL
            if mount.dirty and not late and mount.flags & MNT_LOCAL:
                broken.add(QUIESCED)
                simulation.kernel.violation(
                    QUIESCED,
                    f"the guest lets the host take a quiesced snapshot, but data written to "
                    f"{mount.directory} before it {'began' if mount.state == NORMAL else 'froze'} "
                    "is not on the disk yet",
                )

    def suspended(event: Event) -> None:
        """Check that a driver that has scripts run waits for them, or until their time limit."""
        current = simulation.kernel.current
        raised = power.raised.get(_FREEZE, -1)
        if current.kind != "kthread" or raised < began or EARLY in broken:
            return
        if admin.scripts_reported < raised and event.at < raised + limit:
            broken.add(EARLY)
            simulation.kernel.violation(
                EARLY,
                f"thread {current.name} suspends {event['directory']} "
                f"{(event.at - raised) / SECOND:.3f} s after the guest asked powerd(8) to run the "
                f"scripts for freeze: they have not reported completion within {limit // SECOND} s",
            )

    def finish() -> None:
        """Check that scripts that ran for freeze also run for thaw, if powerd(8) was running."""
        scripts, outcome = admin.scripts, simulation.outcome
        if scripts is None or outcome.halted or outcome.ended:
            return
        # The driver may have detached just now, with its event not read yet.
        kernel = simulation.kernel
        kernel.run(lambda: not scripts.frozen, kernel.clock.now + _HOOK)
        if scripts.frozen and 0 <= admin.powerd_since <= power.raised.get(_FREEZE, -1):
            simulation.kernel.violation(
                NOT_THAWED,
                f"scripts ran for freeze {scripts.frozen}, but have not run for thaw by the end "
                "of the run",
            )

    simulation.trace.subscribe(suspended, ["vfs.suspend"])
    simulation.trace.subscribe(opened, ["open"])
    simulation.trace.subscribe(backup, ["backup.event"])
    return finish
