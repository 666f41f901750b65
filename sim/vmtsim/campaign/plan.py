"""The plan of a seed: the host's options, the odds of its faults, and all actions with their times.

A run has two phases.  In the first anything may fail, and safety must hold: the rules of the kernel
and of the protocol.  In the second no faults are injected, and the driver has to recover: it
answers, survives one more lost channel, resends everything, and accepts a request to halt.  The
design is that of TigerBeetle's VOPR; swarms of faults are from Groce et al., "Swarm Testing"
(2012).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from vmtgen.common.dataclass import dataclass

from vmtsim.campaign import driverplan
from vmtsim.campaign.actions import Action, actions
from vmtsim.core.rng import Rng
from vmtsim.host.faults import FAULTS
from vmtsim.host.options import (
    NANOSECONDS,
    OPTION_BURST,
    Age,
    HostOptions,
    NulTerminated,
    SecondClient,
)
from vmtsim.scenario.expect import Pattern
from vmtsim.scenario.guest import GuestSettings
from vmtsim.scenario.script import Phase, Scenario, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.campaign.subject import Subject
    from vmtsim.run.survey import Survey

# Odds per ten thousand, at each opportunity of a fault.
_ODDS = (5, 10, 20, 50, 100, 200, 500)
# The kernel's own faults, by the name under which they are counted.
KERNEL_FAULTS: Mapping[str, str] = {
    "no-memory": "kmem_alloc with KM_NOSLEEP finds no memory",
}
ALL_FAULTS = (*FAULTS, *KERNEL_FAULTS)

_CPUS = 4  # processors that a seed draws at most
# Seconds of the second phase: see ``_liveness``.
_SECOND_PHASE = 160
LAST_ACTIONS = ("unload", "unload", "unload", "shutdown", "no-powerd")


@dataclass(frozen=True)
class Plan:
    """A run as drawn: times in virtual nanoseconds, odds as (numerator, denominator).

    ``actions`` is how many of the scenario's steps, from the first on, may be omitted when a
    failure is reduced; the steps after them are the second phase.
    """

    seed: int
    builtin: bool
    scenario: Scenario
    odds: Mapping[str, tuple[int, int]]
    actions: int
    second_phase: int
    last_action: str


def draw(
    seed: int, subject: Subject, *, builtin: bool | None = None, cpus: int | None = None
) -> Plan:
    """Return the plan of ``seed`` for a driver.

    ``builtin`` overrides the kind of kernel that the seed draws, ``cpus`` how many processors.
    """
    if subject.vmware:
        return _of_vmware(seed, subject.survey, builtin=builtin, cpus=cpus)
    return _of_driver(seed, subject, builtin=bool(builtin), cpus=cpus)


def _of_driver(seed: int, subject: Subject, *, builtin: bool, cpus: int | None) -> Plan:
    """Draw the plan of a driver without a host."""
    rng = Rng(seed).fork("driver")
    second = (driverplan.FIRST_PHASE + rng.below(driverplan.MORE)) * NANOSECONDS
    drawn, opened = driverplan.first_phase(subject, rng.fork("actions"), second)
    odds = rng.fork("odds")
    memory = {name: (odds.choice(_ODDS), 10_000) for name in KERNEL_FAULTS if odds.chance(1, 2)}
    return Plan(
        seed=seed,
        builtin=builtin,
        scenario=Scenario(
            name=f"driver {seed}",
            summary="",
            duration=second + driverplan.length(subject) * NANOSECONDS,
            host=driverplan.host(subject, rng.fork("host")),
            guest=GuestSettings(cpus=cpus or rng.fork("cpus").between(1, _CPUS)),
            steps=(*drawn, *driverplan.second_phase(subject, second, opened)),
        ),
        odds=memory,
        actions=len(drawn),
        second_phase=second,
        last_action="unload",
    )


def _of_vmware(seed: int, survey: Survey, *, builtin: bool | None, cpus: int | None) -> Plan:
    """Draw the plan of a VMware Tools driver."""
    rng = Rng(seed).fork("campaign")
    odds = _swarm(rng.fork("odds"))
    second = (480 + rng.below(120)) * NANOSECONDS
    drawn_builtin = rng.chance(1, 4)
    drawn = _actions(rng.fork("actions"), second, survey)
    last_action = rng.choice(LAST_ACTIONS)
    steps = (*drawn, *_liveness(second, last_action, survey))
    return Plan(
        seed=seed,
        builtin=drawn_builtin if builtin is None else builtin,
        scenario=Scenario(
            name=f"swarm {seed}",
            summary="",
            duration=second + _SECOND_PHASE * NANOSECONDS,
            host=_host(rng.fork("host")),
            steps=steps,
            guest=GuestSettings(
                hostname=f"guest{rng.below(1000)}.example",
                net_mpsafe=rng.fork("kernel").chance(1, 4),
                cpus=cpus or rng.fork("cpus").between(1, _CPUS),
            ),
        ),
        odds=odds,
        actions=len(drawn),
        second_phase=second,
        last_action=last_action,
    )


def _swarm(rng: Rng) -> dict[str, tuple[int, int]]:
    """Draw the odds of each fault: absent in half of the runs, in some runs frequent."""
    # A few runs have no faults, for the code that runs only without them.
    presence = rng.choice((1, 4, 4, 4, 6))
    drawn = {name: (rng.chance(presence, 8), rng.choice(_ODDS)) for name in sorted(ALL_FAULTS)}
    return {name: (odds, 10_000) for name, (present, odds) in drawn.items() if present}


def _host(rng: Rng) -> HostOptions:
    """Draw the host's options."""
    return HostOptions(
        high_bandwidth=rng.chance(3, 4),
        channels=rng.choice((4, 8, 128, 128)),
        drift_ppm=rng.choice((0, 0, -200, 50, 500)),
        max_lag_us=rng.choice((0, 10_000, 1_000_000)),
        interrupt_lag_us=rng.choice((0, 0, 3_000)),
        time_commands=rng.choice(((23, 46, 55), (23, 46, 55), (23, 46), ())),
        synctime=rng.chance(1, 3),
        option_burst=OPTION_BURST if rng.chance(3, 4) else (),
        broadcast_ip=rng.choice((0, 5, 30)),
        ping=rng.choice((0, 15, 60)),
        vix_probe=rng.choice((0, 23)),
        nul_terminated=rng.choice(get_args(NulTerminated)),
        age=rng.choice(get_args(Age)),
        second_client=rng.choice(get_args(SecondClient)),
        setinfo=not rng.chance(1, 8),
        # The campaign's powerd does nothing when a button is pressed: a host that waits for the
        # guest to restart would never send another request.
        power_pending=False,
        unknown_commands=frozenset({"tools.set.versiontype"} if rng.chance(1, 4) else ()),
        unknown_guestinfo_keys=frozenset(key for key in (9, 10, 11) if rng.chance(1, 4)),
        # Like the QEMU emulation: slots that a confused host forgot become free again.  Otherwise a
        # small table fills up.
        idle_close=rng.choice((20, 40)),
        scramble=rng.chance(1, 2),
    )


def _step(at: int, verb: str, argument: Any, phase: Phase, within: int = 0) -> Step:
    return Step(at, verb, argument, phase.value, within * NANOSECONDS, phase=phase)


def _actions(rng: Rng, end: int, survey: Survey) -> tuple[Step, ...]:
    """Draw the actions of operator and administrator in the first phase, in order of time."""
    known = actions(survey.device)
    kinds = sorted(known)
    chosen = [name for name in kinds if rng.chance(1, 2)]
    steps: list[Step] = []
    for name in chosen:
        action: Action = known[name]
        for _ in range(rng.between(1, action.most)):
            at = (2 + rng.below(end // NANOSECONDS - 4)) * NANOSECONDS + rng.below(NANOSECONDS)
            steps += [
                _step(at, verb, argument, Phase.SAFETY) for verb, argument in action.draw(rng)
            ]
    for _ in range(rng.between(1, 3)):
        steps += _round_trip(rng, end, survey)
    return tuple(sorted(steps, key=lambda step: step.at))


def _round_trip(rng: Rng, end: int, survey: Survey) -> list[Step]:
    """Draw a detach and an attach, with load while the driver detaches."""
    at = (5 + rng.below(end // NANOSECONDS - 60)) * NANOSECONDS + rng.below(NANOSECONDS)
    back = at + rng.choice((1_000_000, 50_000_000, NANOSECONDS, 20 * NANOSECONDS))
    steps = []
    known = actions(survey.device)
    busy = sorted(name for name, action in known.items() if action.load)
    for _ in range(rng.below(6)):
        name = rng.choice(busy)
        when = max(at - 100_000_000 + rng.below(150_000_000), 0)
        steps += [_step(when, verb, arg, Phase.SAFETY) for verb, arg in known[name].draw(rng)]
    if rng.chance(1, 4):
        steps += [
            _step(at, "guest.unload", survey.module, Phase.SAFETY),
            _step(back, "guest.load", None, Phase.SAFETY),
        ]
    else:
        steps.append(_step(at, "guest.detach", survey.device, Phase.SAFETY))
        steps.append(_step(back, "guest.rescan", _parent(survey), Phase.SAFETY))
    return steps


def _parent(survey: Survey) -> str:
    """Return the bus of the driver: cpu0 if the survey found none."""
    return survey.devices[0][1] if survey.devices else "cpu0"


def _liveness(start: int, last_action: str, survey: Survey) -> tuple[Step, ...]:
    """Return the second phase: the steps that restore everything, the expectations, and the end."""

    def at(seconds: float) -> int:
        return start + round(seconds * NANOSECONDS)

    def step(seconds: float, verb: str, argument: Any, within: int = 0) -> Step:
        return _step(at(seconds), verb, argument, Phase.LIVENESS, within)

    def reply(message: str, text: str) -> dict[str, Pattern]:
        return {"message": Pattern(message), "reply": Pattern(text)}

    resent = {"request": Pattern("SetGuestInfo  1 back.example")}
    accepted = {"request": Pattern("tools.os.statechange.status 1 1")}
    pressed = {"script": Pattern("power_button"), "name": Pattern("pressed")}
    steps = [
        step(0, "host.fault", {"none": {}}),
        step(0, "guest.powerd", True),
        step(0, "guest.load", None),
        step(0, "guest.hostname", "back.example"),
        # The kernel's own driver may have attached while the module was unloaded.
        step(1, "guest.detach", survey.device),
        # A detach waits for entropy_consolidate(9): the kernel's thread rests a second between two
        # rounds, and the driver may be in one and owe another.
        step(6, "guest.rescan", _parent(survey)),
        # Another client may hold the channel for 40 s, and a lost slot stays taken as long; the
        # driver's longest pause between two attempts is 30 s.
        step(80, "host.tclo", "ping"),
        step(80, "expect.reply", reply("ping", "OK "), 5),
        # Once more without faults: the driver must resend the information that it lost in a fault.
        step(90, "host.lose", "all"),
        step(90, "expect.reply", reply("reset", "OK ATR toolbox"), 45),
        step(90, "expect.reply", reply("Capabilities_Register", "OK "), 45),
        step(90, "expect.rpci", resent, 45),
        step(140, "host.power", {"operation": "halt"}),
        step(140, "expect.rpci", accepted, 5),
        step(140, "expect.event", pressed, 5),
    ]
    if last_action == "shutdown":
        steps.append(step(150, "guest.shutdown", True))
    elif last_action == "no-powerd":
        steps.append(step(150, "guest.powerd", False))
        steps.append(step(150.5, "host.power", {"operation": "halt"}))
    return tuple(steps)
