"""SeaBIOS's serial console, as QEMU's -nographic brings it, takes the keys of a boot menu."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.toolchain import toolchain
from vmtgen.targets import load_targets
from vmtsim.accept import machine, texts
from vmtsim.accept.boot import Account, Boot, BootError
from vmtsim.accept.console import Console
from vmtsim.accept.disks import Disk

from tests.patience import HANG

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parent / "loader.S"
_SECTOR, _TAIL = 512, 1 << 20
_ORIGIN = "0x7c00"


@pytest.fixture
def sector(tmp_path: Path) -> Disk:
    """A disk that has only a boot sector."""
    targets = load_targets()
    tool = toolchain("zig", targets.machine("amd64"), targets)
    made, image = tmp_path / "loader.o", tmp_path / "loader.img"
    linker = [*tool.link[:2], "-melf_i386", f"--image-base={_ORIGIN}", f"-Ttext={_ORIGIN}"]
    for command in (
        [*tool.compile[:2], "--target=i386-unknown-netbsd", "-c", str(SOURCE), "-o", str(made)],
        [*linker, "--oformat", "binary", "-e", "_start", "-o", str(image), str(made)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    content = image.read_bytes()
    assert content[510:512] == b"\x55\xaa"
    image.write_bytes(content[:_SECTOR].ljust(_TAIL, b"\0"))
    return Disk(image, "raw")


def test_boot_menu_leads_to_serial_console(
    sector: Disk, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    options = machine.MachineOptions(
        qemu=require_tool("qemu-system-x86_64"), disk=sector, memory=64, cpus=1
    )
    running = machine.start(options, tmp_path / "machine", None)
    try:
        console = Console.of_socket(running.line)
        lines: list[str] = []
        boot = Boot(console, Account(), timeout=HANG, print_line=lines.append)
        # The sector ends with a kernel's first line and a question that is not answered.
        with pytest.raises(BootError, match="no root file system"):
            boot.shell()
    finally:
        running.stop()
    assert lines == ["boot loader: menu", "boot loader: consdev com0, boot"]
    assert texts.MENU.search(console.seen)
