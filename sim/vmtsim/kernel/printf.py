"""kprintf(): every format that the kernel's printf knows (NetBSD sys/kern/subr_prf.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.kernel.marshal import Arguments
    from vmtsim.kernel.memory import Memory

_DIRECTIVE = re.compile(r"%([-+ #0]*)(\*|\d+)?(?:\.(\*|-?\d*))?(hh|h|ll|l|q|j|t|z)?(.)", re.DOTALL)
_QUAD = {"ll", "q", "j"}
_LONG = {"l", "t", "z"}


def kprintf(memory: Memory, text: str, arguments: Arguments) -> str:
    """Return ``text`` with its directives filled from ``arguments``.

    What the kernel does not know is printed as it stands, as the kernel does; ``%n`` takes its
    pointer and writes nothing.
    """

    def fill(match: re.Match[str]) -> str:
        flags, width, precision, size, directive = match.groups()
        return _directive(memory, arguments, flags, width, precision, size or "", directive)

    return _DIRECTIVE.sub(fill, text)


def _directive(
    memory: Memory,
    arguments: Arguments,
    flags: str,
    width: str | None,
    precision: str | None,
    size: str,
    directive: str,
) -> str:
    if directive == "%":
        return "%"
    left = "-" in flags
    columns = 0
    if width == "*":
        columns = arguments.integer()
        if columns < 0:
            left, columns = True, -columns
    elif width:
        columns = int(width)
    digits: int | None = None
    if precision == "*":
        digits = arguments.integer()
        digits = None if digits < 0 else digits
    elif precision is not None:
        digits = max(int(precision or 0), 0)

    if directive == "s":
        body = _string(memory, arguments.word(), digits)
        return body.ljust(columns) if left else body.rjust(columns)
    if directive == "c":
        body = chr(arguments.integer() & 0xFF)
        return body.ljust(columns) if left else body.rjust(columns)
    if directive == "n":
        arguments.word()
        return ""
    if directive not in "diuxXoODUp":
        return directive
    sign, body = _number(arguments, flags, size, directive, digits)
    padding = columns - len(sign) - len(body)
    if padding <= 0:
        return sign + body
    if left:
        return sign + body + " " * padding
    if "0" in flags and digits is None:
        return sign + "0" * padding + body
    return " " * padding + sign + body


def _string(memory: Memory, address: int, limit: int | None) -> str:
    if not address:
        text = "(null)"
        return text if limit is None else text[:limit]
    data = memory.cstring(address) if limit is None else memory.cstring(address, limit)
    return data.decode("latin-1")


def _number(
    arguments: Arguments, flags: str, size: str, directive: str, digits: int | None
) -> tuple[str, str]:
    """Return sign or prefix, and the digits."""
    if directive in "DOU":
        size, directive = "l", directive.lower()
    value, bits = _fetch(arguments, size, directive)
    sign = ""
    if directive in "di":
        half = 1 << (bits - 1)
        value = ((value & ((1 << bits) - 1)) ^ half) - half
        if value < 0:
            sign, value = "-", -value
        elif "+" in flags:
            sign = "+"
        elif " " in flags:
            sign = " "
        body = str(value)
    else:
        value &= (1 << bits) - 1
        if directive == "u":
            body = str(value)
        elif directive == "o":
            body = f"{value:o}"
            if "#" in flags and value:
                body = "0" + body
        elif directive == "p":
            sign, body = "0x", f"{value:x}"
        else:
            body = f"{value:{directive}}"
            if "#" in flags and value:
                sign = "0x" if directive == "x" else "0X"
    if digits is not None:
        body = "" if digits == 0 and value == 0 else body.rjust(digits, "0")
    return sign, body


def _fetch(arguments: Arguments, size: str, directive: str) -> tuple[int, int]:
    """Return the next number and how many bits of it count."""
    if directive == "p" or size in _LONG:
        return arguments.word(), 8 * arguments.word_size
    if size in _QUAD:
        return arguments.quad(), 64
    value = arguments.unsigned()
    return value, {"h": 16, "hh": 8}.get(size, 32)
