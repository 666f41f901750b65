"""The linter's findings in modules that pass the loader's structure checks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from c_cases import C_CASES, function, source
from vmtgen import cli
from vmtgen.common.errors import UsageError
from vmtgen.lint.check import lint_file
from vmtgen.lint.rules import BY_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def rules(path: Path, **options: Any) -> dict[str, str]:
    return {finding.rule: finding.where for finding in lint_file(path, **options)}


@pytest.mark.parametrize("machine", ["amd64", "i386", "aarch64"])
@pytest.mark.parametrize("diagnostic", [False, True])
def test_good_module_is_clean(build: Any, machine: str, diagnostic: bool) -> None:
    assert lint_file(build("hello.c", machine, diagnostic=diagnostic).path) == ()


@pytest.mark.parametrize(("rule", "where", "machine", "text"), C_CASES)
def test_violation_is_reported_with_location(
    build: Any, rule: str, where: str, machine: str, text: str
) -> None:
    found = rules(build(text, machine).path)
    assert rule in found
    assert found[rule].split("+")[0] == where


def test_i386_may_import_what_64_bit_kernels_lack(build: Any) -> None:
    text = source(before="void __udivdi3(void);", body="__udivdi3();")
    assert "import-missing" not in rules(build(text, "i386").path)


LEAF = """int leaf(int);
int
leaf(int n)
{
	volatile int a[4];

	a[n & 3] = n;
	return a[0];
}
"""


@pytest.mark.parametrize("pointer", ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_red_zone_use_is_detected(build: Any, pointer: str, level: str) -> None:
    """Also through the frame pointer: -0x10(%rbp) is below %rsp where nothing is allocated."""
    text = source(before=LEAF)
    found = lint_file(build(text, extra_flags=("-mred-zone", pointer, level)).path)
    assert "leaf" in {f.where.split("+")[0] for f in found if f.rule == "red-zone"}
    assert "red-zone" not in rules(build(text, extra_flags=(pointer, level)).path)


# Stores near the stack pointer, and whether they are below it.
STACK_CODE = [
    ("amd64", "movl $1, -4(%rsp)", True),
    ("amd64", "movl $1, (%rsp,%rax,4); movl $1, 8(%rsp)", False),
    ("amd64", "push %rbx; movl $1, -0x10(%rsp); pop %rbx", True),
    ("amd64", "push %rbp; mov %rsp, %rbp; movl $1, -0x8(%rbp); pop %rbp", True),
    ("amd64", "push %rbp; mov %rsp, %rbp; sub $16, %rsp; movl $1, -0x10(%rbp); leave", False),
    ("amd64", "push %rbp; mov %rsp, %rbp; sub $16, %rsp; movl $1, -0x14(%rbp); leave", True),
    ("amd64", "push %rbp; mov %rsp, %rbp; lea -0x20(%rbp), %rax; sub $32, %rsp; leave", False),
    ("amd64", "lea -0x40(%rsp), %rax; movl $1, (%rax)", True),
    ("amd64", "push %rbp; mov %rsp, %rbp; sub %rax, %rsp; movl $1, -0x14(%rbp); leave", False),
    ("amd64", "sub $8, %rsp; jmp 1f; 0: movl $1, -8(%rsp); 1: add $8, %rsp", False),
    ("i386", "movl $1, -4(%esp)", True),
    ("i386", "push %ebp; mov %esp, %ebp; movl $1, -4(%ebp); pop %ebp", True),
    ("i386", "push %ebp; mov %esp, %ebp; sub $4, %esp; movl $1, -4(%ebp); leave", False),
    ("aarch64", "str x0, [sp, #-16]", True),
    ("aarch64", "str x0, [sp, #-16]!; ldr x0, [sp], #16", False),
    ("aarch64", "sub sp, sp, #32; mov x9, sp; str x0, [sp, #8]; add sp, sp, #32", False),
    ("aarch64", "stp x29, x30, [sp, #-16]!; mov x29, sp; str x0, [x29, #-8]", True),
    ("aarch64", "stp x29, x30, [sp, #-32]!; add x29, sp, #16; str x0, [x29, #-8]", False),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "code", "below"), STACK_CODE)
def test_red_zone_use_is_detected_in_every_form(
    build: Any, machine: str, code: str, below: bool
) -> None:
    kind = "@function" if machine != "aarch64" else "%function"
    lines = [".text", f".type plain, {kind}", "plain:", *code.split(";"), "ret",
             ".size plain, . - plain"]  # fmt: skip
    before = "__asm(" + "\n    ".join(f'"{line.strip()}\\n"' for line in lines) + ");"
    found = rules(build(source(before=before), machine).path)
    assert ("red-zone" in found) is below
    if below:
        assert found["red-zone"].startswith("plain")


def test_two_modules_in_one_file_are_refused(edit: Callable[..., Any]) -> None:
    editor = edit("amd64")
    editor.section("link_set_modules", size=16)
    (finding,) = [f for f in lint_file(editor.write()) if f.rule == "module-info-size"]
    assert "(2 different MODULE declarations?)" in finding.kernel


def test_alignment_above_page_is_an_error(edit: Callable[..., Any]) -> None:
    editor = edit("amd64")
    editor.section(".data", align=0x4000)
    assert rules(editor.write())["section-align"] == ".data"


def test_common_symbols_are_an_error(edit: Callable[..., Any]) -> None:
    editor = edit("amd64")
    editor.symbol("hz", shndx=0xFFF2, value=4)
    assert rules(editor.write())["symbol-common"] == "hz"


def test_debug_sections_are_a_warning(build: Any) -> None:
    (finding,) = lint_file(build("hello.c").debug)
    assert (finding.rule, finding.severity) == ("debug-sections", "warning")


def test_module_for_another_release_is_refused(build: Any) -> None:
    path = build("hello.c").path
    assert "module-version" in rules(path, release="10.1")
    assert "module-version" not in rules(path, release="11.0")
    current = build("hello.c", release="11.99.5").path
    assert "module-version" in rules(current, release="11.99.6")
    assert "module-version" not in rules(current, release="11.99.5")


@pytest.mark.parametrize(
    ("uname", "taken"),
    [
        ("11.0", True),
        ("11.0_STABLE", True),
        ("11.0_RC1", True),
        ("11.0.1", True),
        ("10.1_PATCH", False),
        ("9.4", False),
        ("9.99.100", False),
        ("11.99.5", False),
    ],
)
def test_uname_release_is_accepted(build: Any, uname: str, taken: bool) -> None:
    path = build("hello.c").path
    assert ("module-version" not in rules(path, release=uname)) is taken


@pytest.mark.parametrize("name", ["eleven", "11", "11.99", "NetBSD 11.0", "11.0 STABLE", ""])
def test_invalid_release_is_usage_error(build: Any, name: str) -> None:
    with pytest.raises(UsageError, match="expected what uname -r prints"):
        lint_file(build("hello.c").path, release=name)


def test_command_prints_clean_and_accepted_kernels(
    build: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lint", str(build("hello.c").path)]) == 0
    assert capsys.readouterr().out.endswith("clean; for NetBSD 11.0/amd64 and its patch levels\n")


@pytest.mark.parametrize(("machine", "status"), [("amd64", 0), ("aarch64", 65), ("evbarm", 65)])
def test_module_for_another_machine_is_refused(
    build: Any, capsys: pytest.CaptureFixture[str], machine: str, status: int
) -> None:
    path = str(build("hello.c").path)
    assert cli.main(["lint", "--machine", machine, path]) == status
    out = capsys.readouterr().out
    assert ("[elf-machine]\n    the kernel says: unsupported machine 62\n" in out) is bool(status)
    assert out.endswith("; for NetBSD 11.0/amd64 and its patch levels\n")


def test_unknown_machine_is_usage_error(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", "--machine", "arm64", str(build("hello.c").path)]) == 64
    assert "hint: did you mean aarch64?" in capsys.readouterr().err


def test_command_exits_65_and_quotes_kernel(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(source(before=function("vmt_ca"))).path
    assert cli.main(["lint", str(path)]) == 65
    out = capsys.readouterr().out
    assert "error: a driver that GENERIC has built in defines vmt_ca too [symbol-clash]" in out
    assert "the kernel says: global symbol `vmt_ca' redefined" in out


def test_strict_treats_warnings_as_errors(build: Any) -> None:
    path = str(build("hello.c").debug)
    assert cli.main(["lint", path]) == 0
    assert cli.main(["lint", "--strict", path]) == 65


def test_json_contains_every_finding(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", "--json", str(build("hello.c").debug)]) == 0
    (file,) = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in file["findings"]] == ["debug-sections"]
    assert file["accepted_by"] == "NetBSD 11.0/amd64 and its patch levels"


@pytest.mark.parametrize("rule", sorted(BY_ID))
def test_every_rule_has_explanation(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", "--explain", rule]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{rule} (")
    assert "What to do:" in out


def test_unknown_rule_gets_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", "--explain", "relocation-typ"]) == 64
    assert "did you mean relocation-type?" in capsys.readouterr().err


def test_no_file_is_usage_error_and_missing_file_is_noinput(tmp_path: Path) -> None:
    assert cli.main(["lint"]) == 64
    assert cli.main(["lint", str(tmp_path / "none.kmod")]) == 66


def test_show_prints_everything(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(build("hello.c").path)
    assert cli.main(["show", path]) == 0
    out = capsys.readouterr().out
    for part in ("hello, class driver", "11.0 (1100000000)", "sysmon_power, sysmon_taskq",
                 "link_set_modules", "sysctl_createv", "R_X86_64_PLT32"):  # fmt: skip
        assert part in out
    assert cli.main(["show", "--json", path]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["modinfo"]["class"] == "driver"
    assert facts["imports"] == ["hz", "printf", "sysctl_createv", "sysctl_teardown"]


def test_show_refers_to_linter_for_refused_module(
    edit: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    editor = edit("amd64")
    editor.header(type=2)
    assert cli.main(["show", str(editor.write())]) == 65
    err = capsys.readouterr().err
    assert "the kernel would refuse it: unsupported file type 2" in err
    assert "hint: vmtgen lint " in err


def test_refused_relocation_is_reported_once(edit: Callable[..., Any]) -> None:
    """A field that is not relocated is not a second finding."""
    editor = edit("amd64")
    editor.relocation(".rela.text", lambda r: r["type"] == 4, type=9)
    found = [f.rule for f in lint_file(editor.write()) if f.severity == "error"]
    assert found == ["relocation-type"]
