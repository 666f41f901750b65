"""Two's complement: the signed value of a bit pattern, for a processor, a relocation or %d."""

from __future__ import annotations


def signed(value: int, bits: int) -> int:
    """Return the low ``bits`` of ``value`` as a two's complement number."""
    sign = 1 << (bits - 1)
    return ((value & ((sign << 1) - 1)) ^ sign) - sign
