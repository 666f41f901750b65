"""Builds the test guest, links the driver for it, and runs both in QEMU."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile
from vmtgen.build.compile import build_module
from vmtgen.build.sysroot import own_headers
from vmtgen.build.toolchain import toolchain
from vmtgen.kobj import Module, link
from vmtgen.targets import load_targets

from tests.patience import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent / "guest"
SOURCES = (
    "boot.S", "devices.c", "guest.c", "kernel.c", "module.c", "net.c", "pages.c", "shell.c",
    "text.c",
)  # fmt: skip
# Where modloads go: the module area of guest/boot.S is the last gigabyte.
BASES = (0xFFFFFFFF_C0000000, 0xFFFFFFFF_C0800000)
_MAGIC = 0x314B534944544D56
_NAME_SIZE, _MODULE_SIZE = 64, 16
_STUBS, _STUB_SIZE = 128, 16
# Functions of vmt that the guest calls from its other vCPU, as guest/module.c reads them; another
# driver has none of them.
_CALLED = (
    "vmt_get_time_full",
    "vmt_channel_open",
    "vmt_channel_send",
    "vmt_channel_receive",
    "vmt_channel_close",
)


@dataclass(frozen=True)
class Guest:
    """The kernel image for QEMU, and the module in it, linked for each of BASES."""

    kernel: Path
    disk: Path
    module: Path
    symbols: dict[str, int]


def build_guest(root: Path, out: Path, driver: str = "vmt") -> Guest:
    """Compile the guest and the driver as it ships, and link the driver for the guest."""
    targets = load_targets()
    machine = targets.machine("amd64")
    tool = toolchain("zig", machine, targets)
    objects = []
    release = targets.release(targets.default.release)
    for name in SOURCES:
        target = out / f"{name}.o"
        command = [
            *tool.compile,
            f"-D__NetBSD_Version__={release.version}",
            "-nostdinc",
            "-Wno-unused-parameter",
            "-Wno-error",
            f"-I{HERE}",
            f"-I{root / 'kmod' / 'vmt'}",
            *own_headers("amd64").flags,
            "-c",
            str(HERE / name),
            "-o",
            str(target),
        ]
        _run(command)
        objects.append(str(target))
    kernel = out / "guest.elf"
    linker = [word for word in tool.link if word != "-r"]
    _run([*linker, "-T", str(HERE / "guest.ld"), "-o", str(kernel), *objects])
    # Not static, as in a kernel: the compiler must not put them into their callers.
    built = build_module(
        root / "kmod" / driver,
        out=out,
        extra_flags=("-DVMT_LOCAL=", "-DVMT_LOCAL_TABLE=", "-DVMT_LOCAL_DATA=extern"),
    )
    disk = out / "modules.bin"
    symbols = _symbols(kernel)
    disk.write_bytes(_disk(built.module, symbols, driver))
    return Guest(kernel, disk, built.path, symbols)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def _symbols(kernel: Path) -> dict[str, int]:
    with kernel.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {
            symbol.name: symbol["st_value"]
            for symbol in table.iter_symbols()
            if symbol["st_info"]["bind"] == "STB_GLOBAL" and symbol["st_shndx"] != "SHN_UNDEF"
        }


def _disk(module: Module, kernel: dict[str, int], driver: str) -> bytes:
    """Return the linked images as guest/module.c reads them."""
    missing = [name for name in module.imports if name not in kernel]
    assert len(missing) <= _STUBS
    stubs = {
        name: kernel["missing_stubs"] + _STUB_SIZE * index for index, name in enumerate(missing)
    }
    known = {name: kernel[name] for name in module.imports if name in kernel} | stubs
    size = struct.calcsize(f"<4Q{_MODULE_SIZE}s")
    image_size = struct.calcsize("<15Q")
    names_at = size + image_size * len(BASES)
    names = b"".join(name.encode()[: _NAME_SIZE - 1].ljust(_NAME_SIZE, b"\0") for name in missing)
    head = struct.pack(
        f"<4Q{_MODULE_SIZE}s", _MAGIC, len(BASES), len(missing), names_at, driver.encode()
    )
    called = {symbol.name for symbol in module.symbols} & set(_CALLED)
    content = b""
    at = names_at + len(names)
    for base in BASES:
        bases = {"text": base, "data": base + 0x100000, "rodata": base + 0x180000}
        linked = link(module, bases, known.get)  # type: ignore[arg-type]
        fields: list[int] = []
        for region in ("text", "data", "rodata"):
            image = linked.images.get(region, b"")  # type: ignore[call-overload]
            fields += [bases[region], at + len(content), len(image)]
            content += image
        fields.append(linked.address_of(f"{driver}_modcmd"))
        fields += [linked.address_of(name) if name in called else 0 for name in _CALLED]
        head += struct.pack("<15Q", *fields)
    return head + names + content


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """A running QEMU; ``type`` types on the guest's serial line, ``log`` is its output."""

    process: subprocess.Popen[bytes]
    gdb: str
    log: Path
    serial: socket.socket

    def type(self, line: str) -> None:
        self.serial.sendall(line.encode() + b"\n")

    def text(self) -> str:
        return self.log.read_bytes().decode("ascii", "replace").replace("\r", "")

    def wait_for(self, pattern: str, timeout: float = HANG, after: int = 0) -> str:
        """Return the guest's output from character ``after`` on, once it contains ``pattern``."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = re.search(pattern, self.text()[after:])
            if found:
                return found.group()
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        found = re.search(pattern, self.text()[after:])
        if found:
            return found.group()
        raise AssertionError(f"the guest never printed {pattern!r}:\n{self.text()}")

    def quit(self) -> None:
        self.process.kill()
        self.process.wait(HANG)


def _drain(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while line.recv(4096):
            pass


@contextlib.contextmanager
def running(
    qemu: str,
    guest: Guest,
    folder: Path,
    *,
    cpus: int = 1,
    words: str = "",
    accelerator: str = "tcg",
    extra: Sequence[str] = (),
) -> Iterator[Machine]:
    """Start the guest, stopped before its first instruction, with a GDB stub on a Unix socket."""
    log = folder / "serial.log"
    log.touch()
    gdb, serial = folder / "gdb", folder / "serial"
    command = [
        qemu,
        *("-machine", f"pc,accel={accelerator}", "-m", "64", "-smp", str(cpus), "-display", "none"),
        *("-nodefaults", "-no-user-config", "-S"),
        *("-kernel", str(guest.kernel), "-initrd", str(guest.disk), "-append", words),
        # In this order: once the serial line accepts connections, so does the stub.
        *("-chardev", f"socket,id=gdb,path={gdb},server=on,wait=off", "-gdb", "chardev:gdb"),
        *("-chardev", f"socket,id=serial,path={serial},server=on,wait=off,logfile={log}"),
        *("-serial", "chardev:serial"),
        *extra,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with process, socket.socket(socket.AF_UNIX) as line:
        try:
            deadline = time.monotonic() + HANG
            while True:
                try:
                    line.connect(str(serial))
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        process.kill()
                        printed = process.stderr.read() if process.stderr else b""
                        raise AssertionError(f"QEMU does not start: {printed!r}") from None
                    time.sleep(0.02)
            # Unread, a Unix socket is full after some hundred single characters.
            threading.Thread(target=_drain, args=(line,), daemon=True).start()
            yield Machine(process, str(gdb), log, line)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(HANG)
