"""The processor: the one room that knows Unicorn.

``make_cpu`` gives a ``Cpu`` for a machine name.  Kernel models and the scheduler speak to it in
addresses, words and calls; which registers that means is settled here.
"""

from __future__ import annotations

import importlib

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
    # Imported here: whoever only wants to read a module needs no Unicorn, and a run one machine.
    if machine not in MACHINES:
        raise ValueError(f"no processor for machine {machine!r}: there are {', '.join(MACHINES)}")
    of_machine = importlib.import_module(f"vmtsim.cpu.{machine}")
    cpu: Cpu = getattr(of_machine, machine.capitalize())(backdoor)
    return cpu
