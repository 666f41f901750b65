"""The types that every spec shares: names, descriptions, texts for the wire and the log."""

from __future__ import annotations

from typing import Annotated

from vmtgen.common.schema import Pattern, Range

U8 = Annotated[int, Range(0, 0xFF)]
U16 = Annotated[int, Range(0, 0xFFFF)]
U32 = Annotated[int, Range(0, 0xFFFFFFFF)]
Count = Annotated[int, Range(1, 0x7FFFFFFF)]
"""A number of things or of time units that a C int holds."""

Seconds = Annotated[int, Range(1, 2147483)]
"""A period in seconds, which a C int holds in milliseconds."""

Milliseconds = Annotated[int, Range(1, 3600000)]
"""A time in milliseconds: at most an hour, the longest wait in the specs."""

Bytes = Annotated[int, Range(1, 0x10000)]
"""A size in bytes: at most 64 KiB, the largest message."""

Name = Annotated[
    str, Pattern(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*", "a name of letters, digits, - _ .")
]
"""A name that becomes part of a C identifier."""

# C11 6.4.1, without those that begin with a capital; and bool, which the kernel has as a type.
C_KEYWORDS = (
    "auto|bool|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|"
    "inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|typedef|"
    "union|unsigned|void|volatile|while"
)
MEMBER = rf"(?!(?:{C_KEYWORDS})$)[a-z][a-z0-9_]*"

Member = Annotated[str, Pattern(MEMBER, "a name of small letters, digits and _, no C keyword")]
"""A name that is used unchanged as a C member, function or sysctl name."""

Doc = Annotated[
    str,
    Pattern(r"(?s)(?!.*\*/)(?=.*\S)[\x20-\x7e\n]+", "ASCII text without */"),
]
"""A sentence that readers see in C comments, the man page and the protocol page."""

Printable = Annotated[str, Pattern(r"[\x20-\x7e]+", "printable ASCII text")]
"""A text that is sent or logged unchanged."""
