"""``vmtsim run`` for a driver without VMware: no conversation, many seeds, failure context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtsim import cli

from .modkit import SOURCES, built

if TYPE_CHECKING:
    from pathlib import Path

_HOST = "host: {option_burst: [], ping: 0, broadcast_ip: 0, power_on: false}"


@pytest.fixture
def hours(tmp_path: Path) -> Path:
    path = tmp_path / "hours.yaml"
    path.write_text(
        f"summary: two commands, one of them for a device that is not there\n{_HOST}\nsteps:\n"
        "  - at: 0.5\n    guest.detach: classic7\n  - at: 3\n    guest.detach: classic0\n"
    )
    return path


def _printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = cli.main([str(word) for word in arguments])
    return status, capsys.readouterr().out


def test_module_without_conversation_gets_scenario_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = built("classic")
    status, text = _printed(capsys, "run", module)
    assert status == 1
    assert text.count("finding  ") == 3
    assert "more, above" in text
    assert "hint     classic sent nothing to the host" in text
    status, text = _printed(capsys, "run", module, "--scenario", "alone")
    assert status == 0
    assert "nothing was sent to the host" in text
    assert "hint" not in text


def test_missing_attach_is_diagnosed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Before 10.99.12 no cpu on aarch64 offers cpufeaturebus."""
    old = build_module(
        [SOURCES / "classic.c"], machine="aarch64", release="10.1", out=tmp_path
    ).path
    status, text = _printed(capsys, "run", old, "--scenario", "alone")
    assert status == 0
    assert "hint     no device attached: the driver's match function returned 0" in text
    _, text = _printed(capsys, "run", built("rules"), "--scenario", "alone")
    assert "hint" not in text


def test_coverage_names_missing_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ["coverage", str(built("classic")), "--source", str(tmp_path / "gone")]
    assert cli.main(given) == 66
    assert "gone: no such directory" in capsys.readouterr().err
    given = ["coverage", str(built("classic")), "--scenario", "alone"]
    assert cli.main(given) == 0
    printed = capsys.readouterr()
    assert "classic.c" in printed.out
    assert not printed.err


def test_failed_administrator_command_is_reported(
    capsys: pytest.CaptureFixture[str], hours: Path
) -> None:
    status, text = _printed(capsys, "run", built("classic"), "--scenario", hours)
    assert status == 0
    assert "0.500  guest   detach classic7: ENXIO (6)" in text
    assert "classic0: ENXIO" not in text
    _, text = _printed(capsys, "run", built("classic"), "--scenario", hours, "--summary")
    assert "refused  detach classic7: ENXIO (6)" in text


def test_module_is_unloaded_and_reloaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(
        f"summary: out and in\n{_HOST}\nsteps:\n"
        "  - at: 1\n    guest.unload: classic\n  - expect.console: 'classic0: detached'\n"
        "  - at: 2\n    guest.load:\n  - expect.console: 'classic0 at cpu0*'\n"
        "  - expect.trace: {kind: guest.done, verb: load, result: '0'}\n"
    )
    drawn = tmp_path / "drawn.svg"
    given = ("run", built("classic"), "--scenario", path, "--svg", drawn)
    assert _printed(capsys, *given)[0] == 0
    picture = drawn.read_text()
    assert ">guest: unload classic<" in picture
    assert ">guest: load<" in picture


def test_without_conversation_picture_shows_console_and_administrator(
    capsys: pytest.CaptureFixture[str], hours: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.svg"
    module = built("classic", "amd64", ("-DBUG=2",))
    assert _printed(capsys, "run", module, "--scenario", hours, "--svg", drawn)[0] == 3
    picture = drawn.read_text()
    for words in ("console: classic0 at cpu0", "guest: detach classic7: ENXIO", "console: panic:"):
        assert words in picture


def test_failure_report_has_context(
    capsys: pytest.CaptureFixture[str], hours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SOURCES)  # the source is looked for here, too
    module = built("classic", "amd64", ("-DBUG=5",))
    status, text = _printed(capsys, "run", module, "--scenario", hours)
    assert status == 1
    scene = text[text.index("\nverdict") :]
    for label in (
        "thread   softclk/0",
        "stack    classic_tick",
        "source   classic.c:",
        "locks    ",
    ):
        assert f"\n{label}" in scene
    assert scene.splitlines()[-1].startswith("replay   vmtsim run ")


def test_many_seeds_stop_at_first_failure(capsys: pytest.CaptureFixture[str], hours: Path) -> None:
    given = ("--scenario", hours, "--seeds", "4:6")
    status, text = _printed(capsys, "run", built("classic"), *given)
    assert (status, text) == (0, "verdict  ok: every property held in 3 runs, seeds 4:6\n")
    status, text = _printed(capsys, "run", built("classic", "amd64", ("-DBUG=2",)), *given)
    assert status == 3
    assert text.count("verdict ") == 1
    assert "--seed 4 " in text


def test_single_run_options_conflict_with_many_seeds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.svg"
    assert cli.main(["run", str(built("classic")), "--seeds", "1:3", "--svg", str(drawn)]) == 64
    assert "give --seed, not --seeds" in capsys.readouterr().err
    assert not drawn.exists()
