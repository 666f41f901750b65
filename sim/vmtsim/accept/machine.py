"""The virtual machine: a stock QEMU with the guest's console and a GDB stub on Unix sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import SOFTWARE, UNAVAILABLE, ReportedError

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.accept.disks import Disk

QEMU = {"amd64": "qemu-system-x86_64", "i386": "qemu-system-i386"}
# The bus of a disk -> NetBSD's name of the first disk on it.
BUSES = {"ide": "wd0", "virtio": "ld0", "scsi": "sd0", "usb": "sd0"}
# Buses that need a controller: mpt(4) and ehci(4).
_DEVICES = {"scsi": "scsi-hd,bus=scsi.0", "usb": "usb-storage,bus=usb.0"}
_CONTROLLERS = {"scsi": "mptsas1068,id=scsi", "usb": "usb-ehci,id=usb"}
# The address of the simulated guest's card, so that values derived from it are the same.
MAC = "00:0c:29:3e:5a:01"
_START = 30.0


class MachineError(ReportedError):
    """QEMU is missing or does not start."""

    exit_status = UNAVAILABLE


@dataclass(frozen=True)
class MachineOptions:
    """The machine to start.  ``memory`` in MiB; the BIOS boots the ``disk`` without ``kernel``."""

    machine: str = "amd64"
    qemu: str | None = None
    cpus: int = 2
    memory: int = 1024
    accelerator: str = "tcg"
    disk: Disk | None = None
    kernel: Path | None = None
    append: str | None = None
    bus: str | None = None

    @property
    def disk_bus(self) -> str:
        """The disks' bus: IDE for a BIOS, virtio for a kernel that QEMU loads."""
        return self.bus or ("virtio" if self.kernel is not None else "ide")

    @property
    def command_line(self) -> str:
        """The kernel's command line (NetBSD's PVH entry takes console= and root=)."""
        if self.append is not None:
            return self.append
        root = f" root={BUSES[self.disk_bus]}a" if self.disk is not None else ""
        return f"console=com{root}"


def find_qemu(options: MachineOptions) -> str:
    """Return QEMU's path; raises MachineError if there is none."""
    name = options.qemu or QEMU[options.machine]
    found = shutil.which(name)
    if found is None:
        raise MachineError(
            f"no {name} found",
            hint="install QEMU (Debian: qemu-system-x86), or give its path with --qemu",
        )
    return found


def version(qemu: str) -> str:
    """Return the first line of ``qemu --version``; raises MachineError if it is not QEMU."""
    try:
        done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(f"{qemu} is not QEMU: {error}") from error
    return done.stdout.partition("\n")[0]


def _drive(path: Path, format_: str, bus: str, number: int) -> list[str]:
    """Return the words for one disk, the first of which is number 0."""
    file = str(path).replace(",", ",,")
    drive = f"file={file},format={format_},snapshot=on,media=disk"
    if bus in _DEVICES:
        device = f"{_DEVICES[bus]},drive=disk{number}"
        return ["-drive", f"{drive},if=none,id=disk{number}", "-device", device]
    # Each alone on its cable, for the first two: wd0 and wd1.
    index = 2 * number if bus == "ide" else number
    return ["-drive", f"{drive},if={bus},index={index}"]


def command(options: MachineOptions, qemu: str, folder: Path, files: Path | None) -> list[str]:
    """Return QEMU's argument list.

    ``-nographic`` makes SeaBIOS, and through it NetBSD's boot blocks, show the screen on the serial
    line. vmport=off disables the few backdoor commands of QEMU itself.  The network card is not
    connected.
    """
    bus = options.disk_bus
    line = f"socket,id=console,path={folder / 'console'}"
    words = [
        qemu,
        *("-machine", "pc,vmport=off", "-accel", options.accelerator),
        *("-m", str(options.memory), "-smp", str(options.cpus), "-rtc", "base=utc"),
        *("-nodefaults", "-nographic", "-vga", "std", "-nic", "none"),
        *("-device", f"e1000,mac={MAC},romfile="),
        # In this order: a client that can connect to the serial line can connect to the stub.
        *("-chardev", f"socket,id=gdb,path={folder / 'gdb'},server=on,wait=off"),
        *("-gdb", "chardev:gdb"),
        *("-chardev", f"{line},server=on,wait=on,logfile={folder / 'console.log'}"),
        *("-serial", "chardev:console"),
    ]
    if bus in _CONTROLLERS:
        words += ["-device", _CONTROLLERS[bus]]
    number = 0
    if options.disk is not None:
        words += _drive(options.disk.path, options.disk.format, bus, number)
        number += 1
    if files is not None:
        words += _drive(files, "raw", bus, number)
    if options.kernel is not None:
        words += ["-kernel", str(options.kernel), "-append", options.command_line]
    return words


@dataclass
class Machine:
    """A running QEMU.  ``folder`` holds its sockets and the console's log."""

    process: subprocess.Popen[bytes]
    folder: Path
    line: socket.socket
    words: list[str] = field(default_factory=list)

    @property
    def gdb(self) -> str:
        """The stub's socket."""
        return str(self.folder / "gdb")

    @property
    def log(self) -> Path:
        """The guest's console output."""
        return self.folder / "console.log"

    @property
    def running(self) -> bool:
        """Whether QEMU still runs."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait for QEMU to exit by itself; returns false if it did not."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Stop QEMU, whatever the guest does."""
        with contextlib.suppress(OSError):
            self.line.close()
        if self.running:
            self.process.terminate()
            if not self.wait(10):
                self.process.kill()
                self.process.wait()


def start(options: MachineOptions, folder: Path, files: Path | None) -> Machine:
    """Start it; the guest runs once its console is connected.  Raises MachineError."""
    qemu = find_qemu(options)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("gdb", "console"):
        (folder / name).unlink(missing_ok=True)
    words = command(options, qemu, folder, files)
    errors = (folder / "qemu.log").open("wb")
    with errors:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,  # Ctrl-C is for vmtsim
            )
        except OSError as error:
            raise MachineError(f"cannot start {qemu}: {error.strerror}") from error
    line = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + _START
    while line.connect_ex(str(folder / "console")) != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            line.close()
            log = (folder / "qemu.log").read_text("utf-8", "replace").strip()
            raise MachineError(
                f"QEMU does not start: {log or 'it printed nothing'}", exit_status=SOFTWARE
            )
        time.sleep(0.05)
    return Machine(process, folder, line, words)
