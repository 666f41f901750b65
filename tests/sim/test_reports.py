"""Reports show the source that was built, the failure, and no control characters."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.common.text import one_line, visible
from vmtsim import cli
from vmtsim.core.trace import Event
from vmtsim.report.chart_svg import svg
from vmtsim.scenario.expect import EXPECTATIONS, Pattern

from .modkit import SOURCES, built

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """classic.c with BUG 5 beside its source, which differs from that of tests/sim/modules."""
    top = tmp_path_factory.mktemp("planted")
    (top / "kmod" / "classic").mkdir(parents=True)
    source = top / "kmod" / "classic" / "classic.c"
    text = (SOURCES / "classic.c").read_text(encoding="utf-8")
    source.write_text("/* one line more, so that all numbers differ */\n" + text, encoding="utf-8")
    return build_module([source], out=top / "out", release="11.0", extra_flags=("-DBUG=5",)).path


def report(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["run", str(path), "--scenario", "alone"]) == 1
    return capsys.readouterr().out


def test_excerpt_shows_built_source_from_any_directory(
    planted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "kmod" / "classic").mkdir(parents=True)
    shutil.copy(
        SOURCES / "classic.c", tmp_path / "kmod" / "classic"
    )  # of that name, and another version
    monkeypatch.chdir(tmp_path)
    lines = report(planted, capsys).splitlines()
    shown = lines[lines.index(next(line for line in lines if line.startswith("source"))) :]
    marked = next(line for line in shown if line.startswith("  > "))
    assert "planted: out-of-bounds" in marked
    number = int(shown[0].rpartition(":")[2])
    assert marked.split()[1] == str(number)
    source = (
        (planted.parents[1] / "kmod" / "classic" / "classic.c")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    assert "planted: out-of-bounds" in source[number - 1]


def test_changed_source_is_not_shown(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(planted.parents[1], copy)
    (copy / "kmod" / "classic" / "classic.c").write_text("/* another file */\n")
    out = report(copy / planted.relative_to(planted.parents[1]), capsys)
    assert "(not shown: the source that the module was built from was not found)" in out
    assert "another file" not in out


def test_cut_chart_keeps_its_end() -> None:
    events = [
        Event(n, n * 1_000_000, "rpci", {"channel": 1, "command": "log", "request": b"log %d" % n,
                                         "reply": b"1 ", "ok": True})
        for n in range(1000)
    ]  # fmt: skip
    events.append(Event(1000, 10**9, "violation", {"rule": "cookie", "text": "the last thing",
                                                   "detail": "here", "channel": 1}))  # fmt: skip
    drawn = svg(events, limit=400)
    assert "log 0" in drawn
    assert "the last thing" in drawn or "cookie" in drawn
    assert "... and 601 more" in drawn


def test_trace_is_independent_of_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = built("classic", "amd64")
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(
        "summary: x\nduration: 2\nsteps:\n- expect.console: '*classic0*'\n  within: 1\n"
    )
    traces = []
    for place in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(place)
        relative = scenario.relative_to(place)
        out = tmp_path / f"trace{len(traces)}"
        words = ["run", str(module), "--scenario", f"./{relative}", "--trace", str(out)]
        assert cli.main([*words, "--summary"]) == 0
        traces.append(out.read_bytes())
    assert traces[0] == traces[1]
    assert b'"place":"mine.yaml:4"' in traces[0]


def test_long_payload_is_shortened_in_message() -> None:
    expectation = EXPECTATIONS["expect.rpci"]
    event = Event(0, 0, "rpci", {"request": b"SetGuestInfo  10 " + bytes(800), "reply": b"1 "})
    text = expectation.seen({"request": Pattern("log *")}, event)
    assert len(text) < 120
    assert text.startswith("'SetGuestInfo  10 ")
    assert text.endswith("... (3217 characters)")


def test_module_output_cannot_control_terminal() -> None:
    assert visible("a\x1b[2Jb\n\tc\u202e") == "a\\x1b[2Jb\n\tc\\u202e"
    assert one_line("a\nb") == "a\\nb"
    assert visible("plain") == "plain"


ODD = r"""
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>

int bus_dmamap_create(void *);

MODULE(MODULE_CLASS_MISC, odd, NULL);

static int
odd_modcmd(modcmd_t cmd, void *arg)
{

	if (cmd != MODULE_CMD_INIT)
		return 0;
	printf("before \033[2J the call\n");
	return bus_dmamap_create(arg);
}
"""


def test_missing_model_ends_with_console_and_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.c").write_text(ODD, encoding="utf-8")
    path = build_module([tmp_path / "odd.c"], out=tmp_path, release="11.0").path
    trace = tmp_path / "trace"
    assert cli.main(["run", str(path), "--scenario", "alone", "--trace", str(trace)]) == 70
    out, err = capsys.readouterr()
    assert "before \\x1b[2J the call" in out
    assert "\x1b" not in out
    assert "stopped  at 0.0" in out
    assert "bus_dmamap_create" in err
    assert "hint: docs/kernel-models.md" in err
    assert trace.read_text(encoding="utf-8").count('"k":"console"') >= 1
