"""Ten ways to break the sources, and the resulting error messages."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from stage import SourceTree

# The change: file, old, new, the error message (a pattern), exit status.
BROKEN = {
    "a key that does not exist": (
        "specs/vmt/tclo.yaml",
        "    log: halt",
        "    logg: halt",
        r"specs/vmt/tclo\.yaml:\d+: commands\.OS_Halt.*logg.*did you mean 'log'\?",
        65,
    ),
    "a switch that does not exist": (
        "specs/vmt/tclo.yaml",
        "    switch: power",
        "    switch: powr",
        r"specs/vmt/tclo\.yaml:\d+: commands\.OS_Halt\.switch.*did you mean 'power'\?",
        65,
    ),
    "a number used twice": (
        "specs/vmt/transport.yaml",
        "close: {number: 6",
        "close: {number: 5",
        r"specs/vmt/transport\.yaml:\d+: subcommands\.close\.number.*5",
        65,
    ),
    "a word where a number belongs": (
        "specs/vmt/driver.yaml",
        "  samples: 4 ",
        "  samples: four ",
        r"specs/vmt/driver\.yaml:\d+: clock\.samples.*integer",
        65,
    ),
    "YAML that is none": (
        "specs/vmt/rpci.yaml",
        "replies:",
        "replies: [",
        r"specs/vmt/rpci\.yaml:\d+:",
        65,
    ),
    "a key given twice": (
        "specs/vmt/backdoor.yaml",
        "cpuid:",
        "magic: 1\ncpuid:",
        r"specs/vmt/backdoor\.yaml:\d+:.*magic",
        65,
    ),
    "a field of an unknown type": (
        "specs/vmt/rpci.yaml",
        "{success:bool}",
        "{success:boolean}",
        r"specs/vmt/rpci\.yaml:\d+: messages\.state-status\.text.*did you mean 'bool'\?",
        65,
    ),
    "a variable that a template does not have": (
        "templates/vmt/vmtreg.h.j2",
        "transport.limits.piece",
        "transport.limits.pieces",
        r"templates/vmt/vmtreg\.h\.j2:\d+:.*did you mean 'piece'\?",
        65,
    ),
    "a filter that does not exist": (
        "templates/vmt/vmt_tables.c.j2",
        "option.type | upper",
        "option.type | upperr",
        r"templates/vmt/vmt_tables\.c\.j2:\d+:.*did you mean 'upper'\?",
        65,
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_error_names_file_line_and_suggestion(source_tree: SourceTree, what: str) -> None:
    file, old, new, pattern, status = BROKEN[what]
    source_tree.replace(file, old, new)
    made = source_tree.generate()
    assert made.returncode == status, made.stderr
    assert re.search(pattern, made.stderr), made.stderr
    assert "Traceback" not in made.stderr
    assert not (source_tree.top / "kmod/vmt/vmtreg.h").exists(), "nothing is half-written"


def test_error_in_c_shows_compiler_location(source_tree: SourceTree) -> None:
    assert source_tree.generate().returncode == 0
    source_tree.replace("kmod/vmt/vmt_clock.c", "\tint64_t target;", "\tint64_t target")
    built = source_tree.build()
    assert built.returncode == 65, built.stderr
    assert re.search(r"kmod/vmt/vmt_clock\.c:\d+:\d+: error:", built.stderr), built.stderr


def test_hand_edited_generated_file_shows_as_diff(source_tree: SourceTree) -> None:
    assert source_tree.generate().returncode == 0
    source_tree.replace("kmod/vmt/vmtreg.h", "0x5658U", "0x5657U")
    words = ("--specs", "specs", "--templates", "templates", "--out", ".")
    checked = source_tree.run("vmtgen", "generate", "--check", *words)
    assert checked.returncode == 1
    assert "0x5657U" in checked.stdout
    assert "0x5658U" in checked.stdout
    assert "vmtgen generate" in checked.stdout + checked.stderr


def test_missing_specs_are_named(source_tree: SourceTree) -> None:
    shutil.rmtree(source_tree.top / "specs")
    made = source_tree.generate()
    assert made.returncode == 66
    assert "specs" in made.stderr


def test_committed_driver_matches_specs(root: Path, source_tree: SourceTree) -> None:
    assert source_tree.generate().returncode == 0
    made, committed = (
        {
            path.name: path.read_text()
            for path in (top / "kmod" / "vmt").iterdir()
            if path.is_file() and path.suffix != ".yaml"  # a list for the simulator
        }
        for top in (source_tree.top, root)
    )
    assert made == committed, "run: make generate"
