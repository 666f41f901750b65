"""The types that every spec shares: names, texts for people, texts for the wire and the log."""

from __future__ import annotations

from typing import Annotated

from vmtgen.spec.schema import Pattern, Range

U8 = Annotated[int, Range(0, 0xFF)]
U16 = Annotated[int, Range(0, 0xFFFF)]
U32 = Annotated[int, Range(0, 0xFFFFFFFF)]
Count = Annotated[int, Range(1, 0x7FFFFFFF)]
"""A number of things or of time units that a C int holds."""

Name = Annotated[
    str, Pattern(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*", "a name of letters, digits, - _ .")
]
"""A name that becomes part of a C identifier."""

Member = Annotated[str, Pattern(r"[a-z][a-z0-9_]*", "a name of small letters, digits and _")]
"""A name that is a C member, function or sysctl name as it stands."""

Doc = Annotated[
    str,
    Pattern(r"(?s)(?!.*\*/)(?=.*\S)[\x20-\x7e\n]+", "ASCII text for people, without */"),
]
"""A sentence for people; it ends up in C comments, the man page and the protocol page."""

Printable = Annotated[str, Pattern(r"[\x20-\x7e]+", "printable ASCII text")]
"""A text that goes over the wire or into the log as it is."""
