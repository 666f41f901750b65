"""vmtctl with a driver of another version: it reports the difference and does no harm.

After an update of one package only, vmtctl runs with a driver that has a node less, a node more, or
another kind of value in one. Every command then ends with its own status and
changes nothing beyond its purpose.
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
    """monkeypatch restores the table last: all other tests share it."""
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
    # A request to the host is a write to its node.
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
def test_older_driver_lacks_node(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    guest.set(attached="ours")
    monkeypatch.delitem(OUR_NODES, name)
    ask_everything(vmtctl, guest)


@pytest.mark.parametrize("value", ["17", "a text", "", "-1", "1 2 3", "\x1b]0;x\x07"])
def test_newer_driver_has_more_nodes(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    guest.set(attached="ours")
    for name in ("stats.later", "clock_sync.later", "later", "later.deeper.still"):
        monkeypatch.setitem(OUR_NODES, f"machdep.vmt0.{name}", value)
    ask_everything(vmtctl, guest)


@pytest.mark.parametrize("name", sorted(OUR_NODES))
def test_node_of_other_version_has_other_type(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    guest.set(attached="ours")
    monkeypatch.setitem(OUR_NODES, name, "something else")
    ask_everything(vmtctl, guest)


def test_driver_with_combined_rpc_node_is_reported_as_older(
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
