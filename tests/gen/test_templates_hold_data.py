"""A template has only C that depends on the specs: other specs give other lines.

``spec/fixtures/other`` shares only the schema and the name of one command with the driver's own
specs.  Lines that are the same for both sets do not depend on a spec: at most a tenth.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from vmtgen.compiler.render import Renderer
from vmtgen.compiler.spec.load import load

ROOT = Path(__file__).resolve().parents[2]
OTHER = Path(__file__).parent / "spec" / "fixtures" / "other"


def _lines(text: str) -> list[str]:
    """The significant lines: no header, no blank lines, no lone braces."""
    head = re.compile(r"__KERNEL_RCSID|#include|#(?:ifndef|define|endif).*_DEV_VMT_")
    body = text.partition(" */\n")[2]
    lines = [line.strip() for line in body.split("\n")]
    return [line for line in lines if re.search(r"\w", line) and not head.match(line)]


@pytest.fixture(scope="module")
def renderers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Renderer, Renderer]:
    """The templates with the driver's specs and with the others."""
    specs = tmp_path_factory.mktemp("specs") / "vmt"
    shutil.copytree(OTHER, specs)
    shutil.copy(ROOT / "specs" / "netbsd.yaml", specs.parent)
    templates = ROOT / "templates"
    return Renderer(templates, load(ROOT / "specs" / "vmt")), Renderer(templates, load(specs))


@pytest.mark.parametrize("name", ["vmtreg.h.j2", "vmt_tables.c.j2"])
def test_at_most_a_tenth_of_lines_is_fixed_text(
    renderers: tuple[Renderer, Renderer], name: str
) -> None:
    ours, theirs = (Counter(_lines(renderer.render(name))) for renderer in renderers)
    same = ours & theirs
    assert same.total() <= 0.1 * ours.total(), "\n".join(sorted(same.elements()))


def test_every_c_template_is_checked(renderers: tuple[Renderer, Renderer]) -> None:
    made = [name for name in renderers[0].templates() if re.search(r"\.[chS]\.j2$", name)]
    assert made == ["vmt_tables.c.j2", "vmtreg.h.j2"]


def test_specs_contain_no_c_code() -> None:
    """Texts and names are data; a statement or a type would be hidden C."""
    for path in sorted((ROOT / "specs").rglob("*.yaml")):
        text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        found = re.search(r"->|\bsc_\w|\bstruct \w|vmt_\w+\(", text, re.MULTILINE)
        assert found is None, f"{path.name}: {found[0]}"
