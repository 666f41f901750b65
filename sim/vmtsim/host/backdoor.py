"""The low-bandwidth port: all commands that a tools driver may try, and forbidden ones.

Numbers and registers: open-vm-tools lib/include/backdoor_def.h, lib/vmCheck/vmcheck.c,
services/plugins/timeSync/timeSync.c; those that QEMU answers: its hw/i386/vmport.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.core.frame import Frame, high16, word
from vmtsim.host import clock as clock_module
from vmtsim.host.channel import OPEN, RECVPAYLOAD, RECVSIZE
from vmtsim.host.fault_effects import ClockChanged, TimeRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.clock import HostClock
    from vmtsim.host.context import Context
    from vmtsim.host.faults import Faults
    from vmtsim.host.transport import Transport

MAGIC = 0x564D5868
LOW_PORT = 0x5658
HIGH_PORT = 0x5659
_ALL_ONES = 0xFFFFFFFF
_LOW32 = 0xFFFFFFFF

GETMHZ, GETVERSION, GETHWVERSION, GETUUID, GETMEMSIZE = 1, 10, 17, 19, 20
MESSAGE, GETHZ, NESTING, VCPU_INFO, BUILD_NUMBER = 30, 45, 63, 68, 100
GUI_OPTIONS, SCREEN_SIZE = 13, 15
_SYNCTIME_OPTION = 0x400

# Commands that older hosts do not have: a driver may try them without success.
_TIME_COMMANDS = frozenset(
    {clock_module.GETTIME, clock_module.GETTIMEFULL, clock_module.GETTIMEFULL_WITH_LAG}
)

# The answers of QEMU's vmport device.
QEMU_COMMANDS = frozenset({GETVERSION, GETUUID, GETMEMSIZE, GETHZ, VCPU_INFO})


class Backdoor:
    """Answers calls on port 0x5658."""

    def __init__(
        self, context: Context, transport: Transport, clock: HostClock, faults: Faults
    ) -> None:
        self._context = context
        self._transport = transport
        self._clock = clock
        self._faults = faults
        self._noise = context.rng.fork("noise")
        self.calls = 0
        self.sync_time = context.options.synctime
        self._commands: dict[int, Callable[[Frame], None]] = {
            GETMHZ: self._mhz,
            GETVERSION: self._version,
            GUI_OPTIONS: self._gui_options,
            SCREEN_SIZE: self._screen_size,
            GETHWVERSION: self._hardware_version,
            GETUUID: self._uuid,
            GETMEMSIZE: self._memory,
            clock_module.STOPCATCHUP: self._stop_catchup,
            GETHZ: self._hz,
            NESTING: self._nesting,
            VCPU_INFO: self._vcpu_info,
            BUILD_NUMBER: self._build_number,
        }
        for number in context.options.time_commands:
            self._commands[number] = self._time(number)

    def call(self, frame: Frame) -> None:
        """Execute the call in ``frame``, in place."""
        self.calls += 1
        context = self._context
        if context.options.kind == "hardware":
            frame.arg0 = _ALL_ONES
            return
        if frame.arg0 & _LOW32 != MAGIC:
            context.violation("magic", f"EAX {frame.arg0 & _LOW32:#010x} on port {LOW_PORT:#x}")
            frame.arg0 = _ALL_ONES
            return
        number = frame.arg2 & 0xFFFF
        vmware = context.options.kind == "vmware"
        if number == MESSAGE and vmware:
            self._message(frame)
            return
        command = self._commands.get(number)
        if context.trace.has_listener("backdoor"):
            context.trace.emit("backdoor", command=number, known=command is not None)
        if command is None or (not vmware and number not in QEMU_COMMANDS):
            foreign = command is None and number not in _TIME_COMMANDS
            if vmware and foreign and not context.options.foreign_access:
                context.violation("backdoor-command", f"command {number}")
            frame.arg0 = _ALL_ONES
            return
        command(frame)

    def _message(self, frame: Frame) -> None:
        if not self._context.options.scramble:
            self._transport.call(frame)
            return
        kind = high16(frame.arg2)
        before = self._transport.channels.get(high16(frame.arg3))
        self._transport.call(frame)
        # Registers that the call does not define on return.
        words = self._noise.words
        if kind == OPEN:
            frame.arg0, frame.arg1 = words(2)
        elif (kind in (RECVSIZE, RECVPAYLOAD)) and before is not None:
            frame.arg0, frame.arg4, frame.arg5 = words(3)
        else:
            frame.arg0, frame.arg1, frame.arg3, frame.arg4, frame.arg5 = words(5)

    # Commands with a specific answer.

    def _version(self, frame: Frame) -> None:
        if frame.arg1 & _LOW32 == MAGIC:
            self._context.violation("version-probe", "GETVERSION with the magic in EBX")
        frame.arg0 = 6
        frame.arg1 = MAGIC
        frame.arg2 = self._context.options.product_type

    def _hardware_version(self, frame: Frame) -> None:
        frame.arg0 = self._context.options.hardware_version
        frame.arg1 = MAGIC

    def _mhz(self, frame: Frame) -> None:
        frame.arg0 = self._context.options.mhz

    def _gui_options(self, frame: Frame) -> None:
        frame.arg0 = _SYNCTIME_OPTION if self.sync_time else 0

    @staticmethod
    def _screen_size(frame: Frame) -> None:
        frame.arg0 = word(1024, 768)

    def _uuid(self, frame: Frame) -> None:
        frame.arg0, frame.arg1, frame.arg2, frame.arg3 = self._context.options.uuid

    def _memory(self, frame: Frame) -> None:
        megabytes = self._context.options.memory_mb
        if self._context.options.kind == "qemu":
            frame.arg0 = (megabytes << 20) & _LOW32
            frame.arg1 = 0x1177
        else:
            frame.arg0 = megabytes

    def _hz(self, frame: Frame) -> None:
        hz = self._context.options.mhz * 1_000_000
        frame.arg0, frame.arg1 = hz & _LOW32, hz >> 32
        frame.arg2 = self._context.options.apic_hz

    @staticmethod
    def _vcpu_info(frame: Frame) -> None:
        # Bit 3: a legacy x2APIC may be used.
        frame.arg0 = 1 << 3

    @staticmethod
    def _nesting(frame: Frame) -> None:
        frame.arg0 = 2 if high16(frame.arg2) == 2 else 1

    def _build_number(self, frame: Frame) -> None:
        frame.arg0 = self._context.options.build_number

    def _stop_catchup(self, _frame: Frame) -> None:
        self._clock.stop_catchup()

    def _time(self, number: int) -> Callable[[Frame], None]:
        def answer(frame: Frame) -> None:
            injected = self._faults.inject("time")
            if isinstance(injected, TimeRefused):
                frame.arg0 = _ALL_ONES
                return
            lasting = self._clock.broken
            if isinstance(injected, ClockChanged):
                injected.play(self._faults, self._clock)
            self._clock.command(number, frame)
            self._clock.broken = lasting

        return answer
