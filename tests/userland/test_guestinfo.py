"""Guest variables through machdep.vmt0.rpc.request and machdep.vmt0.rpc.reply."""

from __future__ import annotations

import io
import os
import pty
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import USERLAND
from hypothesis import given
from hypothesis import strategies as st
from vmtctl import exits, rpc

if TYPE_CHECKING:
    from answers import Control

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture
def ours(guest: Any) -> Any:
    guest.set(attached="ours", module="/x/vmt.kmod")
    return guest


@given(TEXT)
def test_request_number_is_parsed_after_any_text(request: str) -> None:
    assert rpc.strip(f"machdep.vmt0.rpc.request: 5021 -> {request}\n", request) == "5021"


def test_overlapping_output_marks_are_refused() -> None:
    with pytest.raises(exits.Failure):
        rpc.strip("machdep.vmt0.rpc.request: ->  -> x\n", "  -> x")
    with pytest.raises(exits.Failure):
        rpc.strip("machdep.vmt0.rpc.request: -> x\n", "x")


@pytest.mark.parametrize("value", ["plain", "a -> b", "two\nlines", " -> ", "=x?=", "", "é"])
def test_variable_reads_back_as_set(vmtctl: Control, ours: Any, value: str) -> None:
    assert vmtctl("guestinfo", "set", "key", value).status == 0
    assert ours.get()["guestinfo"] == {"guestinfo.key": value}
    done = vmtctl("guestinfo", "get", "guestinfo.key", "--json")
    assert done.json["value"] == value


def test_value_is_read_from_standard_input(
    vmtctl: Control, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a\npipe\n")))
    assert vmtctl("guestinfo", "set", "key", "-").status == 0
    assert ours.get()["guestinfo"]["guestinfo.key"] == "from a\npipe"


@pytest.mark.parametrize(
    ("data", "words", "value"),
    [
        (b"web01\n", (), "web01"),
        (b"web01\r\n", (), "web01"),
        (b"web01", (), "web01"),
        (b"two\n\n", (), "two\n"),
        (b"\n", (), ""),
        (b"web01\n", ("--raw",), "web01\n"),
    ],
)
def test_final_newline_of_file_is_not_part_of_value(
    vmtctl: Control,
    ours: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    words: tuple[str, ...],
    value: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert vmtctl("guestinfo", "set", *words, "key", "-").status == 0
    assert ours.get()["guestinfo"]["guestinfo.key"] == value


def test_unset_variable_exits_1(vmtctl: Control, ours: Any) -> None:
    done = vmtctl("guestinfo", "get", "nothing")
    assert (done.status, done.out) == (1, "")
    assert "not set" in done.err


def test_list_shows_well_known_and_named_variables(vmtctl: Control, ours: Any) -> None:
    ours.set(guestinfo={"guestinfo.userdata": "#cloud", "guestinfo.mine": "1"})
    assert vmtctl("guestinfo", "list", "--json").json["variables"] == {
        "guestinfo.userdata": "#cloud"
    }
    assert "guestinfo.mine = 1" in vmtctl("guestinfo", "list", "mine").out


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("error 40", "the value is longer than the protocol allows"),
        ("error 12", "the system has too little memory for the reply"),
        ("error 99", "error 99"),
    ],
)
def test_unreadable_variable_does_not_hide_others(
    vmtctl: Control, ours: Any, reply: str, why: str
) -> None:
    ours.set(
        guestinfo={"guestinfo.hostname": "web01"},
        replies={"info-get guestinfo.userdata": reply},
    )
    done = vmtctl("guestinfo", "list")
    assert done.status == 0
    assert "guestinfo.hostname = web01\n" in done.out
    assert f"guestinfo.userdata: {why}\n" in done.out
    found = vmtctl("guestinfo", "list", "--json").json
    assert found["variables"] == {"guestinfo.hostname": "web01"}
    assert found["unread"] == {"guestinfo.userdata": why}


def test_error_common_to_all_variables_exits_nonzero(vmtctl: Control, ours: Any) -> None:
    ours.set(faults={"sysctl -w": "Device busy"})
    assert vmtctl("guestinfo", "list").status == exits.TEMPORARY


def test_pending_reply_is_polled(vmtctl: Control, ours: Any) -> None:
    ours.set(guestinfo={"guestinfo.a": "b"}, slow=5)
    assert vmtctl("guestinfo", "get", "a").out == "b"
    asked = [call for call in ours.get()["calls"] if call.startswith("sysctl -r")]
    assert asked == ["sysctl -r machdep.vmt0.rpc.reply.5021"] * 6


def test_slow_host_is_waited_for_up_to_limit(
    vmtctl: Control, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "LIMIT", 0.3)
    monkeypatch.setattr(rpc, "SILENCE", 0.0)
    ours.set(guestinfo={"guestinfo.a": "b"}, slow=10**6)
    done = vmtctl("guestinfo", "get", "a")
    assert done.status == exits.TEMPORARY
    assert done.err.count("waiting for the host") == 1
    assert "it may still carry the request out" in done.err
    assert "vmtctl status" in done.err


def test_request_dropped_by_driver_is_reported(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-get guestinfo.a": "unknown"})
    done = vmtctl("guestinfo", "get", "a")
    assert done.status == exits.TEMPORARY
    assert "dropped the request" in done.err


def test_value_with_nul_is_returned_whole(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-get guestinfo.a": "binary 1 a\0b\0"})
    assert vmtctl("guestinfo", "get", "a", "--json").json["value"] == "a\0b\0"


CONTROL_CHARACTERS = "\x1b]0;owned\x07\x1b[2J a\rb \x9b31m \u202e c\n"


def test_host_data_is_escaped_on_terminal(ours: Any) -> None:
    ours.set(
        guestinfo={"guestinfo.userdata": CONTROL_CHARACTERS, "guestinfo.x": CONTROL_CHARACTERS}
    )
    for words in (("get", "x"), ("list", "x")):
        shown = on_a_terminal(ours, "guestinfo", *words)
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), words
        assert "\r" not in shown.replace("\r\n", ""), words
        assert "\\x1b" in shown, words


def on_a_terminal(guest: Any, *words: str) -> str:
    """The output of vmtctl on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "PYTHONPATH": str(USERLAND), "PYTHONUTF8": "1"}
        command = (sys.executable, "-m", "vmtctl", "--tools-root", str(guest.root), *words)
        os.execve(sys.executable, command, environment)
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return shown.decode("utf-8")


def test_maximum_request_passes_and_one_byte_more_is_refused(vmtctl: Control, ours: Any) -> None:
    room = rpc.REQUEST_LIMIT - len("info-set guestinfo.key ")
    assert vmtctl("guestinfo", "set", "key", "x" * room).status == 0
    done = vmtctl("guestinfo", "set", "key", "x" * (room + 1))
    assert done.status == exits.DATA


def test_stock_driver_lacks_node_and_message_names_it(vmtctl: Control) -> None:
    done = vmtctl("guestinfo", "get", "key")
    assert done.status == exits.UNAVAILABLE
    assert "vmtctl load" in done.err


def test_without_vmt0_message_recommends_attach(vmtctl: Control, ours: Any) -> None:
    ours.set(attached=None)
    assert "vmtctl attach" in vmtctl("guestinfo", "get", "key").err


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("Operation not permitted", exits.NO_PERMISSION),
        ("Device busy", exits.TEMPORARY),
        ("Cannot allocate memory", exits.TEMPORARY),
        ("Device not configured", exits.TEMPORARY),
    ],
)
def test_driver_errors_are_explained(vmtctl: Control, ours: Any, fault: str, status: int) -> None:
    for call in ("sysctl -w", "sysctl -r"):
        ours.set(faults={call: fault})
        assert vmtctl("guestinfo", "get", "key").status == status


@pytest.mark.parametrize("number", [5, 12, 40, 99])
def test_errno_values_are_explained(vmtctl: Control, ours: Any, number: int) -> None:
    ours.set(replies={"info-get guestinfo.key": f"error {number}"})
    done = vmtctl("guestinfo", "get", "key")
    assert done.status in {exits.TEMPORARY, exits.DATA, exits.UNAVAILABLE}
    assert done.err.startswith("vmtctl: error:")


@pytest.mark.parametrize("reply", ["", "what", "ok", "ok 2 x", "ok text"])
def test_invalid_reply_is_quoted(vmtctl: Control, ours: Any, reply: str) -> None:
    ours.set(replies={"info-get guestinfo.key": reply})
    done = vmtctl("guestinfo", "get", "key")
    assert done.status == exits.DATA
    assert done.err.startswith("vmtctl: error:")


def test_refusal_by_host_is_quoted(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-set guestinfo.a b": "ok 0 disabled"})
    done = vmtctl("guestinfo", "set", "a", "b")
    assert done.status == exits.UNAVAILABLE
    assert "isolation.tools" in done.err


@pytest.mark.parametrize("name", ["a b", "", "guestinfo.", "ä", "a\nb"])
def test_invalid_name_is_usage_error(vmtctl: Control, ours: Any, name: str) -> None:
    assert vmtctl("guestinfo", "get", name).status == exits.USAGE


def test_dry_run_sets_nothing(vmtctl: Control, ours: Any) -> None:
    assert vmtctl("guestinfo", "set", "a", "b", "-n").status == 0
    assert ours.get()["guestinfo"] == {}
