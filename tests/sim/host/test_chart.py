"""The conversation as text and as a drawing: golden files, and further cases."""

import difflib
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from vmtsim.core.trace import Event, Trace, TraceFile, read_events
from vmtsim.report import chart
from vmtsim.report.chart_svg import svg
from vmtsim.scenario.script import load

from .stage import PythonGuest

GOLDEN = Path(__file__).with_name("golden")


def events_of(name: str) -> list[Event]:
    guest = PythonGuest(load(name))
    assert guest.play() == []
    return guest.trace.events


def compare(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    difference = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), path.name, "now", lineterm=""
    )
    assert expected == text, "\n".join(["UPDATE_GOLDEN=1 writes the new one:", *difference])


NAMES = ["boot-to-halt", "checkpoint", "stolen-channel", "rejected-rpci"]


@pytest.mark.parametrize("name", NAMES)
def test_text_chart_matches_golden_file(name: str) -> None:
    compare(GOLDEN / f"{name}.txt", "\n".join(chart.text(events_of(name))) + "\n")


def test_drawing_matches_golden_file() -> None:
    compare(GOLDEN / "boot-to-halt.svg", svg(events_of("boot-to-halt"), title="boot-to-halt"))


def test_trace_file_gives_same_charts_as_run(tmp_path: Path) -> None:
    events = events_of("rejected-rpci")
    path = tmp_path / "run.jsonl"
    with TraceFile(path) as sink:
        for event in events:
            sink(event)
    again = list(read_events(path))
    assert chart.text(again) == chart.text(events)
    assert svg(again) == svg(events)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_is_self_contained_well_formed_file(name: str) -> None:
    text = svg(events_of(name), title='a <b> & "c"', about="x" * 500)
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    for needle in ("href=", "url(http", "<script", "@import"):
        assert needle not in text
    height = float(root.attrib["height"])
    width = float(root.attrib["width"])
    for line in root.iter("{http://www.w3.org/2000/svg}line"):
        assert 0 <= float(line.attrib["y1"]) <= height
        assert 0 <= float(line.attrib["x2"]) <= width


def test_long_run_is_cut_with_notice() -> None:
    text = svg(events_of("option-burst"), limit=10)
    assert "more</text>" in text
    assert "Set_Option broadcastIP" not in text


def test_empty_run_gives_empty_chart() -> None:
    assert chart.text([]) == []
    assert ET.fromstring(svg([])).tag.endswith("svg")


def trace() -> Trace:
    return Trace(keep=True)


def test_slow_reply_has_its_own_line() -> None:
    clock = [0]
    made = Trace(lambda: clock[0], keep=True)
    made.emit("tclo", channel=0, message=b"ping")
    clock[0] = 2 * 10**9
    made.emit("tclo.reply", channel=0, message=b"ping", reply=b"OK ", ok=True)
    first, second = chart.text(made.events)
    assert first.split() == ["0.000", "tclo", "host:", "ping"]
    assert second.split() == ["2.000", "tclo", "guest:", "OK<space>"]


def test_reply_without_request_is_shown() -> None:
    made = trace()
    made.emit("tclo.reply", channel=3, message=b"ping", reply=b"ERROR x", ok=False)
    assert chart.text(made.events) == [f"  0.000  {'tclo':<43}  guest: ERROR x"]


def test_violations_faults_and_failures_are_highlighted() -> None:
    made = trace()
    made.emit("violation", rule="cookie", text="t", detail="d", channel=0)
    made.emit("fault", name="checkpoint", point="hb-in", text="t")
    made.emit("scenario.failed", place="a.yaml:3", text="expect.rpci: no x; there was y")
    assert chart.text(made.events) == [
        "  0.000  RULE    cookie: d",
        "         fault   checkpoint at hb-in",
        "         FAILED  a.yaml:3: expect.rpci: no x",
    ]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"OK ", "OK<space>"),
        (b"", "(empty)"),
        (None, "(none)"),
        (b"a\0", "a"),
        (b"a\1", "a\\x01"),
        (b"x" * 100, "x" * 52 + "... (100 bytes)"),
    ],
)
def test_payloads_are_readable(payload: bytes | None, text: str) -> None:
    assert chart.shown(payload) == text


def test_times_are_relative_to_origin() -> None:
    made = Trace(lambda: 1_500_000_000, keep=True)
    made.emit("open", channel=0, protocol="tclo", cookies=True)
    assert chart.text(made.events, origin=10**9) == ["  0.500  open    TCLO channel 0"]
