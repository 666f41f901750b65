"""Replay of one seed: whole, in part, as a list, as a picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vmtsim import cli

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_seed_is_replayed_with_schedule_trace_and_picture(
    driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, picture = tmp_path / "t.jsonl", tmp_path / "p.svg"
    words = ["replay", str(driver), "--seed", "3", "--schedule", "--trace", str(trace)]
    assert cli.main([*words, "--svg", str(picture)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith("verdict  ok: seed 3, ")
    labels = [line.split()[0] for line in out if line[:1] in "af" and line[1:2].isdigit()]
    assert labels
    assert all(json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines())
    assert picture.read_text(encoding="utf-8").startswith("<svg")

    assert cli.main(["replay", str(driver), "--seed", "3", "--only", labels[0], "--summary"]) == 0
    assert capsys.readouterr().out.startswith("verdict  ok")


def test_only_recorded_schedule_entries_can_be_replayed(
    mailbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", str(mailbox), "--seed", "3", "--only", "x9"]) == 64
    assert capsys.readouterr().err.startswith("vmtsim: error: --only: ")
