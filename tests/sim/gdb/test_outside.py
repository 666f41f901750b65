"""A correct guest that is observed only from outside passes each scenario, with any name."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.build.compile import build_module
from vmtsim.gdb.session import SEEN, Session, Settings
from vmtsim.gdb.sites import Program
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script
from vmtsim.scenario.guest import GuestSettings

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.scenario.script import Step


class Outside(Simulation):
    """A guest with its own name and release, without an address, observed only from outside.

    The driver runs in the simulated kernel, but the scenario sees only the view of `vmtsim host`.
    """

    def __init__(self, module: Path, name: str) -> None:
        played = script.load(name)
        bare = script.replace(played, guest=GuestSettings(hostname="real.example", addresses=()))
        super().__init__(module, bare)
        self.session = Session.__new__(Session)
        self.session.settings = Settings(Program("vmt", "amd64", ()), serial=module)

    def fact(self, name: str) -> str | None:
        return self.session.fact(name)

    def unable(self, step: Step) -> str:
        return self.session.unable(step)


@pytest.fixture(scope="module")
def old_module(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver for another release than the one that scenarios are run with by default."""
    out = tmp_path_factory.mktemp("old")
    return build_module(root / "kmod" / "vmt", release="10.1", out=out).path


# A step inside the guest, omitted here, would let the driver suspend a file system.
ALLOWED_INSIDE = {"check_quiesce_snapshot", "freeze"}


@pytest.mark.parametrize("name", sorted(ALLOWED_INSIDE))
def test_steps_that_need_guest_control_are_skipped(name: str) -> None:
    session = Session.__new__(Session)
    left = [session.unable(step) for step in script.load(name).steps if step.verb == "guest.sysctl"]
    assert set(left) == {"the action is inside the guest"}


@pytest.mark.parametrize("name", sorted(set(script.shipped()) - ALLOWED_INSIDE))
def test_scenarios_use_simulator_only_facts_only_when_simulated(
    old_module: Path, name: str
) -> None:
    simulation = Outside(old_module, name)
    outcome = simulation.run()
    assert [(each.rule, each.message) for each in outcome.findings] == []


def test_externally_visible_events_are_those_of_host(root: Path) -> None:
    emitted: set[str] = set()
    for path in (root / "sim" / "vmtsim" / "host").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "emit"
            ):
                kind: Any = node.args[0]
                assert isinstance(kind, ast.Constant), f"{path}:{node.lineno}"
                emitted.add(str(kind.value))
    assert emitted <= SEEN, "vmtsim.host emits it: `vmtsim host` can judge it"
    assert SEEN - emitted == {"console", "scenario.step", "scenario.met", "scenario.failed"}
