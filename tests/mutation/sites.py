"""The places of a Python text that a mutation can change, and the changes."""

from __future__ import annotations

import ast
import copy
import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


class Site(NamedTuple):
    """The bytes ``begin`` to ``end`` of a file, which are ``was``, can become ``now``.

    ``context`` is the text of the line where they begin.
    """

    file: str
    line: int
    context: str
    begin: int
    end: int
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {_short(self.was)}  ->  {_short(self.now)}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The identity of a place, which stays the same when lines move."""
        return self.file, self.context, self.was, self.now

    def applied(self, text: bytes) -> bytes:
        """The whole file with the change made."""
        return text[: self.begin] + self.now.encode() + text[self.end :]


def _short(text: str) -> str:
    return " ".join(text.split())


def sites(file: str, text: bytes) -> list[Site]:
    """Every possible mutation of that file, in order."""
    lines = text.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(map(len, lines))]
    found = []
    for node, now in _walk(ast.parse(text)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        context = lines[node.lineno - 1].decode().strip()
        was = text[begin:end].decode()
        found.append(Site(file, node.lineno, context, begin, end, was, now))
    return sorted(found, key=lambda site: (site.begin, site.end, site.now))


def _walk(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Every node that can change, with its new text."""
    if isinstance(node, ast.stmt):
        yield from ((node, now) for now in _statement(node))
    elif isinstance(node, ast.expr):
        yield from ((node, f"({ast.unparse(now)})") for now in _expression(node))
    for name, value in ast.iter_fields(node):
        # Types have no effect at run time, decorators are declarations; and Python 3.11 does not
        # know where the parts of an f-string are.
        if name in {"annotation", "returns", "decorator_list"} or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _only_for_types(child):
                yield from _walk(child)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _statement(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.Raise, ast.Continue, ast.Break, ast.AugAssign)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Yield, ast.YieldFrom))
    ):
        yield "pass"
    elif isinstance(node, ast.Return) and node.value is not None:
        constant = node.value.value if isinstance(node.value, ast.Constant) else ...
        if constant is not None and not isinstance(constant, bool):
            yield "return None"


def _expression(node: ast.expr) -> Iterator[ast.expr]:
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare):
        for index, operator in enumerate(new.ops):
            changed = copy.deepcopy(new)
            changed.ops[index] = _COMPARISONS[type(operator)]()
            yield changed
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield new
    elif isinstance(new, ast.BinOp) and type(new.op) in _ARITHMETIC:
        new.op = _ARITHMETIC[type(new.op)]()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not):
        yield new.operand
    elif isinstance(new, ast.IfExp):
        new.body, new.orelse = new.orelse, new.body
        yield new
    elif isinstance(new, ast.Constant):
        if isinstance(new.value, bool):
            yield ast.Constant(not new.value)
        elif isinstance(new.value, int):
            yield ast.Constant(new.value + 1)
