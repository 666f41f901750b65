"""A strict reader for XDR (RFC 4506): padding is zero, counts have limits, no bytes are left."""

from __future__ import annotations


class XdrError(ValueError):
    """The bytes are not the expected XDR; gives the offset."""


class Reader:
    """Reads one XDR value after another from ``data``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def _take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self._data):
            left = len(self._data) - self.offset
            raise XdrError(f"offset {self.offset}: expected {size} bytes, {left} left")
        data = self._data[self.offset : end]
        self.offset = end
        return data

    def unsigned(self) -> int:
        """Read a 32-bit unsigned integer."""
        return int.from_bytes(self._take(4), "big")

    def enumerated(self, values: dict[int, str], what: str) -> str:
        """Read an enum and return its name.  Raises XdrError."""
        at = self.offset
        value = self.unsigned()
        if value not in values:
            raise XdrError(f"offset {at}: {value} is not a valid {what}")
        return values[value]

    def boolean(self, what: str = "bool") -> bool:
        """Read a bool, or the flag of an optional value: 0 or 1.  Raises XdrError."""
        at = self.offset
        value = self.unsigned()
        if value > 1:
            raise XdrError(f"offset {at}: {value} is not a valid {what}")
        return bool(value)

    def count(self, limit: int, what: str) -> int:
        """Read the length of a counted array or string.  Raises XdrError."""
        at = self.offset
        value = self.unsigned()
        if value > limit:
            raise XdrError(f"offset {at}: {value} {what}, at most {limit}")
        return value

    def opaque(self, limit: int, what: str) -> bytes:
        """Read variable-length opaque data.  Raises XdrError."""
        size = self.count(limit, f"bytes of {what}")
        data = self._take(size)
        at = self.offset
        if any(self._take(-size % 4)):
            raise XdrError(f"offset {at}: padding of {what} is not zero")
        return data

    def string(self, limit: int, what: str) -> str:
        """Read a string (UTF-8).  Raises XdrError."""
        at = self.offset
        try:
            return self.opaque(limit, what).decode()
        except UnicodeDecodeError:
            raise XdrError(f"offset {at}: {what} is not UTF-8") from None

    def end(self) -> None:
        """Raise XdrError if bytes are left."""
        left = len(self._data) - self.offset
        if left:
            raise XdrError(f"offset {self.offset}: {left} extra bytes")
