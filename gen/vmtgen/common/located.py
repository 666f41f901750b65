"""YAML that keeps the position of everything, and errors with these positions.

``load_yaml`` reads one YAML 1.2 document (https://yaml.org/spec/1.2.2/) into ``Node``s, each with
its file, line, column and path inside the document. A checker collects ``Problem``s in a
``Problems`` and raises them together, so that one run reports all errors.

It accepts only the part of YAML that data files need: no anchors, no aliases, no tags, one
document per file, no duplicate key in a mapping. Plain scalars follow the core schema of YAML 1.2
(``yes`` and ``on`` are words), and 0b, 0o and 0x integers may hold underscores between digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vmtgen.common import cache
from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import MissingInputError, ReportedError, from_os_error
from vmtgen.common.files import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from ruamel.yaml.events import Event

Scalar = str | int | float | bool | None
"""The value of a scalar node."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error: its place, the value found, the value expected."""

    path: str  # the file, as messages print it
    line: int  # counted from 1; 0 where the whole file is meant
    column: int  # counted from 1; 0 where the whole line is meant
    where: str  # the path inside the document, as "commands.getversion.number"; may be empty
    message: str
    hint: str | None = None  # the name that was probably meant

    def __str__(self) -> str:
        """Return ``FILE:LINE: WHERE: MESSAGE (did you mean 'NAME'?)``."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        where = f" {self.where}:" if self.where else ""
        hint = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{place}:{where} {self.message}{hint}"


class LocatedErrors(ReportedError):  # noqa: N818 - it holds many
    """Every problem of one pass, sorted by file and line; str() prints one per line."""

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            sorted(set(problems), key=lambda p: (p.path, p.line, p.column, p.where, p.message))
        )
        super().__init__("\n".join(map(str, self.problems)), hint=hint)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value of the document and its place.

    ``value`` is a Scalar, a tuple of Nodes, or a dict from key to Node, as ``kind`` says.
    ``key`` is the node of its key in the mapping, for messages about the name itself.
    """

    kind: str  # "scalar", "sequence" or "mapping"
    value: Scalar | tuple[Node, ...] | dict[str, Node]
    path: str  # the file, as messages print it
    line: int  # counted from 1
    column: int  # counted from 1
    where: str  # the path inside the document
    key: Node | None = None

    @classmethod
    def of(cls, plain: object, path: str, where: str = "", key: Node | None = None) -> Node:
        """Return the node of plain data that comes from no file; messages show ``path`` instead."""
        value: Scalar | tuple[Node, ...] | dict[str, Node]
        if isinstance(plain, Mapping):
            kind = "mapping"
            value = {
                str(name): cls.of(each, path, str(name), cls.of(str(name), path, str(name)))
                for name, each in plain.items()
            }
        elif isinstance(plain, (list, tuple)):
            kind = "sequence"
            value = tuple(cls.of(each, path, where) for each in plain)
        else:
            kind = "scalar"
            value = cast("Scalar", plain)
        return cls(kind, value, path, 0, 0, where, key)

    @property
    def scalar(self) -> Scalar:
        """The value of a scalar; None for anything else."""
        return None if isinstance(self.value, (tuple, dict)) else self.value

    @property
    def elements(self) -> tuple[Node, ...]:
        """The elements of a sequence; nothing for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def entries(self) -> dict[str, Node]:
        """The entries of a mapping in file order; nothing for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def get(self, key: str) -> Node | None:
        """Return the entry of a mapping under ``key``."""
        return self.entries.get(key)

    def __getitem__(self, key: str) -> Node:
        """Return the entry under ``key``, else this node, as the place of an error."""
        return self.entries.get(key, self)

    def __iter__(self) -> Iterator[Node]:
        """Iterate over a sequence's elements or a mapping's values."""
        return iter(self.elements or self.entries.values())

    def plain(self) -> object:
        """Return the same data as plain dicts, lists and scalars, without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def described(self) -> str:
        """The node's value, as messages describe it: "the string 'x'", "a mapping", "nothing"."""
        if self.kind != "scalar":
            return f"a {self.kind}"
        value = self.value
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return f"the boolean {str(value).lower()}"
        if isinstance(value, str):
            return f"the string {value if len(value) <= 40 else value[:37] + '...'!r}"
        return f"the number {value}"

    def problem(self, message: str, *, hint: str | None = None) -> Problem:
        """Return a Problem at the place of this node."""
        return Problem(self.path, self.line, self.column, self.where, message, hint)


@dataclass(slots=True)
class Problems:
    """Collects errors, so that all of them are reported at once."""

    found: list[Problem] = field(default_factory=list)

    def add(self, node: Node, message: str, *, hint: str | None = None) -> None:
        """Add an error at ``node``; ``hint`` is the name that was probably meant."""
        self.found.append(node.problem(message, hint=hint))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems that other code found."""
        self.found.extend(problems)

    def raise_if_any(self, *, hint: str | None = None) -> None:
        """Raise LocatedErrors with all problems so far, if there are any."""
        if self.found:
            raise LocatedErrors(self.found, hint=hint)

    def __bool__(self) -> bool:
        """Return whether there is any problem."""
        return bool(self.found)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that is most similar to ``name``; None if none is similar."""
    import difflib  # noqa: PLC0415 - only on the way to an error

    candidates = list(known)
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def listed(names: Iterable[str], *, limit: int = 12) -> str:
    """Return names as messages list them: separated by commas, at most ``limit``."""
    ordered = list(names)
    text = ", ".join(ordered[:limit])
    return text if len(ordered) <= limit else f"{text} and {len(ordered) - limit} more"


def load_yaml(path: Path | str, problems: Problems | None = None, *, keep: bool = False) -> Node:
    """Read the YAML file ``path``.

    With ``keep`` the parsed document is stored in the user's cache, by content, so that the next
    process does not parse the same file again. This is for shipped files that each start reads.

    Errors that do not prevent reading the rest, such as a duplicate key, go to ``problems`` where
    it is given, so that the caller can report them together with its own.

    Raises MissingInputError where there is no such file, ReportedError where it cannot be read, and
    LocatedErrors where it is not YAML as this module accepts it.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f"{shown(file)}: no such file") from None
    except OSError as error:
        raise from_os_error(error, f"read {shown(file)}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start} is not UTF-8"
        raise LocatedErrors([Problem(shown(file), line, 0, "", message)]) from None
    if not keep:
        return parse_yaml(text, shown(file), problems)
    kept = _kept(data, shown(file))
    if kept is not None:
        return kept
    root = parse_yaml(text, shown(file), problems)
    if not problems:
        cache.put("yaml", data, packed(root))
    return root


@lru_cache(maxsize=64)  # the same content is the same node, as from _compose
def _kept(data: bytes, name: str) -> Node | None:
    kept = cache.get("yaml", data)
    if kept is not None:
        with suppress(TypeError, ValueError):  # another program's file, or a damaged one
            return unpacked(kept, name)
    return None


def packed(node: Node) -> list[object]:
    """Return a document as JSON can hold it; see ``unpacked``."""
    value: object = node.value
    if isinstance(node.value, tuple):
        value = [packed(each) for each in node.value]
    elif isinstance(node.value, dict):
        value = {
            name: [each.key.line, each.key.column, packed(each)]
            for name, each in node.value.items()
            if each.key is not None  # each entry of a mapping has one
        }
    return [node.line, node.column, value]


def unpacked(data: list[Any], path: str, where: str = "", key: Node | None = None) -> Node:
    """Return the document that was ``packed`` into ``data``, as one of the file ``path``."""
    line, column, plain = data
    value: Scalar | tuple[Node, ...] | dict[str, Node] = plain
    kind = "scalar"
    if isinstance(plain, list):
        kind = "sequence"
        value = tuple(
            unpacked(each, path, f"{where}[{number}]") for number, each in enumerate(plain)
        )
    elif isinstance(plain, dict):
        kind = "mapping"
        value = {}
        for name, (key_line, key_column, each) in plain.items():
            below = f"{where}.{name}" if where else name
            own = Node("scalar", name, path, key_line, key_column, below)
            value[name] = unpacked(each, path, below, own)
    return Node(kind, value, path, line, column, where, key)


def parse_yaml(text: str, name: str, problems: Problems | None = None) -> Node:
    """Read YAML from ``text``; messages name the file ``name``. See load_yaml.

    Raises LocatedErrors.
    """
    root, found = _compose(text, name)
    if problems is not None:
        problems.extend(found)
    elif found:
        raise LocatedErrors(found)
    if root is None:
        raise LocatedErrors([Problem(name, 1, 0, "", "the file is empty")])
    return root


# Parsing is the slowest part of a scenario that runs many times. Nodes are immutable.
@lru_cache(maxsize=64)
def _compose(text: str, name: str) -> tuple[Node | None, tuple[Problem, ...]]:
    from ruamel.yaml import YAML, error, events  # noqa: PLC0415 - slow, and a kept file needs none

    composer = _Composer(name, events)
    try:
        # Events, not ruamel's own nodes: the scalars are resolved here anyway, and it is faster.
        root = composer.document(YAML(typ="safe", pure=True).parse(text))
    except error.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        lines = [part for part in (wrong.context, wrong.problem) if part]
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = Problem(name, line, column, "", f"not YAML: {', '.join(lines)}")
        raise LocatedErrors([problem]) from None
    except error.YAMLError as wrong:
        line_number = getattr(wrong, "position", None)
        line = text.count("\n", 0, line_number) + 1 if isinstance(line_number, int) else 0
        message = "not YAML: " + str(wrong).partition("\n")[0]
        raise LocatedErrors([Problem(name, line, 0, "", message)]) from None
    return root, tuple(composer.problems.found)


# The core schema of YAML 1.2.2, section 10.3.2, with 0b added and underscores in 0b, 0o and 0x.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    spelling: truth
    for word, truth in (("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
# Texts, because re compiles them at the first use: a stored document needs none of them.
_INTEGER = r"[-+]?[0-9]+|0b[01]+(?:_[01]+)*|0o[0-7]+(?:_[0-7]+)*|0x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_BASES = {"0b": 2, "0o": 8, "0x": 16}


def _resolve(text: str) -> Scalar:
    """Return the value of a plain scalar."""
    if text in _NULLS:
        return None
    first = text[0]
    if first in "tTfF":
        return _BOOLEANS.get(text, text)
    if first not in "0123456789+-.":
        return text
    if re.fullmatch(_INTEGER, text):
        base = _BASES.get(text[:2])
        return int(text[2:], base) if base else int(text)
    return float(text) if re.fullmatch(_FLOAT, text) else text


DEEPEST = 32
"""The limit of nested sequences and mappings; no file of the project has ten levels."""


class _Composer:
    """Builds Nodes from the parser's events."""

    def __init__(self, name: str, events: ModuleType) -> None:
        self.name = name
        self.is_ = events  # the module with the classes of the events
        self.problems = Problems()
        self.depth = 0

    def document(self, events: Iterator[Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, self.is_.DocumentStartEvent):
                documents += 1
            elif isinstance(event, self.is_.NodeEvent):
                node = self.node(event, events, "", None)
                if documents == 1:
                    root = node
                else:
                    self.problems.add(node, "a second document: one file holds one document")
        return None if root is not None and root.value is None else root

    def node(self, event: Event, events: Iterator[Event], where: str, key: Node | None) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        value: Scalar | tuple[Node, ...] | dict[str, Node] = None
        if isinstance(event, self.is_.ScalarEvent):
            kind = "scalar"
            plain = event.style in {None, ""}
            value = _resolve(event.value) if plain else event.value
            if plain and event.value == "" and key is not None:
                # An empty value begins at the next token: its key is the better place.
                line, column = key.line, key.column
        elif isinstance(event, self.is_.CollectionStartEvent) and self.depth == DEEPEST:
            # Do not read the rest: the time would grow with the square of its depth.
            too_deep = Node("scalar", None, self.name, line, column, where, key)
            self.problems.add(too_deep, f"nested deeper than {DEEPEST} levels")
            self.problems.raise_if_any()
        elif isinstance(event, self.is_.SequenceStartEvent):
            kind = "sequence"
            self.depth += 1
            value = tuple(
                self.node(inner, events, f"{where}[{number}]", None)
                for number, inner in enumerate(_until(events, self.is_.SequenceEndEvent))
            )
            self.depth -= 1
        elif isinstance(event, self.is_.MappingStartEvent):
            kind = "mapping"
            self.depth += 1
            value = self.mapping(events, where)
            self.depth -= 1
        else:  # an AliasEvent: no other event is possible here
            kind = "scalar"
        node = Node(kind, value, self.name, line, column, where, key)
        if isinstance(
            event, (self.is_.ScalarEvent, self.is_.SequenceStartEvent, self.is_.MappingStartEvent)
        ):
            if event.anchor is not None:
                self.problems.add(node, "an anchor: write each value where it is used")
            if event.tag is not None:
                self.problems.add(node, f"the tag {event.tag}: tags are not used here")
        else:
            self.problems.add(node, "an alias: write the value out")
        return node

    def mapping(self, events: Iterator[Event], where: str) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for event in _until(events, self.is_.MappingEndEvent):
            written = self.node(event, events, where, None)
            # Keys are names: `11.0:` means the text "11.0", as it is written.
            name = event.value if isinstance(event, self.is_.ScalarEvent) else ""
            if not name:
                self.problems.add(written, f"a key is a name: it cannot be {written.described}")
                name = f"?{len(entries)}"
            below = f"{where}.{name}" if where else name
            key = Node("scalar", name, self.name, written.line, written.column, below)
            value = self.node(next(events), events, below, key)
            first = entries.setdefault(name, value)
            if first is not value and first.key is not None:
                message = f"the key {name!r} stands here twice: first in line {first.key.line}"
                self.problems.add(key, message)
        return entries


def _until(events: Iterator[Event], end: type[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, end):
            return
        yield event
