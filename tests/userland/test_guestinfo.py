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
def test_a_number_is_found_whatever_the_request_holds(request: str) -> None:
    assert rpc.strip(f"machdep.vmt0.rpc.request: 5021 -> {request}\n", request) == "5021"


def test_output_that_is_only_the_two_ends_overlapping_is_refused() -> None:
    with pytest.raises(exits.Failure):
        rpc.strip("machdep.vmt0.rpc.request: ->  -> x\n", "  -> x")
    with pytest.raises(exits.Failure):
        rpc.strip("machdep.vmt0.rpc.request: -> x\n", "x")


@pytest.mark.parametrize("value", ["plain", "a -> b", "two\nlines", " -> ", "=x?=", "", "é"])
def test_what_was_set_is_what_is_got(vmtctl: Control, ours: Any, value: str) -> None:
    assert vmtctl("guestinfo", "set", "key", value).status == 0
    assert ours.get()["guestinfo"] == {"guestinfo.key": value}
    done = vmtctl("guestinfo", "get", "guestinfo.key", "--json")
    assert done.json["value"] == value


def test_a_value_comes_from_standard_input(
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
def test_the_last_newline_of_a_file_is_no_part_of_the_value(
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


def test_a_variable_that_is_not_set_is_status_1(vmtctl: Control, ours: Any) -> None:
    done = vmtctl("guestinfo", "get", "nothing")
    assert (done.status, done.out) == (1, "")
    assert "not set" in done.err


def test_list_shows_the_well_known_and_the_named_ones(vmtctl: Control, ours: Any) -> None:
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
def test_a_variable_that_cannot_be_read_does_not_hide_the_others(
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


def test_what_is_wrong_for_all_variables_is_an_error(vmtctl: Control, ours: Any) -> None:
    ours.set(faults={"sysctl -w": "Device busy"})
    assert vmtctl("guestinfo", "list").status == exits.TEMPORARY


def test_a_reply_that_is_not_there_yet_is_asked_for_again(vmtctl: Control, ours: Any) -> None:
    ours.set(guestinfo={"guestinfo.a": "b"}, slow=5)
    assert vmtctl("guestinfo", "get", "a").out == "b"
    asked = [call for call in ours.get()["calls"] if call.startswith("sysctl -r")]
    assert asked == ["sysctl -r machdep.vmt0.rpc.reply.5021"] * 6


def test_a_host_that_takes_its_time_is_waited_for_up_to_a_limit(
    vmtctl: Control, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "LIMIT", 0.3)
    monkeypatch.setattr(rpc, "SILENCE", 0.0)
    ours.set(guestinfo={"guestinfo.a": "b"}, slow=10**6)
    done = vmtctl("guestinfo", "get", "a")
    assert done.status == exits.TEMPORARY
    assert done.err.count("the host takes its time") == 1
    assert "it may still carry the request out" in done.err
    assert "vmtctl status" in done.err


def test_a_request_that_the_driver_dropped_is_told(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-get guestinfo.a": "unknown"})
    done = vmtctl("guestinfo", "get", "a")
    assert done.status == exits.TEMPORARY
    assert "dropped the request" in done.err


def test_a_value_with_a_nul_comes_whole(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-get guestinfo.a": "binary 1 a\0b\0"})
    assert vmtctl("guestinfo", "get", "a", "--json").json["value"] == "a\0b\0"


EVIL = "\x1b]0;owned\x07\x1b[2J a\rb \x9b31m \u202e c\n"


def test_the_bytes_of_the_host_do_not_reach_a_terminal_raw(ours: Any) -> None:
    ours.set(guestinfo={"guestinfo.userdata": EVIL, "guestinfo.x": EVIL})
    for words in (("get", "x"), ("list", "x")):
        shown = on_a_terminal(ours, "guestinfo", *words)
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), words
        assert "\r" not in shown.replace("\r\n", ""), words
        assert "\\x1b" in shown, words


def on_a_terminal(guest: Any, *words: str) -> str:
    """What vmtctl shows on a terminal."""
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


def test_the_longest_request_passes_and_one_byte_more_is_refused(
    vmtctl: Control, ours: Any
) -> None:
    room = rpc.REQUEST_LIMIT - len("info-set guestinfo.key ")
    assert vmtctl("guestinfo", "set", "key", "x" * room).status == 0
    done = vmtctl("guestinfo", "set", "key", "x" * (room + 1))
    assert done.status == exits.DATA


def test_with_the_stock_driver_it_says_what_is_missing(vmtctl: Control) -> None:
    done = vmtctl("guestinfo", "get", "key")
    assert done.status == exits.UNAVAILABLE
    assert "vmtctl load" in done.err


def test_without_vmt0_it_says_attach(vmtctl: Control, ours: Any) -> None:
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
def test_the_driver_s_errors_have_words(
    vmtctl: Control, ours: Any, fault: str, status: int
) -> None:
    for call in ("sysctl -w", "sysctl -r"):
        ours.set(faults={call: fault})
        assert vmtctl("guestinfo", "get", "key").status == status


@pytest.mark.parametrize("number", [5, 12, 40, 99])
def test_the_numbers_of_errors_have_words(vmtctl: Control, ours: Any, number: int) -> None:
    ours.set(replies={"info-get guestinfo.key": f"error {number}"})
    done = vmtctl("guestinfo", "get", "key")
    assert done.status in {exits.TEMPORARY, exits.DATA, exits.UNAVAILABLE}
    assert done.err.startswith("vmtctl: error:")


@pytest.mark.parametrize("reply", ["", "what", "ok", "ok 2 x", "ok text"])
def test_a_reply_that_makes_no_sense_is_quoted(vmtctl: Control, ours: Any, reply: str) -> None:
    ours.set(replies={"info-get guestinfo.key": reply})
    done = vmtctl("guestinfo", "get", "key")
    assert done.status == exits.DATA
    assert done.err.startswith("vmtctl: error:")


def test_a_host_that_forbids_it_is_quoted(vmtctl: Control, ours: Any) -> None:
    ours.set(replies={"info-set guestinfo.a b": "ok 0 disabled"})
    done = vmtctl("guestinfo", "set", "a", "b")
    assert done.status == exits.UNAVAILABLE
    assert "isolation.tools" in done.err


@pytest.mark.parametrize("name", ["a b", "", "guestinfo.", "ä", "a\nb"])
def test_an_impossible_name_is_a_usage_error(vmtctl: Control, ours: Any, name: str) -> None:
    assert vmtctl("guestinfo", "get", name).status == exits.USAGE


def test_a_dry_run_sets_nothing(vmtctl: Control, ours: Any) -> None:
    assert vmtctl("guestinfo", "set", "a", "b", "-n").status == 0
    assert ours.get()["guestinfo"] == {}
