"""sysctl(8) of the guest, over the simulated kernel's tree (NetBSD sbin/sysctl/sysctl.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.common.twos import signed

from vmtsim.fakeguest.call import Answer, Call, refuse, strerror
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.sysctl import Reply, Sysctl
from vmtsim.kernel.sysctltree import BOOL, INT, NODE, QUAD, STRING, Node, SysctlTree

if TYPE_CHECKING:
    from vmtsim.fakeguest.machine import Machine

_ORDINALS = ("top", "second", "third", "fourth", "fifth", "sixth")
_SIZES = {INT: 4, BOOL: 1, QUAD: 8}
_NUMBER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_UINT_MAX = (1 << 32) - 1
_QUAD_MAX = (1 << 64) - 1
_FIRST = 1024  # print_tree starts with this size for a string, and retries for a longer one


def sysctl(machine: Machine, call: Call) -> Answer:
    """Read or write nodes; stops at the first invalid name."""
    given, operands = call.options("Aabdef:Mnqrwx")
    if "a" in given or "A" in given:
        operands = ["kern", "hw", "machdep"]
    if not operands:
        return refuse("usage: sysctl [-AdeMnq] [-r | -x] [name ...]", 1)
    out = ""
    for operand in operands:
        name, equals, value = operand.partition("=")
        if equals and "w" not in given:
            return Answer(out, "sysctl: Must specify -w to set variables\n", 1)
        optional = bool(equals) and name.endswith("?")
        name = name.rstrip("?") if optional else name
        if equals:
            answer = _write(machine, name, value, given, optional=optional)
        else:
            answer = _read(machine, name, given)
        out += answer.out
        if answer.status:
            return Answer(out, answer.err, answer.status)
    return Answer(out)


def _unknown(machine: Machine, name: str, given: dict[str, list[str]]) -> Answer:
    tree = machine.kernel.subject(SysctlTree)
    words = name.split(".")
    level = 0
    for level in range(len(words)):
        prefix = ".".join(words[: level + 1])
        table = any(key == prefix or key.startswith(f"{prefix}.") for key in machine.nodes())
        if not table and tree.find(prefix) is None:
            break
    if "q" in given:
        return Answer(status=1)
    ordinal = _ORDINALS[min(level, len(_ORDINALS) - 1)]
    return refuse(f"sysctl: {ordinal} level name '{words[level]}' in '{name}' is invalid")


def _line(name: str, value: str, given: dict[str, list[str]]) -> str:
    if "r" in given:
        return value  # the bytes only (display_string)
    if "n" in given:
        return f"{value}\n"
    return f"{name}{'=' if 'e' in given else ' = '}{value}\n"


def _shown(node: Node, reply: Reply, given: dict[str, list[str]]) -> str:
    """Return a value as sysctl(8) prints it: quads unsigned, integers signed."""
    if "r" in given:
        return reply.data.decode("utf-8", "surrogateescape")
    if node.kind == STRING:
        return reply.text
    if node.kind == QUAD:
        return str(int.from_bytes(reply.data, "little"))
    if node.kind in _SIZES:
        return str(reply.number)
    return reply.data.hex()


def _read(machine: Machine, name: str, given: dict[str, list[str]]) -> Answer:
    tree, calls = machine.kernel.subject(SysctlTree), machine.kernel.subject(Sysctl)
    table = {
        key: value
        for key, value in machine.nodes().items()
        if key == name or key.startswith(f"{name}.")
    }
    top, numbers = tree.locate(name)
    if not table and top is None:
        return _unknown(machine, name, given)
    out = "".join(_line(key, value, given) for key, value in table.items())
    leaves = [top] if top is not None and numbers else tree.leaves(name)
    if not table and not leaves:
        return refuse(f"sysctl: {name}: no children")
    for leaf in leaves:
        path = ".".join((leaf.path, *map(str, numbers)))
        if "d" in given:
            out += f"{path}: {tree.describe(leaf) or '(no description)'}\n"
            continue
        reply = machine.wait("sysctl", calls.call(path, old=_FIRST))
        if reply.error == Errno.ENOMEM:  # print_tree
            reply = machine.wait("sysctl", calls.call(path, old=reply.length))
        if reply.error:
            return Answer(out, f"sysctl: {path}: {strerror(reply.error)}\n", 1)
        out += _line(path, _shown(leaf, reply, given), given)
    return Answer(out)


def _write(
    machine: Machine, name: str, value: str, given: dict[str, list[str]], *, optional: bool
) -> Answer:
    table = machine.nodes()
    if name in table:
        if not machine.set_node(name, value):
            return refuse(f"sysctl: {name}: {strerror(1)}")
        return _changed(name, table[name], value, given)
    tree = machine.kernel.subject(SysctlTree)
    node, _ = tree.locate(name)
    if node is None:
        return Answer() if optional else _unknown(machine, name, given)
    if node.kind == NODE:
        return _read(machine, name, given)  # "old behavior is to print" (parse)
    if node.kind == STRING:
        new = value.encode("utf-8", "surrogateescape") + b"\0"
        if node.size and len(new) > node.size:
            return refuse(f"sysctl: {value}: string too long")
        room = node.size or 1
    else:
        room = _SIZES.get(node.kind, 8)
        number = _quad(value)
        if number is None:
            return refuse(f"sysctl: {value}: not a number")
        if number > _QUAD_MAX or (node.kind == INT and number >> 32 not in {0, _UINT_MAX}):
            return refuse(f"sysctl: {value}: {strerror(Errno.ERANGE)}")
        number = int(number != 0) if node.kind == BOOL else number & (1 << 8 * room) - 1
        new = number.to_bytes(room, "little")
        value = str(signed(number, 32) if node.kind == INT else number)
    # One system call: it returns the old value, and also the reply of a request.
    reply = machine.wait("sysctl", machine.kernel.subject(Sysctl).call(name, old=room, new=new))
    if reply.error:
        return refuse(f"sysctl: {name}: {strerror(reply.error)}")
    return _changed(name, _shown(node, reply, {}), value, given)


def _quad(text: str) -> int | None:
    """Return the number of a text as strtouq(3) reads it with base 0; None for no number.

    sysctl(8) takes a text for an integer in this way alone (write_number). A number that is too
    large is returned unchanged.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, digits = found.groups()
    base = 16 if digits[:2] in {"0x", "0X"} else 8 if digits[0] == "0" else 10
    number = int(digits, base)
    return -number & _QUAD_MAX if sign == "-" and number <= _QUAD_MAX else number


def _changed(name: str, old: str, new: str, given: dict[str, list[str]]) -> Answer:
    if "q" in given:
        return Answer()
    if "r" in given:
        return Answer(f"{new}\0")
    return Answer(f"{new}\n" if "n" in given else f"{name}: {old} -> {new}\n")
