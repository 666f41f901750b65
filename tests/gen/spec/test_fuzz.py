"""With any value replaced, the loader accepts the specs or reports located errors."""

from __future__ import annotations

import typing
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from vmtgen.common.construct import Pass
from vmtgen.common.located import LocatedErrors, Node, load_yaml, parse_yaml
from vmtgen.compiler.model import Specs
from vmtgen.compiler.spec.together import check_together

SMALL = Path(__file__).parent / "fixtures" / "small"
ROOT = Path(__file__).parents[3]
# The specs of the small set, and the shared one.
FILES = (*sorted(path.stem for path in SMALL.iterdir()), "netbsd")
SCHEMAS = typing.get_type_hints(Specs)
ODD = [
    "", "~", "[]", "{}", "-1", "0", "99999999999", "1.5", "true", "''", "x", "'{'", "'{a:b}'",
    "[1, x]", "{a: {}}", "'*/'", "'\\n'", '"\\u00e9"', "power", "[[]]", "{name: x}",
]  # fmt: skip


@cache
def original(name: str) -> Node:
    path = ROOT / "specs" / "netbsd.yaml" if name == "netbsd" else SMALL / f"{name}.yaml"
    return load_yaml(path)


def flow(node: Node, target: Node, odd: str) -> str:
    """The document as flow YAML, with ``odd`` instead of ``target``."""
    if node is target:
        return odd
    if node.kind == "mapping":
        pairs = (f'"{key}": {flow(value, target, odd)}' for key, value in node.entries.items())
        return "{" + ", ".join(pairs) + "}"
    if node.kind == "sequence":
        return "[" + ", ".join(flow(value, target, odd) for value in node.elements) + "]"
    value = node.scalar
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def places(node: Node) -> list[Node]:
    """Every node of a document."""
    return [node, *(inner for below in node for inner in places(below))]


def load(documents: dict[str, Node]) -> dict[str, Any]:
    run = Pass()
    values = {name: run.document(node, SCHEMAS[name], name) for name, node in documents.items()}
    run.finish()
    complete = {name: value for name, value in values.items() if value is not None}
    check_together(complete, documents, run.problems)
    run.problems.raise_if_any()
    return complete


def test_flow_form_is_equivalent() -> None:
    for name in FILES[:-1]:
        node = original(name)
        assert (
            parse_yaml(flow(node, Node("scalar", 0, "", 0, 0, ""), ""), "f").plain() == node.plain()
        )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_odd_value_is_accepted_or_located_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES[:-1]))
    target = data.draw(st.sampled_from(places(original(name))))
    text = flow(original(name), target, data.draw(st.sampled_from(ODD)))
    try:
        changed = parse_yaml(text, f"{name}.yaml")
        built = load({**{other: original(other) for other in FILES}, name: changed})
    except LocatedErrors as errors:
        reported = errors.problems
    else:
        assert set(built) == set(FILES)
        return
    assert reported
    assert {problem.line > 0 for problem in reported} == {True}
