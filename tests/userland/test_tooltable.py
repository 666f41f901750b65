"""The table of NetBSD's tools, compared with NetBSD's set lists, the recordings and the stubs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from vmtctl.system import Tools
from vmtctl.tooltable import HOOK_TOOLS, TOOLS, Tool
from vmtsim.fakeguest import tree

fakeguest = sys.modules["fakeguest"]

RECORDINGS = Path(__file__).parent / "recordings"
TRANSCRIPTS = json.loads((RECORDINGS / "transcripts.json").read_text())


def sets() -> dict[str, list[str]]:
    """NetBSD's set lists: path -> the words after it."""
    lines = (RECORDINGS / "sets.txt").read_text().splitlines()
    return {path.removeprefix("."): words for path, *words in map(str.split, lines)}


@pytest.mark.parametrize("row", [*TOOLS.values(), *HOOK_TOOLS.values()], ids=lambda row: row.name)
def test_tool_paths_match_netbsd_set_lists(row: Tool) -> None:
    part, *flags = sets()[row.path]
    assert "obsolete" not in flags
    assert part.partition("-")[0] == row.set


@pytest.mark.parametrize("row", [*TOOLS.values(), *HOOK_TOOLS.values()], ids=lambda row: row.name)
def test_row_has_recording_or_source(row: Tool) -> None:
    recorded = any(
        entry["command"].split()[0] == row.name for part in TRANSCRIPTS.values() for entry in part
    )
    assert row.evidence in {"recording", "source"}
    assert row.evidence != "recording" or recorded
    # Every row needs a file of NetBSD's tree.
    assert row.source.split()[0].startswith(("bin/", "sbin/", "usr.bin/", "usr.sbin/", "external/"))


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("drvctl -l cpu0", True),
        ("drvctl -l", False),
        ("drvctl -l cpu0 x", False),
        ("modload -f vmt", True),
        ("modload -x vmt", False),
        ("sysctl kern.ostype hw.machine", True),
        ("sysctl -w a.b=1", True),
        ("sysctl -w a.b", False),
        ("ps -ax", False),
    ],
)
def test_command_line_matches_listed_use(words: str, fits: bool) -> None:
    """Every test that runs vmtctl in its own process checks this for each tool that runs."""
    assert TOOLS[words.split(maxsplit=1)[0]].is_use(tuple(words.split())) is fits


def test_vmtctl_runs_only_listed_tools() -> None:
    assert [Tools("/guest").path(name) for name in TOOLS] == [
        f"/guest{row.path}" for row in TOOLS.values()
    ]


def test_stubs_have_paths_of_tools() -> None:
    listed = sets()
    places = {f"/{path}" for path in fakeguest.TOOLS.values()}
    places |= {
        f"/{place}/{name}" for name, place in tree.TOOLS.items() if not place.startswith("usr/pkg")
    }
    assert {path for path in places if "obsolete" in listed.get(path, ())} == set()
    # sh(1) is that of the machine.
    assert {row.path for row in TOOLS.values()} - places <= {"/bin/sh"}
