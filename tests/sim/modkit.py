"""Test modules of this directory: built once per test run, loaded any number of times."""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.build.compile import build_module
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.host import Host, HostOptions
from vmtsim.kernel.api import Call
from vmtsim.kernel.clock import Clock
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.kernel import Kernel, KernelOptions
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.rule_table import OPTIONS, Enforced
from vmtsim.run.administrator import Administrator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.lwp import Lwp

SOURCES = Path(__file__).parent / "modules"
MACHINES = ("amd64", "i386", "aarch64")
_VERSION = 1_100_000_000


@functools.cache
def _output() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vmtsim-modules-")


@functools.cache
def built(name: str, machine: str = "amd64", flags: tuple[str, ...] = ()) -> Path:
    """Return the path of the module made of ``modules/NAME.c``; objects are cached in build/."""
    directory = Path(_output().name) / machine / ("-".join(flags).replace("/", "_") or "plain")
    return build_module(
        [SOURCES / f"{name}.c"], machine=machine, out=directory, release="11.0", extra_flags=flags
    ).path


def marked(name: str, mark: str) -> list[int]:
    """Return the lines of ``modules/NAME.c`` that hold ``mark``."""
    text = (SOURCES / f"{name}.c").read_text(encoding="utf-8")
    return [n for n, line in enumerate(text.splitlines(), 1) if re.search(mark, line)]


class Machine:
    """A simulated machine for tests: a kernel, a host, an administrator."""

    def __init__(
        self,
        module: Path,
        machine: str = "amd64",
        *,
        seed: int = 1,
        builtin: bool = False,
        version: int = _VERSION,
        host: HostOptions | None = None,
        checks: frozenset[Enforced] = frozenset(OPTIONS.values()),
    ) -> None:
        self.trace = Trace(keep=True)
        rng = Rng(seed)
        clock = Clock()
        self.host = Host(
            now=lambda: clock.now,
            rng=rng,
            options=host or HostOptions(),
            trace=self.trace,
        )
        self.kernel = Kernel(
            KernelOptions(machine=machine, version=version, builtin_vmt=builtin, checks=checks),
            backdoor=self.host,
            rng=rng.fork("kernel"),
            trace=self.trace,
            clock=clock,
        )
        self.trace.now = lambda: clock.now
        self.kernel.scheduler.outside_next = self.host.next_event
        self.kernel.scheduler.outside_advance = self.host.advance
        self.guest = Administrator(self.kernel, module)
        self.module = module
        self.kernel.boot()

    def do(self, verb: str, argument: Any = None) -> Any:
        """Run an administrator's command to its end and return its result (an errno, mostly)."""
        return self.guest.wait(verb, self.guest.command(verb, argument))

    @property
    def console(self) -> list[str]:
        """The lines of the console, without times."""
        return [line.text for line in self.kernel.subject(Console).lines]

    def address(self, name: str) -> int:
        """Return the address of a symbol of the module under test."""
        (loaded,) = self.kernel.subject(Modules).loaded.values()
        return loaded.linked.address_of(name)

    def start(self, function: str, *arguments: int) -> Lwp:
        """Start a process that calls a function of the module."""

        def main() -> Model:
            return (yield Call(self.address(function), arguments))

        return self.guest.start(function, main())

    def call(self, function: str, *arguments: int) -> int:
        """Call a function of the module and return its int."""
        lwp = self.start(function, *arguments)
        self.kernel.run(lambda: lwp.state == "gone")
        return ((int(lwp.result) & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000

    def panic(self, function: str, *arguments: int) -> KernelPanic:
        """Call a function of the module that panics the kernel."""
        try:
            self.call(function, *arguments)
        except KernelPanic as panic:
            return panic
        raise AssertionError(f"{function} did not panic")

    def broken(self) -> list[str]:
        """Return the rules that were broken so far."""
        return [violation.rule for violation in self.kernel.violations]

    def times(self, verbs: Sequence[tuple[str, Any]]) -> list[Any]:
        """Run commands in order and return their results."""
        return [self.do(verb, argument) for verb, argument in verbs]
