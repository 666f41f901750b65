"""Two clients of one name: the newest gets it, the first keeps it, or both are disconnected."""

import pytest

from .client import Channel, Guest, Refused
from .test_tclo import started

CLOSED = 0x0004


def claim(guest: Guest) -> Channel:
    """Open a second channel and answer its reset with the name that is taken."""
    second = guest.open(b"TCLO")
    assert guest.turn(second) == b"reset"
    guest.send(second, b"OK ATR toolbox")
    return second


def is_open(guest: Guest, channel: Channel) -> bool:
    try:
        guest.turn(channel)
    except Refused as refused:
        return refused.status != CLOSED
    return True


@pytest.mark.parametrize(
    ("policy", "first_stays_open", "second_stays_open"),
    [("newest", False, True), ("first", True, False), ("both", False, False)],
)
def test_second_client_is_handled_by_policy(
    policy: str, first_stays_open: bool, second_stays_open: bool
) -> None:
    guest, first = started(second_client=policy)
    second = claim(guest)
    assert is_open(guest, first) is first_stays_open
    assert is_open(guest, second) is second_stays_open
    assert (guest.host.tclo.channel is not None) is (first_stays_open or second_stays_open)
    assert guest.broken_rules() == []


def test_newest_client_is_logged_with_both_channels() -> None:
    guest, _ = started()
    claim(guest)
    assert [(e["before"], e["channel"]) for e in guest.events("tclo.bound")][-1] == (0, 1)


def test_refused_client_is_not_greeted_again() -> None:
    guest, first = started(second_client="first")
    resets = guest.host.tclo.resets
    claim(guest)
    assert [e["holder"] for e in guest.events("tclo.refused")] == [0]
    guest.host.send("ping")
    assert guest.turn(first) == b"ping"
    assert guest.host.tclo.resets == resets + 1


def test_released_name_is_available_to_any_client() -> None:
    for policy in ("newest", "first", "both"):
        guest, first = started(second_client=policy)
        guest.close(first)
        assert guest.tools(guest.open(b"TCLO"), 5) == [b"reset", b"Capabilities_Register"]


def test_rival_keeps_name_until_it_leaves() -> None:
    guest, channel = started(second_client="first")
    assert guest.host.steal_channel(10)
    assert is_open(guest, channel)
    guest.close(channel)
    guest.wait(2)
    assert not is_open(guest, claim(guest))
    guest.wait(10)
    assert guest.tools(guest.open(b"TCLO"), 5) == [b"reset", b"Capabilities_Register"]


def test_two_rivals_of_one_name_disconnect_each_other() -> None:
    guest, channel = started(second_client="both")
    assert guest.host.steal_channel(10)
    assert not is_open(guest, channel)
    assert guest.host.tclo.channel is None
    guest.wait(12)
    assert guest.tools(guest.open(b"TCLO"), 5) == [b"reset", b"Capabilities_Register"]


def test_rival_of_newest_policy_reconnects_until_it_leaves() -> None:
    guest, _ = started()
    guest.host.steal_channel(5)
    again = guest.open(b"TCLO")
    assert guest.tools(again, 0.5)[0] == b"reset"
    guest.wait(1)
    assert not is_open(guest, again)
    guest.wait(5)
    assert guest.tools(guest.open(b"TCLO"), 3)[0] == b"reset"
