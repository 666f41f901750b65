"""Fixtures of the tests of the real driver: the module, and machines that run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.build.compile import build_module

from .rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def module(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver as it ships, or the C in VMT_KMOD; its objects are cached in build/."""
    kmod = Path(os.environ.get("VMT_KMOD", root / "kmod" / "vmt"))
    return build_module(kmod, out=tmp_path_factory.mktemp("driver")).module.path


@pytest.fixture(scope="session")
def diagnostic(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver with DIAGNOSTIC."""
    out = tmp_path_factory.mktemp("driver-diagnostic")
    return build_module(root / "kmod" / "vmt", out=out, diagnostic=True).module.path


@pytest.fixture
def rig(module: Path) -> Iterator[Callable[..., Rig]]:
    """Make machines; at the end of the test each must have been left in good order.

    A test that ends a machine in another way calls ``machine.note_lines()`` itself.
    """
    made: list[Rig] = []

    def make(**how: Any) -> Rig:
        made.append(Rig(module, **how))
        return made[-1]

    yield make
    for machine in made:
        machine.note_lines()
