"""Small modules in C, built, loaded into a simulated kernel, and called function by function."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from vmtgen.build.compile import build_module
from vmtgen.resources import root
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.host import Host
from vmtsim.host.options import HostOptions
from vmtsim.kernel.api import Call
from vmtsim.kernel.clock import Clock
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.kernel import Kernel, KernelOptions
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from vmtsim.kernel.lwp import Lwp

MACHINES = ("amd64", "i386", "aarch64")
_RELEASE = "11.0"
_GLUE = """
#include <sys/param.h>
#include <sys/module.h>

MODULE(MODULE_CLASS_MISC, tried, NULL);

static int
tried_modcmd(modcmd_t cmd, void *aux)
{

	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
}
"""


class Code:
    """A module that is loaded: ``call("name", 1, 2)`` runs one of its functions in a process."""

    def __init__(self, path: Path, machine: str, seed: int = 1, **options: Any) -> None:
        clock = Clock()
        trace = Trace(keep=True)
        rng = Rng(seed)
        host = Host(now=lambda: clock.now, rng=rng, options=HostOptions(), trace=trace)
        self.kernel = Kernel(
            KernelOptions(machine=machine, version=1_100_000_000, **options),
            backdoor=host,
            rng=rng.fork("kernel"),
            trace=trace,
            clock=clock,
        )
        self.kernel.boot()
        self._modules = self.kernel.subject(Modules)
        error = self.kernel.run_process("modload", self._modules.load(path))
        assert error == 0, f"modload: {error}: {self.kernel.subject(Console).lines}"
        self._linked = self._modules.loaded["tried"].linked

    def address(self, name: str) -> int:
        """The address of a function or variable of the module."""
        return self._linked.address_of(name)

    def start(self, name: str, *arguments: int, kind: str = "user", bound: bool = False) -> Lwp:
        """Start a thread that calls a function; its result will be ``lwp.result``."""

        def main() -> Generator[Call, Any, int]:
            if bound:
                objects = self.kernel.subject(Objects)
                objects.bind(self.kernel.current)
            result = yield Call(self.address(name), arguments)
            return int(result)

        return self.kernel.spawn(name, kind, main())

    def call(self, name: str, *arguments: int, kind: str = "user", bound: bool = False) -> int:
        """Call a function and return its result, as a signed int."""
        lwp = self.start(name, *arguments, kind=kind, bound=bound)
        self.finish(lwp)
        return ((lwp.result & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000

    def finish(self, *lwps: Lwp) -> None:
        """Run until these threads have ended."""
        self.kernel.run(lambda: all(lwp.state == "gone" for lwp in lwps))

    def panic(self, name: str, *arguments: int, kind: str = "user", bound: bool = False) -> str:
        """Call a function that must panic; returns 'rule: message'."""
        try:
            self.call(name, *arguments, kind=kind, bound=bound)
        except KernelPanic as panic:
            return f"{panic.rule}: {panic.message}"
        raise AssertionError(f"{name} did not panic")

    def text(self, name: str) -> str:
        """The string in a character array of the module."""
        return self.kernel.memory.string(self.address(name))

    def number(self, name: str) -> int:
        """The int in a variable of the module."""
        return self.kernel.memory.s32(self.address(name))

    def violations(self) -> list[str]:
        """The violations so far, as 'rule: message'; clears them."""
        found = [f"{v.rule}: {v.message}" for v in self.kernel.violations]
        self.kernel.violations.clear()
        return found

    def unload(self) -> list[str]:
        """Unload the module, and return the objects that it left."""
        error = self.kernel.run_process("modunload", self._modules.unload("tried"))
        assert error == 0, f"modunload: {error}"
        return self.violations()


def line_of(source: str, text: str) -> int:
    """Return the number of the only line with ``text`` in ``source`` as compiled."""
    found = [n for n, line in enumerate(_whole(source).splitlines(), 1) if text in line]
    assert len(found) == 1, f"{text!r} is in lines {found}"
    return found[0]


def _whole(source: str) -> str:
    glue = "" if "MODULE(" in source else _GLUE
    return textwrap.dedent(source).lstrip("\n") + glue


def compile_module(source: str, directory: Path, machine: str = "amd64") -> Path:
    """Build a module from C text; functions to call must not be static.

    A text without an entry point gets one that does nothing; with one, the module is ``tried``.
    """
    file = directory / "tried.c"
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text(_whole(source), encoding="utf-8")
    checkout = root()
    assert checkout is not None
    built = build_module(
        [file],
        release=_RELEASE,
        machine=machine,
        out=directory / machine,
        cache=checkout / "build" / ".cache",
        extra_flags=("-Wno-missing-prototypes", "-Wno-missing-variable-declarations"),
    )
    return built.path
