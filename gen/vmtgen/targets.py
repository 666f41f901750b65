"""The targets: NetBSD releases, machines, flags and exported names, from specs/netbsd.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from vmtgen import resources
from vmtgen.common.construct import Pass
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import UsageError
from vmtgen.common.located import Node, listed, load_yaml, nearest
from vmtgen.common.schema import Entries, Length, Pattern, Range, Record, Reference, Report, Unique
from vmtgen.kobj.exported import exported_names, kernels

if TYPE_CHECKING:
    from pathlib import Path

Flags = Mapping[str, str]
"""Compiler flags in order, each with its reason."""

_RELEASE = re.compile(r"([1-9][0-9]?)\.([0-9]{1,2})(?:\.([0-9]{1,2}))?")
# The formats of uname -r: 11.0, 11.0_STABLE, 11.0_RC1, 10.1_PATCH, 11.99.5 (NetBSD
# sys/conf/osrelease.sh); releases before 7 had a third number, too.
_UNAME = re.compile(r"([1-9][0-9]?)\.([0-9]{1,2})(?:\.([0-9]{1,3}))?(?:_[A-Za-z0-9_.]+)?")
_CURRENT_MINOR = 99
# Other systems' names of these machines.
_ELSEWHERE = {
    "arm64": "aarch64",
    "armv8": "aarch64",
    "x86_64": "amd64",
    "x64": "amd64",
    "i486": "i386",
    "i586": "i386",
    "i686": "i386",
    "x86": "i386",
}


@dataclass(frozen=True)
class Default(Record):
    """The default target; `module` is a directory of specs/."""

    module: str
    release: Annotated[str, Reference("release", "netbsd.releases")]
    machine: Annotated[str, Reference("machine", "netbsd.machines")]


@dataclass(frozen=True)
class Release(Record):
    """A NetBSD release.

    `version` is its __NetBSD_Version__, `headers` the Python package whose copy of NetBSD's
    installed headers is of that release.
    """

    name: str
    version: Annotated[int, Range(900_000_000, 9_999_999_999), Unique()]
    doc: Annotated[str, Length(1, 200)]
    headers: str | None = None

    def check(self, node: Node, report: Report) -> None:
        """Compare the number with the name."""
        expected = version_of(self.name)
        if expected is None:
            report(node, f"{self.name!r} is no release number: expected MM.mm or MM.99.pp")
        elif expected != self.version:
            report(node, f"release {self.name} has the version {expected}, not {self.version}")


@dataclass(frozen=True)
class CompilerFlags(Record):
    """Flags common to all machines.

    `compile` and `define` are for every module, `strict` for the project's modules, `foreign` and
    the levels of `warns` (the Makefile's WARNS) for any other; `clang` and `gcc` are for one
    compiler.
    """

    compile: Flags
    strict: Flags
    foreign: Flags
    warns: Mapping[str, Flags]
    define: Flags
    clang: Flags
    gcc: Flags


@dataclass(frozen=True)
class Since(Record):
    """The first __NetBSD_Version__ on which the driver can attach, and why."""

    version: Annotated[int, Range(900_000_000, 9_999_999_999)]
    reason: Annotated[str, Length(1, 300)]


@dataclass(frozen=True)
class MachineTarget(Record):
    """A machine: its names in NetBSD, clang and gcc, and its flags.

    `links` are the links that a build in a real sys/ tree needs, as bsd.kmodule.mk makes them;
    `make` are the variables by which Makefiles know the machine.
    """

    name: Literal["amd64", "i386", "aarch64"]
    doc: str
    directory: Annotated[str, Pattern("[a-z0-9]+", "a MACHINE name such as evbarm")]
    ports: tuple[str, ...]
    make: Mapping[str, str]
    triple: str
    gcc_command: str
    emulation: str
    links: Mapping[str, str]
    flags: Flags
    clang: Flags
    gcc: Flags
    since: Since | None = None

    def unsupported(self, version: int) -> str | None:
        """Return why the driver cannot attach on that version of NetBSD, None where it can."""
        if self.since is not None and version < self.since.version:
            return self.since.reason
        return None


@dataclass(frozen=True)
class SymbolTable(Record):
    """A measured kernel: a table of vmtgen.kobj.exported."""

    name: str
    kernel: str
    source: str

    def check(self, node: Node, report: Report) -> None:
        """Refuse a kernel without a table."""
        if self.kernel not in kernels():
            report(
                node["kernel"],
                f"no table of a kernel {self.kernel!r}: there are {listed(kernels())}",
            )


@dataclass(frozen=True)
class Known(Record):
    """Names that the kernels of `machines` (none: all) export, and the source of that."""

    name: str
    names: tuple[str, ...]
    source: str
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absent(Record):
    """Names that the kernels of `machines` (none: all) do not export, and the remedy."""

    name: str
    names: tuple[str, ...]
    reason: str
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exports(Record):
    """The names that kernels are known to export or not to export."""

    tables: Entries[SymbolTable]
    known: Entries[Known]
    absent: Entries[Absent]


@dataclass(frozen=True)
class Targets(Record):
    """specs/netbsd.yaml."""

    spec: Literal["netbsd"]
    default: Default
    releases: Entries[Release]
    flags: CompilerFlags
    machines: Entries[MachineTarget]
    exports: Exports
    builtin_globals: tuple[str, ...]

    def release(self, name: str) -> Release:
        """Return the release `name`; it may be a current MM.99.pp that is not listed.

        Raises UsageError for anything else.
        """
        found = self.releases.get(name)
        if found is not None:
            return found
        version = version_of(name)
        if version is not None and version // 1_000_000 % 100 == _CURRENT_MINOR:
            return Release(name, version, "Current, known by its number only.")
        raise UsageError(
            f"no release {name!r} in specs/netbsd.yaml: there are {listed(self.releases.names)}, "
            "and any current release MM.99.pp by its number",
            hint=self._release_hint(name),
        )

    def kernel(self, name: str) -> int:
        """Return the __NetBSD_Version__ of a kernel whose `uname -r` is `name`.

        The release need not be listed. Raises UsageError where `name` is not a release.
        """
        version = kernel_version(name)
        if version is None:
            raise UsageError(
                f"no release {name!r}: expected what uname -r prints, as 11.0, 11.0_STABLE or "
                "11.99.5",
                hint=self._kernel_hint(name),
            )
        return version

    def _kernel_hint(self, name: str) -> str | None:
        if re.fullmatch(r"[0-9]+\.99", name):
            return f"a current kernel has a third number: {name}.1"
        near = nearest(name, self.releases.names)
        return f"did you mean {near}?" if near else None

    def _release_hint(self, name: str) -> str:
        """Return the hint for a release that is not listed.

        A release branch counts in a number that the kernel does not compare with a module's; its
        kernels have the release MM.mm_STABLE, _PATCH or _RC1 (NetBSD sys/sys/param.h,
        sys/conf/osrelease.sh).
        """
        number = re.match(r"[0-9]+\.[0-9]+(?=[._])", name)
        if number is not None and number[0] in self.releases.names:
            return f"a kernel that says {name} takes what is built for {number[0]}"
        near = nearest(name, self.releases.names)
        if near and version_of(name) is None:
            return f"did you mean {near}?"
        return "add it to specs/netbsd.yaml with its source"

    def release_of(self, version: int) -> Release:
        """Return the release with that __NetBSD_Version__, also one that is not listed."""
        for release in self.releases:
            if release.version == version:
                return release
        major, rest = divmod(version, 100_000_000)
        patch = rest % 10_000 // 100
        name = f"{major}.{rest // 1_000_000}" + (f".{patch}" if patch else "")
        return Release(name, version, "Known by its number only.")

    def machine(self, name: str) -> MachineTarget:
        """Return the machine called `name`, also by its port's name; UsageError for others."""
        for machine in self.machines:
            if name == machine.name or name in machine.ports:
                return machine
        known = self.machines.names
        near = _ELSEWHERE.get(name.lower()) or nearest(name, known)
        raise UsageError(
            f"no machine {name!r} in specs/netbsd.yaml: there are {listed(known)}",
            hint=f"did you mean {near}?" if near else None,
        )


def version_of(release: str) -> int | None:
    """Return the __NetBSD_Version__ of a release name, None where it is not one.

    MM * 10^8 + mm * 10^6 + pp * 100 (NetBSD sys/sys/param.h). A current release needs its
    third number, any other one has none.
    """
    match = _RELEASE.fullmatch(release)
    if match is None:
        return None
    major, minor, patch = (int(part) if part else None for part in match.groups())
    assert major is not None
    assert minor is not None
    if (minor == _CURRENT_MINOR) is not (patch is not None):
        return None
    return major * 100_000_000 + minor * 1_000_000 + (patch or 0) * 100


def kernel_version(uname: str) -> int | None:
    """Return the __NetBSD_Version__ for a text of `uname -r`, None where it is not one.

    The text after an underscore is ignored: the number of a branch's kernels differs from the
    release's by less than module_compatible() compares.
    """
    match = _UNAME.fullmatch(uname)
    if match is None:
        return None
    major, minor, patch = (int(part or 0) for part in match.groups())
    if minor == _CURRENT_MINOR and match[3] is None:
        return None
    return major * 100_000_000 + minor * 1_000_000 + patch * 100


def load_targets(specs: Path | None = None) -> Targets:
    """Read specs/netbsd.yaml; LocatedErrors where it has errors."""
    directory = specs or resources.directory("specs")
    return _targets(load_yaml(directory / "netbsd.yaml", keep=specs is None))


@lru_cache(maxsize=2)  # the same file is read as the same node
def _targets(document: Node) -> Targets:
    reading = Pass()
    targets = reading.document(document, Targets, "netbsd")
    reading.finish()
    reading.problems.raise_if_any()
    assert targets is not None
    return targets


@dataclass(frozen=True)
class ExportedNames:
    """Decides whether a kernel exports a name, for kernels without an exact list of symbols."""

    exports: Exports

    @cached_property
    def table(self) -> frozenset[str]:
        """Every name of every table."""
        return frozenset().union(*(exported_names(t.kernel) for t in self.exports.tables))

    def denied(self, name: str, machine: str) -> str | None:
        """Return why kernels of that machine do not export the name, None if that is unknown."""
        for entry in self.exports.absent:
            if name in entry.names and (not entry.machines or machine in entry.machines):
                return entry.reason
        return None

    def is_listed(self, name: str, machine: str) -> bool:
        """Whether a list says that kernels of that machine export the name."""
        for entry in self.exports.known:
            if name in entry.names and (not entry.machines or machine in entry.machines):
                return True
        return name in self.table
