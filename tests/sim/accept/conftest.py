"""The test guest of tests/sim/gdb, as a NetBSD with a serial console."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "gdb"))

from guestkit import Guest, build_guest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def guest_image(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The guest with the driver as it ships inside."""
    return build_guest(root, tmp_path_factory.mktemp("accept-guest"))


@pytest.fixture(scope="session")
def guest_qemu(
    guest_image: Guest, require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A QEMU that hands the modules to the test guest, which has no disk driver."""
    path = tmp_path_factory.mktemp("qemu") / "qemu"
    qemu = require_tool("qemu-system-x86_64")
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {qemu} --version\n'
        f'exec {qemu} "$@" -initrd {guest_image.disk}\n'
    )
    path.chmod(0o755)
    return path
