"""The imports and instructions of modules that have no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.kobj.exported import exported_names
from vmtgen.kobj.instructions import system_instructions

from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.host import Host, HostOptions
from vmtsim.kernel.instructions import Instructions
from vmtsim.kernel.kernel import Kernel, KernelOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtgen.kobj import Module
    from vmtgen.kobj.instructions import SystemInstruction


@dataclass(frozen=True)
class Needs:
    """One module's kernel functions without a model, names that no kernel has, and instructions."""

    imports: int
    unmodelled: tuple[str, ...]
    unknown: tuple[str, ...]
    instructions: tuple[SystemInstruction, ...]
    unserved: tuple[SystemInstruction, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Everything without a model, by name."""
        return (*self.unmodelled, *self.unknown, *(each.name for each in self.unserved))


def bare_kernel(machine: str, version: int = 1_100_000_000) -> Kernel:
    """Return a kernel that never runs; it is only queried."""
    trace, rng = Trace(), Rng(1)
    host = Host(now=lambda: 0, rng=rng, options=HostOptions(), trace=trace)
    options = KernelOptions(machine=machine, version=version)
    return Kernel(options, backdoor=host, rng=rng, trace=trace)


def needs(modules: Sequence[Module]) -> list[Needs]:
    """Return the needs of each module.

    A name that another of the modules defines is not missing: a module that requires another is
    loaded after it.
    """
    defined = {name for module in modules for name in module.globals}
    kernels: dict[tuple[str, int], Kernel] = {}
    found = []
    for module in modules:
        target = (module.machine.value, module.modinfo.version)
        if target not in kernels:
            kernels[target] = bare_kernel(*target)
        kernel = kernels[target]
        there = defined.union(kernel.dispatch.modelled())
        rest = [name for name in module.imports if name not in there]
        instructions = tuple(system_instructions(module))
        serves = kernel.subject(Instructions).serves
        found.append(
            Needs(
                len(module.imports),
                tuple(name for name in rest if name in exported_names()),
                tuple(name for name in rest if name not in exported_names()),
                instructions,
                tuple(each for each in instructions if not serves(each.name)),
            )
        )
    return found
