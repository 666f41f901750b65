"""The standard library's ``dataclass``, almost free for a class with few instances or none.

``dataclasses.dataclass`` compiles up to six functions for each class when its module is imported,
which takes 0.7 ms: a short run of the simulator, with 185 such classes, would take half as long
again.  This one gives the same class in 24 us: it compiles ``__init__`` alone, and that for a class
with many instances; the other methods need no compiler.

msgspec.Struct makes a class in 15 us and an instance in 0.07 us instead of 0.55, but importing it
takes 23 ms, because it imports inspect, typing_extensions, uuid, decimal and datetime.  A short run
would take almost a tenth longer, ``vmtgen lint`` a fifth.  Besides, a field that is written takes
four times as long, and no field can be excluded from ``==`` or repr().  ``python -m bench.records``
measures all this.

Use it exactly as the standard library's, which is what type checkers take it for.  What no class
here needs is missing: ``order``, ``init=False``, ``KW_ONLY`` and ``kw_only`` of a single field,
``InitVar``, ``unsafe_hash``, ``weakref_slot``, ``__match_args__``, a default ``__doc__``.  The
functions of ``dataclasses`` do not know these classes: take those of this module.

Source: Lib/dataclasses.py of CPython 3.11; tests/gen/test_dataclass.py compares the two.
"""

from __future__ import annotations

from operator import attrgetter
from reprlib import recursive_repr
from types import MappingProxyType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MISSING", "asdict", "dataclass", "field", "fields", "is_dataclass", "replace"]

_FIELDS = "__vmtgen_fields__"
_FEW = 40  # to make this many instances costs as much as to compile __init__
_MISSING = object()
_NO_METADATA: Mapping[str, Any] = MappingProxyType({})


class _Field:
    """One field of a class; the attributes have the names of ``dataclasses.Field``."""

    __slots__ = ("compare", "default", "default_factory", "kw_only", "metadata", "name", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        repr: bool = True,  # noqa: A002 - the name that the standard library gives it
        compare: bool = True,
        metadata: Mapping[str, Any] = _NO_METADATA,
    ) -> None:
        self.name = ""
        self.kw_only = False
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.compare = compare
        self.metadata = metadata

    @property
    def optional(self) -> bool:
        """Whether an instance can be made without it."""
        return self.default is not _MISSING or self.default_factory is not _MISSING


def _fields(record: Any) -> tuple[_Field, ...]:
    """Return the fields of a class or an instance, in order.  TypeError: it has none."""
    known: dict[str, _Field] | None = getattr(record, _FIELDS, None)
    if known is None:
        raise TypeError(f"{record!r} was not made by vmtgen.common.dataclass")
    return tuple(known.values())


def _is_dataclass(value: object) -> bool:
    """Return whether a class or an instance has fields."""
    return hasattr(value, _FIELDS)


def _replace(record: Any, /, **changes: Any) -> Any:
    """Return a copy with some fields changed."""
    for each in _fields(record):
        if each.name not in changes:
            changes[each.name] = getattr(record, each.name)
    return type(record)(**changes)


def _asdict(record: Any) -> dict[str, Any]:
    """Return the fields by name, with records, lists, tuples and dicts inside copied likewise.

    Other values are not copied.
    """
    return {each.name: _plain(getattr(record, each.name)) for each in _fields(record)}


def _plain(value: Any) -> Any:
    if _is_dataclass(value) and not isinstance(value, type):
        return _asdict(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return type(value)((_plain(key), _plain(each)) for key, each in value.items())
    return value


def _dataclass(
    cls: type | None = None,
    /,
    *,
    eq: bool = True,
    frozen: bool = False,
    kw_only: bool = False,
    slots: bool = False,
) -> Any:
    """Give a class the methods that follow from its annotations."""

    def decorate(cls: type) -> type:
        known = _collect(cls, kw_only=kw_only)
        own = cls.__dict__
        methods = {
            name: method
            for name, method in _methods(known, eq=eq, frozen=frozen, slots=slots).items()
            # Python sets __hash__ to None for an __eq__ in the body of the class: no choice.
            if name not in own or (name == "__hash__" and own[name] is None and "__eq__" in own)
        }
        if slots:
            cls = _with_slots(cls, known, methods)
        else:
            for name, method in methods.items():
                setattr(cls, name, method)
        if "__init__" not in cls.__dict__:
            cls.__init__ = _late_init(cls, known, frozen=frozen)  # type: ignore[misc]
        return cls

    return decorate if cls is None else decorate(cls)


def _collect(cls: type, *, kw_only: bool) -> dict[str, _Field]:
    """Return the fields of a class and its bases; leaves their defaults in the class."""
    known: dict[str, _Field] = {}
    for base in cls.__mro__[:0:-1]:
        known.update(base.__dict__.get(_FIELDS, {}))
    for name, annotation in cls.__annotations__.items():
        # An annotation is a text where its module has `from __future__ import annotations`.
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        given = getattr(cls, name, _MISSING)
        if isinstance(given, MemberDescriptorType):  # the slot of a base
            given = _MISSING
        found = given if isinstance(given, _Field) else _Field(default=given)
        if type(found.default).__hash__ is None:
            raise ValueError(
                f"mutable default {type(found.default)} for field {name} is not allowed: "
                "use default_factory"
            )
        if isinstance(given, _Field):
            if found.default is _MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, found.default)
        found.name, found.kw_only = name, kw_only
        known[name] = found
    optional = ""
    for each in known.values():
        if each.kw_only:
            continue
        if each.optional:
            optional = each.name
        elif optional:
            raise TypeError(
                f"non-default argument {each.name!r} follows default argument {optional!r}"
            )
    setattr(cls, _FIELDS, known)
    return known


def _with_slots(cls: type, known: Mapping[str, _Field], methods: Mapping[str, Any]) -> type:
    """Return a new class, with ``methods`` and with ``__slots__`` for its own fields."""
    inherited = {
        name for base in cls.__mro__[1:-1] for name in _slots_of(base.__dict__.get("__slots__", ()))
    }
    content = {**cls.__dict__, **methods}
    for name in known:
        content.pop(name, None)
    content.pop("__dict__", None)
    content.pop("__weakref__", None)
    content["__slots__"] = tuple(name for name in known if name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, content)
    made.__qualname__ = cls.__qualname__
    return made


def _slots_of(given: str | Iterable[str]) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given


def _methods(known: Mapping[str, _Field], *, eq: bool, frozen: bool, slots: bool) -> dict[str, Any]:
    """Return the methods by name, without ``__init__``."""
    methods: dict[str, Any] = {"__repr__": _repr}
    if eq:
        key = _key([each.name for each in known.values() if each.compare])
        methods["__eq__"] = _equal(key)
        methods["__hash__"] = _hash(key) if frozen else None
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _refuse_assignment, _refuse_deletion
        if slots:
            methods["__getstate__"], methods["__setstate__"] = _state, _set_state
    return methods


def _late_init(cls: type, known: Mapping[str, _Field], *, frozen: bool) -> Callable[..., None]:
    """Return an ``__init__`` for the first instances, which then replaces itself by a compiled one.

    Wrong arguments are left to the compiled one, whose TypeError says what is wrong.
    """
    positional = tuple(each.name for each in known.values() if not each.kw_only)
    required = {each.name for each in known.values() if not each.optional}
    assign = object.__setattr__ if frozen else setattr
    left = _FEW

    def __init__(self: Any, /, *arguments: Any, **named: Any) -> None:  # noqa: N807
        nonlocal left
        left -= 1
        given = {**dict(zip(positional, arguments, strict=False)), **named}
        count = len(arguments) + len(named)
        if not left or len(given) != count or not required <= given.keys() <= known.keys():
            made = _init(cls, known, frozen=frozen)
            cls.__init__ = made  # type: ignore[misc]
            return made(self, *arguments, **named)
        for name, each in known.items():
            if name in given:
                value = given[name]
            elif each.default_factory is not _MISSING:
                value = each.default_factory()
            else:
                value = each.default
            assign(self, name, value)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()
        return None

    return __init__


def _init(cls: type, known: Mapping[str, _Field], *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``: one assignment for each field, then ``__post_init__``."""
    names: dict[str, Any] = {"_missing": _MISSING, "_set": object.__setattr__}
    ordered = sorted(known.values(), key=lambda each: each.kw_only)
    first_named = next((each for each in ordered if each.kw_only), None)
    parameters, body = ["_self"], []
    for each in ordered:
        if each is first_named:
            parameters.append("*")
        value = name = each.name
        if each.default_factory is not _MISSING:
            names[f"_make_{name}"] = each.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif each.default is not _MISSING:
            names[f"_default_{name}"] = each.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f'_set(_self, "{name}", {value})' if frozen else f"_self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("_self.__post_init__()")
    lines = "\n  ".join(body or ["pass"])
    # Names of this function's own: a field may be called anything.
    source = (
        f"def make({', '.join(names)}):\n def __init__({', '.join(parameters)}):\n  {lines}\n"
        " return __init__"
    )
    scope: dict[str, Any] = {}
    exec(source, {}, scope)
    made: Callable[..., None] = scope["make"](**names)
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in _fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _key(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gives the compared fields of an instance as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _equal(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return key(self) == key(other)

    return __eq__


def _hash(key: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    return lambda self: hash(key(self))


def _refuse(record: object, what: str, name: str) -> None:
    """Refuse to change a field; a class derived without the decorator may have other attributes."""
    if _FIELDS in type(record).__dict__ or name in getattr(record, _FIELDS):
        from dataclasses import FrozenInstanceError  # noqa: PLC0415 - imports inspect

        raise FrozenInstanceError(f"cannot {what} field {name!r}")


def _refuse_assignment(self: object, name: str, value: object) -> None:
    _refuse(self, "assign to", name)
    object.__setattr__(self, name, value)


def _refuse_deletion(self: object, name: str) -> None:
    _refuse(self, "delete", name)
    object.__delattr__(self, name)


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in getattr(self, _FIELDS)]


def _set_state(self: Any, state: Iterable[Any]) -> None:
    for name, value in zip(getattr(self, _FIELDS), state, strict=True):
        object.__setattr__(self, name, value)


if TYPE_CHECKING:
    from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
else:
    MISSING, dataclass, field, fields = _MISSING, _dataclass, _Field, _fields
    asdict, is_dataclass, replace = _asdict, _is_dataclass, _replace
