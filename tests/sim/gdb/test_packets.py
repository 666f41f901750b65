"""Framing: sent packets are decoded again, and broken packets are detected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtsim.gdb.packets import Decoder, Packet, encode, expand


@given(st.binary(max_size=300), st.integers(1, 7))
def test_every_payload_round_trips_in_any_fragmentation(payload: bytes, step: int) -> None:
    wire = b"+" + encode(payload)
    decoder = Decoder()
    found: list[object] = []
    for start in range(0, len(wire), step):
        decoder.feed(wire[start : start + step])
        while (item := decoder.next()) is not None:
            found.append(item)
    assert found == ["+", Packet(payload)]


def test_gdb_manual_examples_are_decoded() -> None:
    assert encode(b"vCont?") == b"$vCont?#49"
    assert expand(b"0* ") == b"0000"
    assert expand(b"}\x03}]") == b"#}"


@pytest.mark.parametrize("raw", [b"}", b"*!", b"a*\x1f", b"a*"])
def test_invalid_packets_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"escape|run length"):
        expand(raw)


@pytest.mark.parametrize("wire", [b"$OK#9b", b"$OK#zz", b"$a*#8b", b"$m0#"[:3] + b"$OK#9a"])
def test_broken_packet_is_detected(wire: bytes) -> None:
    decoder = Decoder()
    decoder.feed(wire)
    assert decoder.next() == Packet(None)


def test_packet_after_truncated_one_is_decoded() -> None:
    decoder = Decoder()
    decoder.feed(b"$T05thr$OK#9a")
    assert [decoder.next(), decoder.next(), decoder.next()] == [Packet(None), Packet(b"OK"), None]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_do_not_crash_decoder(noise: bytes) -> None:
    decoder = Decoder()
    decoder.feed(noise)
    while decoder.next() is not None:
        pass
