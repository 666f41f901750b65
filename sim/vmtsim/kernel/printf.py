"""kprintf(): all formats of the kernel's printf (NetBSD sys/kern/subr_prf.c)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from vmtgen.common.twos import signed

from vmtsim.kernel.errors import Unmodelled

if TYPE_CHECKING:
    from vmtsim.kernel.marshal import Arguments
    from vmtsim.kernel.memory import Memory

    # Flags, width, precision, size and letter.
    _Directive = tuple[str, str | None, str | None, str, str]

_DIRECTIVE = re.compile(r"%([-+ #0]*)(\*|\d+)?(?:\.(\*|-?\d*))?([hlqjtz]*)(.?)", re.DOTALL)
# Limit of columns for a directive: printing more would take minutes.
_WIDEST = 1 << 20


def kprintf(memory: Memory, text: str, arguments: Arguments) -> str:
    """Return ``text`` with its directives filled from ``arguments``.

    An unknown letter is printed as %c would print it; a format that ends within a directive ends
    there; ``%n`` takes its pointer and writes nothing.
    """
    parts = []
    for literal, directive in _parsed(text):
        parts.append(literal)
        if directive is not None:
            parts.append(_directive(memory, arguments, *directive))
    return "".join(parts)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[tuple[str, _Directive | None], ...]:
    """Return the parts of a format: text, and the directive after it (None: the text ends)."""
    parts: list[tuple[str, _Directive | None]] = []
    start = 0
    for match in _DIRECTIVE.finditer(text):
        flags, width, precision, size, directive = match.groups()
        parts.append((text[start : match.start()], (flags, width, precision, size, directive)))
        start = match.end()
    parts.append((text[start:], None))
    return tuple(parts)


def _directive(
    memory: Memory,
    arguments: Arguments,
    flags: str,
    width: str | None,
    precision: str | None,
    size: str,
    directive: str,
) -> str:
    if not directive:
        return ""
    left = "-" in flags
    columns = 0
    if width == "*":
        columns = arguments.integer()
        if columns < 0:
            left, columns = True, -columns
    elif width:
        columns = int(width)
    if columns > _WIDEST:
        raise Unmodelled(f"kprintf: a width of {columns}: vmtsim prints {_WIDEST} columns at most")
    digits: int | None = None
    if precision == "*":
        digits = arguments.integer()
        digits = None if digits < 0 else digits
    elif precision is not None:
        digits = max(int(precision or 0), 0)

    zero = "0" in flags
    sign = ""
    if directive == "s":
        body = _string(memory, arguments.word(), digits)
    elif directive == "c":
        body = chr(arguments.integer() & 0xFF)
    elif directive == "n":
        arguments.word()
        return ""
    elif directive in "diuxXoODUp":
        if digits is not None and digits > _WIDEST:
            raise Unmodelled(f"kprintf: a precision of {digits}: {_WIDEST} at most are modelled")
        sign, body = _number(arguments, flags, size, directive, digits)
        zero = zero and digits is None
    else:
        body = directive
    padding = columns - len(sign) - len(body)
    if padding <= 0:
        return sign + body
    if left:
        return sign + body + " " * padding
    if zero:
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
        value = signed(value, bits)
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
    """Return the next number and its significant bits."""
    if directive != "p" and ("ll" in size or "q" in size or "j" in size):
        return arguments.quad(), 64
    if directive == "p" or "l" in size or "t" in size or "z" in size:
        return arguments.word(), 8 * arguments.word_size
    return arguments.unsigned(), 16 if "h" in size else 32  # hh is h: a short
