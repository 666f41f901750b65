"""Runs a race case once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.errors import KernelPanic

from tests.sim.kernel.guestcode import Code

if TYPE_CHECKING:
    from pathlib import Path

    from .cases import Case


def play(path: Path, case: Case, seed: int) -> set[str]:
    """Run both functions concurrently, and return the rules that were broken."""
    code = Code(path, case.machine, seed, cpus=2, races=True)
    code.call("make")
    try:
        code.finish(*(code.start(name) for name in ("first", "second", "second")))
    except KernelPanic as panic:
        return {panic.rule}
    return {text.partition(":")[0] for text in code.violations()}
