"""The global names of measured kernels: the symbols that kobj(9) can resolve for a module.

Each file in kernels/ is a measurement, the output of nm(1) for one kernel that was built and run;
its first lines say which. The linter and the simulator read the same file.
"""

from __future__ import annotations

import importlib.resources
from functools import cache

from vmtgen.common.located import listed

KERNEL = "netbsd-10.99.12-amd64"
"""The kernel whose names the simulator has; NetBSD's own driver is built in."""


@cache
def kernels() -> tuple[str, ...]:
    """Return the names of the measured kernels, sorted."""
    files = importlib.resources.files("vmtgen.kobj").joinpath("kernels").iterdir()
    return tuple(sorted(f.name.removesuffix(".txt") for f in files if f.name.endswith(".txt")))


@cache
def exported_names(kernel: str = KERNEL) -> frozenset[str]:
    """Return the global names of ``kernel``; ValueError for one that is not in ``kernels()``."""
    if kernel not in kernels():
        raise ValueError(f"no kernel {kernel!r}: there are {listed(kernels())}")
    directory = importlib.resources.files("vmtgen.kobj").joinpath("kernels")
    text = directory.joinpath(f"{kernel}.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
