"""Each piece of evidence about real hosts is cited in the host's code and has a test."""

import re
from pathlib import Path

import pytest
from vmtgen.common.dataclass import fields
from vmtsim.host.options import HostOptions

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "host-evidence.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "sim/vmtsim/host").glob("*.py"))
)


def rows(heading: str) -> dict[str, list[str]]:
    """Return the cells after the key of each row in the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()
             if line.startswith("| E")]  # fmt: skip
    return {key: cells for key, *cells in table}


SOURCES, RULES = rows("Sources"), rows("Rules")


def test_evidence_keys_are_the_same_everywhere() -> None:
    keys = {f"E{number}" for number in range(1, 18)}
    assert set(SOURCES) == keys
    assert set(RULES) == keys
    assert set(re.findall(r"\bE\d+\b", CODE)) == keys


@pytest.mark.parametrize("key", sorted(RULES, key=lambda key: int(key[1:])))
def test_evidence_names_existing_tests_and_options(key: str) -> None:
    _, test, options = RULES[key]
    file, _, name = test.partition(": ")
    source = (Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8")
    assert f"def {name}(" in source
    assert set(filter(None, options.split(", "))) <= {each.name for each in fields(HostOptions)}
