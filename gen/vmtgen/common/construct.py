"""Builds dataclasses from YAML nodes as vmtgen.common.schema describes them.

It collects all errors and omits values that cannot be built, so that one pass over all documents
reports everything.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from vmtgen.common.dataclass import dataclass, field, is_dataclass
from vmtgen.common.located import Node, Problems, listed, nearest
from vmtgen.common.schema import (
    Entries,
    Key,
    Mentions,
    Named,
    Reference,
    Unique,
    described,
    is_scalar_class,
    keys_of,
    node_shape,
    plural,
    shape,
    split,
)

T = TypeVar("T")


class _Bad:
    """The placeholder of a value that could not be built; its problem has been reported."""


_BAD = _Bad()


@dataclass(slots=True)
class Pass:
    """One pass over a set of documents: builds the values and collects all errors."""

    problems: Problems = field(default_factory=Problems)
    collections: dict[str, dict[str, Node]] = field(default_factory=dict)
    built: dict[str, Entries[Any]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    _references: list[tuple[Node, str, Reference]] = field(default_factory=list)
    _checks: list[tuple[Any, Node]] = field(default_factory=list)

    def document(self, node: Node, schema: type[T], name: str) -> T | None:
        """Build ``schema`` from a document called ``name``; None after an error."""
        built = self._build(node, schema, name, {})
        return None if isinstance(built, _Bad) else typing.cast("T", built)

    def value(self, node: Node, schema: Any) -> Any:
        """Build a value of any type of the schema language; None after an error."""
        built = self._build(node, schema, "", {})
        return None if isinstance(built, _Bad) else built

    def finish(self) -> None:
        """Look up every reference and run the classes' own checks, after the last document."""
        for node, name, reference in self._references:
            self._look_up(node, name, reference)
        for value, node in self._checks:
            value.check(node, self.problems.add)

    # -- values ------------------------------------------------------------------------------

    def _build(self, node: Node, hint: Any, path: str, seen: dict[object, dict[Any, Node]]) -> Any:
        base, checks = split(hint)
        origin = get_origin(base)
        if origin in {Union, types.UnionType}:
            value = self._any_of(node, base, path, seen)
        elif origin is Literal:
            value = self._literal(node, get_args(base))
        elif origin is tuple:
            value = self._sequence(node, get_args(base)[0], path)
        elif origin is frozenset:
            value = self._sequence(node, get_args(base)[0], path)
            value = value if isinstance(value, _Bad) else frozenset(value)
        elif origin is Entries:
            value = self._entries(node, get_args(base)[0], path)
        elif origin is Mapping:
            value = self._mapping(node, get_args(base), path)
        elif is_dataclass(base):
            value = self._dataclass(node, base, path, seen, None)
        else:
            value = self._scalar(node, base, hint)
        for check in checks:
            if isinstance(value, _Bad):
                break
            value = self._checked(node, value, check, hint, path, seen)
        return value

    def _checked(
        self,
        node: Node,
        value: Any,
        check: Any,
        hint: Any,
        path: str,
        seen: dict[object, dict[Any, Node]],
    ) -> Any:
        if isinstance(check, Reference):
            self._references.append((node, value, check))
        elif isinstance(check, Mentions):
            for name in check.names(value):
                self._references.append((node, name, Reference(check.noun, check.target)))
        elif isinstance(check, Unique):
            first = seen.setdefault(path.rpartition(".")[2], {}).setdefault(value, node)
            if first is not node:
                shown = (
                    value if isinstance(value, str) else f"{value:#x}" if value > 0xFF else value
                )
                self.problems.add(
                    node, f"{shown} is taken: {first.where} has it in line {first.line}"
                )
        elif not check.fits(value):
            self.problems.add(node, f"expected {described(hint)}, not {node.described}")
            return _BAD
        return value

    def _scalar(self, node: Node, base: Any, hint: Any) -> Any:
        value = node.scalar
        if base is Named and node.kind == "scalar" and isinstance(value, str):
            return Named(value)
        # Python's bool is an int; a spec distinguishes them.
        if node.kind == "scalar" and type(value) is base:
            return value
        if base is float and type(value) is int:
            return float(value)
        self.problems.add(node, f"expected {described(hint)}, not {node.described}")
        return _BAD

    def _literal(self, node: Node, words: tuple[Any, ...]) -> Any:
        value = node.scalar
        if node.kind == "scalar" and any(value == w and type(value) is type(w) for w in words):
            return value
        strings = [word for word in words if isinstance(word, str)]
        near = nearest(value, strings) if isinstance(value, str) else None
        message = f"expected {described(Literal.__getitem__(words))}, not {node.described}"
        self.problems.add(node, message, hint=near)
        return _BAD

    def _any_of(self, node: Node, base: Any, path: str, seen: dict[object, dict[Any, Node]]) -> Any:
        choices = get_args(base)
        if node.kind == "scalar" and node.scalar is None and type(None) in choices:
            return None
        real = [choice for choice in choices if choice is not type(None)]
        fitting = [choice for choice in real if shape(choice) == node_shape(node)]
        if not fitting and float in real and node_shape(node) == "int":
            fitting = [float]
        if not fitting and len(real) == 1:
            fitting = real
        if not fitting:
            self.problems.add(node, f"expected {described(base)}, not {node.described}")
            return _BAD
        return self._build(node, fitting[0], path, seen)

    # -- collections -------------------------------------------------------------------------

    def _sequence(self, node: Node, hint: Any, path: str) -> Any:
        if node.kind != "sequence":
            self.problems.add(node, f"expected a sequence of {plural(hint)}, not {node.described}")
            return _BAD
        seen: dict[object, dict[Any, Node]] = {}
        built = [self._build(element, hint, f"{path}.*", seen) for element in node.elements]
        return _BAD if any(isinstance(value, _Bad) for value in built) else tuple(built)

    def _mapping(self, node: Node, hints: tuple[Any, Any], path: str) -> Any:
        key_hint, hint = hints
        if not self._is_mapping(node, f"a mapping of names to {plural(hint)}"):
            return _BAD
        self.collections.setdefault(path, {}).update(node.entries)
        seen: dict[object, dict[Any, Node]] = {}
        built = {
            key: self._build(value, hint, f"{path}.{key}", seen)
            for key, value in node.entries.items()
        }
        keys = [
            self._build(value.key or value, key_hint, "", {}) for value in node.entries.values()
        ]
        bad = any(isinstance(value, _Bad) for value in [*keys, *built.values()])
        return _BAD if bad else types.MappingProxyType(built)

    def _entries(self, node: Node, schema: Any, path: str) -> Any:
        if not self._is_mapping(node, f"a mapping of names to {plural(schema)}"):
            return _BAD
        self.collections.setdefault(path, {}).update(node.entries)
        seen: dict[object, dict[Any, Node]] = {}
        built = [
            self._dataclass(value, schema, f"{path}.{key}", seen, key)
            for key, value in node.entries.items()
        ]
        bad = any(isinstance(value, _Bad) for value in built)
        if bad:
            return _BAD
        return self.built.setdefault(path, Entries(built))

    def _is_mapping(self, node: Node, expected: str) -> bool:
        if node.kind == "mapping":
            return True
        self.problems.add(node, f"expected {expected}, not {node.described}")
        return False

    def _dataclass(
        self,
        node: Node,
        schema: Any,
        path: str,
        seen: dict[object, dict[Any, Node]],
        name: str | None,
    ) -> Any:
        keys = _keys(schema)
        shorthand = getattr(schema, "SHORTHAND", None)
        if shorthand is not None and (node.kind != "mapping" or is_scalar_class(schema)):
            entries = {shorthand: node}
        elif self._is_mapping(node, described(schema)):
            entries = node.entries
        else:
            return _BAD
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = self._name(node, keys.pop("name", None), name)
        meant: list[str | None] = []  # a misspelt key must not cause a second message
        for key, value in entries.items():
            if key in keys:
                attribute, hint = keys[key].attribute, keys[key].hint
                values[attribute] = self._build(value, hint, f"{path}.{key}", seen)
            else:
                meant.append(self._unknown(value, key, keys))
        missing = [key for key in keys.values() if key.required and key.name not in entries]
        for key in missing:
            if key.name not in meant:
                text = f"the key {key.name!r} is missing: expected {described(key.hint)}"
                self.problems.add(node.key or node, text)
        if meant or missing or any(isinstance(value, _Bad) for value in values.values()):
            return _BAD
        built = schema(**values)
        if hasattr(built, "check"):
            self._checks.append((built, node))
        return built.completed() if hasattr(built, "completed") else built

    def _name(self, node: Node, key: Key | None, name: str) -> Any:
        place = node.key or node
        return name if key is None else self._build(place, key.hint, "", {})

    def _unknown(self, value: Node, key: str, keys: Mapping[str, Key]) -> str | None:
        """Report a key that is not in the schema; return the one that was probably meant."""
        near = nearest(key, keys)
        message = f"unknown key {key!r}"
        if near is None:
            message += (
                f": expected {listed(keys, limit=16)}" if keys else ": no key is expected here"
            )
        self.problems.add(value.key or value, message, hint=near)
        return near

    # -- references --------------------------------------------------------------------------

    def _look_up(self, node: Node, name: str, reference: Reference) -> None:
        known: dict[str, None] = {}
        for target in reference.targets:
            if target.partition(".")[0] in self.unreadable:
                return
            pattern = re.compile(re.escape(target).replace(r"\*", "[^.]+"))
            for path, names in self.collections.items():
                if pattern.fullmatch(path):
                    known.update(dict.fromkeys(names))
                    if isinstance(name, Named) and path in self.built and name in names:
                        name.entry = self.built[path].get(name)
        if name in known:
            return
        near = nearest(name, known)
        message = f"there is no {reference.noun} {name!r}"
        if near is None:
            there = f"there are {listed(known)}" if known else f"{reference.targets[0]} is empty"
            message += f": {there}"
        self.problems.add(node, message, hint=near)


def value_of(schema: Any, node: Node, problems: Problems) -> Any:
    """Return the value of ``schema`` in ``node``; after an error, None, with ``problems`` extended.

    ``schema`` is any type of vmtgen.common.schema, not only that of a whole document.
    """
    reading = Pass(problems=problems)
    value = reading.value(node, schema)
    reading.finish()
    return value


def _keys(schema: Any) -> dict[str, Key]:
    return {key.name: key for key in keys_of(schema)}
