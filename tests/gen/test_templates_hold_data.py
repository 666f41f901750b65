"""A template has only C that depends on the specs: other specs give other lines.

The fixtures ``other`` and ``other_balloon`` share only the schema and a name or two with the specs
of a driver.  Lines that are the same for both sets do not depend on a spec: at most a tenth, or
the frame of the enumerations and tables.
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
FIXTURES = Path(__file__).parent / "spec" / "fixtures"
# Module -> the other set of specs, and the templates of C.
MODULES = {
    "vmt": ("other", ("vmt_tables.c.j2", "vmtreg.h.j2")),
    "vmmemctl": ("other_balloon", ("vmmemctl_tables.c.j2", "vmmemctlreg.h.j2")),
}


def _lines(text: str) -> list[str]:
    """The significant lines: no header, no blank lines, no lone braces.

    The head of a table counts once, also where it is folded at 80 columns.
    """
    head = re.compile(r"__KERNEL_RCSID|#include|#(?:ifndef|define|endif).*_DEV_[A-Z]+_")
    body = re.sub(r"\n    (?=\w+\[\w+\] = \{\n)", " ", text.partition(" */\n")[2])
    lines = [line.strip() for line in body.split("\n")]
    return [line for line in lines if re.search(r"\w", line) and not head.match(line)]


@pytest.fixture(scope="module")
def renderers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Renderer, Renderer]]:
    """The templates of each module with its specs and with the others."""
    specs = tmp_path_factory.mktemp("specs")
    shutil.copy(ROOT / "specs" / "netbsd.yaml", specs)
    templates = ROOT / "templates"
    for module, (other, _) in MODULES.items():
        shutil.copytree(FIXTURES / other, specs / module)
    return {
        module: tuple(
            Renderer(templates, load(place / module)) for place in (ROOT / "specs", specs)
        )
        for module in MODULES
    }  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, (_, names) in MODULES.items() for name in names]
)
def test_at_most_a_tenth_of_lines_is_fixed_text(
    renderers: dict[str, tuple[Renderer, Renderer]], module: str, name: str
) -> None:
    ours, theirs = (Counter(_lines(renderer.render(name))) for renderer in renderers[module])
    same = ours & theirs
    assert same.total() <= 0.1 * ours.total(), "\n".join(sorted(same.elements()))


def test_every_c_template_is_checked(renderers: dict[str, tuple[Renderer, Renderer]]) -> None:
    assert {path.name for path in (ROOT / "templates").iterdir() if path.is_dir()} == set(MODULES)
    for module, (_, names) in MODULES.items():
        made = renderers[module][0].templates()
        assert [name for name in made if re.search(r"\.[chS]\.j2$", name)] == list(names)


def test_specs_contain_no_c_code() -> None:
    """Texts and names are data; a statement or a type would be hidden C."""
    for path in sorted((ROOT / "specs").rglob("*.yaml")):
        text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        found = re.search(r"->|\bsc_\w|\bstruct \w|vmt_\w+\(", text, re.MULTILINE)
        assert found is None, f"{path.name}: {found[0]}"
