"""The test guest of tests/sim/gdb, as a NetBSD with a serial console."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "gdb"))

from guestkit import Guest, build_guest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def guest_image(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The guest with the driver as it ships inside."""
    return build_guest(root, tmp_path_factory.mktemp("accept-guest"))


@pytest.fixture(scope="session")
def balloon_image(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The same with the memory balloon's driver."""
    return build_guest(root, tmp_path_factory.mktemp("balloon-guest"), "vmmemctl")


@pytest.fixture(scope="session")
def vmmemctl(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of the memory balloon."""
    return build_module(root / "kmod" / "vmmemctl", out=tmp_path_factory.mktemp("vmmemctl")).path


@pytest.fixture(scope="session")
def guest_qemu(
    guest_image: Guest, require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A QEMU that hands the modules to the test guest, which has no disk driver."""
    return _qemu(guest_image, require_tool, tmp_path_factory)


@pytest.fixture(scope="session")
def balloon_qemu(
    balloon_image: Guest,
    require_tool: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The same for the guest with the balloon."""
    return _qemu(balloon_image, require_tool, tmp_path_factory)


def _qemu(
    guest_image: Guest, require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("qemu") / "qemu"
    qemu = require_tool("qemu-system-x86_64")
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {qemu} --version\n'
        f'exec {qemu} "$@" -initrd {guest_image.disk}\n'
    )
    path.chmod(0o755)
    return path
