"""Events: cheap to emit, exact in the file, and read back unchanged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtsim.core.trace import (
    Event,
    Trace,
    TraceError,
    TraceFile,
    printable,
    read_events,
    unprintable,
)


def test_stored_trace_is_ordered_with_times() -> None:
    clock = [0]
    trace = Trace(lambda: clock[0], keep=True)
    trace.emit("tclo", message=b"reset")
    clock[0] = 5
    trace.emit("rpci", request=b"log x")
    assert [(e.sequence, e.at, e.kind) for e in trace.events] == [(0, 0, "tclo"), (1, 5, "rpci")]
    assert trace.events[1]["request"] == b"log x"


def test_ring_trace_stays_small() -> None:
    trace = Trace(keep=3)
    for number in range(100):
        trace.emit("tick", number=number)
    assert len(trace.events) <= 6
    assert [e["number"] for e in trace.events[-3:]] == [97, 98, 99]


def test_listener_receives_only_its_kind() -> None:
    trace, received = Trace(), []
    cancel = trace.subscribe(received.append, ["violation"])
    assert trace.has_listener("violation")
    assert not trace.has_listener("rpci")
    trace.emit("rpci")
    trace.emit("violation", rule="cookie")
    cancel()
    trace.emit("violation", rule="late")
    assert [e.kind for e in received] == ["violation"]
    assert received[0].sequence == 1


def test_late_listener_receives_known_kinds() -> None:
    trace, received = Trace(), []
    trace.emit("rpci")
    trace.subscribe(received.append, ["rpci"])
    trace.emit("rpci")
    assert len(received) == 1


def test_event_may_be_named_like_a_parameter() -> None:
    trace = Trace(keep=True)
    trace.emit("x", kind="y")
    assert trace.events[0]["kind"] == "y"


def test_trace_file_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    trace = Trace(lambda: 7)
    with TraceFile(path, seed=3) as sink:
        trace.subscribe(sink)
        trace.emit("rpci", request=b"a\x00\\", reply=b"1 ", size=3)
        assert not path.exists()
    assert list(read_events(path)) == [
        Event(0, 7, "rpci", {"request": "a\\x00\\\\", "reply": "1 ", "size": 3})
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", ":1: not a line of JSON"),
        ("{}\n", ":1: not a vmtsim trace"),
        ('{"format":"vmtsim-trace","version":99}\n', ":1: trace version 99"),
        ('{"format":"vmtsim-trace","version":3}\n{"n":1}\n', ":2: not an event"),
        ('{"format":"vmtsim-trace","version":3}\n[1]\n', ":2: not an event"),
    ],
)
def test_invalid_trace_is_refused_at_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=message):
        list(read_events(path))


@given(st.binary())
def test_printable_is_lossless(data: bytes) -> None:
    text = printable(data)
    assert text.isascii()
    assert unprintable(text) == data
