"""The high-bandwidth port: a whole payload in one string instruction.

Registers: open-vm-tools lib/message/message.c and lib/include/guest_msg_def.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.core.frame import Frame, GuestFault, GuestMemory, high16, low16, word
from vmtsim.host.channel import SUCCESS

if TYPE_CHECKING:
    from vmtsim.host.channel import Channel
    from vmtsim.host.context import Context
    from vmtsim.host.transport import Transport

_MESSAGE = 0
_LARGEST = 1 << 20


def high_bandwidth(
    context: Context,
    transport: Transport,
    frame: Frame,
    memory: GuestMemory,
    *,
    to_host: bool,
) -> None:
    """Execute ``rep outsb`` (``to_host``) or ``rep insb`` on port 0x5659.

    Raises GuestFault, after recording the violation, if the guest's buffer is not mapped: a real
    machine takes a page fault there.
    """
    step = "hb-out" if to_host else "hb-in"
    if low16(frame.arg1) != _MESSAGE:
        context.violation("high-bandwidth-status", f"command {low16(frame.arg1)} in EBX")
        frame.arg1 = word(0)
        return
    cookies = (frame.arg6, frame.arg5) if to_host else (frame.arg4, frame.arg6)
    found = transport.find(
        high16(frame.arg3), (cookies[0] & 0xFFFFFFFF, cookies[1] & 0xFFFFFFFF), step
    )
    if isinstance(found, int):
        frame.arg1 = word(found)
        return
    found.last_call = context.now()
    if high16(frame.arg1) != SUCCESS:
        context.violation(
            "high-bandwidth-status", f"EBX {frame.arg1 & 0xFFFFFFFF:#010x}", found.number
        )
    size = frame.arg2 & 0xFFFFFFFF
    status = _refusal(context, transport, found, size, step)
    if status is None:
        try:
            if to_host:
                data = memory.read(frame.arg4, size)
                frame.arg1 = word(SUCCESS)
                context.trace.emit("high-bandwidth", channel=found.number, step=step, size=size)
                transport.take(found, data)
            else:
                assert found.reading is not None
                memory.write(frame.arg5, found.reading.ljust(size, b"\0"))
                found.offset = size
                frame.arg1 = word(SUCCESS)
                context.trace.emit("high-bandwidth", channel=found.number, step=step, size=size)
        except GuestFault as fault:
            context.violation("high-bandwidth-memory", str(fault), found.number)
            frame.arg1 = word(0)
            raise
    else:
        frame.arg1 = word(status)


def _refusal(
    context: Context, transport: Transport, channel: Channel, size: int, step: str
) -> int | None:
    """Return the status that refuses the call, or None to continue."""
    underway = channel.sending is not None if step == "hb-out" else channel.reading is not None
    started = len(channel.sending or b"") if step == "hb-out" else channel.offset
    if not underway or started:
        return transport.out_of_turn(channel, step)
    if not context.options.high_bandwidth:
        context.violation("high-bandwidth-refused", step, channel.number)
        return 0
    expected = channel.expected if step == "hb-out" else channel.announced
    if size != expected:
        context.violation("payload-size", f"{step} of {size} bytes for {expected}", channel.number)
        return 0
    if size > _LARGEST:
        # The guest believed a false length: there is no data to fill such a buffer with.
        return 0
    status = transport.broken(channel, step)
    return status if isinstance(status, int) else None
