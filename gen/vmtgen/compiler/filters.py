"""The filters of templates: C, mdoc(7) and Markdown spellings, comments, wrapped text."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from vmtgen.compiler import knf
from vmtgen.compiler.spec.text import Field, InterpolatedText, Text

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 78
"""Columns that a line of a comment may fill."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
# The start, continuation and end of a comment in each kind of file.
_COMMENTS = {
    "c": ("/*", " *", " */"),
    "hash": (None, "#", None),
    "mdoc": (None, '.\\"', None),
    "markdown": ("<!--", "", "-->"),
}


def hexadecimal(value: Any, digits: int = 0) -> str:
    """Return ``value`` as 0x..., with at least ``digits`` digits."""
    return f"0x{int(value):0{digits}x}"


def c_string(value: Any) -> str:
    """Return ``value`` as a C string literal with its quotes."""
    return f'"{_escaped(str(value))}"'


def _escaped(text: str) -> str:
    escaped = "".join(_ESCAPES.get(c, c if " " <= c <= "~" else f"\\{ord(c):03o}") for c in text)
    return escaped.replace("??", "?\\?")  # no trigraphs


def c_name(value: Any) -> str:
    """Return ``value`` as a C identifier in small letters: "get-time" becomes get_time."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(value))
    return re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower()


def c_macro(value: Any) -> str:
    """Return ``value`` as the name of a C macro: "get-time" becomes GET_TIME."""
    return c_name(value).upper()


def c_identifier(value: Any) -> str:
    """Return ``value`` as a C identifier, letter case kept."""
    return re.sub(r"[^A-Za-z0-9]+", "_", str(value)).strip("_")


def c_format(text: Text | InterpolatedText, after: str = "", before: str = "") -> str:
    """Return the format for printf(9) that prints ``text``, as C string literals.

    ``before`` and ``after`` are formats to put around it. Fields of type bytes are omitted: they
    are not printed. Macros such as ``PRIu64`` (<sys/inttypes.h>) come between the literals.
    """
    pieces = [before]
    for part in text.parts:
        if isinstance(part, Field):
            pieces.append("" if part.type == "bytes" else f"\0{part.c_format}\0")
        else:
            pieces.append(part.replace("%", "%%"))
    pieces.append(after)
    # The formats contain quotes; everything else is escaped.
    halves = "".join(pieces).split("\0")
    literal = "".join(h if number % 2 else _escaped(h) for number, h in enumerate(halves))
    return f'"{literal}"'.replace(' ""', "")


def define(value: Any, name: str) -> str:
    """Return the definition of the macro ``name``; its value is in column 32 where that fits."""
    return f"#define\t{name}{chr(9) * max((23 - len(name)) // 8 + 1, 1)}{value}"


def define_call(call: str, head: str) -> str:
    """Return the definition of a macro with parameters, ``head``, as a call of a function."""
    lines = [f"#define\t{head}", *knf.folded(f"\t{call}", 72)]
    ends = [f"{line}{chr(9) * ((79 - knf.columns(line)) // 8)}\\" for line in lines[:-1]]
    return "\n".join([*ends, lines[-1]])


def short(text: Any) -> str:
    """Return the first clause of a sentence, for a comment at the end of a line."""
    return re.split(r"[;:.](?:\s|$)", str(text), maxsplit=1)[0].strip()


def wrap(text: Any, width: int = WIDTH, indent: str = "") -> str:
    """Return ``text`` filled to ``width`` columns, the lines after the first indented."""
    return f"\n{indent}".join(textwrap.wrap(str(text), width - len(indent.expandtabs(8))) or [""])


def comment(text: Any, indent: str = "", width: int = WIDTH) -> str:
    """Return ``text`` as a C block comment, each line after the first after ``indent``.

    A text that fits becomes one line.
    """
    room = width - len(indent.expandtabs(8))
    words = " ".join(str(text).split())
    if len(words) + 6 <= room:
        return f"/* {words} */"
    lines = textwrap.wrap(words, room - 3)
    return f"\n{indent}".join(["/*", *(f" * {line}" for line in lines), " */"])


def comment_block(text: str, file_name: str) -> str:
    """Return paragraphs as a comment in the language of ``file_name``."""
    begin, middle, end = _COMMENTS[comment_style(file_name)]
    lines: list[str] = []
    for number, paragraph in enumerate(text.split("\n\n")):
        lines += [middle] if number else []
        filled = textwrap.wrap(paragraph, 72, break_on_hyphens=False, break_long_words=False)
        lines += [f"{middle} {line}" if middle else line for line in filled]
    return "\n".join([*([begin] if begin else []), *lines, *([end] if end else [])])


def comment_style(file_name: str) -> str:
    """Return the kind of comment in a file, by the file's name."""
    if file_name.endswith((".c", ".h")):
        return "c"
    if file_name.endswith(".md"):
        return "markdown"
    if re.search(r"\.[1-9]$", file_name):
        return "mdoc"
    return "hash"


def mdoc(text: Any) -> str:
    """Return ``text`` as text of a manual page, not as a macro line.

    Backslashes are spelled out, and a point or quote at the start of a line cannot begin a macro.
    """
    escaped = " ".join(str(text).split()).replace("\\", "\\e")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def mdoc_argument(text: Any) -> str:
    """Return ``text`` as one argument of an mdoc(7) macro."""
    escaped = str(text).replace("\\", "\\e").replace('"', "\\(dq")
    if " " in escaped:
        return f'"{escaped}"'
    return f"\\&{escaped}" if escaped in ".,:;()[]?!" else escaped


def sentences(text: Any) -> str:
    """Return ``text`` as mdoc(7) source: each sentence on a line of its own, long ones wrapped."""
    lines = re.split(r"(?<=[.!?]) +(?=[A-Z])", mdoc(text))
    return "\n".join(
        "\n".join(textwrap.wrap(line, WIDTH, break_on_hyphens=False)) for line in lines
    )


def markdown(text: Any) -> str:
    """Return ``text`` escaped, so that a Markdown table cell shows it unchanged."""
    return re.sub(r"([\\`*_{}<>|\[\]])", r"\\\1", " ".join(str(text).split()))


def code(text: Any) -> str:
    """Return ``text`` as Markdown code that also survives in a table cell."""
    return "`" + str(text).replace("|", "\\|") + "`"


FILTERS: dict[str, Callable[..., Any]] = {
    "c_format": c_format,
    "c_identifier": c_identifier,
    "c_macro": c_macro,
    "c_name": c_name,
    "c_string": c_string,
    "code": code,
    "comment": comment,
    "comment_block": comment_block,
    "define": define,
    "define_call": define_call,
    "hex": hexadecimal,
    "markdown": markdown,
    "mdoc": mdoc,
    "mdoc_argument": mdoc_argument,
    "sentences": sentences,
    "short": short,
    "wrap": wrap,
}
"""The filters by the name under which templates use them."""
