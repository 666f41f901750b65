"""docs/specs.md names every key that a spec may have."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from vmtgen.common.dataclass import is_dataclass
from vmtgen.common.schema import Entries, keys_of, split
from vmtgen.compiler.model import Specs
from vmtgen.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {
    name: hint
    for name, hint in typing.get_type_hints(Specs, include_extras=True).items()
    if name != "module"
} | {"netbsd": Targets}
# The keys of every file, and the name of an entry.
SHARED = {"spec", "doc", "name"}


def keys(hint: Any, *, top: bool = True) -> Iterator[str]:
    """The keys of a spec, and those of the entries of its collections unless they are one value."""
    base, _ = split(hint)
    entries = getattr(base, "SHORTHAND", None)
    for key in keys_of(base) if is_dataclass(base) and entries is None else ():
        if key.name not in SHARED:
            yield key.name
        collection = split(key.hint)[0]
        if top and get_origin(collection) is Entries:
            yield from keys(get_args(collection)[0], top=False)


@pytest.mark.parametrize("spec", SCHEMAS)
def test_page_documents_every_key(spec: str) -> None:
    text = (ROOT / "docs" / "specs.md").read_text(encoding="utf-8")
    _, _, table = text.partition(f"| `{spec}.yaml` |")
    named = set(
        re.findall(r"[\w]+", " ".join(re.findall(r"`[^`]+`|\([^)]*\)", table.split("\n\n")[0])))
    )
    expected = set(keys(SCHEMAS[spec]))
    assert expected
    assert expected <= named, expected - named


def test_page_has_table_for_each_file() -> None:
    assert {path.stem for path in (ROOT / "specs").rglob("*.yaml")} == set(SCHEMAS)
