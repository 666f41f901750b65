"""The balloon driver, as built, against every kind of host that has a balloon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vmtgen.build.compile import build_module
from vmtgen.resources import directory
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import load

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The module of both machines."""
    out = tmp_path_factory.mktemp("balloon")
    source = directory("kmod") / "vmmemctl"
    return {
        machine: build_module(source, machine=machine, out=out / machine).path
        for machine in ("amd64", "i386")
    }


@pytest.mark.parametrize("machine", ["amd64", "i386"])
@pytest.mark.parametrize("balloon", ["old", "basic", "batched"])
@pytest.mark.parametrize("name", ["target", "trouble"])
def test_the_balloon_follows_its_target(
    modules: dict[str, Path], machine: str, balloon: str, name: str
) -> None:
    scenario = load(HERE / f"{name}.yaml")
    host = replace(scenario.host, balloon=balloon)  # type: ignore[arg-type]
    outcome = Simulation(modules[machine], replace(scenario, host=host)).run()
    assert outcome.findings == []
