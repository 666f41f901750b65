"""The processor: the only package that uses Unicorn.

``make_cpu`` returns a ``Cpu`` for a machine name.  Kernel models and the scheduler use addresses,
words and calls; this package maps them to registers.
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
    # Imported here: code that only reads a module needs no Unicorn, and a run only one machine.
    if machine not in MACHINES:
        raise ValueError(
            f"no processor for machine {machine!r}: expected one of {', '.join(MACHINES)}"
        )
    of_machine = importlib.import_module(f"vmtsim.cpu.{machine}")
    cpu: Cpu = getattr(of_machine, machine.capitalize())(backdoor)
    return cpu
