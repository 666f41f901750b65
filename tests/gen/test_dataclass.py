"""vmtgen.common.dataclass beside the standard library's dataclass: the same class from both."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from vmtgen.common import dataclass as ours

if TYPE_CHECKING:
    from types import ModuleType

OPTIONS: list[dict[str, bool]] = [
    {},
    {"eq": False},
    {"frozen": True},
    {"frozen": True, "eq": False},
    {"slots": True},
    {"slots": True, "frozen": True},
    {"frozen": True, "kw_only": True},
    {"kw_only": True},
]


def point(library: ModuleType, options: dict[str, bool]) -> type:
    """A class with a field of every kind, made by one of the two."""

    @library.dataclass(**options)
    class Point:
        """A point."""

        KIND: ClassVar[str] = "point"
        x: int
        self: int  # a field may have any name
        y: int = 5
        names: list[str] = library.field(default_factory=list, compare=False)
        secret: str = library.field(default="", repr=False)

        @property
        def sum(self) -> int:
            return self.x + self.y

    return Point


def outcome(call: Any) -> object:
    """The result of a call: its value as text, or the class of its error."""
    try:
        return repr(call())
    except Exception as error:
        return type(error)


def looks(cls: type, options: dict[str, bool]) -> list[object]:
    """The observable properties of a class."""
    one, same = cls(x=1, self=2), cls(x=1, self=2, names=["a"])
    other, larger = cls(x=1, self=2, secret="s"), cls(x=2, self=0, y=0)
    seen: list[object] = [
        repr(one), one == same, one != same, one == other, one == 1, one.sum, cls.KIND,
        one.names is same.names, cls.__qualname__, cls.__doc__,
        cls.__hash__ is None, hasattr(one, "__dict__"), getattr(cls, "__slots__", None),
        *(outcome(lambda first=first: cls(*first)) for first in ([], [1], [1, 2, 3], [1] * 6)),
        outcome(lambda: cls(x=1, self=2, z=3)),
        outcome(lambda: one < larger),
        outcome(lambda: setattr(one, "x", 3)), outcome(lambda: delattr(larger, "y")), repr(one),
        repr(copy.copy(same)),
        repr(copy.deepcopy(same)), getattr(cls, "x", None) is None, outcome(lambda: cls.y),
    ]  # fmt: skip
    if not (options.get("frozen") and options.get("slots")):  # there 3.11 raises a wrong TypeError
        seen.append(outcome(lambda: setattr(one, "new", 3)))
    if options.get("frozen") and options.get("eq", True):
        seen += [hash(same) == hash(cls(x=1, self=2)), len({one, same, other, cls(x=2, self=0)})]
        seen.append(hash(other))
    return seen


def used(cls: type, count: int) -> type:
    """The class after this many instances: many of them compile ``__init__``."""
    for _ in range(count):
        cls(x=1, self=2)
    return cls


@pytest.mark.parametrize("count", [0, 100])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda given: "-".join(given) or "plain")
def test_class_is_that_of_standard_library(options: dict[str, bool], count: int) -> None:
    mine, theirs = used(point(ours, options), count), point(dataclasses, options)
    assert looks(mine, options) == looks(theirs, options)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda given: "-".join(given) or "plain")
def test_fields_and_copies_are_those_of_standard_library(options: dict[str, bool]) -> None:
    found = []
    for library in (ours, dataclasses):
        cls = point(library, options)
        one = cls(x=1, self=2, names=["a"])
        held = cls(x=one, self=(one, [one]), names={"k": one})
        found.append([
            [(each.name, each.repr, each.compare) for each in library.fields(cls)],
            [each.name for each in library.fields(cls) if each.default is library.MISSING],
            [each.default_factory for each in library.fields(one)][3],
            repr(library.replace(one, y=7)), library.replace(one) == one,
            outcome(lambda one=one, library=library: library.replace(one, z=1)),
            library.asdict(held), library.is_dataclass(cls), library.is_dataclass(one),
            library.is_dataclass(3), outcome(lambda library=library: library.fields(3)),
        ])  # fmt: skip
    assert found[0] == found[1]


def derived_classes(library: ModuleType) -> list[object]:
    """The observable properties of derived classes."""

    class Plain:
        __slots__ = ("a",)

    @library.dataclass(slots=True)
    class Base(Plain):
        """Has the slot of its own base."""

        a: int = 1
        b: str = "b"

        def __post_init__(self) -> None:
            self.a += 1

    @library.dataclass(slots=True)
    class More(Base):
        """Overrides a default, keeps the order."""

        c: float = 2.0
        a: int = 10

    @library.dataclass(frozen=True)
    class Own:  # noqa: PLW1641 - the hash is made
        """Has methods of its own."""

        value: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

        # No __hash__: that of the fields stays.

    @library.dataclass
    class Hashed:
        """Keeps its hash."""

        value: int

        def __hash__(self) -> int:
            return 7

    class Child(Own):
        """No dataclass: it may have attributes of its own."""

        def __init__(self) -> None:
            super().__init__(3)
            self.other = 4

    @library.dataclass
    class Loop:
        """Holds itself."""

        me: Any = None

    loop = Loop()
    loop.me = loop
    return [
        repr(Base()), repr(More()), repr(More(1, "x", 3.0)), More.__slots__, Base.__slots__,
        repr(Own(1)), Own(1) == Own(2), hash(Own(5)) == hash((5,)), hash(Hashed(1)),
        Child().other, Child().value, outcome(lambda: setattr(Child(), "value", 1)), repr(loop),
        Base() == More(),
    ]  # fmt: skip


def test_derived_classes_are_those_of_standard_library() -> None:
    assert derived_classes(ours) == derived_classes(dataclasses)


def wrong_classes(library: ModuleType) -> list[object]:
    def mutable() -> None:
        @library.dataclass
        class Mutable:
            a: list[int] = []  # noqa: RUF012 - the error

    def order() -> None:
        @library.dataclass
        class Order:
            a: int = 0
            b: int

    return [outcome(mutable), outcome(order)]


def test_wrong_classes_are_refused_as_by_standard_library() -> None:
    assert wrong_classes(ours) == wrong_classes(dataclasses) == [ValueError, TypeError]


def test_standard_library_refuses_classes_instead_of_finding_no_fields() -> None:
    with pytest.raises(TypeError):
        dataclasses.asdict(point(ours, {})(1, 2))


@ours.dataclass(frozen=True, slots=True)
class Sent:
    """An object for another process."""

    a: int
    b: tuple[int, ...] = ()


def test_slotted_frozen_instance_goes_to_another_process() -> None:
    sent = Sent(1, (2, 3))
    assert pickle.loads(pickle.dumps(sent)) == sent
    assert copy.deepcopy(sent) == sent


def test_nothing_is_compiled_for_a_few_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    kept = exec
    monkeypatch.setattr("builtins.exec", lambda *given: compiled.append(kept(*given)))
    cls = point(ours, {"frozen": True, "slots": True})
    first, second = cls(1, 2), cls(3, self=4)
    assert (compiled, first == second, second.names) == ([], False, [])
    assert used(cls, 100)(1, 2) == first
    assert len(compiled) == 1


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3, 4, 5, 6)])
def test_wrong_arguments_of_first_instance_are_named(arguments: tuple[int, ...]) -> None:
    """The message is Python's own."""
    lines = []
    for library in (ours, dataclasses):
        with pytest.raises(TypeError) as caught:
            point(library, {})(*arguments)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
