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
# Each of them costs a good part of `python3 -c pass`.
HEAVY = {
    "argparse", "contextlib", "dataclasses", "enum", "json", "pathlib", "re", "shutil",
    "subprocess", "tempfile", "typing",
}  # fmt: skip


@pytest.mark.parametrize("words", [("--help",), ("status",), ("detach", "-n")])
def test_the_start_imports_nothing_heavy(guest: Any, words: tuple[str, ...]) -> None:
    before = set(python("import sys" + LIST).stderr.split())
    code = "import sys; from vmtctl.cli import main; main()" + LIST
    after = set(python(code, *words, "--tools-root", str(guest.root)).stderr.split())
    assert "vmtctl.cli" in after
    assert not (after - before) & HEAVY


def test_vmtctl_imports_the_standard_library_and_itself_alone() -> None:
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
def test_every_help_teaches(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: vmtctl {' '.join(path)}")
    if len(path) == 1:
        assert "examples:" in out


def test_the_examples_of_the_help_can_be_parsed() -> None:
    import shlex

    for _, command in grammar.walk(COMMANDS):
        for line, _ in command.examples:
            words = shlex.split(line.partition(" > ")[0].partition(" < ")[0])
            assert words[0] == "vmtctl"
            grammar.parse(COMMANDS, words[1:])


def test_no_verb_prints_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_typing_error_is_answered_by_what_was_meant(
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
def test_a_wrong_command_line_is_a_usage_error(
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
def test_the_parser_understands_or_refuses(words: list[str]) -> None:
    try:
        command, values = grammar.parse(COMMANDS, words)
    except grammar.UsageError as error:
        status = error.status
    else:
        status = exits.USAGE
        assert (command is None) == (values.path == ())
    assert status == exits.USAGE


def test_what_follows_the_dashes_belongs_to_the_command() -> None:
    _, values = grammar.parse(COMMANDS, ["run", "-q", "--", "cmd", "-q", "--help", "--"])
    assert values.words("command") == ["cmd", "-q", "--help", "--"]
    _, values = grammar.parse(COMMANDS, ["run", "cmd", "-x", "--help"])
    assert values.words("command") == ["cmd", "-x", "--help"]
    assert not values.on("help")


def test_a_reader_that_goes_away_is_no_error(guest: Any) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(sys.executable)} -m vmtctl --help | true"],
        env={**os.environ, "PYTHONPATH": str(USERLAND)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_closed_standard_files_do_no_harm(guest: Any) -> None:
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


def test_hostile_output_of_a_tool_does_not_reach_the_terminal(vmtctl: Control, guest: Any) -> None:
    guest.set(faults={"drvctl -d vmt0": "\x1b[2J boo"})
    assert "\x1b" not in vmtctl("detach").err


def test_a_tool_gets_a_clean_environment(guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtctl.system import ENVIRONMENT, Tools

    monkeypatch.setenv("LD_PRELOAD_TEST", "x")
    tool = guest.root / "sbin/dmesg"
    tool.write_text("#!/bin/sh\n/usr/bin/env\n")
    names = {
        line.partition("=")[0] for line in Tools(str(guest.root)).run("dmesg").output.splitlines()
    }
    assert names <= {*ENVIRONMENT, "PWD", "OLDPWD", "SHLVL", "_"}


def test_a_tool_that_prints_without_end_is_stopped(
    guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmtctl import system

    monkeypatch.setattr(system, "OUTPUT_LIMIT", 100_000)
    (guest.root / "sbin/dmesg").write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(exits.Failure, match="printed more"):
        system.Tools(str(guest.root)).run("dmesg")


@pytest.mark.skipif(sys.platform.startswith("netbsd"), reason="what other systems are told")
@pytest.mark.parametrize("line", ["load -n", "powerd install -n", "clock 30 --persist", "detach"])
def test_another_system_is_not_changed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == exits.UNAVAILABLE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"this is {os.uname().sysname}, not NetBSD" in captured.err
    assert "-R DIR" in captured.err


@pytest.mark.skipif(sys.platform.startswith("netbsd"), reason="what other systems are told")
def test_doctor_has_one_word_for_another_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 2
    (row,) = json.loads(capsys.readouterr().out)["findings"]
    assert row["what"] == f"this is {os.uname().sysname}, not NetBSD"


def test_only_root_may_change(vmtctl: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmtctl.context import Context

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, values = grammar.parse(COMMANDS, ["detach"])
    with pytest.raises(exits.Failure) as caught:
        Context(values).need_root("detach vmt0")
    assert caught.value.status == exits.NO_PERMISSION


# ---------------------------------------------------------------------------
# What is made from the tables


def test_the_manual_is_current() -> None:
    expected = manual.page()
    path = USERLAND / "vmtctl.8"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(expected)
    assert path.read_text() == expected, "run: UPDATE_GOLDEN=1 make test"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_completions_that_are_packed_are_current(shell: str) -> None:
    path = USERLAND / "completions" / f"vmtctl.{shell}"
    assert path.read_text() == completion.SHELLS[shell](), "run: make generate"


def test_mandoc_has_nothing_to_say_about_the_manual() -> None:
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


def test_the_manual_names_every_verb_and_option() -> None:
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


def test_bash_completes_verbs_parts_and_options() -> None:
    assert complete("vmtctl", "st") == {"status"}
    assert complete("vmtctl", "powerd", "un") == {"uninstall"}
    assert complete("vmtctl", "-q", "powerd", "install", "--no") == {"--no-acpi"}
    assert complete("vmtctl", "completion", "f") == {"fish"}
    assert "--persist" in complete("vmtctl", "clock", "--")


def test_bash_completes_behind_the_value_of_an_option() -> None:
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
def test_bash_leaves_commands_and_files_to_its_own_completion(words: tuple[str, ...]) -> None:
    assert complete("vmtctl", *words) == set()


def test_an_empty_root_is_refused(vmtctl: Control, guest: Any) -> None:
    """An unset variable of a shell must not turn into the running system."""
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
def test_a_hint_to_become_root_is_the_same_command(
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
def test_output_that_cannot_be_written_is_named(guest: Any, unbuffered: str) -> None:
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
        "vmtctl: error: cannot write to standard output: No space left on device; what was asked "
        "for is done\n"
    )
    assert guest.get()["attached"] is None


def test_root_is_not_sent_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(1, "Operation not permitted", "/etc/powerd/x")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "root may not either" in exits.from_os_error(error, "change it").hint
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert exits.from_os_error(error, "change it").hint == "become root first"


def test_a_read_only_file_system_is_named() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "/var/run/vmtctl.lock")
    assert "mount -u" in exits.from_os_error(error, "open the lock").hint


def test_a_tool_that_even_a_kill_does_not_end_is_left(
    guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits in the kernel for a device."""
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


def test_the_zipapp_is_the_same_every_time_and_runs_with_python_alone(
    guest: Any, tmp_path: Path
) -> None:
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


def test_the_package_lists_every_file() -> None:
    helper = load(PKGSRC / "update_plist.py")
    assert helper.PLIST.read_text() == helper.plist(), "run: python pkgsrc/update_plist.py"
    assert helper.DATA == load(USERLAND / "make_zipapp.py").DATA
    for name in ("Makefile", "DESCR", "MESSAGE"):
        assert (PKGSRC / "sysutils/vmtctl" / name).read_text()


# What came after Python 3.10, by the module that it came into.
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


def test_every_file_is_python_3_10() -> None:
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
