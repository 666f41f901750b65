"""Scenarios: errors at their line, expectations that can fail, and runs of the shipped ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from vmtgen.common.located import LocatedErrors, parse_yaml
from vmtsim import cli
from vmtsim.scenario import script as module
from vmtsim.scenario.expect import EXPECTATIONS, Pattern
from vmtsim.scenario.script import Scenario, Step, UnknownScenarioError, load, parse, shipped
from vmtsim.scenario.verbs import ACTIONS, VERBS

from .stage import PythonGuest

HEAD = "summary: a test\nhost: {option_burst: [], power_on: false, broadcast_ip: 0, ping: 0}\n"


# Scenarios of a whole driver: they need more than this Python guest implements.
WHOLE = {"check_ip_address", "check_os_fullname", "check_quiesce_snapshot", "freeze",
         "ovt_verify_status", "stat_hosttime"}  # fmt: skip
# These act on a kernel (its devices, its routes, its memory), which the Python guest does not have.
OF_THE_KERNEL = {"alone", "memory-charts", "terraform-routes"}


def made(steps: str, head: str = HEAD) -> Scenario:
    return parse(parse_yaml(f"{head}steps:\n{steps}", "test.yaml"))


def played(steps: str) -> list[str]:
    return [str(failure) for failure in PythonGuest(made(steps)).play()]


@pytest.mark.parametrize("name", sorted(set(shipped()) - WHOLE - OF_THE_KERNEL))
def test_shipped_scenario_passes_with_correct_guest(name: str) -> None:
    guest = PythonGuest(load(name))
    assert guest.play() == []
    assert guest.broken_rules() == []


def test_default_scenario_is_shipped() -> None:
    assert module.DEFAULT in shipped()
    assert load(None).name == module.DEFAULT
    for name, default in module.DEFAULTS.items():
        assert default in shipped(name)
        assert load(None, name).name == default
        assert not set(shipped(name)) & set(shipped())


@pytest.mark.parametrize("name", sorted(set(shipped()) - OF_THE_KERNEL))
def test_shipped_scenario_fails_with_idle_guest(name: str) -> None:
    guest = PythonGuest(load(name))
    guest.once = lambda: None  # type: ignore[method-assign]
    assert guest.play()


def test_scenario_is_found_by_name_or_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{HEAD}steps:\n- host.tclo: ping\n")
    assert load(path).name == "mine"
    assert load("reboot").summary.startswith("The administrator restarts")


def test_unknown_name_gets_suggestion_and_list() -> None:
    with pytest.raises(UnknownScenarioError, match="did you mean 'reboot'") as caught:
        load("rebot")
    assert "boot-to-halt" in caught.value.hint
    assert caught.value.exit_status == 66


# Errors.


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("summary: x\nstep: []\nsteps: [{host.tclo: a}]\n", 2, "unknown key 'step'", "steps"),
        ("steps:\n- host.tclo: a\n", 1, "`summary`", None),
        ("summary: x\nsteps: []\n", 2, "expected a list of `steps`", None),
        (
            "summary: x\nsteps:\n- host.fault: {burst: {at: rpci}}\n",
            3,
            "burst has no effect at rpci: expected recvsize",
            None,
        ),
        ("summary: x\nsteps:\n- host.tclp: a\n", 3, "unknown verb 'host.tclp'", "host.tclo"),
        ("summary: x\nsteps:\n- at: 1\n", 3, "exactly one verb", None),
        ("summary: x\nsteps:\n- host.tclo: a\n  host.lose: all\n", 3, "found host.tclo", None),
        ("summary: x\nsteps:\n- at: -1\n  host.tclo: a\n", 3, "seconds from 0 on", None),
        ("summary: x\nsteps:\n- at: 1\n  after: 2\n  host.tclo: a\n", 4, "not both", None),
        ("summary: x\nsteps:\n- host.tclo: a\n  within: 3\n", 4, "`within` belongs", None),
        (
            "summary: x\nsteps:\n- host.power: hlat\n",
            3,
            "expected halt, reboot, suspend, resume or power-on, not the string 'hlat'",
            "halt",
        ),
        (
            "summary: x\nsteps:\n- host.fault: chekpoint\n",
            3,
            "unknown fault 'chekpoint'",
            "checkpoint",
        ),
        ("summary: x\nsteps:\n- host.fault:\n    burst: {sise: 3}\n", 4, "'sise'", "size"),
        ("summary: x\nsteps:\n- host.fault:\n    closd:\n", 4, "unknown fault 'closd'", "closed"),
        ("summary: x\nsteps:\n- host.clock:\n    jmp: 3\n", 4, "unknown key 'jmp'", "jump"),
        (
            "summary: x\nsteps:\n- host.clock:\n    jump: far\n",
            4,
            "expected a number, not the string 'far'",
            None,
        ),
        (
            "summary: x\nsteps:\n- expect.reply:\n    reply: OK\n",
            3,
            "the key 'message' is missing",
            None,
        ),
        ("summary: x\nsteps:\n- expect.trace:\n    a: 1\n", 4, "the key 'kind' is missing", None),
        (
            "summary: x\nsteps:\n- guest.sysctl:\n    a:\n",
            4,
            "expected true or false or an integer or a number or a string, not nothing",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.sysctl: {}\n",
            3,
            "expected a mapping of names to values that is not empty, not a mapping",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.addresses: [192.0.2.300]\n",
            3,
            "as 192.0.2.10/24 or 2001:db8::10/64, not the string '192.0.2.300'",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.ifconfig:\n    interface: wm0\n    do: dstroy\n",
            5,
            "expected create, destroy, up or down, not the string 'dstroy'",
            "destroy",
        ),
        (
            "summary: x\nsteps:\n- guest.ifconfig:\n    interface: wm0\n    alais: 192.0.2.1\n",
            5,
            "unknown key 'alais'",
            "alias",
        ),
        (
            "summary: x\nsteps:\n- guest.ifconfig: {interface: wm0, reading: [3]}\n",
            3,
            "expected a sequence of integers of 2 elements, not a sequence",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.powerd: 1\n",
            3,
            "expected true or false, not the number 1",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.shutdown: now\n",
            3,
            "expected true, not the string 'now'",
            None,
        ),
        (
            "summary: x\nsteps:\n- guest.clock: 1.0e12\n",
            3,
            "expected a number of seconds within three centuries",
            None,
        ),
        ('summary: x\nsteps:\n- guest.rpc: "\\\\x"\n', 3, "a backslash is written", None),
        ("summary: x\nsteps:\n- guest.detachh: vmt0\n", 3, "unknown verb", "guest.detach"),
        (
            "summary: x\nsteps:\n- expect.rpci: {requesd: a}\n",
            3,
            "unknown key 'requesd'",
            "request",
        ),
        (
            "summary: x\nsteps:\n- expect.rpci: {request: a, times: 0}\n",
            3,
            "expected an integer from 1 to 1000000, not the number 0",
            None,
        ),
        (
            "summary: x\nsteps:\n- expect.trace: {kind: a, times: often}\n",
            3,
            "expected an integer from 1, not the string 'often'",
            None,
        ),
        ("summary: x\nsteps:\n- expect.fault: burts\n", 3, "unknown fault 'burts'", "burst"),
        ("summary: x\nsteps:\n- expect.rpci: 5\n", 3, "expected a string, not the number", None),
        ("summary: x\nguest: {powerd: 3}\nsteps:\n- host.tclo: a\n", 2, "true or false", None),
        (
            "summary: x\nguest: {addresses: {wm0: here}}\nsteps:\n- host.tclo: a\n",
            2,
            "that is an address",
            None,
        ),
        ('summary: x\nsteps:\n- host.tclo: "\\\\x"\n', 3, "a backslash is written", None),
        ("summary: x\nhost:\n  pnig: 3\nsteps:\n- host.tclo: a\n", 3, "'pnig'", "ping"),
        ("summary: x\nhost:\n  ping: no\nsteps:\n- host.tclo: a\n", 3, "expected an integer", None),
        ("summary: x\nhost:\n  kind: xen\nsteps:\n- host.tclo: a\n", 3, "the string 'xen'", None),
        (
            "summary: x\nhost:\n  uuid: 3\nsteps:\n- host.tclo: a\n",
            3,
            "expected a sequence of integers",
            None,
        ),
        ("summary: x\nguest:\n  hostnam: a\nsteps:\n- host.tclo: a\n", 3, "hostnam", "hostname"),
        ("summary: x\nduration: 5\nsteps:\n- at: 9\n  host.tclo: a\n", 2, "5 s is shorter", None),
        ("summary: x\nsteps:\n- expect.rpci: a\n  not: 3\n", 4, "true or false", None),
        ("- a\n", 1, "expected a mapping, not a sequence", None),
    ],
)  # fmt: skip
def test_error_has_line_and_meaning(text: str, line: int, message: str, hint: str | None) -> None:
    with pytest.raises(LocatedErrors) as caught:
        parse(parse_yaml(text, "test.yaml"))
    found = [p for p in caught.value.problems if message in p.message]
    assert found, str(caught.value)
    assert (found[0].path, found[0].line, found[0].hint) == ("test.yaml", line, hint)


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(LocatedErrors) as caught:
        made("- host.tclp: a\n- host.power: x\n- at: x\n  host.lose: all\n")
    assert [p.line for p in caught.value.problems] == [4, 5, 6]


# Times and order.


def test_steps_are_ordered_and_limits_have_defaults() -> None:
    scenario = made("- at: 2\n  host.tclo: a\n- expect.rpci: b\n- after: 1.5\n  host.tclo: c\n")
    times = [(step.verb, step.at, step.within) for step in scenario.steps]
    assert times == [
        ("host.tclo", 2 * 10**9, 0),
        ("expect.rpci", 2 * 10**9, 5 * 10**9),
        ("host.tclo", 3_500_000_000, 0),
    ]
    assert scenario.duration == 8 * 10**9
    assert scenario.steps[1].place == "test.yaml:6"


def test_every_verb_has_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(verb.text for verb in VERBS.values())
    assert set(VERBS) == set(ACTIONS) | set(EXPECTATIONS)
    assert cli.main(["scenarios", "--verbs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(VERBS)
    keys = {row["name"]: row["argument"] for row in rows}
    assert keys["expect.event"] == "a mapping with the keys script, name, driver, times"
    assert cli.main(["scenarios", "--verbs"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name}: " in printed for name in VERBS)


# Expectations can fail, with a reason.


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("- expect.rpci: no.such*\n", "no RPCI command 'no.such*' between 0.000 s and 5.000 s"),
        ("- expect.rpci: tools*\n  not: true\n", "RPCI command 'tools*' occurred unexpectedly"),
        ("- expect.reply: {message: reset, reply: NO}\n", "there was 'reset' -> 'OK ATR toolbox'"),
        ("- expect.rpci: {request: tools.set*, times: 2}\n", "no RPCI command"),
        ("- expect.event: {script: power_button}\n", "no power event with 'power_button'"),
        ("- expect.console: hello\n", "no console line 'hello'"),
        ("- expect.fault: checkpoint\n", "no fault 'checkpoint'"),
        ("- expect.trace: {kind: tools, running: false}\n", "no event with"),
        ("- expect.sysctl: {machdep.vmt0.clock_sync.period: 61}\n", "is not 61: it is 60"),
        ("- expect.sysctl: {machdep.vmt0.clock_sync.period: 60}\n  not: true\n", "is 60"),
    ],
)
def test_unmet_expectation_fails_at_its_line(steps: str, message: str) -> None:
    failures = played(steps)
    assert len(failures) == 1
    assert failures[0].startswith("test.yaml:4: expect.")
    assert message in failures[0]


@pytest.mark.parametrize(
    "steps",
    [
        "- expect.rpci: tools.set.version 2147483647\n",
        "- expect.rpci: nothing\n  not: true\n",
        "- expect.trace: {kind: tools, running: true}\n",
        "- at: 3\n  host.power: reboot\n- expect.event: {script: reset_button, name: pressed}\n",
        "- at: 3\n  guest.sysctl: {a: 5}\n- expect.sysctl: {a: 5}\n",
        (
            "- at: 3\n  host.guestinfo: {a: b}\n  \n- host.fault: checkpoint\n- host.tclo: ping\n"
            "- expect.fault: checkpoint\n- expect.reply: ping\n"
        ),
        "- at: 3\n  host.synctime: true\n- expect.reply: Set_Option synctime 1\n",
        "- at: 3\n  host.close: tclo\n- expect.trace: {kind: tclo.bound}\n",
        (
            "- at: 3\n  host.migrate: true\n- host.checkpoint: true\n- host.revert: 60\n"
            "- host.clock: {set: 1000, lag_us: 5}\n"
            "- expect.trace: {kind: host.clock, action: set}\n"
        ),
    ],
)
def test_met_expectation_is_no_failure(steps: str) -> None:
    assert played(steps) == []


def test_fact_has_value_at_start_of_expectation() -> None:
    steps = """
- expect.rpci: "SetGuestInfo  1 ${hostname}"
- at: 10
  guest.hostname: other.example
- at: 11
  host.lose: tclo
- expect.rpci: "SetGuestInfo  1 ${hostname}"
  within: 40
"""
    guest = PythonGuest(made(steps))
    assert guest.play() == []
    requests = [event["request"] for event in guest.trace.events if event.kind == "rpci"]
    assert b"SetGuestInfo  1 other.example" in requests


def test_expectation_that_stage_cannot_judge_is_skipped() -> None:
    steps = """
- expect.rpci: "SetGuestInfo  1 ${hostname}"
- expect.rpci: "info-set guestinfo.ip ${address6}"
- guest.detach: vmt0
- expect.console: "vmt0: detached"
- expect.event: {script: power_button}
  not: true
- host.tclo: ping
- expect.reply: ping
"""

    class PartialGuest(PythonGuest):
        def unable(self, step: Step) -> str:
            return "done inside" if step.verb.startswith("guest.") else ""

    guest = PartialGuest(made(steps))
    assert guest.play() == []
    assert [(each.verb, each.reason) for each in guest.run_of.skipped_steps] == [
        ("guest.detach", "done inside"),
        ("expect.console", "guest.detach was skipped before it"),
        ("expect.event", "guest.detach was skipped before it"),
        ("expect.rpci", "not known here: the first IPv6 address that is not link-local"),
    ]
    assert (guest.run_of.judged, guest.run_of.expected) == (2, 5)


def test_unknown_fact_is_refused_at_its_line() -> None:
    with pytest.raises(LocatedErrors, match=r"test.yaml:4.*hostnam.*hostname"):
        made('- expect.rpci: "SetGuestInfo  1 ${hostnam}"\n')
    with pytest.raises(LocatedErrors, match=r"test.yaml:4.*not a fact"):
        made('- expect.trace: {kind: guestinfo, value: "${}"}\n')


def test_fault_none_ends_all_faults() -> None:
    guest = PythonGuest(made("- host.fault: checkpoint\n- host.fault: none\n"))
    guest.host.faults.set_plan({"table-full": (1, 1)})
    guest.run_of.advance()
    assert guest.host.faults.armed == ()
    assert not guest.host.faults.enabled


def test_unreached_steps_are_reported() -> None:
    guest = PythonGuest(made("- at: 50\n  host.tclo: ping\n"))
    guest.until = 10**9
    assert "never reached" in str(guest.play()[0])


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("abc", b"abc", True),
        ("abc", b"abc\0", True),
        ("abc", b"abcd", False),
        ("a*c", "a.b.c", True),
        ("*", b"", True),
        ("a.c", "abc", False),
        ("\\x01*", b"\1\2", True),
        ("5", 5, True),
    ],
)
def test_asterisk_matches_anything(pattern: str, value: Any, fits: bool) -> None:
    assert Pattern(pattern).matches(value) is fits
