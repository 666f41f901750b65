"""An addition is one row or one file, as the table in CONTRIBUTING.md states."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import vmtctl.cli
import vmtctl.verbs
import vmtgen.cli
import vmtgen.verbs
import vmtsim.cli
import vmtsim.verbs
from vmtctl import commands, completion, manual
from vmtctl.grammar import Argument, Command
from vmtgen import resources
from vmtgen.common.located import load_yaml
from vmtgen.kobj import Machine
from vmtgen.kobj.relocations import RULES as RELOCATIONS
from vmtgen.lint import rules
from vmtgen.lint.findings import finding
from vmtgen.lint.rules import Rule as LintRule
from vmtgen.targets import load_targets
from vmtsim import cpu
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.host import FAULTS, Host, HostOptions
from vmtsim.host.fault_effects import Messages
from vmtsim.host.faults import Fault
from vmtsim.kernel.rule_table import RULES, Enforced, Rule
from vmtsim.scenario import script

from .sim.host.test_tclo import started

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
VERB = """
SUMMARY = "greet"

def add_arguments(parser):
    parser.add_argument("name")

def run(args):
    print(f"hello {args.name}")
    return 0
"""


@pytest.mark.parametrize(
    ("main", "verbs", "program"),
    [(vmtgen.cli.main, vmtgen.verbs, "vmtgen"), (vmtsim.cli.main, vmtsim.verbs, "vmtsim")],
    ids=["vmtgen", "vmtsim"],
)
def test_verb_is_one_file(
    main: Callable[[list[str]], int],
    verbs: object,
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "greet_me.py").write_text(VERB, encoding="utf-8")
    path = verbs.__path__  # type: ignore[attr-defined]
    path.append(str(tmp_path))
    try:
        assert main(["greet-me", "you"]) == 0
        assert capsys.readouterr().out == "hello you\n"
        with pytest.raises(SystemExit):
            main(["--help"])
        assert "greet-me" in capsys.readouterr().out
    finally:
        path.remove(str(tmp_path))
        sys.modules.pop(f"{program}.verbs.greet_me", None)


def test_kernel_rule_is_one_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Rule("tea-is-cold", "tea is hot", "boil it", "sys/kern/tea.c", Enforced.UNDETECTED)
    monkeypatch.setitem(RULES, row.id, row)
    assert vmtsim.cli.main(["rules", "--explain", "tea-is-cold"]) == 0
    assert "fix: boil it" in capsys.readouterr().out


def test_fault_is_one_row_with_its_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It occurs at random and by script, scenarios accept it, and it has the effect of its row."""
    row = Fault(
        "odd-message",
        ("recvsize",),
        "an odd message",
        Messages(lambda _details, tclo, _power: tclo.send(b"odd")),
        "tclo",
    )
    monkeypatch.setitem(FAULTS, row.name, row)
    guest, channel = started()
    guest.host.faults.arm("odd-message")
    guest.send(channel, b"")
    assert guest.receive(channel) == b"odd"
    path = tmp_path / "mine.yaml"
    path.write_text("summary: x\nsteps:\n- host.fault: odd-message\n", encoding="utf-8")
    assert script.load(path).steps[0].argument == {"odd-message": {}}


def test_scenario_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(script.shipped()["alone"], tmp_path / "quiet.yaml")
    monkeypatch.setattr(script, "directory", lambda: tmp_path)
    assert script.load("quiet").name == "quiet"


def test_release_is_three_lines_of_spec(tmp_path: Path) -> None:
    text = (resources.directory("specs") / "netbsd.yaml").read_text(encoding="utf-8")
    lines = "releases:\n  '11.7':\n    version: 1107000000\n    doc: A release of the future.\n"
    (tmp_path / "netbsd.yaml").write_text(text.replace("releases:\n", lines, 1), encoding="utf-8")
    targets = load_targets(tmp_path)
    assert targets.release("11.7").version == 1_107_000_000
    assert targets.kernel("11.7_STABLE") // 1_000_000 == 1_107


@pytest.mark.parametrize("verb", ["build", "kpi"])
def test_help_names_default_release_of_specs(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        vmtgen.cli.main([verb, *(["check"] if verb == "kpi" else []), "--help"])
    assert f"(default: {load_targets().default.release}" in capsys.readouterr().out


def changed_specs(folder: Path, name: str, at: str, row: str) -> Path:
    """A copy of specs/ with a row more in NAME.yaml, before the line ``at``."""
    shutil.copytree(resources.directory("specs"), folder / "specs")
    path = folder / "specs" / "vmt" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(at) == 1
    path.write_text(text.replace(at, row + at), encoding="utf-8")
    out = folder / "out"
    assert vmtgen.cli.main(["generate", "--specs", str(path.parents[1]), "--out", str(out)]) == 0
    return out


def test_host_option_is_one_row_in_specs(tmp_path: Path) -> None:
    """The table of the driver, the manual of the protocol; no line of C."""
    row = "  tea.temperature: {type: ignored, doc: Nothing the driver would do.}\n"
    out = changed_specs(tmp_path, "tclo", "  time.synchronize.allow:", row)
    assert '"tea.temperature"' in (out / "kmod" / "vmt" / "vmt_tables.c").read_text(
        encoding="utf-8"
    )
    assert "tea.temperature" in (out / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")


def test_sysctl_node_is_one_row(tmp_path: Path) -> None:
    """The table of nodes and the manual; the value is a member that the driver has."""
    row = "      brewed: {type: quad, access: read, data: clock.steps, doc: Cups of tea}\n"
    out = changed_specs(tmp_path, "driver", "      slews: {type: quad", row)
    assert '"brewed"' in (out / "kmod" / "vmt" / "vmt_tables.c").read_text(encoding="utf-8")
    assert "Cups of tea" in (out / "kmod" / "vmt" / "vmt.4").read_text(encoding="utf-8")


def test_log_texts_are_in_one_place() -> None:
    """Code that needs the driver's state reads its counters and states, not its log texts."""
    root = resources.root()
    assert root is not None
    logs = load_yaml(root / "specs" / "vmt" / "driver.yaml")["logs"].entries.values()
    pieces = {
        piece.strip()
        for log in logs
        for piece in re.split(r"\{[^}]*\}", str(log["text"].scalar))
        if len(piece.strip()) >= 16
    }
    assert len(pieces) > 10
    files = [
        *(root / "sim").rglob("*.py"),
        *(root / "sim" / "scenarios").glob("*.yaml"),
        *(root / "userland" / "vmtctl").rglob("*.py"),
    ]
    found = {
        f"{path.relative_to(root)}: {piece}"
        for path in files
        for piece in pieces
        if piece in path.read_text(encoding="utf-8")
    }
    assert found == set()


def test_lint_rule_is_one_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = LintRule("tea-bag", "warning", "A bag is left in the pot.", "take it out", "the cook")
    monkeypatch.setattr(rules, "RULES", (*rules.RULES, row))
    monkeypatch.setitem(rules.BY_ID, row.id, row)
    found = finding("tea-bag", "pot+0x4", "one bag")
    assert (found.severity, found.remedy) == ("warning", "take it out")
    assert vmtgen.cli.main(["lint", "--explain", "tea-bag"]) == 0
    assert "What to do: take it out." in capsys.readouterr().out


def test_machine_is_listed_in_each_room() -> None:
    """Four rooms list machines in their own way: this names the one that lacks a new machine."""
    specs = {machine.name for machine in load_targets().machines}
    headers = {path.name for path in resources.directory("kpi").iterdir() if path.is_dir()}
    assert specs == {machine.value for machine in Machine}, "gen/vmtgen/kobj/model.py"
    assert specs == {machine.value for machine in RELOCATIONS}, "gen/vmtgen/kobj/relocations.py"
    assert specs == headers - {"include"}, "gen/kpi"
    assert specs == set(cpu.MACHINES), "sim/vmtsim/cpu"
    for machine in specs:
        assert cpu.make_cpu(machine, None) is not None  # type: ignore[arg-type]


GREET = """
from vmtctl.exits import OK

def run(context):
    print(f"hello {context.values.word('name')}")
    return OK
"""


def test_vmtctl_verb_is_file_and_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser, its help, the manual and the completions of three shells read the row."""
    (tmp_path / "greet.py").write_text(GREET, encoding="utf-8")
    row = Command("greet", "Say hello", arguments=(Argument("name", "Whom."),))
    for module in (commands, manual, completion):
        monkeypatch.setattr(module, "COMMANDS", (*commands.COMMANDS, row))
    vmtctl.verbs.__path__.append(str(tmp_path))
    try:
        assert vmtctl.cli.main(["greet", "you"]) == 0
        assert capsys.readouterr().out == "hello you\n"
        assert vmtctl.cli.main(["--help"]) == 0
        assert "greet" in capsys.readouterr().out
    finally:
        vmtctl.verbs.__path__.remove(str(tmp_path))
        sys.modules.pop("vmtctl.verbs.greet", None)
    assert ".Ss greet" in manual.page()
    assert all("greet" in shell() for shell in completion.SHELLS.values())


def test_simulated_host_option_is_one_field(tmp_path: Path) -> None:
    """A scenario's `host:` takes the fields of HostOptions and refuses an unknown field."""
    path = tmp_path / "mine.yaml"
    path.write_text("summary: x\nhost: {ping: 7}\nsteps:\n- host.tclo: a\n", encoding="utf-8")
    options = script.load(path).host
    assert options == HostOptions(ping=7)
    host = Host(now=lambda: 0, rng=Rng(1), options=options, trace=Trace())
    assert host.options.ping == 7


def test_twos_complement_is_computed_in_one_place() -> None:
    """``signed()`` of vmtgen.common.twos; any other subtracts the sign or the range by itself."""
    own = re.compile(r"\^ ?\w+\) ?- ?\w+|- \(1 << \w+\) if|- 0x8000_?0000")
    files = [*(ROOT / "gen" / "vmtgen").rglob("*.py"), *(ROOT / "sim" / "vmtsim").rglob("*.py")]
    found = [path.name for path in files if own.search(path.read_text(encoding="utf-8"))]
    assert found == ["twos.py"]


def test_device_name_is_set_by_autoconf() -> None:
    """The simulator runs any driver: only scenarios, the host and /etc name vmt0."""
    room = Path(vmtsim.cli.__file__).parent
    theirs = ("host/", "fakeguest/root/etc/")
    named = [
        str(path.relative_to(room))
        for path in sorted(room.rglob("*"))
        if path.suffix in {".py", ".sh", ""} and path.is_file() and b"vmt0" in path.read_bytes()
    ]
    assert [name for name in named if not name.startswith(theirs)] == []
