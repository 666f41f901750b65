"""A verb: its name, the schema of its arguments, and its description.

Host operations, commands in the guest and expectations are rows of this kind, so that one schema
engine (vmtgen.common.schema) checks the arguments of all of them, whatever their source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_origin

from vmtgen.common.construct import value_of
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import UsageError
from vmtgen.common.located import Node, Problems
from vmtgen.common.schema import Record, described, keys_of, split

from vmtsim.core.trace import unprintable

if TYPE_CHECKING:
    from vmtgen.common.schema import Report

Scalar = bool | int | float | str


class ArgumentError(UsageError):
    """The arguments of an operation are invalid; the text names what was expected."""


@dataclass(frozen=True)
class Nothing(Record):
    """No arguments; a scenario writes ``true``, or nothing."""

    SHORTHAND: ClassVar[str] = "now"
    now: Literal[True] | None = True


@dataclass(frozen=True)
class Message(Record):
    r"""A message; an unprintable byte is written ``\xNN``."""

    SHORTHAND: ClassVar[str] = "message"
    message: str

    @property
    def content(self) -> bytes:
        """The bytes of the message."""
        return unprintable(self.message)

    def check(self, node: Node, report: Report) -> None:
        """Reject an invalid escape."""
        try:
            unprintable(self.message)
        except (ValueError, IndexError):
            report(node, r"a backslash is written \\, another byte \xNN")


@dataclass(frozen=True)
class Switch(Record):
    """Whether an operation switches something on or off."""

    SHORTHAND: ClassVar[str] = "on"
    on: bool


@dataclass(frozen=True)
class Verb:
    """A row of a vocabulary.  ``arguments`` is any type of vmtgen.common.schema."""

    name: str
    arguments: Any
    text: str

    @property
    def free(self) -> bool:
        """Whether the names of the arguments are the user's choice."""
        return get_origin(split(self.arguments)[0]) is Mapping

    @property
    def shorthand(self) -> str | None:
        """The argument that plain text or a number means."""
        return getattr(self.arguments, "SHORTHAND", None)

    @property
    def expected(self) -> str:
        """The arguments in the form a scenario uses, in words."""
        if self.arguments is Nothing:
            return "nothing"
        whole = described(self.arguments)
        if self.free or self.shorthand is None or len(keys_of(self.arguments)) == 1:
            return whole
        return f"{self.shorthand}, or {whole}"

    def check(self, node: Node, problems: Problems) -> Any:
        """Report problems of the argument of a scenario's step; return it in plain form."""
        self.read(node, problems)
        return self.whole(node.plain())

    def read(self, node: Node, problems: Problems) -> Any:
        """Return the argument as a value, or None after reporting problems."""
        return value_of(self.arguments, node, problems)

    def whole(self, plain: Any) -> Any:
        """Return the plain form without shorthands, so that a trace shows one form of each."""
        if self.shorthand is None or isinstance(plain, dict) or len(keys_of(self.arguments)) == 1:
            return plain
        return {self.shorthand: plain}

    def value(self, plain: Any) -> Any:
        """Return the value that an argument in plain form means.

        Raises ArgumentError if it is invalid.
        """
        problems = Problems()
        value = self.read(Node.of(self.whole(plain), self.name), problems)
        if problems:
            raise ArgumentError("; ".join(problem.message for problem in problems.found))
        return value
