"""Two's complement: what a processor, a relocation or %d takes a pattern of bits for."""

from __future__ import annotations


def signed(value: int, bits: int) -> int:
    """Return the low ``bits`` of ``value`` as a two's complement number."""
    sign = 1 << (bits - 1)
    return ((value & ((sign << 1) - 1)) ^ sign) - sign
