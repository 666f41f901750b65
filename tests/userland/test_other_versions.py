"""vmtctl beside a driver of another version: it says what it finds and does no harm.

After an update of one package only, vmtctl meets a driver that has a node less, a node more, or
another kind of value in one. Whatever it is asked then, it ends with a status of its own, and
changes nothing that it was not asked to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import OUR_NODES
from vmtctl import exits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from answers import Control

LOOKS = (("status",), ("doctor",), ("clock",), ("guestinfo", "list"), ("guestinfo", "get", "ip"))
CHANGES = (
    ("clock", "60"), ("clock", "sync"), ("guestinfo", "set", "a", "b"), ("detach",), ("attach",),
)  # fmt: skip
KNOWN = frozenset({0, 1, 2, *(status for status, _ in exits.MEANINGS)}) - {exits.SOFTWARE}


@pytest.fixture(autouse=True)
def nodes_keep_their_order() -> Iterator[None]:
    """What monkeypatch puts back comes last: the table is that of every other test, too."""
    before = dict(OUR_NODES)
    yield
    OUR_NODES.clear()
    OUR_NODES.update(before)


def ask_everything(vmtctl: Control, guest: Any) -> None:
    before = guest.get()["nodes"]
    for words in LOOKS:
        done = vmtctl(*words)
        assert done.status in KNOWN, (words, done.out, done.err)
        assert "Traceback" not in done.err
    # To ask the host is to write its node.
    rpc = "machdep.vmt0.rpc.request"
    assert guest.get()["nodes"] == before
    changing = ("drvctl -d", "drvctl -r", "modload", "modunload", "sysctl -w")
    calls = [call for call in guest.calls() if not call.startswith(f"sysctl -w {rpc}=")]
    assert [call for call in calls if call.startswith(changing)] == []
    for words in CHANGES:
        done = vmtctl(*words)
        assert done.status in KNOWN, (words, done.out, done.err)
        assert "Traceback" not in done.err
        if done.status:
            assert done.err.startswith("vmtctl: error:"), done.err
    assert guest.get()["attached"]


@pytest.mark.parametrize("name", sorted(OUR_NODES))
def test_an_older_driver_lacks_a_node(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    guest.set(attached="ours")
    monkeypatch.delitem(OUR_NODES, name)
    ask_everything(vmtctl, guest)


@pytest.mark.parametrize("value", ["17", "a text", "", "-1", "1 2 3", "\x1b]0;x\x07"])
def test_a_newer_driver_has_more_nodes(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    guest.set(attached="ours")
    for name in ("stats.later", "clock_sync.later", "later", "later.deeper.still"):
        monkeypatch.setitem(OUR_NODES, f"machdep.vmt0.{name}", value)
    ask_everything(vmtctl, guest)


@pytest.mark.parametrize("name", sorted(OUR_NODES))
def test_a_node_of_another_version_holds_something_else(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    guest.set(attached="ours")
    monkeypatch.setitem(OUR_NODES, name, "something else")
    ask_everything(vmtctl, guest)


def test_a_driver_whose_request_node_did_both_is_told_from_the_stock_one(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 0.1.0 machdep.vmt0.rpc took a command and gave the reply in the same call."""
    guest.set(attached="ours")
    for name in ("request", "reply"):
        monkeypatch.delitem(OUR_NODES, f"machdep.vmt0.rpc.{name}")
    monkeypatch.setitem(OUR_NODES, "machdep.vmt0.rpc", "")
    done = vmtctl("guestinfo", "get", "a")
    assert done.status == exits.UNAVAILABLE
    assert "the driver is older than vmtctl" in done.err
    assert "vmtctl load" in done.err
    ask_everything(vmtctl, guest)
