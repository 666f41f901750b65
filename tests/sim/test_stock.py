"""NetBSD's own vmt(4), built from a sys/ tree: a defect of it that a real kernel panics for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from vmtgen import cli as vmtgen
from vmtsim import cli as vmtsim

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


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS=/usr/src/sys is not set")
def test_a_period_whose_ticks_overflow_is_a_panic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = ["--sys", SYS, "--source", f"{SYS}/modules/vmt", "--out", str(tmp_path)]
    assert vmtgen.main(["build", *built]) == 0
    (module,) = tmp_path.glob("*/amd64/vmt.kmod")
    scenario = tmp_path / "period.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    capsys.readouterr()
    assert vmtsim.main(["run", "--scenario", str(scenario), str(module)]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "finding 4.0" in said
    assert "callout-ticks: callout_schedule by vmt_sysctl_update_clock_sync_period" in said
    assert "with -100 ticks" in said
