"""Requests of the guest to the host (rpci.yaml)."""

from typing import Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Record, Report
from vmtgen.compiler.spec.text import Text
from vmtgen.compiler.spec.words import U32, Doc, Name, Printable


@dataclass(frozen=True, slots=True)
class Replies(Record):
    """The first word of a reply."""

    success: Printable
    failure: Printable


@dataclass(frozen=True, slots=True)
class Message(Record):
    """A request; ``reply`` "empty" means that text after the success word is a refusal.

    ``at`` says when it is sent; without it the driver's C does that.
    """

    name: Name
    text: Text
    doc: Doc
    reply: Literal["empty"] | None = None
    at: Literal["registration"] | None = None

    def check(self, node: Node, report: Report) -> None:
        """Expect a space after the command: old hosts look for it."""
        if " " not in self.text.literal:
            message = (
                "a command without arguments ends in a space, one with arguments has it before"
            )
            report(node["text"], f"{message} the first")
        if self.at is not None and self.text.fields:
            report(node["text"], "a message at registration has no fields: nothing fills them")


@dataclass(frozen=True, slots=True)
class Identity(Record):
    """Name and version of the driver."""

    name: Name
    version: U32
    kind: U32


@dataclass(frozen=True, slots=True)
class Rpci(Record):
    """All of rpci.yaml."""

    spec: Literal["rpci"]
    doc: Doc
    replies: Replies
    messages: Entries[Message]
    identity: Identity
