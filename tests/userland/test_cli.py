"""The command line, its help, the manual, the completions and the packages."""

from __future__ import annotations

import ast
import errno
import json
import os
import shlex
import subprocess
import sys
import zipfile
from importlib import util
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import USERLAND, require
from hypothesis import given
from hypothesis import strategies as st
from vmtctl import cli, completion, exits, grammar, manual
from vmtctl.commands import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from answers import Control

PKGSRC = USERLAND.parent / "pkgsrc"


def load(path: Path) -> ModuleType:
    specification = util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(USERLAND)},
        capture_output=True,
        text=True,
        check=False,
    )


LIST = "; sys.stderr.write(' '.join(sys.modules))"
# Each of them takes a good part of the time of `python3 -c pass`.
HEAVY = {
    "argparse", "contextlib", "dataclasses", "enum", "json", "pathlib", "re", "shutil", "socket",
    "subprocess", "tempfile", "typing",
}  # fmt: skip


@pytest.mark.parametrize("words", [("--help",), ("status",), ("detach", "-n")])
def test_startup_imports_no_heavy_modules(guest: Any, words: tuple[str, ...]) -> None:
    (guest.root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    before = set(python("import sys" + LIST).stderr.split())
    code = "import sys; from vmtctl.cli import main; main()" + LIST
    after = set(python(code, *words, "--tools-root", str(guest.root)).stderr.split())
    assert "vmtctl.cli" in after
    assert not (after - before) & HEAVY


def test_vmtctl_imports_only_standard_library_and_itself() -> None:
    for path in (USERLAND / "vmtctl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top == "vmtctl" or top in sys.stdlib_module_names, (path, name)


def test_every_verb_has_a_module() -> None:
    for command in COMMANDS:
        assert (USERLAND / f"vmtctl/verbs/{command.name}.py").exists()


@pytest.mark.parametrize("path", [path for path, _ in grammar.walk(COMMANDS)])
def test_every_help_has_text_and_examples(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: vmtctl {' '.join(path)}")
    if len(path) == 1:
        assert "examples:" in out


def test_help_examples_can_be_parsed() -> None:
    import shlex

    for _, command in grammar.walk(COMMANDS):
        for line, _ in command.examples:
            words = shlex.split(line.partition(" > ")[0].partition(" < ")[0])
            assert words[0] == "vmtctl"
            grammar.parse(COMMANDS, words[1:])


def test_missing_command_prints_help_and_is_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == exits.USAGE
    assert "verbs:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "'status'"),
        (["powerd", "instal"], "'install'"),
        (["status", "--jsn"], "'--json'"),
        (["completion", "bsh"], "'bash'"),
    ],
)
def test_misspelt_word_gets_suggestion(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == exits.USAGE
    assert f"did you mean {meant}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["status", "more"],
        ["powerd"],
        ["run"],
        ["run", "--"],
        ["guestinfo", "get"],
        ["guestinfo", "set", "key"],
        ["load", "--module"],
        ["detach", "--force"],
        ["status", "--json=yes"],
        ["status", "-R", "/mnt"],
        ["detach", "-R", "/mnt"],
        ["clock", "--persist", "--tools-root", "/nowhere"],
        ["status", "--dry-run"],
    ],
)
def test_invalid_command_line_is_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == exits.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "vmtctl: error:" in captured.err


@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(
    [path[-1] for path, _ in grammar.walk(COMMANDS)]
    + [spelling for option in (*grammar.COMMON, grammar.DRY_RUN) for spelling in option.spellings]
    + ["--", "-", "-nv", "--json=", "-R/x", "-Rx", "--root=/y"]
)), max_size=6))  # fmt: skip
def test_parser_accepts_or_refuses(words: list[str]) -> None:
    try:
        command, values = grammar.parse(COMMANDS, words)
    except grammar.UsageError as error:
        status = error.status
    else:
        status = exits.USAGE
        assert (command is None) == (values.path == ())
    assert status == exits.USAGE


def test_words_after_double_dash_belong_to_command() -> None:
    _, values = grammar.parse(COMMANDS, ["run", "-q", "--", "cmd", "-q", "--help", "--"])
    assert values.words("command") == ["cmd", "-q", "--help", "--"]
    _, values = grammar.parse(COMMANDS, ["run", "cmd", "-x", "--help"])
    assert values.words("command") == ["cmd", "-x", "--help"]
    assert not values.on("help")


def test_broken_pipe_on_output_is_no_error(guest: Any) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(sys.executable)} -m vmtctl --help | true"],
        env={**os.environ, "PYTHONPATH": str(USERLAND)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_closed_standard_streams_are_harmless(guest: Any) -> None:
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            (
                f"{shlex.quote(sys.executable)} -m vmtctl --tools-root {guest.root} detach"
                " <&- >&- 2>&-"
            ),
        ],
        env={**os.environ, "PYTHONPATH": str(USERLAND)},
        check=False,
    )
    assert done.returncode == 0
    assert guest.get()["attached"] is None


def test_control_characters_of_tools_do_not_reach_terminal(vmtctl: Control, guest: Any) -> None:
    guest.set(faults={"drvctl -d vmt0": "\x1b[2J boo"})
    assert "\x1b" not in vmtctl("detach").err


def test_tool_runs_in_clean_environment(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtctl.system import ENVIRONMENT, Tools

    monkeypatch.setenv("LD_PRELOAD_TEST", "x")
    tool = guest.root / "sbin/dmesg"
    tool.write_text("#!/bin/sh\n/usr/bin/env\n")
    names = {
        line.partition("=")[0] for line in Tools(str(guest.root)).run("dmesg").output.splitlines()
    }
    assert names <= {*ENVIRONMENT, "PWD", "OLDPWD", "SHLVL", "_"}


def test_tool_with_endless_output_is_stopped(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtctl import system

    monkeypatch.setattr(system, "OUTPUT_LIMIT", 100_000)
    (guest.root / "sbin/dmesg").write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(exits.Failure, match="printed more"):
        system.Tools(str(guest.root)).run("dmesg")


@pytest.mark.skipif(sys.platform.startswith("netbsd"), reason="the error on other systems")
@pytest.mark.parametrize("line", ["load -n", "powerd install -n", "clock 30 --persist", "detach"])
def test_vmtctl_refuses_other_systems(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == exits.UNAVAILABLE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"this is {os.uname().sysname}, not NetBSD" in captured.err
    assert "-R DIR" in captured.err


@pytest.mark.skipif(sys.platform.startswith("netbsd"), reason="the error on other systems")
def test_doctor_refuses_other_systems_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 2
    (row,) = json.loads(capsys.readouterr().out)["findings"]
    assert row["what"] == f"this is {os.uname().sysname}, not NetBSD"


def test_changes_require_root(vmtctl: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtctl.context import Context

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, values = grammar.parse(COMMANDS, ["detach"])
    with pytest.raises(exits.Failure) as caught:
        Context(values).need_root("detach vmt0")
    assert caught.value.status == exits.NO_PERMISSION


# ---------------------------------------------------------------------------
# Files generated from the tables


def test_manual_is_up_to_date() -> None:
    expected = manual.page()
    path = USERLAND / "vmtctl.8"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(expected)
    assert path.read_text() == expected, "run: UPDATE_GOLDEN=1 make test"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_packed_completions_are_up_to_date(shell: str) -> None:
    path = USERLAND / "completions" / f"vmtctl.{shell}"
    assert path.read_text() == completion.SHELLS[shell](), "run: make generate"


def test_mandoc_lint_passes() -> None:
    tool = require("mandoc")
    done = subprocess.run(
        [tool, "-Tlint", str(USERLAND / "vmtctl.8")], capture_output=True, text=True, check=False
    )
    # NetBSD's pages are not on every machine.
    found = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if "referenced manual not found" not in line and "outdated mandoc.db" not in line
    ]
    assert found == []


def test_manual_names_every_verb_and_option() -> None:
    text = manual.page().replace("\\-", "-")
    for path, command in grammar.walk(COMMANDS):
        assert f".Cm {' '.join(path)}" in text or command.parts or f".It Cm {path[-1]}" in text
        for option in command.options:
            assert f"Fl {option.spellings[-1][1:]}" in text


@pytest.mark.parametrize("shell", sorted(completion.SHELLS))
def test_completions_name_every_verb(shell: str, vmtctl: Control) -> None:
    text = vmtctl("completion", shell).out
    for path, _ in grammar.walk(COMMANDS):
        assert path[-1] in text


def complete(*words: str) -> set[str]:
    bash = require("bash")
    script = completion.bash() + (
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; "
        '_vmtctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_verbs_subcommands_and_options() -> None:
    assert complete("vmtctl", "st") == {"status"}
    assert complete("vmtctl", "powerd", "un") == {"uninstall"}
    assert complete("vmtctl", "-q", "powerd", "install", "--no") == {"--no-acpi"}
    assert complete("vmtctl", "completion", "f") == {"fish"}
    assert "--persist" in complete("vmtctl", "clock", "--")


def test_bash_completes_after_option_value() -> None:
    assert complete("vmtctl", "-R", "/mnt", "pow") == {"powerd"}
    assert complete("vmtctl", "powerd", "-R", "/mnt", "un") == {"uninstall"}
    assert complete("vmtctl", "clock", "") >= {"off", "sync"}
    assert complete("vmtctl", "clock", "s") == {"sync"}


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--", "ls", "-"),
        ("run", "ls", "-"),
        ("run", "--", ""),
        ("-R", ""),
        ("load", "--module", "v"),
        ("run", "--grace", "5", "--", "vmt"),
    ],
)
def test_bash_uses_own_completion_for_commands_and_files(words: tuple[str, ...]) -> None:
    assert complete("vmtctl", *words) == set()


def test_empty_root_is_refused(vmtctl: Control, guest: Any) -> None:
    """An unset shell variable must not select the running system."""
    before = sorted(guest.root.rglob("*"))
    for words in (("-R", ""), ("--root=",)):
        done = vmtctl("powerd", "install", *words)
        assert done.status == exits.USAGE
        assert "is empty" in done.err
    assert vmtctl("load", "-m", "").status == exits.USAGE
    assert sorted(guest.root.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["powerd", "install", "-R", "/mnt/an image"],
        ["clock", "5m", "--persist"],
        ["load", "-m", "/tmp/it's.kmod", "--force"],
    ],
)
def test_hint_to_become_root_repeats_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmtctl.context import Context

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, values = grammar.parse(COMMANDS, words)
    with pytest.raises(exits.Failure) as caught:
        Context(values).need_root("do it")
    typed = caught.value.hint.partition("then: ")[2]
    assert shlex.split(typed) == ["vmtctl", *words]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_unwritable_output_is_reported(guest: Any, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "vmtctl", "--tools-root", str(guest.root), "detach"],
            env={
                **os.environ, "PYTHONPATH": str(USERLAND), "PYTHONUNBUFFERED": unbuffered,
            },
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == exits.IO_ERROR
    assert done.stderr == (
        "vmtctl: error: cannot write to standard output: No space left on device; the changes "
        "were made\n"
    )
    assert guest.get()["attached"] is None


def test_root_gets_no_hint_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(1, "Operation not permitted", "/etc/powerd/x")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "root may not do it either" in exits.from_os_error(error, "change it").hint
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert exits.from_os_error(error, "change it").hint == "become root first"


def test_read_only_file_system_is_reported() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "/var/run/vmtctl.lock")
    assert "mount -u" in exits.from_os_error(error, "open the lock").hint


def test_unkillable_tool_is_abandoned(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a process that waits in the kernel for a device."""
    from vmtctl import system

    monkeypatch.setattr(system, "KILL_LIMIT", 0.2)
    real = os.killpg
    pids = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: pids.append(pid))
    (guest.root / "sbin/dmesg").write_text("#!/bin/sh\nexec sleep 600\n")
    try:
        with pytest.raises(exits.Failure, match="did not end"):
            system.Tools(str(guest.root)).run("dmesg", limit=0.2)
    finally:
        for pid in pids:
            real(pid, 9)
            os.waitpid(pid, 0)


def test_zipapp_is_reproducible_and_needs_only_python(guest: Any, tmp_path: Path) -> None:
    helper = load(USERLAND / "make_zipapp.py")
    one, two = tmp_path / "a/vmtctl.pyz", tmp_path / "b/vmtctl.pyz"
    helper.build(one)
    helper.build(two)
    assert one.read_bytes() == two.read_bytes()
    assert zipfile.is_zipfile(one)
    done = subprocess.run(
        [sys.executable, "-IS", str(one), "--tools-root", str(guest.root), "powerd", "install"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    shipped = (USERLAND / "powerd/vmt-event").read_bytes()
    assert (guest.root / "etc/powerd/vmt-event").read_bytes().startswith(shipped)


def test_package_lists_every_file() -> None:
    helper = load(PKGSRC / "update_plist.py")
    assert helper.PLIST.read_text() == helper.plist(), "run: python pkgsrc/update_plist.py"
    assert helper.DATA == load(USERLAND / "make_zipapp.py").DATA
    for name in ("Makefile", "DESCR", "MESSAGE"):
        assert (PKGSRC / "sysutils/vmtctl" / name).read_text()


# Names added after Python 3.10, by module.
NEWER = {
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum", "verify"},
    "os": {"process_cpu_count", "unshare", "login_tty"},
    "typing": {"Self", "assert_never", "reveal_type", "override", "Never", "LiteralString"},
    "contextlib": {"chdir"},
    "tomllib": {""},
    "itertools": {"batched"},
    "hashlib": {"file_digest"},
}


def test_source_files_are_python_3_10() -> None:
    for path in sorted(USERLAND.rglob("*.py")):
        tree = ast.parse(path.read_text(), str(path), feature_version=(3, 10))
        for node in ast.walk(tree):
            names: list[tuple[str, str]] = []
            if isinstance(node, ast.ImportFrom):
                names = [(node.module or "", alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = [(node.value.id, node.attr)]
            # Grammar that ast.parse of some versions lets pass.
            assert type(node).__name__ not in {"TryStar", "TypeAlias"}, path
            for module, name in names:
                assert name not in NEWER.get(module, set()), f"{path}: {module}.{name}"
