"""`vmtsim accept --driver vmmemctl` in stock QEMU: the simulated host serves the balloon's port."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import pytest
from acceptrun import Run, run
from vmtgen.common.dataclass import replace
from vmtsim.accept import drivers
from vmtsim.accept import guest as inside
from vmtsim.accept.compare import compare, messages
from vmtsim.core.trace import Event, read_events
from vmtsim.scenario import script
from vmtsim.verbs import accept

if TYPE_CHECKING:
    from pathlib import Path

    from guestkit import Guest
    from vmtsim.accept.shell import Result

HEAD = "host: {option_burst: [], power_on: false, broadcast_ip: 0, ping: 0, vix_probe: 0"
# Batches, which the host reads in the guest's physical memory; a reset, detach and attach.
BATCHES = f"""summary: the host takes memory, resets the balloon, and the device leaves and comes
{HEAD}}}
guest: {{sysctl: {{machdep.vmmemctl0.floor: 32}}}}
steps:
  - at: 1.0
    host.balloon: 300
  - at: 1.0
    expect.trace: {{kind: balloon, size: 300, target: 300}}
    within: 5
  - at: 6.0
    host.balloon: {{reset: true, target: 100}}
  - at: 6.0
    expect.trace: {{kind: balloon, size: 100, target: 100}}
    within: 5
  - at: 10.0
    expect.sysctl: {{machdep.vmmemctl0.size: 100, machdep.vmmemctl0.state: idle}}
  - at: 12.0
    guest.detach: vmmemctl0
  - expect.trace: {{kind: guest.done, verb: detach, result: "0"}}
  - at: 14.0
    guest.rescan: cpu0
  - expect.trace: {{kind: balloon, size: 100, target: 100}}
    within: 5
duration: 19
"""
SINGLE = f"""summary: single pages, one of which the host refuses
{HEAD}, balloon: basic}}
steps:
  - at: 1.0
    host.balloon: {{target: 100, refuse: 1}}
  - at: 1.0
    expect.trace: {{kind: balloon, size: 100, target: 100}}
    within: 11
  - at: 12.0
    expect.sysctl: {{machdep.vmmemctl0.stats.refused: 1}}
duration: 13
"""


@pytest.fixture(scope="module")
def played(
    balloon_image: Guest, balloon_qemu: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The run that most tests check."""
    return run(
        balloon_image, balloon_qemu, tmp_path_factory, "shell",
        driver="vmmemctl", batches=BATCHES, single=SINGLE,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "judged"), [("batches", 5), ("single", 2)])
def test_balloon_is_ok_on_the_guest(played: Run, name: str, judged: int) -> None:
    scenario = played.scenario(name)
    assert scenario["verdict"] == "ok", scenario
    assert scenario["expectations"] == {"all": judged, "judged": judged}
    states = played.states(name)
    assert states.pop("the kernel's rules are kept") == "not judged"
    assert set(states.values()) == {"held"}
    assert scenario["compared"]
    assert scenario["differences"] == []
    assert scenario["calls"] > 10


def test_administrator_steps_are_run_on_a_slow_guest(
    balloon_image: Guest,
    balloon_qemu: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walk's scenario is over before the rescan is, and waits for the steps."""
    call = inside.Guest.call

    def slow(guest: inside.Guest, *words: str, **how: float) -> Result:
        result = call(guest, *words, **how)
        if words[0] == "rescan":
            time.sleep(2 * drivers.WALK.duration / 1e9)
        return result

    monkeypatch.setattr(inside.Guest, "call", slow)
    walked = run(balloon_image, balloon_qemu, tmp_path_factory, "shell", "walk", driver="vmmemctl")
    assert walked.scenario("walk")["verdict"] == "ok"
    states = walked.states("walk")
    for name in (
        "the device attaches",
        "the balloon polls its host",
        "target and size are numbers",
        "the floor can be set",
        "detach: the device detaches",
        "rescan: it attaches again",
    ):
        assert states[name] == "held", name


def _never_full(events: list[Event]) -> list[Event]:
    return [each for each in events if each.kind != "balloon" or each["size"] != 300]


def _one_page_less(events: list[Event]) -> list[Event]:
    return [
        replace(each, fields=dict(each.fields) | {"size": 127})
        if each.kind == "balloon" and each["size"] == 128
        else each
        for each in events
    ]


def _without_reset(events: list[Event]) -> list[Event]:
    return [each for each in events if each.kind != "balloon.reset"]


@pytest.mark.parametrize("side", ["simulated", "real"])
@pytest.mark.parametrize("plant", [_never_full, _one_page_less, _without_reset])
def test_planted_difference_of_sizes_is_found(played: Run, plant: object, side: str) -> None:
    sides = {
        each: list(read_events(played.folder / f"batches.{each}.jsonl"))
        for each in ("simulated", "real")
    }
    assert compare(*(messages(events) for events in sides.values())).differences == ()
    sides[side] = plant(sides[side])  # type: ignore[operator]
    assert compare(*(messages(events) for events in sides.values())).differences


def test_every_driver_can_be_named() -> None:
    parser = argparse.ArgumentParser()
    accept.add_arguments(parser)
    for name in drivers.DRIVERS:
        assert parser.parse_args(["--driver", name]).driver == name
    assert parser.parse_args([]).driver == drivers.DEFAULT.name


def test_every_driver_has_its_default_scenarios() -> None:
    for driver in drivers.DRIVERS.values():
        known = {*driver.scenarios(), *(extra.name for extra in driver.extras)}
        assert set(driver.default) <= known, driver.name
        for path in driver.scenarios().values():
            assert script.load(path).summary
