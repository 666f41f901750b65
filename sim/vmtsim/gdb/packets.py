"""Packets of the GDB remote serial protocol: framing, checksums, escapes, run lengths.

Source: the GDB manual, appendix "GDB Remote Serial Protocol", section "Overview".
"""

from __future__ import annotations

from vmtgen.common.dataclass import dataclass, field

_ESCAPED = frozenset(b"#$}*")


def checksum(raw: bytes | bytearray) -> int:
    """Return the sum of all bytes between ``$`` and ``#``, modulo 256."""
    return sum(raw) & 0xFF


def encode(payload: bytes) -> bytes:
    """Return ``payload`` as a packet: ``$``, escaped payload, ``#``, two hexadecimal digits."""
    raw = bytearray()
    for byte in payload:
        if byte in _ESCAPED:
            raw += bytes((0x7D, byte ^ 0x20))
        else:
            raw.append(byte)
    return b"$%b#%02x" % (bytes(raw), checksum(raw))


def expand(raw: bytes) -> bytes:
    """Decode escapes and run-length encoding; raises ValueError for invalid data."""
    if b"}" not in raw and b"*" not in raw:
        return raw
    out = bytearray()
    position = 0
    while position < len(raw):
        byte = raw[position]
        position += 1
        if byte == 0x7D:
            if position == len(raw):
                raise ValueError("an escape at the end of a packet")
            out.append(raw[position] ^ 0x20)
            position += 1
        elif byte == 0x2A:
            # The previous character is repeated; the count's character has an offset of 29.
            if position == len(raw) or not out or raw[position] < 32:
                raise ValueError("a run length without a character or a count")
            out += out[-1:] * (raw[position] - 29)
            position += 1
        else:
            out.append(byte)
    return bytes(out)


@dataclass(frozen=True)
class Packet:
    """One packet; ``payload`` is None if its checksum or its encoding is wrong."""

    payload: bytes | None


@dataclass
class Decoder:
    """Splits a stub's data into packets, ``+`` and ``-``.

    Other bytes between packets are ignored, as the protocol requires.
    """

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> Packet | str | None:
        """Return the next packet, "+" or "-", or None until more bytes arrive."""
        buffer = self._buffer
        while buffer:
            first = buffer[0]
            if first in b"+-":
                del buffer[0]
                return chr(first)
            if first == 0x24:
                return self._packet()
            del buffer[0]
        return None

    def _packet(self) -> Packet | None:
        buffer = self._buffer
        end = buffer.find(b"#")
        # A truncated packet: the next one begins before this one ends.
        again = buffer.find(b"$", 1, end if end >= 0 else len(buffer))
        if again >= 0:
            del buffer[:again]
            return Packet(None)
        if end < 0 or len(buffer) < end + 3:
            return None
        raw, digits = bytes(buffer[1:end]), bytes(buffer[end + 1 : end + 3])
        del buffer[: end + 3]
        try:
            if int(digits, 16) != checksum(raw):
                return Packet(None)
            return Packet(expand(raw))
        except ValueError:
            return Packet(None)
