"""What must hold at every moment of a run, over what kernel and host check by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.core.trace import Event
    from vmtsim.run.simulation import Simulation

ABANDONED = "channel-abandoned"
# Rules that are seen to be broken while the guest is inside a call to the host.
IN_TRAP = frozenset({ABANDONED})


def watch(simulation: Simulation) -> None:
    """Check the invariants of a run; what does not hold is reported once, as a violation."""
    broken: set[str] = set()

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

    simulation.trace.subscribe(opened, ["open"])
