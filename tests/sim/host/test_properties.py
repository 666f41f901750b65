"""Properties of every message, every call, every order of calls."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from vmtsim.host import Frame, GuestFault
from vmtsim.host.context import RULES

from .client import BUFFER, MAGIC, Channel, Guest

sizes = st.one_of(st.integers(0, 40), st.sampled_from([255, 256, 4095, 4096, 65535, 65536]))


@settings(max_examples=60, deadline=None)
@given(size=sizes, seed=st.integers(0, 255), high=st.booleans(), scramble=st.booleans())
def test_any_message_to_host_arrives_unchanged(
    size: int, seed: int, high: bool, scramble: bool
) -> None:
    guest = Guest(scramble=scramble)
    message = bytes((seed + at * 7) & 0xFF for at in range(size))
    received: list[bytes] = []
    channel = guest.open(b"RPCI")
    guest.host.rpci.received = lambda _channel, data: received.append(data)  # type: ignore[method-assign]
    guest.send(channel, message, high=high)
    assert received == [message]
    assert guest.broken_rules() == []


@settings(max_examples=60, deadline=None)
@given(size=sizes, seed=st.integers(0, 255), high=st.booleans(), scramble=st.booleans())
def test_any_message_to_guest_arrives_unchanged(
    size: int, seed: int, high: bool, scramble: bool
) -> None:
    guest = Guest(scramble=scramble, option_burst=(), power_on=False, capabilities_register=False)
    channel = guest.open(b"TCLO")
    guest.turn(channel)
    message = bytes((seed + at * 7) & 0xFF for at in range(size))
    guest.host.send(message)
    guest.send(channel, b"OK ATR toolbox", high=high)
    assert guest.receive(channel, high=high) == message
    assert guest.broken_rules() == []


words = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 1, 2, 4, 5, MAGIC, 0x10000, 0xC9435052, 0xCF4C4354, 65536, 65537]),
)
commands = st.one_of(st.just(30), st.integers(0, 0xFFFF))
subs = st.one_of(st.integers(0, 7), st.integers(0, 0xFFFF))
numbers = st.one_of(st.integers(0, 3), st.integers(0, 0xFFFF))
calls = st.tuples(
    st.sampled_from(["low", "low", "out", "in", "wait"]),
    st.one_of(st.just(MAGIC), words),
    words,
    commands,
    subs,
    numbers,
    words,
    words,
    words,
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, max_size=40))
def test_random_calls_neither_crash_host_nor_affect_other_channels(garbage: list) -> None:
    guest = Guest(broadcast_ip=0, ping=0, idle_close=0)
    victim = guest.open(b"RPCI")
    guest.step(1, victim, 12)
    guest.step(2, victim, int.from_bytes(b"log ", "little"))
    own = guest.open(b"RPCI")
    for how, eax, ebx, command, sub, number, *words, cookies in garbage:
        right = cookies and number == own.number
        esi, edi, ebp = (own.high, own.low, own.high) if right else words
        if how == "wait":
            guest.wait(number / 1000)
        elif how == "low":
            frame = Frame(eax, ebx, sub << 16 | command, number << 16 | 0x5658, esi, edi, ebp)
            guest.host.low_bandwidth(frame)
            assert all(0 <= value <= 0xFFFFFFFF for value in frame.values())
        else:
            with contextlib.suppress(GuestFault):
                out = how == "out"
                frame = Frame(eax, ebx, sub, number << 16 | 0x5659, esi, edi, ebp)
                if out:
                    frame.arg4 = BUFFER
                else:
                    frame.arg5 = BUFFER
                guest.host.high_bandwidth(frame, guest.memory, to_host=out)
    assert set(guest.broken_rules()) <= set(RULES)
    for piece in (b"hell", b"o..."):
        assert guest.step(2, victim, int.from_bytes(piece, "little")).arg2 == 0x00010000
    requests = [e["request"] for e in guest.events("rpci") if e["channel"] == victim.number]
    assert requests[-1] == b"log hello..."


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, 4, 5, 8, 0x206F6C, 70000])),
        max_size=60,
    ),
    st.sampled_from([b"RPCI", b"TCLO"]),
)
def test_subcommands_in_any_order_leave_closable_channel(steps: list, protocol: bytes) -> None:
    guest = Guest(idle_close=0)
    channel = guest.open(protocol)
    for sub, ebx in steps:
        if sub == 0:
            guest.low(30, ebx=0x80000000 | 0x49435052)
        elif sub == 6:
            guest.step(6, channel)
            channel = guest.open(protocol)
        else:
            guest.step(sub, channel, ebx)
    assert guest.step(6, channel).arg2 == 0x00010000
    assert guest.rpci(b"log x") == b"1 "


@given(st.integers(0, 127), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_guessed_cookies_open_nothing(number: int, high: int, low: int) -> None:
    guest = Guest()
    real = guest.open(b"RPCI")
    if (number, high, low) != (real.number, real.high, real.low):
        assert guest.step(6, Channel(number, high, low)).arg2 == 0
    guest.send(real, b"log x")
    assert guest.receive(real) == b"1 "
