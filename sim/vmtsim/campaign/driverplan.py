"""The plan of a seed for a driver without a host: who opens, calls, detaches and unloads it when.

In the first phase processes open its devices and use them with random arguments, while an
administrator detaches, unloads, loads and configures it, memory runs out, and calls that may fail
do fail.  In the second the processes are interrupted, everything is closed, and the driver must be
as it was after its first load: it unloads, loads, attaches the same devices, and the same devices
can be opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.kobj.ioctls import IOC_IN, IOC_OUT, IOC_VOID, size_of

from vmtsim.host.options import NANOSECONDS, Balloon, HostOptions
from vmtsim.kernel.sysctltree import BOOL, STRING
from vmtsim.scenario.expect import Pattern
from vmtsim.scenario.script import Phase, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.campaign.subject import Subject
    from vmtsim.core.rng import Rng

FIRST_PHASE, MORE = 60, 60  # seconds, and up to this many more at random
_SECOND_PHASE = 12
_CALLS = 16  # maximum of one session
# Between two steps of a process: none, one between two kernel calls, a tick, a while.
_GAPS = (0, 0, 2_000, 300_000, 10_000_000, NANOSECONDS)
# Steps at the same time may run in any order; these are sequential.
_TOGETHER = 50_000
_UNITS = (0, 0, 0, 0, 0, 0, 0, 1, 2, 255)
_FLAGS = (["read", "write"], ["read", "write"], ["read"], ["write"], ["read", "write", "nonblock"])
_SIZES = (0, 1, 4, 64, 1024, 65_536)
_EVENTS = (0x1, 0x4, 0x5, 0x41, 0xFF)
_OFFSETS = (0, 4096, 1 << 20, 0xFFFF_F000, 1 << 40)
_NUMBERS = (0, 1, -1, 7, 255, 4096, 0x7FFF_FFFF, -0x8000_0000, 0x7FFF_FFFF_FFFF_FFFF)
_TEXTS = ("", "a", "0", "-1", "x" * 63, "y" * 64, "z" * 300, "w" * 5000)
_FREE = (0, 256, 8192, 40_960)  # bytes left under pressure
_PRESSED = (0.01, 0.5, 4.0)  # seconds: a longer wait is reported as a hang
_JUMPS = (0.4, -0.4, 3600.0, -3600.0)
_TARGETS = (0, 1, 127, 513, 5_000, 20_000, 100_000, 0x7FFF_FFFF)  # pages; a guest has 65,536
_KINDS: tuple[Balloon, ...] = ("old", "basic", "batched", "batched")
# In the second phase the balloon gets a target, and this many seconds to reach it.
_LAST_TARGET, _LAST_SECONDS = 300, 90
_FIRST_CALLS, _LATER_CALLS = 4, 12


def host(subject: Subject, rng: Rng) -> HostOptions:
    """Return a host that sends nothing and reports no violation; its kind of balloon is drawn."""
    return HostOptions(
        balloon=rng.choice(_KINDS) if subject.survey.balloon else "batched",
        option_burst=(),
        power_on=False,
        broadcast_ip=0,
        ping=0,
        vix_probe=0,
        foreign_access=True,
    )


class _Steps:
    """Draws the steps of the first phase."""

    def __init__(self, subject: Subject, rng: Rng, end: int) -> None:
        self._subject, self._rng, self._end = subject, rng, end
        self._sessions = 0
        self.steps: list[Step] = []
        self.opened: list[str] = []

    def step(self, at: int, verb: str, argument: Any) -> None:
        self.steps.append(Step(at, verb, argument, Phase.SAFETY.value, phase=Phase.SAFETY))

    def moment(self) -> int:
        """Return a time in the first phase, some seconds before its end."""
        seconds = self._end // NANOSECONDS - 8
        return NANOSECONDS + self._rng.below(seconds) * NANOSECONDS + self._rng.below(NANOSECONDS)

    def gap(self) -> int:
        return self._rng.choice(_GAPS)

    # -- processes -----------------------------------------------------------------------------

    def session(self, at: int) -> None:
        """Open a device, use it, and close it, or leave that to the second phase."""
        rng = self._rng
        self._sessions += 1
        name = f"p{self._sessions}"
        given = {
            "device": rng.choice(self._subject.survey.switches),
            "unit": rng.choice(_UNITS),
            "flags": rng.choice(_FLAGS),
            "name": name,
        }
        self.step(at, "guest.open", given)
        self.opened.append(name)
        calls: list[Callable[[str], tuple[str, Any]]] = [
            self._read, self._write, self._ioctl, self._ioctl, self._poll, self._mmap,
        ]  # fmt: skip
        for _ in range(rng.below(_CALLS + 1)):
            at += self.gap()
            if rng.chance(1, 5):
                self.step(at, "guest.fault", rng.choice((1, 1, 2)))
                at += _TOGETHER
            self.step(at, *rng.choice(calls)(name))
        if not rng.chance(1, 6):
            self.step(at + self.gap(), "guest.close", name)

    def _read(self, name: str) -> tuple[str, Any]:
        return "guest.read", {"name": name, "size": self._rng.choice(_SIZES)}

    def _write(self, name: str) -> tuple[str, Any]:
        text = self._rng.choice((*_TEXTS, *self._subject.texts, *self._subject.texts))
        return "guest.write", {"name": name, "text": text}

    def _poll(self, name: str) -> tuple[str, Any]:
        wait = self._rng.choice((0.0, 0.0, 0.1, 3.0))
        return "guest.poll", {"name": name, "events": self._rng.choice(_EVENTS), "wait": wait}

    def _mmap(self, name: str) -> tuple[str, Any]:
        return "guest.mmap", {"name": name, "offset": self._rng.choice(_OFFSETS)}

    def _ioctl(self, name: str) -> tuple[str, Any]:
        """Call ioctl with a known command, a similar one, or a random one."""
        rng, known = self._rng, self._subject.ioctls
        data: str | int = rng.choice(_NUMBERS)
        if known and rng.chance(3, 4):
            command, example = rng.choice(known)
            if rng.chance(1, 4):
                command ^= rng.choice((1, 2, 0x100, 0x10000, IOC_IN, IOC_OUT))
            elif example and rng.chance(1, 2):
                data = example
        else:
            direction = rng.choice((IOC_VOID, IOC_OUT, IOC_IN, IOC_OUT | IOC_IN))
            size = 0 if direction == IOC_VOID else rng.choice((4, 8, 64, 4096))
            command = direction | size << 16 | rng.between(0x41, 0x7A) << 8 | rng.below(64)
        if size_of(command) > 8 and rng.chance(1, 2):
            data = rng.bytes(min(size_of(command), 64)).decode("latin-1")
        return "guest.ioctl", {"name": name, "command": command & 0xFFFFFFFF, "data": data}

    # -- the administrator and the system --------------------------------------------------------

    def reload(self) -> None:
        """Unload and load again, with concurrent users, or with a call that fails."""
        rng, at = self._rng, self.moment()
        if self._subject.survey.switches and rng.chance(2, 3):
            for _ in range(rng.between(1, 3)):
                self.session(max(at - 5_000_000 + rng.below(10_000_000), 0))
        if rng.chance(1, 4):
            self.step(at, "guest.fault", rng.between(1, _FIRST_CALLS))
        self.step(at, "guest.unload", self._subject.survey.module)
        at += max(self.gap(), 1)
        if rng.chance(1, 2):
            self.step(at, "guest.fault", rng.between(1, _FIRST_CALLS))
        self.step(at + 1, "guest.load", None)
        self.step(at + NANOSECONDS, "guest.load", None)

    def detach(self) -> None:
        """Detach a device and rescan its parent."""
        rng, at = self._rng, self.moment()
        device, parent = rng.choice(self._subject.survey.devices)
        if self._subject.survey.switches and rng.chance(1, 2):
            self.session(max(at - 5_000_000 + rng.below(10_000_000), 0))
        self.step(at, "guest.detach", device)
        if parent:
            at += max(self.gap(), 1)
            if rng.chance(1, 3):
                self.step(at, "guest.fault", rng.between(1, _FIRST_CALLS))
            self.step(at, "guest.rescan", parent)

    def settings(self) -> None:
        """Set a node, and read all of them meanwhile."""
        rng, at = self._rng, self.moment()
        path, kind = rng.choice(self._subject.survey.settings)
        value: Any = rng.choice(_TEXTS) if kind == STRING else rng.choice(_NUMBERS)
        if kind == BOOL:
            value = rng.below(2)
        self.step(at, "guest.sysctl", {path: value})
        if rng.chance(1, 3):
            self.step(at, "guest.look", None)

    def users(self) -> None:
        """Let some processes use a device, most of them concurrently."""
        at = self.moment()
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            self.session(at)
            at += self.gap()

    def fail(self) -> None:
        """Make a call that may fail do so."""
        self.step(self.moment(), "guest.fault", self._rng.between(1, _LATER_CALLS))

    def pressure(self) -> None:
        """Leave almost no memory for a moment."""
        free, seconds = self._rng.choice(_FREE), self._rng.choice(_PRESSED)
        self.step(self.moment(), "guest.pressure", {"free": free, "seconds": seconds})

    def balloon(self) -> None:
        """Let the host request more or less memory, refuse it, be busy, or start over."""
        rng = self._rng
        order: dict[str, Any] = {"target": rng.choice(_TARGETS)}
        order |= rng.choice(({}, {}, {"refuse": rng.between(1, 40)}, {"busy": rng.between(1, 4)},
                             {"reset": True}))  # fmt: skip
        at = self.moment()
        self.step(at, "host.balloon", order)
        if rng.chance(1, 3):
            self.step(at + self.gap(), "guest.pressure", self._shortage())
        if rng.chance(1, 3):
            self.step(self.moment(), "guest.pressure", self._shortage())

    def _shortage(self) -> dict[str, Any]:
        """Draw how much memory is free and how much holds files while others have the rest."""
        rng = self._rng
        free = rng.choice((1 << 20, 60 << 20, 70 << 20))
        return {"free": free, "files": rng.choice((0, 20 << 20, 150 << 20)), "seconds": 20.0}

    def sleep(self) -> None:
        """Suspend and resume the machine."""
        at = self.moment()
        self.step(at, "guest.suspend", True)
        self.step(at + self.gap(), "guest.resume", True)

    def clock(self) -> None:
        """Step the guest's clock."""
        self.step(self.moment(), "guest.clock", self._rng.choice(_JUMPS))

    def interrupt(self) -> None:
        """Send every process a signal."""
        self.step(self.moment(), "guest.interrupt", True)


def first_phase(subject: Subject, rng: Rng, end: int) -> tuple[list[Step], list[str]]:
    """Return the steps until ``end`` (virtual ns) in order, and the names of opened devices.

    Each kind of action is absent in some seeds and frequent in others.
    """
    drawn = _Steps(subject, rng, end)
    kinds: Mapping[Callable[[], None], tuple[bool, int]] = {
        drawn.users: (bool(subject.survey.switches), 12),
        drawn.reload: (True, 4),
        drawn.detach: (bool(subject.survey.devices), 4),
        drawn.settings: (bool(subject.survey.settings), 6),
        drawn.fail: (True, 3),
        drawn.pressure: (True, 3),
        drawn.sleep: (True, 2),
        drawn.clock: (True, 2),
        drawn.interrupt: (bool(subject.survey.switches), 3),
    }
    for draw, (possible, most) in kinds.items():
        present, count = rng.chance(2, 3), rng.between(1, most)
        for _ in range(count if possible and present else 0):
            draw()
    # Whatever else a seed omits, the module is unloaded and loaded once.
    drawn.reload()
    for _ in range(rng.between(2, 8) if subject.survey.balloon else 0):
        drawn.balloon()
    return sorted(drawn.steps, key=lambda step: step.at), drawn.opened


def length(subject: Subject) -> int:
    """Return the length of the second phase in seconds."""
    return _SECOND_PHASE + (_LAST_SECONDS if subject.survey.balloon else 0)


def second_phase(subject: Subject, start: int, opened: list[str]) -> tuple[Step, ...]:
    """Return the steps that restore everything from ``start`` on, and the expectations."""
    found = subject.survey

    def step(seconds: float, verb: str, argument: Any, within: int = 0) -> Step:
        at = start + round(seconds * NANOSECONDS)
        return Step(at, verb, argument, Phase.LIVENESS.value, within * NANOSECONDS,
                    phase=Phase.LIVENESS)  # fmt: skip

    def done(seconds: float, verb: str, argument: Any) -> tuple[Step, Step]:
        """Add an action, and the expectation that it succeeds."""
        expected = {"kind": "guest.done", "verb": verb, "result": "0"}
        patterns = {name: Pattern(text) for name, text in expected.items()}
        return (
            step(seconds, f"guest.{verb}", argument),
            step(seconds, "expect.trace", patterns, 2),
        )

    steps = [
        step(0, "host.fault", {"none": {}}),
        step(0, "guest.fault", 0),
        step(0, "guest.interrupt", True),
        *(step(0.5, "guest.close", name) for name in opened),
        # Threads that a close woke up, or that went to sleep only now.
        step(1, "guest.interrupt", True),
        # The device may be present or not.
        step(5, "guest.load", None),
    ]
    if found.unload is None or found.error:
        return tuple(steps)
    if not found.unload:
        steps += done(6, "unload", found.module)
        steps += done(8, "load", None)
        steps += [
            step(8, "expect.trace", {"kind": Pattern("device.attach"), "device": Pattern(name)}, 2)
            for name, _parent in found.devices
        ]
    if found.balloon:
        size = Pattern(str(_LAST_TARGET))
        steps += [
            step(9, "host.balloon", {"target": _LAST_TARGET}),
            step(9, "expect.trace", {"kind": Pattern("balloon"), "size": size, "target": size},
                 _LAST_SECONDS),
        ]  # fmt: skip
    for number, name in enumerate(found.opens):
        last = f"last{number}"
        steps += done(10, "open", {"device": name, "name": last})
        steps.append(step(11, "guest.close", last))
    return tuple(steps)
