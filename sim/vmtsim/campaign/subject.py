"""The subject of a campaign: a module, its properties, and what the user specified."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field
from vmtgen.kobj import read_module
from vmtgen.kobj.ioctls import ioctl_commands

from vmtsim.run.survey import Survey, survey
from vmtsim.scenario import script

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Words:
    """The data that a scenario sends to a driver: (command, data) of ioctls, and texts."""

    ioctls: tuple[tuple[int, str | int], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """The settings of a seed beside the module: ``vmtsim replay`` takes the same.

    ``builtin`` chooses the kernel and ``vmware`` whether there is a VMware host; None leaves the
    first to the seed and the second to the module.  ``scenario`` is the path of a scenario as it
    was given, and ``words`` its content, so that a worker on another machine needs no file;
    ``known_races`` and ``known`` are the same for a list of known races.

    ``cpus`` None leaves the processors to the seed.  ``races`` detects data races, and ``preempt``
    is the number of points at which a thread is preempted between two calls, in a second run of
    each seed whose first run found nothing.  ``store_buffers`` delays a processor's stores to
    others.
    """

    builtin: bool | None = None
    vmware: bool | None = None
    scenario: str = ""
    words: Words = field(default_factory=Words)
    cpus: int | None = None
    races: bool = False
    known_races: str = ""
    known: frozenset[str] = frozenset()
    preempt: int = 0
    store_buffers: bool = False

    @property
    def options(self) -> list[str]:
        """The equivalent options of ``vmtsim replay``."""
        options = []
        if self.builtin is not None:
            options += ["--kernel", "builtin" if self.builtin else "plain"]
        if self.vmware is not None:
            options += ["--host", "vmware" if self.vmware else "none"]
        if self.scenario:
            options += ["--scenario", self.scenario]
        if self.cpus is not None:
            options += ["--cpus", str(self.cpus)]
        if self.races:
            options += ["--races"]
        if self.known_races:
            options += ["--known-races", self.known_races]
        if self.preempt:
            options += ["--preempt", str(self.preempt)]
        if self.store_buffers:
            options += ["--store-buffers"]
        return options


@dataclass(frozen=True)
class Subject:
    """The driver under test: its survey, whether there is a VMware host, and the known ioctls."""

    survey: Survey
    vmware: bool
    ioctls: tuple[tuple[int, str | int], ...] = ()
    texts: tuple[str, ...] = ()

    def described(self) -> str:
        """Return a description in one line."""
        found = self.survey
        if self.vmware:
            return f"a VMware Tools driver, {found.device}"
        parts = [f"{name} at {parent}" if parent else name for name, parent in found.devices]
        parts += [f"/dev/{name}" for name in found.switches]
        if self.ioctls:
            parts.append(_many(len(self.ioctls), "ioctl command"))
        if found.settings:
            parts.append(_many(len(found.settings), "sysctl node") + " to set")
        return f"a driver without a host: {', '.join(parts) or 'no device'}"


def subject_of(module: Path, setup: Setup) -> Subject:
    """Return the driver in the file ``module`` and its properties.

    Raises OSError, and vmtgen.kobj.KobjError if it is not a module.
    """
    found = survey(module)
    vmware = found.vmware if setup.vmware is None else setup.vmware
    if vmware:
        return Subject(found, vmware)
    given = setup.words.ioctls
    known = {command for command, _data in given}
    of_code = tuple((number, 0) for number in _commands(module) if number not in known)
    # Constants of a compiler may look like commands: those of a module without a device that can be
    # opened are of no use.
    return Subject(found, vmware, (*given, *(of_code if found.switches else ())), setup.words.texts)


def _commands(module: Path) -> tuple[int, ...]:
    status = module.stat()
    return _commands_of(module, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _commands_of(module: Path, _changed: int, _size: int) -> tuple[int, ...]:
    return ioctl_commands(read_module(module))


def words_of(name: str) -> Words:
    """Return the words of a scenario, by its name or path; raises what script.load raises."""
    steps = script.load(name).steps
    ioctls = {
        step.argument["command"]: step.argument.get("data", 0)
        for step in steps
        if step.verb == "guest.ioctl"
    }
    texts = [
        step.argument["text"]
        for step in steps
        if step.verb == "guest.write"
        and isinstance(step.argument, dict)
        and step.argument.get("text")
    ]
    return Words(tuple(ioctls.items()), tuple(dict.fromkeys(texts)))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
