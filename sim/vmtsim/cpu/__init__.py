"""The processor: the one room that knows Unicorn.

``make_cpu`` gives a ``Cpu`` for a machine name.  Kernel models and the scheduler speak to it in
addresses, words and calls; which registers that means is settled here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.cpu.interface import (
    EXIT_SLOT,
    PREEMPTED,
    STUB_SIZE,
    Access,
    Backdoor,
    Cpu,
    CpuFault,
    CpuStuck,
    Layout,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXIT_SLOT",
    "MACHINES",
    "PREEMPTED",
    "STUB_SIZE",
    "Access",
    "Backdoor",
    "Cpu",
    "CpuFault",
    "CpuStuck",
    "Layout",
    "make_cpu",
]

MACHINES = ("amd64", "i386", "aarch64")


def make_cpu(machine: str, backdoor: Backdoor) -> Cpu:
    """Return a processor of ``machine`` whose hypervisor traps go to ``backdoor``."""
    # Imported here: whoever only wants to read a module needs no Unicorn.
    from vmtsim.cpu import aarch64, amd64, i386  # noqa: PLC0415

    makers: dict[str, Callable[[Backdoor], Cpu]] = {
        "amd64": amd64.Amd64,
        "i386": i386.I386,
        "aarch64": aarch64.Aarch64,
    }
    if machine not in makers:
        raise ValueError(f"no processor for machine {machine!r}: there are {', '.join(MACHINES)}")
    return makers[machine](backdoor)
