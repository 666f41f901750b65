"""Checks the names that the driver's C and the templates take from the specs (needs.yaml)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.located import load_yaml
from vmtgen.common.schema import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vmtgen.common.located import Node, Problems


def needed_specs(path: Path) -> set[str]:
    """Return the specs that `path` takes anything from, by their names."""
    return {where.partition(".")[0] for where in load_yaml(path, keep=True).entries}


def check_needs(
    path: Path, values: Mapping[str, Any], nodes: Mapping[str, Node], problems: Problems
) -> None:
    """Report every entry of `path` that the specs `values` lack or define differently."""
    for where, section in load_yaml(path, keep=True).entries.items():
        spec, _, inside = where.partition(".")
        if spec not in values:
            continue  # it could not be read, which is reported already
        if where == "driver.sysctl":
            _sysctl(section, values[spec], nodes[spec], problems)
            continue
        if where == "tclo.settings":
            _settings(section, values[spec], nodes[spec], problems)
            continue
        place, entries = nodes[spec], values[spec]
        for name in filter(None, inside.split(".")):
            if entries[name] is None:
                break  # the code that needs it reports it
            place, entries = place[name], entries[name]
        else:
            _section(where, section, entries, place, problems)
        if where == "driver.actions":
            _every_action_is_used(values, place, problems)
        if where == "rpci.messages":
            words = set(section.entries if section.kind == "mapping" else {})
            _every_message_is_sent(entries, words, place, problems)


def _section(where: str, section: Node, entries: Any, place: Node, problems: Problems) -> None:
    """Report the names of a section that `entries` lacks; for a whole spec, its keys."""
    words = section.entries if section.kind == "mapping" else {}
    for name in words or [str(element.scalar) for element in section.elements]:
        entry = entries[name] if isinstance(entries, Record) else entries.get(name)
        if entry is None:
            message = f"the driver's C uses {name!r}, which is not here"
            problems.add(place.key or place, message)
        elif name in words:
            _compare(_words(words[name]), _KINDS[where](entry), place[name], problems)


def _every_message_is_sent(messages: Any, by_c: set[str], place: Node, problems: Problems) -> None:
    """Expect `at` of a message that the C does not send, and at least one such message."""
    if not any(message.at for message in messages):
        problems.add(place.key or place, "expected at least one message with 'at: registration'")
    for message in messages:
        if (message.at is None) != (message.name in by_c):
            text = "the driver's C sends it" if message.name in by_c else "nothing sends it"
            hint = "remove 'at'" if message.at else "it needs 'at: registration'"
            node = place[message.name]
            problems.add(node.key or node, f"{text}: {hint}")


def _compare(expected: list[str], found: list[str], place: Node, problems: Problems) -> None:
    if expected != found:
        listed, there = (" ".join(words) or "nothing" for words in (expected, found))
        problems.add(place, f"the driver's C expects {listed} here, not {there}")


def _words(node: Node) -> list[str]:
    return [str(element.scalar) for element in node.elements]


def _command(entry: Any) -> list[str]:
    widths = ["u64" if len(output.registers) > 1 else "u32" for output in entry.outputs]
    version = [] if entry.expect_version is None else ["version"]
    return ["bool" if entry.success else "void", *widths, *version]


def _fields(entry: Any) -> list[str]:
    return [field.type for field in entry.text.fields]


_KINDS: Mapping[str, Callable[[Any], list[str]]] = {
    "backdoor.commands": _command,
    "rpci.messages": _fields,
    "driver.logs": _fields,
    "guestinfo.variables": lambda entry: [entry.type],
}


def _sysctl(section: Node, driver: Any, node: Node, problems: Problems) -> None:
    """Expect the leaves, anywhere in the tree, and no handler or data that the C lacks."""
    leaves = {leaf.name: leaf for leaf in driver.sysctl_leaves() if not leaf.counter}
    needed = {name: _words(words) for name, words in section.entries.items()}
    for name, expected in needed.items():
        leaf = leaves.get(name)
        if leaf is None:
            message = f"the driver's C uses a node {name!r}, which is not here"
            problems.add(node["sysctl"].key or node["sysctl"], message)
            continue
        taken = [key for key in ("size", "range") if key in expected and leaf[key] is not None]
        place = _place(node, leaf.path)
        _compare(expected, [leaf.type, *_behind(leaf), *taken], place, problems)
    if sum(each.each is not None for each in driver.sysctl_nodes()) != 1:
        problems.add(node["sysctl"].key or node["sysctl"], "expected one node with 'each'")
    known = {word for words in needed.values() for word in words[1:]}
    for name, leaf in leaves.items():
        for word in _behind(leaf):
            if name not in needed and word not in known:
                problems.add(_place(node, leaf.path), f"the driver's C has no {word!r}")
    seen: set[str] = set()
    for each in driver.sysctl_nodes():
        if each.name in seen:
            message = f"{each.name!r} is taken: the driver's C finds a node by its name alone"
            problems.add(_place(node, each.path), message)
        seen.add(each.name)


def _behind(leaf: Any) -> list[str]:
    return [word for word in (leaf.handler, leaf.data) if word is not None]


def _settings(section: Node, tclo: Any, node: Node, problems: Problems) -> None:
    for element in section.elements:
        if element.scalar not in tclo.settings:
            message = f"the driver's C uses a setting {element.scalar!r}, which no option has"
            problems.add(node["options"].key or node["options"], message)


def _place(node: Node, path: str) -> Node:
    place = node["sysctl"]
    for number, name in enumerate(path.split(".")):
        place = (place["children"] if number else place)[name]
    return place


def _every_action_is_used(values: Mapping[str, Any], place: Node, problems: Problems) -> None:
    """Expect a command or an option for each action: C without a caller does not compile."""
    if "tclo" not in values:
        return
    used = {each.action for each in (*values["tclo"].commands, *values["tclo"].options)}
    for name, node in place.entries.items():
        if name not in used:
            problems.add(node.key or node, "no command and no option of tclo.yaml has this action")
