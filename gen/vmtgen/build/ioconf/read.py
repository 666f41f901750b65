"""Reads an ioconf file: the instances of devices in the module, and where they attach."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.build.ioconf.definitions import (
    Attachment,
    Attribute,
    Definitions,
    Device,
    GrammarError,
    Words,
    array_name,
    values,
)
from vmtgen.build.ioconf.scan import Scanner, Statement
from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.files import shown
from vmtgen.common.located import LocatedErrors, Problem

if TYPE_CHECKING:
    from pathlib import Path

STAR, WILD = "*", "?"
_UNIT = re.compile(r"([A-Za-z][A-Za-z0-9_]*?)([0-9]+|\*|\?)")


@dataclass(frozen=True)
class ParentSpec:
    """Where instances attach: at an interface attribute, optionally of one device and unit."""

    attribute: Attribute
    device: Device | None
    unit: int | None  # None: any


@dataclass(eq=False)
class Instance:
    """One line of the table cfdata: "wm* at pci?"."""

    statement: Statement
    name: str
    device: Device
    unit: int | None  # None: a star, one for each device that is found
    attachment: Attachment | None  # None: a pseudo-root
    at: str = "root"
    parent: ParentSpec | None = None
    locators: tuple[str, ...] = ()
    flags: int = 0
    carries: tuple[Attribute, ...] | None = None  # of a pseudo-root that is an attribute
    active: bool = False

    @property
    def offered(self) -> tuple[Attribute, ...]:
        """The attributes at which others can attach to this instance."""
        return tuple(self.device.attributes) if self.carries is None else self.carries


@dataclass
class Configuration:
    """An ioconf file, read and checked."""

    file: str  # as messages name it
    name: str  # that of the ioconf statement
    definitions: Definitions
    instances: list[Instance] = field(default_factory=list)
    pseudo: list[Device] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read(file: Path, sys: Path) -> Configuration:
    """Read an ioconf file. Raises LocatedErrors, MissingInputError."""
    definitions = Definitions()
    scanner = Scanner(sys, definitions.is_attribute)
    reader = _Reader(Configuration(shown(file), "", definitions))
    for statement in scanner.statements(file):
        reader.take(statement)
    reader.finish(file)
    problems = scanner.problems + definitions.problems + reader.problems
    # A tree's own files.* may include files that are not unpacked: report errors of this file only.
    own = [problem for problem in problems if problem.path == shown(file)]
    if own:
        raise LocatedErrors(own)
    return reader.configuration


class _Reader:
    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.problems: list[Problem] = []
        self._definitions = configuration.definitions
        self._roots: list[Instance] = []

    def take(self, statement: Statement) -> None:
        """Read one statement."""
        if self._definitions.declare(statement):
            return
        words = Words(statement)
        first = words.take("a statement").text
        try:
            if first == "ioconf":
                self._ioconf(words)
            elif first == "pseudo-root":
                self._pseudo_root(words)
            elif first == "pseudo-device":
                self._pseudo_device(words)
            else:
                self._instance(first, words)
        except GrammarError as error:
            self.problems.append(statement.problem(str(error)))

    def _ioconf(self, words: Words) -> None:
        if self.configuration.name:
            raise GrammarError(f"ioconf is already {self.configuration.name!r}")
        self.configuration.name = words.name("a name")
        words.end()

    def _pseudo_root(self, words: Words) -> None:
        name = _reference(words)
        base, unit = _split(name)
        device = self._definitions.devices.get(base)
        carries = None
        if device is None:
            attribute = self._definitions.attributes.get(base)
            if attribute is None or attribute.locators is None:
                raise GrammarError(
                    f"pseudo-root {name}: {base!r} is no device and no interface attribute"
                    + self._hint()
                )
            device, carries = Device(base), (attribute,)
        words.end()
        self._roots.append(
            Instance(words.statement, name, device, unit, None, carries=carries, active=True)
        )

    def _pseudo_device(self, words: Words) -> None:
        name = words.name("a pseudo-device")
        device = self._definitions.devices.get(name)
        if device is None:
            raise GrammarError(f"undefined pseudo-device {name!r}" + self._hint())
        if device.pseudo is None:
            raise GrammarError(f"{name!r} is a device, not a pseudo-device")
        if device in self.configuration.pseudo:
            raise GrammarError(f"pseudo-device {name!r} is already there")
        if words.peek():
            words.take("a number")
        words.end()
        self.configuration.pseudo.append(device)

    def _instance(self, first: str, words: Words) -> None:
        name = first + (STAR if words.accept(STAR) else "")
        base, unit = _split(name)
        words.expect("at")
        at = _reference(words)
        device = self._definitions.devices.get(base)
        if device is None:
            raise GrammarError(f"{name}: unknown device {base!r}" + self._hint())
        if device.pseudo:
            raise GrammarError(f"{name}: {base!r} is a pseudo-device")
        given, flags = self._given(words)
        words.end()
        if at == "root":
            parent, places = None, [a for a in device.attachments if None in a.places]
            if not places:
                raise GrammarError(f"{base!r} cannot attach to the root")
            locators: tuple[str, ...] = ()
        else:
            parent = self._parent(name, device, at)
            places = [a for a in device.attachments if parent.attribute in a.places]
            found, complaints = _complete(name, parent.attribute, given)
            self.configuration.warnings += map(words.statement.problem, complaints)
            if found is None:
                return
            locators = found
        # sem.c, adddev: every attachment at that attribute gets a line of its own.
        for attachment in places:
            self.configuration.instances.append(
                Instance(
                    words.statement, name, device, unit, attachment, at, parent, locators, flags
                )
            )

    def _parent(self, name: str, device: Device, at: str) -> ParentSpec:
        """Find the attribute at which ``device`` attaches (sem.c, finddevattr)."""
        base, unit = _split(at)
        parent = self._definitions.devices.get(base)
        attribute = self._definitions.attributes.get(base)
        if attribute is not None and device in attribute.devices:
            return ParentSpec(attribute, parent, unit)
        if parent is None:
            raise GrammarError(f"{name} at {at}: {base!r} is unknown" + self._hint())
        for each in parent.attributes:
            if device in each.devices:
                return ParentSpec(each, parent, unit)
        raise GrammarError(f"{device.name!r} cannot attach to {base!r}")

    def _given(self, words: Words) -> tuple[dict[str, str | None], int]:
        """Return the locators of a line, None for "?", and its flags."""
        given: dict[str, str | None] = {}
        flags = 0
        while words.peek():
            name = words.name("a locator")
            if name == "flags":
                flags = words.take("a number").number
                break
            if words.accept(WILD):
                given[name] = None
                continue
            for place, value in enumerate(values(words)):
                given[array_name(name, place)] = value
        return given, flags

    def _hint(self) -> str:
        if self._definitions.devices:
            return ""
        return ' (no device is defined here: does include "conf/files" come before?)'

    def finish(self, file: Path) -> None:
        """Check what depends on the whole file."""
        name = shown(file)
        if not self.configuration.name:
            self.problems.append(Problem(name, 0, 0, "", "no ioconf statement names the tables"))
        if self.problems:
            return
        self._activate()
        self.problems.extend(
            instance.statement.problem(
                f"{instance.name} at {instance.at} is orphaned: no {instance.at} is there"
                " (a pseudo-root names what other modules or the kernel bring)"
            )
            for instance in self.configuration.instances
            if not instance.active
        )

    def _activate(self) -> None:
        """Find the instances with a path to a root (sem.c, kill_orphans)."""
        waiting = [i for i in self.configuration.instances if i.parent is None]
        for instance in waiting:
            instance.active = True
        active = self._roots + waiting
        active += [
            Instance(self._nowhere(), device.name, device, None, None, active=True)
            for device in self.configuration.pseudo
        ]
        changed = True
        while changed:
            changed = False
            for instance in self.configuration.instances:
                if not instance.active and any(_carries(parent, instance) for parent in active):
                    instance.active = changed = True
                    active.append(instance)

    def _nowhere(self) -> Statement:
        return Statement(self.configuration.file, 0, ())


def _carries(parent: Instance, child: Instance) -> bool:
    spec = child.parent
    if spec is None or spec.attribute not in parent.offered:
        return False
    if spec.device is not None and parent.carries is None and parent.device is not spec.device:
        return False
    return spec.unit is None or parent.unit is None or parent.unit == spec.unit


def _reference(words: Words) -> str:
    """Return "name0", "name*", "name?" or "root" as one word."""
    name = words.name("a device")
    for sign in (STAR, WILD):
        if words.accept(sign):
            return name + sign
    return name


def _split(name: str) -> tuple[str, int | None]:
    """Return the base and the unit of a name (sem.c, split); None for a star or "?"."""
    match = _UNIT.fullmatch(name)
    if match is None:
        raise GrammarError(f"invalid device name {name!r}: a unit, * or ? belongs at its end")
    return match[1], int(match[2]) if match[2].isdigit() else None


def _complete(
    name: str, attribute: Attribute, given: dict[str, str | None]
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return the values of all locators in the attribute's order, and the errors in them.

    The values are None where config(1) omits the line.  config(1) reports these mistakes and exits
    with status 0 (sem.c, fixloc): NetBSD's own ld_cac.ioconf and imc.ioconf rely on that.
    """
    known = attribute.locators or []
    complaints = [
        f"{name}: {attribute.name} has no locator {extra!r} (config(1) ignores it)"
        for extra in sorted(given.keys() - {locator.name for locator in known})
    ]
    found = []
    lost = []
    for locator in known:
        value = given.get(locator.name)
        value = locator.default if value is None else value
        if locator.name not in given and not locator.optional:
            lost.append(f"must specify {locator.name}")
        elif value is None:
            lost.append(f"cannot wildcard {locator.name}")
        else:
            found.append(value)
    complaints += [f"{name}: {each} (config(1) omits the line)" for each in lost]
    return None if lost else tuple(found), complaints
