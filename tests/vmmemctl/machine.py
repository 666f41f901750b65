"""A guest with the balloon driver, controlled by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtsim.host.options import HostOptions
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.guest import GuestSettings
from vmtsim.scenario.script import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.host.balloon import Balloon

# A host that sends nothing by itself.
QUIET: dict[str, Any] = {
    "option_burst": (), "power_on": False, "broadcast_ip": 0, "ping": 0, "vix_probe": 0,
}  # fmt: skip


class Machine:
    """A booted guest with the driver loaded, controlled by a test."""

    def __init__(
        self, module: Path, *, seed: int = 1, load: bool = True, races: bool = False, **host: Any
    ) -> None:
        scenario = Scenario("by hand", "", 0, HostOptions(**{**QUIET, **host}), (), GuestSettings())
        self.simulation = Simulation(module, scenario, seed=seed, races=races)
        self.kernel = self.simulation.kernel
        self.admin = self.simulation.admin
        self.kernel.boot()
        if load:
            assert self.do("load") == 0

    @property
    def balloon(self) -> Balloon:
        """The balloon of the host."""
        return self.simulation.host.balloon

    def do(self, verb: str, argument: Any = None) -> Any:
        """Run an administrator's command to its end, and return its result."""
        return self.admin.wait(verb, self.admin.command(verb, argument))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.kernel.run(lambda: False, self.kernel.clock.now + round(seconds * 1_000_000_000))

    def read(self, node: str) -> Any:
        """Read a node below machdep.vmmemctl0."""
        return self.simulation.sysctl(f"machdep.vmmemctl0.{node}")

    def broken(self) -> list[str]:
        """The rules of the kernel and of the host that were broken."""
        host = [str(e["rule"]) for e in self.simulation.trace.events if e.kind == "violation"]
        return [*host, *(violation.rule for violation in self.kernel.violations)]

    def leave(self) -> None:
        """Unload the driver and expect that nothing is left and no rule was broken."""
        assert self.do("unload", "vmmemctl") == 0
        assert self.balloon.size == 0
        assert self.broken() == []
