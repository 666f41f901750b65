"""Texts with typed fields, such as ``tools.os.statechange.status {success:bool} {state:uint}``."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node, nearest
from vmtgen.common.schema import Mentions, Record, Report, derived
from vmtgen.compiler.spec.words import MEMBER, Printable

# The format of each type in the kernel's printf(9); bytes have none.
_C_FORMATS = {
    "bool": "%d",
    "int": "%d",
    "uint": "%u",
    "i64": '%" PRId64 "',
    "u64": '%" PRIu64 "',
    "text": "%s",
}
_TYPES = (*_C_FORMATS, "bytes")
_FIELD = re.compile(r"\{([^{}]*)\}")
_MEMBER = re.compile(MEMBER)


@dataclass(frozen=True, slots=True)
class Field:
    """A field ``{name:type}`` of a text."""

    name: str
    type: str

    @property
    def c_format(self) -> str:
        """The format of printf(9), for the inside of a C string literal."""
        return _C_FORMATS[self.type]


@dataclass(frozen=True, slots=True)
class Text(Record):
    """A text with typed fields ``{name:type}``; str() returns it as in the spec."""

    SHORTHAND: ClassVar[str] = "source"
    source: Printable

    @property
    def parts(self) -> tuple[str | Field, ...]:
        """The literal stretches and the fields, in order; no literal stretch is empty."""
        found: list[str | Field] = []
        for number, piece in enumerate(_FIELD.split(self.source)):
            if number % 2:
                name, _, kind = piece.partition(":")
                found.append(Field(name, kind))
            elif piece:
                found.append(piece)
        return tuple(found)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def literal(self) -> str:
        """The text before the first field; all of it where there is no field."""
        return self.source.partition("{")[0]

    @property
    def command(self) -> str:
        """The first word."""
        return self.literal.partition(" ")[0]

    @property
    def shown(self) -> str:
        """The text as documents print it: fields by name alone, in angle brackets."""
        return "".join(p if isinstance(p, str) else f"<{p.name}>" for p in self.parts)

    def __str__(self) -> str:
        """Return the text as the spec has it."""
        return self.source

    def check(self, node: Node, report: Report) -> None:
        """Refuse stray braces, unknown types, names used twice and bytes before the end."""
        around = _FIELD.sub("", self.source)
        if "{" in around or "}" in around:
            report(node, "a brace without its partner: a field is {name:type}")
            return
        fields = self.fields
        for number, field in enumerate(fields):
            if _MEMBER.fullmatch(field.name) is None:
                report(
                    node, f"the field {{{field.name}}} needs a name of small letters, no C keyword"
                )
            elif field.type not in _TYPES:
                near = nearest(field.type, _TYPES)
                meant = f" (did you mean {near!r}?)" if near else ""
                message = f"expected {', '.join(_TYPES)}, not {field.type!r}{meant}"
                report(node, f"the type of the field {{{field.name}}}: {message}")
            elif field.type == "bytes" and number + 1 < len(fields):
                report(node, f"the field {{{field.name}:bytes}} has to be the last one")
            if field.name in {before.name for before in fields[:number]}:
                report(node, f"the field {{{field.name}}} stands here twice")


@dataclass(frozen=True, slots=True)
class InterpolatedText(Record):
    """A text made of literal stretches and variables ``{name}`` of the guest information."""

    SHORTHAND: ClassVar[str] = "source"
    source: Annotated[Printable, Mentions("variable", "guestinfo.variables")]
    types: Mapping[str, str] | None = derived(None)

    @property
    def parts(self) -> tuple[str | Field, ...]:
        """The literal stretches and the variables as typed fields, in order."""
        types = self.types or {}
        return tuple(
            Field(part.name, types.get(part.name, "text")) if isinstance(part, Field) else part
            for part in Text(self.source).parts
        )

    @property
    def fields(self) -> tuple[Field, ...]:
        """The variables, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def shown(self) -> str:
        """The text as documents print it: variables by name, in angle brackets."""
        return Text(self.source).shown
