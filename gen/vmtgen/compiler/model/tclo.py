"""Requests of the host to the guest (tclo.yaml)."""

from typing import Annotated, ClassVar, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.located import Node
from vmtgen.common.schema import Entries, Named, Range, Record, Reference, Report, Unique, Valued
from vmtgen.compiler.spec.words import U8, Doc, Member, Milliseconds, Name, Printable, Seconds

Action = Annotated[Named, Reference("driver action", "driver.actions")]
LogText = Annotated[Named, Reference("log text", "driver.logs")]


@dataclass(frozen=True, slots=True)
class Replies(Record):
    """The first word of a reply."""

    success: Printable
    failure: Printable


@dataclass(frozen=True, slots=True)
class ErrorText(Valued):
    """The text after the failure word."""

    SHORTHAND: ClassVar[str] = "text"
    name: Name
    text: Printable


@dataclass(frozen=True, slots=True)
class Polling(Record):
    """When to poll for the next message: milliseconds, and messages per poll."""

    steps: tuple[Milliseconds, ...]
    quiet_after: Milliseconds
    idle: Milliseconds
    drain: Annotated[int, Range(1, 1000)]

    def check(self, node: Node, report: Report) -> None:
        """Expect steps that do not shrink."""
        if not self.steps:
            report(node["steps"], "expected at least one step")
        elif list(self.steps) != sorted(self.steps):
            report(node["steps"], "the steps have to grow")


@dataclass(frozen=True, slots=True)
class State(Valued):
    """A power state by the number that the host gives it."""

    SHORTHAND: ClassVar[str] = "number"
    name: Name
    number: Annotated[U8, Unique()]


@dataclass(frozen=True, slots=True)
class Command(Record):
    """A message of the host and its effects: tclo.yaml has their order."""

    name: Name
    doc: Doc
    arguments: Literal["none", "ignored", "flag", "option", "text", "data"]
    log: LogText | None = None
    action: Action | None = None
    state: Annotated[Named, Reference("power state", "tclo.states")] | None = None
    switch: Annotated[Named, Reference("switch", "driver.switches")] | None = None
    count: Annotated[Named, Reference("counter", "driver.statistics")] | None = None
    reply: Printable | None = None

    def check(self, node: Node, report: Report) -> None:
        """Refuse arguments that no action takes."""
        if self.arguments not in {"none", "ignored"} and self.action is None:
            report(node, f"arguments '{self.arguments}' need an action that takes them")


@dataclass(frozen=True, slots=True)
class Option(Record):
    """An option of Set_Option: ``setting`` is the name under which its value is stored, if any."""

    name: Name
    type: Literal["flag", "switch", "seconds", "percent", "ignored"]
    doc: Doc
    setting: Member | None = None
    action: Action | None = None

    def check(self, node: Node, report: Report) -> None:
        """Expect a setting or an action of every option that is not ignored."""
        if self.type == "ignored":
            for key in ("setting", "action"):
                if self[key] is not None:
                    report(node[key], f"an ignored option has no {key}")
        elif self.setting is None and self.action is None:
            report(node, f"an option of type {self.type} needs a setting or an action")


@dataclass(frozen=True, slots=True)
class BackupCode(Valued):
    """A code of a backup event."""

    SHORTHAND: ClassVar[str] = "number"
    name: Name
    number: Annotated[U8, Unique()]


@dataclass(frozen=True, slots=True)
class BackupEvent(Valued):
    """A step of a backup that the guest reports; the value is the text in the message."""

    SHORTHAND: ClassVar[str] = "text"
    name: Name
    text: Printable


@dataclass(frozen=True, slots=True)
class Backup(Record):
    """Quiesced snapshots: ``*_ms`` in milliseconds, ``limit`` and ``freeze_limit`` in seconds."""

    keep_alive_ms: Milliseconds
    limit: Seconds
    freeze_limit: Seconds
    thaw_again_ms: Milliseconds
    parameters_version: U8
    codes: Entries[BackupCode]
    events: Entries[BackupEvent]
    canceled: Printable
    not_frozen: Printable
    script_failed: Printable

    def check(self, node: Node, report: Report) -> None:
        """Expect the codes that the driver sends, and a keep-alive before the limit."""
        for name in ("success", "script", "sync", "aborted"):
            if self.codes.get(name) is None:
                report(node["codes"], f"the driver sends the code {name!r}, which is not here")
        if self.keep_alive_ms >= self.limit * 1000:
            report(node["keep_alive_ms"], f"expected less than the limit of {self.limit} seconds")


@dataclass(frozen=True, slots=True)
class Tclo(Record):
    """All of tclo.yaml."""

    spec: Literal["tclo"]
    doc: Doc
    replies: Replies
    errors: Entries[ErrorText]
    polling: Polling
    states: Entries[State]
    commands: Entries[Command]
    options: Entries[Option]
    backup: Backup

    @property
    def settings(self) -> tuple[str, ...]:
        """The names under which options are stored, each once, in the order of the options."""
        names = (option.setting for option in self.options)
        return tuple(dict.fromkeys(name for name in names if name is not None))
