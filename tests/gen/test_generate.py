"""``vmtgen generate`` writes changed files only, and --check writes none."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen import modules
from vmtgen.cli import main
from vmtgen.common import errors, files
from vmtgen.common.files import GENERATED
from vmtgen.compiler import generate

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODULES = modules.known()
# Each output's place and its template: a module's own ones and those that all modules share.
OUTPUTS = sorted(
    (
        f"docs/{path.stem}" if path.stem.endswith(".md") else f"kmod/{module}/{path.stem}",
        path.relative_to(ROOT).as_posix(),
    )
    for module in MODULES
    for folder in (ROOT / "templates", ROOT / "templates" / module)
    for path in folder.glob("[!_]*.j2")
)
UPDATE_GOLDEN = os.environ.get("UPDATE_GOLDEN", "") not in {"", "0"}


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Path:
    """A directory with small specs and templates."""
    shutil.copytree(HERE / "spec" / "fixtures" / "small", tmp_path / "specs" / "small")
    shutil.copy(root / "specs" / "netbsd.yaml", tmp_path / "specs")
    shutil.copytree(HERE / "templates", tmp_path / "templates" / "small")
    shutil.copy(root / "templates" / "_macros.j2", tmp_path / "templates")
    return tmp_path


@pytest.fixture
def run(place: Path) -> Callable[..., int]:
    """A function that runs ``vmtgen generate`` there, with more options where given."""

    def generated(*options: str) -> int:
        return main(
            [
                "generate",
                f"--out={place / 'out'}",
                f"--specs={place / 'specs'}",
                f"--templates={place / 'templates'}",
                *options,
            ]
        )

    return generated


@pytest.fixture(scope="module")
def made() -> dict[str, generate.Output]:
    """The outputs of this repository's templates and specs, by place."""
    outputs = generate.outputs(ROOT / "templates", ROOT / "specs", MODULES)
    return {output.place: output for output in outputs}


def test_every_template_gives_file_for_each_module(
    made: dict[str, generate.Output],
) -> None:
    assert sorted(made) == [place for place, _ in OUTPUTS]


@pytest.mark.parametrize("place", [place for place, _ in OUTPUTS])
def test_committed_file_matches_template(made: dict[str, generate.Output], place: str) -> None:
    output = made[place]
    path = ROOT / place
    if UPDATE_GOLDEN:
        files.write(path, output.text.encode())
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if before != output.text:
        diff = generate.Change(output.place, before, output.text).diff()
        pytest.fail(f"{output.place} is stale: make generate\n{diff}", pytrace=False)


def test_no_stale_generated_file(made: dict[str, generate.Output]) -> None:
    found = generate.changes(list(made.values()), ROOT, MODULES)
    assert [change.place for change in found if change.after is None] == []


@pytest.mark.parametrize(("place", "template"), OUTPUTS)
def test_output_header_names_source_without_machine_paths(
    made: dict[str, generate.Output], place: str, template: str
) -> None:
    text = made[place].text
    head = " ".join(re.sub(r"^(?: \*|#|\.\\\")", "", text[:900], flags=re.MULTILINE).split())
    assert "SPDX-License-Identifier: BSD-2-Clause" in head
    assert GENERATED in head
    assert template in head
    assert str(ROOT) not in text
    assert re.search(r"\b20\d\d-\d\d|\d\d:\d\d", head) is None


def test_outputs_are_written_to_their_directories(run: Callable[..., int], place: Path) -> None:
    assert run() == 0
    found = sorted(str(p.relative_to(place / "out")) for p in (place / "out").rglob("*.*"))
    assert found == ["docs/ALL.md", "kmod/small/all.4", "kmod/small/all.c"]
    assert (place / "out" / "kmod" / "small" / "Makefile").is_file()


def test_unchanged_file_keeps_time_stamp(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    files = [path for path in (place / "out").rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (1, 1))
    specs = place / "specs" / "small" / "tclo.yaml"
    specs.write_text(specs.read_text().replace("OS_Halt", "OS_Stop"))
    capsys.readouterr()
    assert run() == 0
    assert sorted(p.name for p in files if p.stat().st_mtime != 1) == ["all.c"]
    out = capsys.readouterr().out
    assert "all.c" in out
    assert out.endswith("4 files: 1 written, 3 unchanged\n")


def test_no_temporary_file_is_left(run: Callable[..., int], place: Path) -> None:
    run()
    assert list((place / "out").rglob(".*")) == []


def test_check_accepts_generated_files(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    capsys.readouterr()
    assert run("--check") == 0
    assert capsys.readouterr().out == "4 files: all up to date\n"


def test_check_shows_diff_and_command_without_writing(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    path = place / "out" / "kmod" / "small" / "all.c"
    edited = path.read_text().replace("0x564d5868U", "0x564d5869U")
    path.write_text(edited)
    capsys.readouterr()
    assert run("--check") == 1
    printed = capsys.readouterr()
    assert "--- a/kmod/small/all.c\n+++ b/kmod/small/all.c\n" in printed.out
    assert "-#define MAGIC\t0x564d5869U" in printed.out
    assert "+#define MAGIC\t0x564d5868U" in printed.out
    assert "1 file is stale: kmod/small/all.c" in printed.err
    assert f"hint: run vmtgen generate --out {place / 'out'}" in printed.err
    assert path.read_text() == edited


def test_check_reports_missing_files(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--check") == 1
    printed = capsys.readouterr()
    assert "--- /dev/null\n+++ b/kmod/small/all.c\n" in printed.out
    assert (
        "4 files are stale: docs/ALL.md, kmod/small/Makefile, kmod/small/all.4, kmod/small/all.c"
        in printed.err
    )


def test_stale_file_is_reported_then_removed(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    (place / "templates" / "small" / "all.4.j2").unlink()
    assert run("--check") == 1
    assert "1 file is stale: kmod/small/all.4" in capsys.readouterr().err
    assert run() == 0
    assert not (place / "out" / "kmod" / "small" / "all.4").exists()


def test_foreign_file_is_not_stale(run: Callable[..., int], place: Path) -> None:
    (place / "out" / "kmod" / "small").mkdir(parents=True)
    other = place / "out" / "kmod" / "small" / "notes.txt"
    other.write_text("mine\n")
    run()
    assert run("--check") == 0
    assert other.read_text() == "mine\n"


def test_file_mentioning_marker_is_not_stale(run: Callable[..., int], place: Path) -> None:
    (place / "out" / "docs").mkdir(parents=True)
    other = place / "out" / "docs" / "HOWTO.md"
    other.write_text(f"# How to\n\nFiles with {GENERATED} from a template are not edited.\n")
    assert run() == 0
    assert other.is_file()


@pytest.mark.parametrize("left", [(), ("_macros.j2",)], ids=["nothing", "only what is included"])
@pytest.mark.parametrize("options", [(), ("--check",)])
def test_directory_without_templates_removes_nothing(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    left: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    run()
    before = {p: p.read_bytes() for p in (place / "out").rglob("*") if p.is_file()}
    assert len(before) == 4
    for path in (place / "templates" / "small").iterdir():
        if path.name not in left:
            path.unlink()
    capsys.readouterr()
    assert run(*options) == errors.NO_INPUT
    printed = capsys.readouterr().err
    assert "templates/small: no template: no file *.j2 that makes an output" in printed
    assert "hint: --templates names the directory" in printed
    assert {p: p.read_bytes() for p in (place / "out").rglob("*") if p.is_file()} == before


def test_every_committed_output_is_recognised_as_generated(
    made: dict[str, generate.Output],
) -> None:
    (first, *others) = made.values()
    found = generate.changes([first], ROOT, MODULES)
    assert {c.place for c in found if c.after is None} == {output.place for output in others}


def test_file_of_another_module_is_not_stale(run: Callable[..., int], place: Path) -> None:
    """With one module alone, files of another module cannot be checked, also in docs/."""
    shutil.copytree(place / "specs" / "small", place / "specs" / "second")
    shutil.copytree(place / "templates" / "small", place / "templates" / "second")
    (place / "templates" / "second" / "ALL.md.j2").rename(
        place / "templates" / "second" / "SECOND.md.j2"
    )
    assert run() == 0
    before = sorted(p for p in (place / "out").rglob("*") if p.is_file())
    assert len(before) == 8
    assert run("--module", "small") == 0
    assert sorted(p for p in (place / "out").rglob("*") if p.is_file()) == before
    (place / "templates" / "second" / "SECOND.md.j2").unlink()
    assert run("--module", "small", "--check") == 0
    assert run("--module", "second", "--check") == 1


def test_unknown_module_is_refused_with_known_ones(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--module", "mall") == errors.USAGE
    printed = capsys.readouterr().err
    assert "no module 'mall' in " in printed
    assert "specs: there are small\nhint: did you mean small?" in printed


def test_no_output_gives_no_stale_files(run: Callable[..., int], place: Path) -> None:
    run()
    assert generate.changes([], place / "out", ["small"]) == []


def test_quiet_prints_nothing_without_changes(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    capsys.readouterr()
    run("--quiet")
    run("--quiet", "--check")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("option", ["--check", "--quiet"])
def test_json_lists_changes(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    run()
    (place / "out" / "kmod" / "small" / "all.c").unlink()
    (place / "out" / "kmod" / "small" / "Makefile").write_text("edited\n")
    (place / "templates" / "small" / "all.4.j2").unlink()
    capsys.readouterr()
    assert run("--json", option) == (1 if option == "--check" else 0)
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "check": option == "--check",
        "files": 3,
        "changed": [
            {"path": "kmod/small/Makefile", "state": "updated"},
            {"path": "kmod/small/all.4", "state": "removed"},
            {"path": "kmod/small/all.c", "state": "created"},
        ],
    }


def test_without_checkout_output_directory_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vmtgen.verbs.generate.root", lambda: None)
    assert main(["generate"]) == errors.USAGE
    assert "hint: vmtgen generate --out . writes kmod/ and docs/ here" in capsys.readouterr().err


def test_template_error_writes_nothing(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "templates" / "small" / "bad.h.j2").write_text("{{ backdoor.magik }}\n")
    assert run() == errors.DATA
    assert "bad.h.j2:1: Backdoor has no key 'magik' (did you mean 'magic'?)" in (
        capsys.readouterr().err
    )
    assert not (place / "out").exists()


def test_spec_error_writes_nothing(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "specs" / "small" / "rpci.yaml").write_text("spec: rpci\n")
    assert run() == errors.DATA
    printed = capsys.readouterr().err
    assert "rpci.yaml:1: the key 'doc' is missing" in printed
    assert "rpci.yaml:1: the key 'messages' is missing" in printed
    assert printed.endswith("\nvmtgen: 4 errors\n")
    assert not (place / "out").exists()


@pytest.mark.parametrize("option", ["specs", "templates"])
def test_missing_directory_is_reported_with_its_option(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(f"--{option}={place / 'nowhere'}") == errors.NO_INPUT
    printed = capsys.readouterr().err
    assert "nowhere: no such directory" in printed
    assert f"hint: --{option} names the directory" in printed


def test_unwritable_output_is_reported(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out").write_text("a file where the directory should be")
    assert run() == errors.CANNOT_CREATE
    assert "cannot write" in capsys.readouterr().err


def test_special_output_file_is_left_unchanged(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out" / "kmod" / "small").mkdir(parents=True)
    os.mkfifo(place / "out" / "kmod" / "small" / "all.c")
    assert run() == errors.CANNOT_CREATE
    assert "all.c: it exists and is not a regular file" in capsys.readouterr().err
    assert (place / "out" / "kmod" / "small" / "all.c").is_fifo()


def test_command_with_log_and_switch_needs_data_only(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "specs", tmp_path / "specs")
    tclo = tmp_path / "specs" / "vmt" / "tclo.yaml"
    text = tclo.read_text()
    command = (
        "commands:\n  OS_Nap:\n    doc: The user asks for a nap.\n    arguments: none\n"
        "    log: suspend\n    state: suspend\n    switch: sleep\n    reply: sweet dreams\n"
    )
    assert text.count("\ncommands:\n") == 1
    tclo.write_text(text.replace("\ncommands:\n", f"\n{command}"))
    made = {
        o.place: o.text for o in generate.outputs(root / "templates", tmp_path / "specs", ["vmt"])
    }
    assert '"OS_Nap"' in made["kmod/vmt/vmt_tables.c"]
    assert '"sweet dreams"' in made["kmod/vmt/vmt_tables.c"]
    assert "`OS_Nap`" in made["docs/PROTOCOL.md"]
    assert ".It Li OS_Nap\n" in made["kmod/vmt/vmt.4"]
