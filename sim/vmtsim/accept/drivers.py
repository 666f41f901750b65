"""The drivers that ``vmtsim accept`` knows: their scenarios, and the steps of their walkthrough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.accept import walk
from vmtsim.accept.guest import failure
from vmtsim.accept.walk import Step
from vmtsim.host import HostOptions
from vmtsim.host.options import NANOSECONDS
from vmtsim.scenario import script
from vmtsim.scenario.expect import Pattern
from vmtsim.scenario.script import Scenario
from vmtsim.scenario.script import Step as ScenarioStep

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.accept.walk import Walk

_QUIET = HostOptions(option_burst=(), power_on=False, ping=0, vix_probe=0)
_ANSWER = 20.0
_ERRORS = ("send_errors", "receive_errors", "refused")

# The host's options during the walkthrough; it has no steps of its own.
WALK = Scenario(walk.NAME, walk.SUMMARY, NANOSECONDS, _QUIET, ())

# The last request to a guest: its own powerd scripts shut it down.
POWER_OFF = Scenario(
    name="power-off",
    summary="The host requests a shutdown; the guest's own scripts run, and it powers off",
    duration=400 * NANOSECONDS,
    host=_QUIET,
    steps=(
        ScenarioStep(
            0,
            "expect.rpci",
            {"request": Pattern("tools.capability.statechange*")},
            "power-off",
            within=10 * NANOSECONDS,
        ),
        ScenarioStep(5 * NANOSECONDS, "host.power", {"operation": "halt"}, "power-off"),
        ScenarioStep(
            5 * NANOSECONDS,
            "expect.rpci",
            {"request": Pattern("tools.os.statechange.status 1 1")},
            "power-off",
            within=10 * NANOSECONDS,
        ),
    ),
)


@dataclass(frozen=True)
class Driver:
    """A driver: the name of its module and, with a unit, of its device.

    ``default`` are the names of what runs without --scenario, ``extras`` the scenarios that are
    made here and not compared.
    """

    name: str
    default: tuple[str, ...]
    extras: tuple[Scenario, ...]
    steps: tuple[Step, ...]

    @property
    def file(self) -> str:
        """The name of its module's file."""
        return f"{self.name}.kmod"

    def scenarios(self) -> dict[str, Path]:
        """Return the files of its scenarios, by name."""
        return script.shipped(self.name)


# vmt(4).


def _host(guest: Walk) -> None:
    uuid = guest.node("uuid")
    guest.note("the host's UUID is available", uuid.count("-") == 4, f"it is {uuid!r}")
    sent = guest.guest.call("rpc", "log vmtsim accept was here")
    good = sent.ok and " ok 1" in sent.output
    guest.note("the host accepts a message", good, sent.output[-200:] or failure(sent))


def _clock(guest: Walk) -> None:
    found = guest.until(_ANSWER, lambda: guest.node("clock_sync.state") != "")
    state = guest.node("clock_sync.state")
    good = found and not state.startswith("off")
    guest.note("the clock follows the host", good, f"its state is {state!r}")


def _counters(guest: Walk) -> None:
    wrong = {name: guest.node(f"stats.{name}") for name in _ERRORS}
    shown = ", ".join(f"{name} {value or 'unknown'}" for name, value in wrong.items())
    guest.note("no message failed", all(v == "0" for v in wrong.values()), shown)


def _leave_by_vmtctl(guest: Walk) -> None:
    for verb, there in (("detach", False), ("attach", True)):
        done = guest.vmtctl(verb)
        good = done.ok and guest.is_there(there=there)
        guest.note(f"vmtctl {verb}", good, done.output[-300:])


def _period_by_vmtctl(guest: Walk) -> None:
    done = guest.vmtctl("clock", "30")
    period = guest.node("clock_sync.period")
    guest.note("vmtctl clock 30", done.ok and period == "30", f"{done.output} {period}"[-300:])


# vmmemctl(4).


def _polls(guest: Walk) -> None:
    found = guest.until(_ANSWER, lambda: guest.node("stats.polls") not in {"", "0"})
    state = guest.node("state")
    guest.note("the balloon polls its host", found, f"its state is {state!r}")


def _target(guest: Walk) -> None:
    read = {name: guest.node(name) for name in ("target", "size")}
    shown = ", ".join(f"{name} {value or 'unknown'}" for name, value in read.items())
    guest.note("target and size are numbers", all(v.isdigit() for v in read.values()), shown)


def _floor(guest: Walk) -> None:
    before = guest.node("floor")
    for value in ("33" if before == "32" else "32", before):
        guest.guest.call("sysctl", f"machdep.{guest.device}.floor={value}")
        now = guest.node("floor")
        if now != value:
            guest.note("the floor can be set", False, f"set to {value}, it is {now!r}")
            return
    guest.note("the floor can be set", bool(before))


_ALL = (
    Driver(
        "vmt",
        (
            walk.NAME,
            "boot-to-halt",
            "detach-attach",
            "reboot",
            "lost-channel",
            "checkpoint",
            "no-high-bandwidth",
            "check_os_fullname",
            "backup",
            POWER_OFF.name,
        ),
        (WALK, POWER_OFF),
        (
            Step(_host),
            Step(_clock),
            Step(_counters),
            Step(_leave_by_vmtctl, vmtctl=True),
            Step(_period_by_vmtctl, vmtctl=True),
        ),
    ),
    Driver(
        "vmmemctl",
        (walk.NAME, "balloon", "balloon-trouble"),
        (WALK,),
        (Step(_polls), Step(_target), Step(_floor)),
    ),
)
DRIVERS = {driver.name: driver for driver in _ALL}
DEFAULT = _ALL[0]
