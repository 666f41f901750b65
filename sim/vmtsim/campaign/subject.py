"""What a campaign plays: a module, what is known of it, and what its user said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from vmtgen.kobj import read_module
from vmtgen.kobj.ioctls import ioctl_commands

from vmtsim.run.survey import Survey, survey
from vmtsim.scenario import script

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Words:
    """What the steps of a scenario say to a driver: (command, data) of ioctls, and texts."""

    ioctls: tuple[tuple[int, str | int], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What a seed is played with beside the module: ``vmtsim replay`` takes the same.

    ``builtin`` chooses the kernel and ``vmware`` whether there is a VMware host; None leaves the
    first to the seed and the second to the module.  ``scenario`` is the path of a scenario as it
    was given, and ``words`` what is in it, so that a worker on another machine needs no file;
    ``known_races`` and ``known`` are the same for a list of races that are right.

    ``cpus`` None leaves the processors to the seed.  ``races`` looks for data races, and
    ``preempt`` is at how many points a thread is stopped between two calls, in a second play of
    each seed whose first found nothing.  ``store_buffers`` lets others see late what a processor
    stores.
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
        """The options of ``vmtsim replay`` that say the same."""
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
    """The driver under test: its survey, whether VMware's host is played, and the known ioctls."""

    survey: Survey
    vmware: bool
    ioctls: tuple[tuple[int, str | int], ...] = ()
    texts: tuple[str, ...] = ()

    def described(self) -> str:
        """Say in a line what was found."""
        found = self.survey
        if self.vmware:
            return f"a driver of VMware's tools, {found.device}"
        parts = [f"{name} at {parent}" if parent else name for name, parent in found.devices]
        parts += [f"/dev/{name}" for name in found.switches]
        if self.ioctls:
            parts.append(_many(len(self.ioctls), "ioctl command"))
        if found.settings:
            parts.append(_many(len(found.settings), "sysctl node") + " to set")
        return f"a driver without a host: {', '.join(parts) or 'no device'}"


def subject_of(module: Path, setup: Setup) -> Subject:
    """Return what is known of the module in ``module``.

    Raises OSError, and vmtgen.kobj.KobjError where it is no module.
    """
    found = survey(module)
    vmware = found.vmware if setup.vmware is None else setup.vmware
    if vmware:
        return Subject(found, vmware)
    given = setup.words.ioctls
    known = {command for command, _data in given}
    of_code = tuple((number, 0) for number in _commands(module) if number not in known)
    # A compiler's constants look like commands by chance: those of a module that nobody can open
    # are no use.
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
