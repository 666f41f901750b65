"""The module of the balloon driver for both machines, and vmt's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.resources import directory

from .machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The module of each machine."""
    out = tmp_path_factory.mktemp("balloon")
    source = directory("kmod") / "vmmemctl"
    return {
        machine: build_module(source, machine=machine, out=out / machine).path
        for machine in ("amd64", "i386")
    }


@pytest.fixture(scope="session")
def vmt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other driver."""
    return build_module(directory("kmod") / "vmt", out=tmp_path_factory.mktemp("vmt")).path


@pytest.fixture
def machine(modules: dict[str, Path]) -> Callable[..., Machine]:
    """A function that makes a machine of amd64."""
    return lambda **how: Machine(modules["amd64"], **how)
