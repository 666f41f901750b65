"""A new thing is one row or one file: what the table in CONTRIBUTING.md says, tried."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import vmtgen.cli
import vmtgen.verbs
import vmtsim.cli
import vmtsim.verbs
from vmtgen import resources
from vmtgen.targets import load_targets
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
    from pathlib import Path

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
def test_a_verb_is_a_file(
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


def test_a_kernel_rule_is_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Rule("tea-is-cold", "tea is hot", "boil it", "sys/kern/tea.c", Enforced.NOBODY)
    monkeypatch.setitem(RULES, row.id, row)
    assert vmtsim.cli.main(["rules", "--explain", "tea-is-cold"]) == 0
    assert "what to do: boil it" in capsys.readouterr().out


def test_a_fault_is_a_row_with_its_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It strikes by chance and by script, scenarios know it, and it does what the row says."""
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


def test_a_scenario_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(script.shipped()["alone"], tmp_path / "quiet.yaml")
    monkeypatch.setattr(script, "directory", lambda: tmp_path)
    assert script.load("quiet").name == "quiet"


def test_a_release_is_three_lines_of_a_spec(tmp_path: Path) -> None:
    text = (resources.directory("specs") / "netbsd.yaml").read_text(encoding="utf-8")
    lines = "releases:\n  '11.7':\n    version: 1107000000\n    doc: A release of the future.\n"
    (tmp_path / "netbsd.yaml").write_text(text.replace("releases:\n", lines, 1), encoding="utf-8")
    assert load_targets(tmp_path).release("11.7").version == 1_107_000_000


def test_a_host_option_is_a_field(tmp_path: Path) -> None:
    """A scenario's `host:` takes the fields of HostOptions, and tells one that is none."""
    path = tmp_path / "mine.yaml"
    path.write_text("summary: x\nhost: {ping: 7}\nsteps:\n- host.tclo: a\n", encoding="utf-8")
    options = script.load(path).host
    assert options == HostOptions(ping=7)
    host = Host(now=lambda: 0, rng=Rng(1), options=options, trace=Trace())
    assert host.options.ping == 7
