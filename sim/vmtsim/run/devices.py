"""Device nodes that processes of a scenario have open, by the names that its steps give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.text import one_line

from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.devsw import FNONBLOCK, FREAD, FWRITE, DeviceSwitches, OpenDevice
from vmtsim.kernel.errors import Errno

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.scenario.guest import Ioctl, Map, Open, Poll, Read

_FLAGS = {"read": FREAD, "write": FWRITE, "nonblock": FNONBLOCK}


class Devices:
    """What ``guest.open`` and its like do; each is a command of the administrator.

    A result is an errno, or text: what was read with bytes that do not print escaped, numbers in
    hexadecimal.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._switches = kernel.subject(DeviceSwitches)
        self._open: dict[str, OpenDevice] = {}

    def open(self, given: Open) -> Model:
        """Open a device node."""
        flags = sum(_FLAGS[flag] for flag in set(given.flags))
        opened = yield from self._switches.open(given.device, given.unit, flags)
        if not isinstance(opened, OpenDevice):
            return opened
        self._open[given.name or given.device] = opened
        return 0

    def close(self, name: str) -> Model:
        """Close it."""
        opened = self._open.pop(name, None)
        return Errno.EBADF if opened is None else (yield from self._switches.close(opened))

    def read(self, given: Read) -> Model:
        """Read: the text of what was read."""
        opened = self._open.get(given.name)
        if opened is None:
            return Errno.EBADF
        return _text((yield from self._switches.read(opened, given.size)))

    def write(self, name: str, text: str) -> Model:
        """Write: how many bytes the driver took, as "N bytes"."""
        opened = self._open.get(name)
        if opened is None:
            return Errno.EBADF
        took = yield from self._switches.write(opened, text.encode("latin-1", "replace"))
        return f"{len(took)} bytes" if isinstance(took, bytes) else took

    def ioctl(self, given: Ioctl) -> Model:
        """Return what came back, in hexadecimal; 0 where the command brings nothing."""
        opened = self._open.get(given.name)
        if opened is None:
            return Errno.EBADF
        back = yield from self._switches.ioctl(opened, given.command, given.content)
        return back.hex(" ") if back and isinstance(back, bytes) else back or 0

    def poll(self, given: Poll) -> Model:
        """Return the events that are there, or come within ``wait`` seconds."""
        opened = self._open.get(given.name)
        if opened is None:
            return Errno.EBADF
        wait = round(given.wait * SECOND)
        return f"{(yield from self._switches.poll(opened, given.events, wait)):#x}"

    def mmap(self, given: Map) -> Model:
        """Return the physical address of a page, or ENODEV where the driver has none."""
        opened = self._open.get(given.name)
        if opened is None:
            return Errno.EBADF
        page = yield from self._switches.mmap(opened, given.offset, 1)
        return Errno.ENODEV if page == -1 else f"{page:#x}"


def _text(content: bytes | int) -> str | int:
    return one_line(content.decode("latin-1")) if isinstance(content, bytes) else content
