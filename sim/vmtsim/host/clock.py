"""The host's wall clock, and how the time commands encode it in registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from vmtsim.core.frame import Frame
    from vmtsim.host.context import Context

_LOW32 = 0xFFFFFFFF

GETTIME = 23
STOPCATCHUP = 24
GETTIMEFULL = 46
GETTIMEFULL_WITH_LAG = 55


class HostClock:
    """Unix time (UTC) that advances with the guest's virtual time, with drift and jumps.

    ``interrupt_lag_us`` is how much timer interrupt work the guest has not received yet,
    ``max_lag_us`` the error bound that the host reports.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        options = context.options
        self.drift_ppm = options.drift_ppm
        self.interrupt_lag_us = options.interrupt_lag_us
        self.max_lag_us = options.max_lag_us
        self._base = options.epoch * NANOSECONDS
        self._since = context.now()
        # A value that a faulty host returns instead of its time: (seconds, microseconds).
        self.broken: tuple[int, int] | None = None

    def now(self) -> int:
        """Return the host's time: nanoseconds since 1970-01-01T00:00:00Z."""
        elapsed = self._context.now() - self._since
        return self._base + elapsed + elapsed * self.drift_ppm // 1_000_000

    def _rebase(self, base: int) -> None:
        self._base = base
        self._since = self._context.now()

    def set(self, nanoseconds: int) -> None:
        """Set the host's time."""
        self._context.trace.emit("host.clock", action="set", ns=nanoseconds)
        self._rebase(nanoseconds)

    def jump(self, nanoseconds: int) -> None:
        """Step the host's time forward, or backwards if negative."""
        self._context.trace.emit("host.clock", action="jump", ns=nanoseconds)
        self._rebase(self.now() + nanoseconds)

    def drift(self, ppm: int) -> None:
        """Let the host's clock run faster than the guest's by ``ppm`` (slower if negative)."""
        self._context.trace.emit("host.clock", action="drift", ppm=ppm)
        self._rebase(self.now())
        self.drift_ppm = ppm

    def lag(self, interrupt_us: int, max_us: int | None = None) -> None:
        """Set the interrupt lag and, if given, the reported maximum, in microseconds."""
        self._context.trace.emit("host.clock", action="lag", us=interrupt_us, max_us=max_us)
        self.interrupt_lag_us = interrupt_us
        if max_us is not None:
            self.max_lag_us = max_us

    def command(self, number: int, frame: Frame) -> None:
        """Answer GETTIME, GETTIMEFULL or GETTIMEFULL_WITH_LAG.

        Registers: open-vm-tools services/plugins/timeSync/timeSync.c.
        """
        seconds, microseconds = self.broken or divmod(self.now() // 1000, 1_000_000)
        frame.arg1 = microseconds & _LOW32
        # Only the command with lag separates the two; otherwise the bound includes both.
        frame.arg2 = self.max_lag_us + self.interrupt_lag_us
        if number == GETTIME:
            frame.arg0 = seconds & _LOW32
        else:
            # EAX keeps the magic: this reports success for these two commands.
            frame.arg4 = (seconds >> 32) & _LOW32
            frame.arg3 = seconds & _LOW32
            if number == GETTIMEFULL_WITH_LAG:
                frame.arg2 = self.max_lag_us
                frame.arg5 = self.interrupt_lag_us
        if self._context.trace.has_listener("host.time"):
            self._context.trace.emit(
                "host.time", command=number, seconds=seconds, microseconds=microseconds
            )

    def stop_catchup(self) -> None:
        """Drop the pending timer interrupts: the guest set its clock itself."""
        self._context.trace.emit("host.clock", action="stop-catchup", us=self.interrupt_lag_us)
        self.interrupt_lag_us = 0
