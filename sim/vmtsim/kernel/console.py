"""The console and the printf family (NetBSD sys/kern/subr_prf.c, subr_autoconf.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.printf import kprintf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.marshal import Arguments


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the console; ``at`` in virtual ns, when its first character came."""

    at: int
    text: str

    def __str__(self) -> str:
        return f"[{self.at / 1e9:12.7f}] {self.text}"


class Console(Subject):
    """The machine's screen: ``lines`` are complete, ``pending`` is the last one."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/subr_prf.c 1.203": "*",
        "sys/lib/libkern/kern_assert.c 1.5": "kern_assert",
    }
    # kprintf_lock() keeps lines whole; code must not rely on the order that it creates.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.lines: list[Line] = []
        self.pending = ""
        self._since = 0

    def print(self, text: str) -> None:
        """Write to the console; lines get the time of their first character."""
        for part in text.splitlines(keepends=True):
            if not self.pending:
                self._since = self.kernel.clock.now
            if part.endswith("\n"):
                line = Line(self._since, self.pending + part[:-1])
                self.lines.append(line)
                self.pending = ""
                self.kernel.trace.emit("console", text=line.text)
            else:
                self.pending += part

    def text(self) -> str:
        """Return everything with time stamps."""
        lines = [str(line) for line in self.lines]
        if self.pending:
            lines.append(str(Line(self._since, self.pending)))
        return "\n".join(lines) + ("\n" if lines else "")

    def _format(self, text: str | None, arguments: Arguments) -> str:
        return kprintf(self.kernel.memory, text or "", arguments)

    # Only what the real kernel prints on the console of a normal boot: naive is for quiet boots,
    # verbose for verbose ones, debug for neither.

    @kernel_function("void printf(const char *fmt, ...)")
    @kernel_function("void aprint_normal(const char *fmt, ...)")
    @kernel_function("void aprint_error(const char *fmt, ...)")
    @kernel_function("void printf_nolog(const char *fmt, ...)")
    @kernel_function("void vprintf(const char *fmt, va_list ap)")
    def printf(self, text: str | None, arguments: Arguments) -> None:
        self.print(self._format(text, arguments))

    @kernel_function("void aprint_naive(const char *fmt, ...)")
    @kernel_function("void aprint_debug(const char *fmt, ...)")
    def silent(self, text: str | None, arguments: Arguments) -> None:
        """Print nothing: the functions return before they read the text (sys/kern/subr_prf.c)."""

    @kernel_function("void aprint_verbose(const char *fmt, ...)")
    def quiet(self, text: str | None, arguments: Arguments) -> None:
        self._format(text, arguments)

    @kernel_function("void aprint_normal_dev(device_t dv, const char *fmt, ...)")
    @kernel_function("void aprint_error_dev(device_t dv, const char *fmt, ...)")
    @kernel_function("void device_printf(device_t dv, const char *fmt, ...)")
    def device_print(self, device: int, text: str | None, arguments: Arguments) -> None:
        self.print(f"{self._device(device)}: {self._format(text, arguments)}")

    @kernel_function("void aprint_naive_dev(device_t dv, const char *fmt, ...)")
    @kernel_function("void aprint_debug_dev(device_t dv, const char *fmt, ...)")
    def device_silent(self, device: int, text: str | None, arguments: Arguments) -> None:
        """Like ``silent``; the device is not checked."""

    @kernel_function("void aprint_verbose_dev(device_t dv, const char *fmt, ...)")
    def device_quiet(self, device: int, text: str | None, arguments: Arguments) -> None:
        self._device(device)
        self._format(text, arguments)

    def _device(self, device: int) -> str:
        return self.kernel.device_name(device, "device_printf")

    def _store(self, buffer: int, size: int, text: str) -> int:
        data = text.encode("latin-1")
        if size:
            self.kernel.memory.write(buffer, data[: size - 1] + b"\0")
        return len(data)

    @kernel_function("int snprintf(char *buf, size_t size, const char *fmt, ...)")
    @kernel_function("int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)")
    def snprintf(self, buffer: int, size: int, text: str | None, arguments: Arguments) -> int:
        return self._store(buffer, size, self._format(text, arguments))

    @kernel_function("void panic(const char *fmt, ...)")
    @kernel_function("void kern_assert(const char *fmt, ...)")
    def kpanic(self, text: str | None, arguments: Arguments) -> None:
        message = self._format(text, arguments).strip()
        self.kernel.panic("driver-panic", f"{message} (by {self.kernel.where()})")
