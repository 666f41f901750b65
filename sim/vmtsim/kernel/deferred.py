"""Work that a driver defers during boot (NetBSD sys/kern/subr_autoconf.c).

Modules are loaded into a running system: interrupts work and the root file system is mounted, so
the deferred function is called at once, in the calling thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Call, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model


class Deferred(Subject):
    """config_interrupts(9) and config_mountroot(9)."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_autoconf.c 1.314": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"config_misc_lock": "*"}
    ACCESSES_DATA = ""

    @kernel_function("void config_interrupts(device_t dev, void (*func)(device_t))")
    def config_interrupts(self, device: int, function: int) -> Model:
        yield Call(function, (device,))

    @kernel_function("void config_mountroot(device_t dev, void (*func)(device_t))")
    def config_mountroot(self, device: int, function: int) -> Model:
        yield Call(function, (device,))
