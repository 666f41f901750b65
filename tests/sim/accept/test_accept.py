"""One complete run of `vmtsim accept` in stock QEMU, and its comparison with the simulation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from acceptrun import Run, run
from vmtgen.common.dataclass import replace
from vmtsim.accept.compare import compare, messages
from vmtsim.core.trace import Event, read_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guestkit import Guest

HEAD = "host: {option_burst: [], power_on: false, broadcast_ip: 0, ping: 0}\n"
# Everything that a scenario can check: the conversation, a power event, a node, the
# console, a fact of the guest, and what only the simulated kernel shows.
WHOLE = f"""summary: attach, a ping, halt, detach and attach again
{HEAD}guest: {{hostname: accept.example}}
steps:
  - expect.reply: {{message: reset, reply: OK ATR toolbox}}
  - expect.rpci: "SetGuestInfo  1 ${{hostname}}"
  - expect.trace: {{kind: clock.step}}
  - at: 2.0
    host.tclo: ping
  - expect.reply: {{message: ping, reply: "OK "}}
  - at: 3.0
    host.power: halt
  - expect.rpci: tools.os.statechange.status 1 1
  - expect.event: {{script: power_button, name: pressed, driver: vmt0}}
  - at: 4.0
    expect.sysctl: {{machdep.vmt0.stats.refused: 0}}
  - at: 5.0
    guest.detach: vmt0
  - expect.trace: {{kind: guest.done, verb: detach, result: "0"}}
  - expect.console: "vmt0: detached"
  - at: 7.0
    guest.detach: vmt0
  - expect.trace: {{kind: guest.done, verb: detach, result: "ENXIO (6)"}}
    within: 2
  - at: 8.0
    guest.rescan: cpu0
  - expect.reply: {{message: reset, reply: OK ATR toolbox}}
    within: 2
duration: 11
"""
# Three of four expectations are of the simulated kernel alone.  The driver has sent everything long
# before the end: a slow guest would otherwise lack the last message, which is a difference.
HIDDEN = f"""summary: what cannot be seen from outside
{HEAD}steps:
  - expect.reply: {{message: reset, reply: OK ATR toolbox}}
    within: 1
  - expect.trace: {{kind: clock.step}}
    within: 1
  - expect.trace: {{kind: sync}}
    not: true
    within: 1
  - expect.trace: {{kind: clock.slew}}
    not: true
    within: 1
duration: 8
"""
FAILS = f"""summary: what this guest does not do
{HEAD}steps:
  - expect.rpci: tools.os.statechange.status 1 1
    within: 0.1
duration: 1
"""
CRASHES = f"""summary: the guest panics when the device is detached
{HEAD}steps:
  - expect.reply: {{message: reset, reply: OK ATR toolbox}}
  - at: 2.0
    guest.detach: vmt0
duration: 5
"""


@pytest.fixture(scope="module")
def accept(
    guest_image: Guest,
    guest_qemu: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Run]:
    """A function that runs it with scenarios, given as name=text."""
    return partial(run, guest_image, guest_qemu, tmp_path_factory)


@pytest.fixture(scope="module")
def whole(accept: Callable[..., Run]) -> Run:
    """The run that most tests check."""
    return accept("shell", "walk", "power-off", whole=WHOLE, hidden=HIDDEN, fails=FAILS)


def test_guest_with_all_features_is_ok(whole: Run) -> None:
    scenario = whole.scenario("whole")
    assert scenario["verdict"] == "ok", scenario
    assert scenario["expectations"] == {"all": 11, "judged": 10}
    assert [(each["verb"], each["reason"]) for each in scenario["skipped_steps"]] == [
        ("expect.trace", "events 'clock.step' are visible only in the simulated kernel")
    ]
    states = {name: each["state"] for name, each in scenario["properties"].items()}
    assert states.pop("the kernel's rules are kept") == "not judged"
    assert set(states.values()) == {"held"}
    assert scenario["compared"]
    assert scenario["differences"] == []


def test_administrator_steps_are_run(whole: Run) -> None:
    scenario = whole.scenario("walk")
    assert scenario["verdict"] == "ok", scenario
    states = {name: each["state"] for name, each in scenario["properties"].items()}
    for name in ("the device attaches", "the host accepts a message", "no message failed"):
        assert states[name] == "held"
    assert states["detach: the device detaches"] == states["rescan: it attaches again"] == "held"
    assert states["vmtctl does the same steps"] == "not judged"  # there is no Python
    assert not scenario["compared"]


def test_guest_shuts_down_at_the_end(whole: Run) -> None:
    scenario = whole.scenario("power-off")
    assert scenario["verdict"] == "ok", scenario
    assert scenario["properties"]["the guest powers off"]["state"] == "held"
    assert "syncing disks... done" in (whole.folder / "console.log").read_text()


def test_fewer_than_half_judged_is_not_ok(whole: Run) -> None:
    scenario = whole.scenario("hidden")
    assert scenario["verdict"] == "not judged"
    assert scenario["expectations"] == {"all": 4, "judged": 1}


def test_unmet_expectation_is_failure(whole: Run) -> None:
    scenario = whole.scenario("fails")
    assert scenario["verdict"] == "FAILED"
    assert any("no RPCI command" in text for text in scenario["findings"])
    assert whole.status == 1


def test_run_prints_progress_and_result(whole: Run) -> None:
    for part in (
        "boot loader: consdev com0, boot",
        "login as root",
        "the guest has a root shell",
        "whole: in the simulator",
        "whole: on the guest, 11 s",
        "verdict  NOT OK",
    ):
        assert part in whole.printed


def test_report_has_both_conversations_without_password(whole: Run) -> None:
    page = (whole.folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 6  # two for each of three scenarios
    assert "SetGuestInfo  1 accept.example" in page
    assert "QEMU emulator version" in page
    assert (whole.folder / "whole.real.jsonl").is_file()
    for path in whole.folder.iterdir():
        assert "sesame" not in path.read_text(encoding="utf-8", errors="replace"), path
    assert "sesame" not in whole.printed


def _sides(whole: Run) -> tuple[list[Event], list[Event]]:
    sides = [list(read_events(whole.folder / f"whole.{side}.jsonl")) for side in SIDES]
    return sides[0], sides[1]


SIDES = ("simulated", "real")
Plant = "Callable[[list[Event]], list[Event]]"


def _index_of(events: list[Event], text: str) -> int:
    return next(
        index
        for index, event in enumerate(events)
        if event.kind == "rpci" and str(event["request"]).startswith(text)
    )


def _without(events: list[Event]) -> list[Event]:
    index = _index_of(events, "tools.set.version")
    return [*events[:index], *events[index + 1 :]]


def _twice(events: list[Event]) -> list[Event]:
    index = _index_of(events, "tools.capability.statechange")
    return [*events[: index + 1], *events[index:]]


def _another_value(events: list[Event]) -> list[Event]:
    index = _index_of(events, "SetGuestInfo  1 ")
    fields = dict(events[index].fields) | {"request": "SetGuestInfo  1 planted.example"}
    return [*events[:index], replace(events[index], fields=fields), *events[index + 1 :]]


def _another_order(events: list[Event]) -> list[Event]:
    one, other = _index_of(events, "vmx.capability"), _index_of(events, "SetGuestInfo  1 ")
    changed = list(events)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def _another_answer(events: list[Event]) -> list[Event]:
    index = next(i for i, e in enumerate(events) if e.kind == "tclo.reply")
    fields = dict(events[index].fields) | {"reply": "ERROR planted"}
    return [*events[:index], replace(events[index], fields=fields), *events[index + 1 :]]


def _never_the_uptime(events: list[Event]) -> list[Event]:
    return [
        event
        for event in events
        if event.kind != "rpci" or not str(event["request"]).startswith("SetGuestInfo  7 ")
    ]


PLANTS = (_without, _twice, _another_value, _another_order, _another_answer, _never_the_uptime)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("plant", PLANTS)
def test_planted_difference_is_found_on_either_side(
    whole: Run, plant: Callable[[list[Event]], list[Event]], side: str
) -> None:
    simulated, real = _sides(whole)
    release = "11.0"
    plain = compare(messages(simulated, release=release), messages(real, release=release))
    assert plain.differences == ()
    if side == "simulated":
        simulated = plant(simulated)
    else:
        real = plant(real)
    found = compare(messages(simulated, release=release), messages(real, release=release))
    assert found.differences


def test_periodic_messages_may_be_more_frequent_but_not_absent() -> None:
    def requested(*requests: str) -> list[Event]:
        return [
            Event(n, n, "rpci", {"request": request, "reply": "1 ", "ok": True})
            for n, request in enumerate(requests)
        ]

    alive, done = "vmbackup.eventSet req.keepAlive 0 ", "vmbackup.eventSet req.done 0 "
    often = messages(requested(alive, alive, done))
    assert compare(messages(requested(alive, done)), often).differences == ()
    assert [each.kind for each in compare(messages(requested(done)), often).differences] == [
        "real only"
    ]


def test_variable_values_are_marked_without_finding(whole: Run) -> None:
    simulated, real = _sides(whole)
    other = []
    for event in real:
        fields = dict(event.fields)
        if event.kind == "rpci" and str(fields["request"]).startswith("SetGuestInfo  7 "):
            fields["request"] = "SetGuestInfo  7 99999"
        other.append(replace(event, at=event.at + 123_456_789, fields=fields))
    found = compare(messages(simulated), messages(other))
    assert found.differences == ()
    assert any(row.marked == "place, uptime" for row in found.rows)


def test_panic_ends_scenario_with_report(accept: Callable[..., Run]) -> None:
    run = accept("shell,crash", crashes=CRASHES)
    scenario = run.scenario("crashes")
    assert run.status == 3
    assert scenario["verdict"] == "CRASHED"
    assert 'assertion "detached" failed' in scenario["crash"]
    assert "breakpoint() at netbsd:breakpoint" in scenario["crash"]
    assert scenario["properties"]["the kernel's rules are kept"]["state"] == "broken"
