"""The global names of measured kernels: the symbols that kobj(9) can resolve for a module.

Each file in kernels/ is a measurement, the output of nm(1) for one kernel that was built and run;
its first lines say which. The linter and the simulator read the same file.
"""

from __future__ import annotations

from functools import cache
from itertools import dropwhile
from pathlib import Path

from vmtgen.common.located import listed

# importlib.resources would cost as much as to read the names.
KERNELS = Path(__file__).with_name("kernels")
KERNEL = "netbsd-10.99.12-amd64"
"""The kernel whose names the simulator has; NetBSD's own driver is built in."""


@cache
def kernels() -> tuple[str, ...]:
    """Return the names of the measured kernels, sorted."""
    return tuple(sorted(file.stem for file in KERNELS.glob("*.txt")))


@cache
def exported_names(kernel: str = KERNEL) -> frozenset[str]:
    """Return the global names of ``kernel``; ValueError for one that is not in ``kernels()``."""
    if kernel != KERNEL and kernel not in kernels():
        raise ValueError(f"no kernel {kernel!r}: there are {listed(kernels())}")
    lines = (KERNELS / f"{kernel}.txt").read_text("utf-8").splitlines()
    return frozenset(dropwhile(_is_comment, lines))


def _is_comment(line: str) -> bool:
    return line.startswith("#")
