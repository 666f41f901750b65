"""A small schema language: frozen dataclasses whose annotations define the contents of a spec.

A field is a key of the YAML mapping and has the same name (``class_`` is the key ``class``, a
keyword of Python); a field with a default is optional.
The annotation alone decides which values are valid, so that a new key is one new line:

=========================  ======================================================================
``int``, ``str``, ``bool`` a scalar of that kind; ``Annotated[int, Range(0, 255)]`` narrows it
``Literal["a", "b"]``      one of these words or numbers
``X | None``, ``X | Y``    any of them; an empty value is None
``tuple[X, ...]``          a sequence; ``frozenset[X]`` one whose order does not matter
``Mapping[str, X]``        a mapping with any keys
``Entries[X]``             the same, but each value is a dataclass that keeps its key as ``name``
a dataclass                a mapping with exactly these keys
=========================  ======================================================================

``Annotated`` takes the checks of this module: Range, Pattern, Length, NotEmpty, Unique, Reference;
any other object with ``phrase`` and ``fits`` is a check as well. A class may define
``check(self, node, report)`` for rules on several keys, and ``SHORTHAND``: the field that a bare
scalar in place of the mapping sets. A field made by ``derived`` is not a key of the YAML: the class
fills it in ``completed(self)``, which returns the final value.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Mapping
from functools import cached_property
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from vmtgen.common.dataclass import MISSING, dataclass, field, fields, is_dataclass
from vmtgen.common.located import Node, listed

T = TypeVar("T")


class Report(Protocol):
    """How a class's ``check`` reports an error: the node, the message, the name probably meant."""

    def __call__(self, node: Node, message: str, *, hint: str | None = None) -> None:
        """Report a problem."""


class Record:
    """Base of the dataclasses: a field can also be read by its key, as ``record["class"]``."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        """Return the value of the field for ``key``."""
        for known in keys_of(type(self)):
            if known.name == key:
                return getattr(self, known.attribute)
        raise KeyError(key)


class Valued(Record):
    """A record with one main value, the field SHORTHAND; str() and int() convert that value."""

    __slots__ = ()
    SHORTHAND: ClassVar[str] = "value"

    def __str__(self) -> str:
        """Return the value as text."""
        return str(self[self.SHORTHAND])

    def __int__(self) -> int:
        """Return the value as an integer."""
        return int(self[self.SHORTHAND])


def derived(default: Any) -> Any:
    """Return a field that the class computes from the others; it is not a key of the YAML."""
    return field(default=default, metadata={"derived": True}, compare=False)


class Named(str):
    """The name of an entry elsewhere; ``entry`` is that entry once the pass is over."""

    __slots__ = ("entry",)
    entry: Any

    @property
    def name(self) -> str:
        """The name itself, as the entry has it."""
        return str(self)


class Entries(tuple[T, ...], Generic[T]):
    """The entries of a mapping in file order: a tuple that can also be indexed by name."""

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names in file order."""
        return tuple(entry.name for entry in self)  # type: ignore[attr-defined]

    def get(self, name: str) -> T | None:
        """Return the entry called ``name``, or None."""
        return next((entry for entry in self if entry.name == name), None)  # type: ignore[attr-defined]

    def __getitem__(self, key: Any) -> Any:
        """Return an entry by its name or by its number."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        """Return whether an entry, or an entry of that name, is here."""
        return key in self.names if isinstance(key, str) else super().__contains__(key)


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``low`` to ``high``, both allowed."""

    low: float
    high: float

    @property
    def phrase(self) -> str:
        """The description in messages."""
        low, high = (int(each) if each == int(each) else each for each in (self.low, self.high))
        ones = isinstance(high, int) and high > 0xFFFF and high & (high + 1) == 0
        return f"from {low} to {hex(int(high)) if ones else high}"

    def fits(self, value: object) -> bool:
        """Return whether ``value`` lies inside."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Length:
    """A string or a sequence of ``low`` to ``high`` bytes or elements, which ``noun`` names."""

    low: int
    high: int
    noun: str = "characters"

    @property
    def phrase(self) -> str:
        """The description in messages."""
        span = str(self.low) if self.low == self.high else f"{self.low} to {self.high}"
        return f"of {span} {self.noun}"

    def fits(self, value: object) -> bool:
        """Return whether the length of ``value`` lies inside."""
        return isinstance(value, (str, tuple)) and self.low <= len(value) <= self.high


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """A mapping or a sequence with at least one element."""

    phrase: ClassVar[str] = "that is not empty"

    @staticmethod
    def fits(value: Any) -> bool:
        """Return whether ``value`` has an element."""
        return len(value) > 0


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that ``regex`` matches as a whole; ``phrase`` describes it in messages."""

    regex: str
    phrase: str

    def fits(self, value: object) -> bool:
        """Return whether all of ``value`` matches."""
        return isinstance(value, str) and re.fullmatch(self.regex, value) is not None


@dataclass(frozen=True, slots=True)
class Unique:
    """No two in the same collection may hold the same value."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an entry of one of the collections ``targets``, such as "rpci.messages".

    A ``*`` stands for any one name on the way: "driver.sysctl.*.nodes".
    ``noun`` is the name of such an entry in messages.
    """

    noun: str
    targets: tuple[str, ...]

    def __init__(self, noun: str, *targets: str) -> None:
        object.__setattr__(self, "noun", noun)
        object.__setattr__(self, "targets", targets)


@dataclass(frozen=True, slots=True)
class Mentions:
    """A string that may name entries of the collection ``target`` as ``{name}``."""

    noun: str
    target: str

    @staticmethod
    def names(value: str) -> list[str]:
        """Return what ``value`` names."""
        return re.findall(r"\{([^{}]*)\}", value)


class Key:
    """The schema of one key of a mapping: a field of a dataclass."""

    def __init__(self, schema: type, attribute: str, *, required: bool) -> None:
        self.name = attribute.rstrip("_")
        self.attribute = attribute
        self.required = required
        self._schema = schema

    @cached_property
    def hint(self) -> Any:
        """The type of its value.

        The annotation is compiled here: a document has few of the keys that its schema knows.
        """
        owner = next(
            each for each in self._schema.__mro__
            if self.attribute in vars(each).get("__annotations__", ())
        )  # fmt: skip
        alone = types.ModuleType(owner.__module__)
        alone.__annotations__ = {self.attribute: owner.__annotations__[self.attribute]}
        names = {**vars(owner), **vars(sys.modules[owner.__module__])}
        return typing.get_type_hints(alone, names, include_extras=True)[self.attribute]


def is_scalar_class(schema: Any) -> bool:
    """Return whether ``schema`` is a dataclass that wraps one scalar, its SHORTHAND."""
    shorthand = getattr(schema, "SHORTHAND", None) if is_dataclass(schema) else None
    return shorthand is not None and [key.name for key in keys_of(schema)] == [shorthand]


_KEYS: dict[Any, tuple[Key, ...]] = {}


def keys_of(schema: Any) -> tuple[Key, ...]:
    """Return the keys that the dataclass ``schema`` takes, in the order of its fields."""
    if schema in _KEYS:
        return _KEYS[schema]
    keys = tuple(
        Key(
            schema,
            item.name,
            required=item.default is MISSING and item.default_factory is MISSING,
        )
        for item in fields(schema)
        if not item.metadata.get("derived")
    )
    return _KEYS.setdefault(schema, keys)


def split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type in ``hint`` and the checks that ``Annotated`` adds to it."""
    if get_origin(hint) is Annotated:
        base, *checks = get_args(hint)
        return base, tuple(checks)
    return hint, ()


def shape(hint: Any) -> str:
    """Return the shape of a value of ``hint``, as ``node_shape`` names it."""
    base, _ = split(hint)
    origin = get_origin(base)
    if origin in {tuple, frozenset}:
        return "sequence"
    if is_scalar_class(base):
        return shape(keys_of(base)[0].hint)
    if origin in {Entries, Mapping} or is_dataclass(base):
        return "mapping"
    if origin is Literal:
        return type(get_args(base)[0]).__name__
    return "str" if base is Named else str(getattr(base, "__name__", "any of several"))


def node_shape(node: Node) -> str:
    """Return the shape of ``node``: "mapping", "sequence" or the name of a scalar type."""
    return type(node.scalar).__name__ if node.kind == "scalar" else node.kind


_SCALARS = {
    int: "an integer",
    str: "a string",
    Named: "a name",
    bool: "true or false",
    float: "a number",
}
_SCALARS_PLURAL = {int: "integers", str: "strings", bool: "booleans", float: "numbers"}


def described(hint: Any) -> str:
    """Return the description of a value of ``hint`` for messages: "an integer from 0 to 255"."""
    base, checks = split(hint)
    for check in checks:
        if isinstance(check, Reference):
            return f"the name of a {check.noun}"
        if isinstance(check, Pattern):
            return check.phrase
    phrase = _described_base(base)
    return " ".join([phrase, *(check.phrase for check in checks if hasattr(check, "phrase"))])


def _described_base(base: Any) -> str:
    if base in _SCALARS:
        return _SCALARS[base]
    origin = get_origin(base)
    if origin in {Union, types.UnionType}:
        real = [choice for choice in get_args(base) if choice is not type(None)]
        return " or ".join(described(choice) for choice in real)
    if origin is Literal:
        words = [str(word).lower() if word is True else str(word) for word in get_args(base)]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin in {tuple, frozenset}:
        return f"a sequence of {plural(get_args(base)[0])}"
    if origin in {Entries, Mapping}:
        return f"a mapping of names to {plural(get_args(base)[-1])}"
    if is_scalar_class(base):
        return described(keys_of(base)[0].hint)
    if is_dataclass(base):
        # A required `name` that is no shorthand is the entry's key in the mapping.
        own = getattr(base, "SHORTHAND", None)
        keys = [
            key.name
            for key in keys_of(base)
            if key.name != "name" or key.name == own or not key.required
        ]
        return f"a mapping with the keys {listed(keys, limit=16)}"
    return str(base)


def plural(hint: Any) -> str:
    """Return the description of several values of ``hint``, for messages."""
    base, checks = split(hint)
    for check in checks:
        if isinstance(check, Reference):
            return f"names of {check.noun}s"
    return _SCALARS_PLURAL.get(base, "mappings" if shape(hint) == "mapping" else "values")
