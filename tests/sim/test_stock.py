"""NetBSD's own vmt(4), built from a sys/ tree: a defect of it that panics a real kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from vmtgen import cli as vmtgen
from vmtsim import cli as vmtsim
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script

if TYPE_CHECKING:
    from pathlib import Path

SYS = os.environ.get("NETBSD_SYS", "")
# Two periods that sysctl takes: the first is the largest whose ticks are no negative int.
SCENARIO = """\
summary: the largest period that sysctl takes
duration: 8
steps:
  - {at: 3, guest.sysctl: {machdep.vmt0.clock_sync.period: 21474836}}
  - {at: 4, guest.sysctl: {machdep.vmt0.clock_sync.period: 2147483647}}
"""

# A write comes during attach and during detach: each seed orders them in another way.
WRITES = """\
summary: sysctl is written while the driver attaches and goes
duration: 40
steps:
  - {at: 9, guest.detach: vmt0}
  - {at: 9, guest.sysctl: {machdep.vmt0.clock_sync.period: 6}}
  - {at: 15, guest.rescan: cpu0}
  - {at: 15, guest.sysctl: {machdep.vmt0.clock_sync.period: 7}}
  - {at: 21, guest.detach: vmt0}
  - {at: 21, guest.sysctl: {machdep.vmt0.clock_sync.period: 8}}
"""
# The results: vmt_common_attach makes the node before callout_setfunc, and vmt_common_detach
# destroys the callout before the node (sys/dev/vmt/vmt_subr.c).
WRITTEN = {
    "callout-without-function": "vmt_sysctl_update_clock_sync_period",
    "callout-uninitialised": "was destroyed by vmt_common_detach",
}
WITHIN = 80  # seeds


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS=/usr/src/sys is not set")
def test_overflowing_period_panics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = ["--sys", SYS, "--source", f"{SYS}/modules/vmt", "--out", str(tmp_path)]
    assert vmtgen.main(["build", *built]) == 0
    (module,) = tmp_path.glob("*/amd64/vmt.kmod")
    scenario = tmp_path / "period.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    capsys.readouterr()
    assert vmtsim.main(["run", "--scenario", str(scenario), str(module)]) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert "finding 4.0" in printed
    assert "callout-ticks: callout_schedule by vmt_sysctl_update_clock_sync_period" in printed
    assert "with -100 ticks" in printed


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS=/usr/src/sys is not set")
def test_write_during_attach_and_detach_races_on_two_processors(tmp_path: Path) -> None:
    built = ["--sys", SYS, "--source", f"{SYS}/modules/vmt", "--out", str(tmp_path)]
    assert vmtgen.main(["build", *built]) == 0
    (module,) = tmp_path.glob("*/amd64/vmt.kmod")
    file = tmp_path / "writes.yaml"
    file.write_text(WRITES, encoding="utf-8")
    scenario = script.load(str(file))
    found: set[str] = set()
    for seed in range(1, WITHIN + 1):
        for each in Simulation(module, scenario, seed=seed, cpus=2, races=True).run().findings:
            if WRITTEN.get(each.rule, "?") in each.message:
                found.add(each.rule)
        if found == set(WRITTEN):
            return
    assert found == set(WRITTEN)
