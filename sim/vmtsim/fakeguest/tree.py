"""The guest's directory: the stubs of its tools, scripts, and the module."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import CannotCreateError

from vmtsim.fakeguest import stubtool

if TYPE_CHECKING:
    from vmtgen.kobj import Module

_FILES = Path(__file__).parent / "root"
# For sh(1) the second line runs Python, whose path may contain a blank; for Python it is a string.
_SHEBANG = f"#!/bin/sh\n'''exec' \"{sys.executable}\" -IS \"$0\" \"$@\"\n' '''\n"

# Where NetBSD keeps each tool; vmtoolsd is pkgsrc's.
TOOLS = {
    "dmesg": "sbin",
    "drvctl": "sbin",
    "modload": "sbin",
    "modunload": "sbin",
    "shutdown": "sbin",
    "sysctl": "sbin",
    "dhcpcd": "sbin",
    "ps": "bin",
    "logger": "usr/bin",
    "modstat": "sbin",
    "powerd": "usr/sbin",
    "vmtoolsd": "usr/pkg/bin",
}
_DIRECTORIES = ("dev", "etc/powerd/scripts", "etc/rc.conf.d", "etc/rc.d", "var/log", "var/run")


class GuestDirectoryError(CannotCreateError):
    """The directory cannot be used for a guest; ``hint`` says what to do."""


class Tree:
    """The directory of one guest, locked by this process until ``close``.

    Files below etc/ survive from one guest to the next, as on a disk; the tools are rewritten.
    Raises GuestDirectoryError for a directory with other content, or of a running guest.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        if self.root.is_dir() and any(self.root.iterdir()):
            if not (self.root / stubtool.MARK).exists():
                raise GuestDirectoryError(
                    f"{root} has other content than a guest's", hint="name a new directory"
                )
        elif self.root.exists() and not self.root.is_dir():
            raise GuestDirectoryError(f"{root} is not a directory", hint="name a new directory")
        self.root.mkdir(parents=True, exist_ok=True)
        mark = self.root / stubtool.MARK
        self._lock = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise GuestDirectoryError(
                f"a guest already runs in {root}",
                hint=f"stop it first: vmtsim guest-control {root} stop",
            ) from None
        for place in _DIRECTORIES:
            (self.root / place).mkdir(parents=True, exist_ok=True)
        # Since this process has the lock, an existing socket belongs to a guest that was killed.
        for socket in self.sockets():
            socket.unlink(missing_ok=True)
        for name in ("powerd.pid", "vmware-guestd.pid"):
            (self.root / "var/run" / name).unlink(missing_ok=True)

    def sockets(self) -> tuple[Path, Path]:
        """Return where the control socket and /dev/power are."""
        control, power = (
            self.root.joinpath(*place) for place in (stubtool.CONTROL, stubtool.POWER)
        )
        return control, power

    def fill(self, module: Module, port: str) -> Path:
        """Write tools and scripts; returns the module's path, where its package installs it."""
        text = Path(stubtool.__file__).read_text(encoding="utf-8")
        # The shebang's string replaces the docstring: __future__ allows only one.
        text = text[text.index("from __future__") :]
        for name, place in TOOLS.items():
            _write(self.root / place / name, _SHEBANG + text, executable=True)
        for source in sorted(_FILES.rglob("*")):
            target = self.root / source.relative_to(_FILES)
            if source.is_dir() or (
                target.exists() and source.relative_to(_FILES).parts[0] == "etc"
            ):
                continue
            content = source.read_text(encoding="utf-8")
            _write(target, content, executable=content.startswith("#!"))
        # vmtctl itself for this guest, not a stub.
        here = shlex.quote(str(self.root))
        companion = f'#!/bin/sh\nexec "{sys.executable}" -m vmtctl --tools-root {here} "$@"\n'
        _write(self.root / "usr/pkg/bin/vmtctl", companion, executable=True)
        (self.root / "dev/drvctl").touch()
        shell = self.root / "bin/sh"
        if not shell.is_symlink():
            shell.symlink_to("/bin/sh")
        place = f"usr/pkg/stand/{port}/{module.modinfo.version_text}/modules/{module.modinfo.name}"
        target = self.root / place / f"{module.modinfo.name}.kmod"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module.path, target)
        twin = Path(f"{module.path}.debug")
        if twin.exists():
            shutil.copyfile(twin, f"{target}.debug")
        return target

    def load_at_boot(self, module: Path | None) -> None:
        """Make /etc/modules.conf name the module that the boot loads, unless the site has one."""
        conf = self.root / "etc/modules.conf"
        ours = "# Written by vmtsim guest.\n"
        if conf.exists() and not conf.read_text(encoding="utf-8").startswith(ours):
            return
        conf.unlink(missing_ok=True)
        if module is not None:
            _write(conf, f"{ours}/{module.relative_to(self.root)}\n", executable=False)

    def close(self) -> None:
        """Remove the sockets and release the directory."""
        for socket in self.sockets():
            socket.unlink(missing_ok=True)
        os.close(self._lock)


def _write(path: Path, text: str, *, executable: bool) -> None:
    """Replace a file; a process that runs it keeps the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o755 if executable else 0o644)
    temporary.replace(path)
