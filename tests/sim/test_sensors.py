"""A scenario loads a module with properties into a kernel without a driver, and runs envstat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim import cli

from .modkit import built

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = """
summary: A temperature.
host: {option_burst: [], ping: 0, broadcast_ip: 0, power_on: false, vix_probe: 0}
guest: {without: [swwdog], properties: {degrees: 21}}
steps:
  - at: 1.0
    guest.envstat: warm
  - expect.trace: {kind: guest.done, verb: envstat, result: "room: 21.000 degC"}
  - after: 0.5
    guest.wdogctl: dog0
  - expect.trace: {kind: guest.done, verb: wdogctl, result: ESRCH (3)}
duration: 10
"""


def _run(tmp_path: Path, text: str, machine: str = "amd64", *flags: str) -> int:
    path = tmp_path / "warm.yaml"
    path.write_text(text)
    return cli.main(["run", str(built("warm", machine, flags)), "--scenario", str(path)])


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
def test_sensor_is_shown_by_envstat(
    machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = _run(tmp_path, SCENARIO, machine)
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "printed"),
    [
        ("without: [swwdog], ", "", "global symbol `swwdog_cd' redefined"),
        ("degrees: 21", "degree: 21", "modload: EINVAL (22)"),
        ("room: 21", "room: 22", "envstat"),
    ],
)
def test_guest_settings_of_scenario_apply(
    old: str, new: str, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, SCENARIO.replace(old, new)) == 1
    assert printed in capsys.readouterr().out


def test_device_left_in_list_fails_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path, SCENARIO, "amd64", "-DBUG") == 1
    assert "envsys-left" in capsys.readouterr().out


def test_required_module_is_loaded_first_and_unloaded_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beat.kmod").write_bytes(built("beat").read_bytes())
    text = SCENARIO.replace("degrees: 21}", "degrees: 21}, modules: [beat.kmod]")
    text = text.replace(
        "duration: 10", "  - at: 3\n    expect.console: 'beat0: beat *'\nduration: 10"
    )
    status = _run(tmp_path, text)
    out = capsys.readouterr().out
    assert status == 0, out
    assert "beat0: detached" in out


def test_missing_required_module_is_located_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SCENARIO.replace("degrees: 21}", "degrees: 21}, modules: [none.kmod]")
    assert _run(tmp_path, text) == 65
    assert (
        f"warm.yaml:4: guest.modules: no such module: {tmp_path}/none.kmod"
        in capsys.readouterr().err
    )
