"""RPCI commands to the host, through the driver's nodes below machdep.vmt0.rpc.

vmtctl writes a command to one node, which returns its number, and polls another node for the reply
with that number. sysctl(8) passes a number after the name of a node on to the kernel
(sysctlgetmibinfo(3)), and with -r it prints a value unchanged.
"""

from __future__ import annotations

import time

from vmtctl import guest
from vmtctl.exits import DATA, NO_PERMISSION, TEMPORARY, UNAVAILABLE, USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

TREE = f"{guest.TREE}.rpc"
REQUEST = f"{TREE}.request"
REPLY = f"{TREE}.reply"

# Bytes of a message in VMware's protocol; sysctl(8)'s arguments may have 256 KiB (ARG_MAX).
REQUEST_LIMIT = 65536

# Seconds. The driver drops a command after a minute; the rest is for one that is then in progress.
LIMIT = 75.0
# Seconds; then vmtctl prints that it waits.
SILENCE = 3.0
# Seconds between two polls: the first is short, because a host answers in milliseconds.
PAUSES = (0.002, 0.25)

_TROUBLES = (
    ("Operation not permitted", "only root may send requests to the host", "become root first",
     NO_PERMISSION),
    ("string too long", "the request is too long", "", DATA),
    ("Device busy", "the driver is busy with other requests", "try again in a moment", TEMPORARY),
    ("Device not configured", "the driver was detached", "vmtctl attach", TEMPORARY),
    ("Cannot allocate memory", "the system has too little memory for the request", "", TEMPORARY),
)  # fmt: skip

# By the number of the driver's error (NetBSD sys/sys/errno.h).
_ERRORS = {
    5: ("the channel to the host is broken; the driver opens it again", "try again in a moment",
        TEMPORARY),
    12: ("the system has too little memory for the reply", "", TEMPORARY),
    40: ("the value is longer than the protocol allows", "", DATA),
}  # fmt: skip


def call(context: Context, request: str) -> tuple[bool, str]:
    """Send ``request`` to the host and wait for the reply.

    Returns whether the host accepted it, and its answer without the leading "1 " or "0 ".
    Raises Failure when the request cannot be sent or the host does not answer.
    """
    size = len(request.encode("utf-8", "surrogateescape"))
    if size > REQUEST_LIMIT:
        raise Failure(
            f"the request has {size} bytes; the protocol allows {REQUEST_LIMIT}", status=DATA
        )
    if "\0" in request:
        raise Failure("a request cannot hold a NUL byte", status=USAGE)
    reply = _collect(context, _send(context, request))
    head, _, text = reply.partition(" ")
    if head in {"0", "1"}:
        return head == "1", text
    raise Failure(f"the host's reply is invalid: {reply[:80]!r}", status=DATA)


def _send(context: Context, request: str) -> str:
    """Write a request; returns its number."""
    result = context.tools.run("sysctl", "-w", f"{REQUEST}={request}")
    if not result.ok:
        raise _trouble(context, result.complaint)
    number = strip(result.output, request)
    if not number.isdecimal():
        raise Failure(
            f"{REQUEST} gave no number: {number[:80]!r}",
            hint="driver and vmtctl have different versions: load the driver of this vmtctl",
            status=UNAVAILABLE,
        )
    return number


def strip(output: str, request: str) -> str:
    """Return the old value in the output of sysctl(8). Raises Failure when it is not there.

    A request may contain `` -> `` and newlines, hence this strips the known ends.
    """
    start, end = f"{REQUEST}: ", f" -> {request}\n"
    if (
        not output.startswith(start)
        or not output.endswith(end)
        or len(output) < len(start) + len(end)  # the two ends share bytes
    ):
        raise Failure(f"cannot understand what sysctl printed: {output[:120]!r}", status=DATA)
    return output[len(start) : -len(end)]


def _collect(context: Context, number: str) -> str:
    """Wait for the reply to the request ``number``."""
    begun = time.monotonic()
    pause, longest = PAUSES
    problem = False
    while True:
        state, text = _look(context, number)
        if state in {"ok", "binary"}:
            return text
        if state == "error":
            message, hint, status = _ERRORS.get(
                int(text) if text.isdecimal() else 0, (f"error {text}", "", UNAVAILABLE)
            )
            raise Failure(message, hint=hint, status=status)
        if state == "unknown":
            raise Failure(
                "the driver could not reach the host in time, and dropped the request",
                hint="try again; `vmtctl status` shows the state of the channel",
                status=TEMPORARY,
            )
        waited = time.monotonic() - begun
        if waited > LIMIT:
            raise Failure(
                f"the host has not answered for {LIMIT:g} seconds; it may still carry the "
                "request out",
                hint="`vmtctl status` shows the state of the channel",
                status=TEMPORARY,
            )
        if waited > SILENCE and not problem:
            context.warn(f"waiting for the host, up to {LIMIT:g} seconds")
            problem = True
        time.sleep(pause)
        pause = min(pause * 2, longest)


def _look(context: Context, number: str) -> tuple[str, str]:
    """Request a reply once; returns its state and the rest."""
    result = context.tools.run("sysctl", "-r", f"{REPLY}.{number}")
    if not result.ok:
        raise _trouble(context, result.complaint)
    about, _, rest = result.output.removesuffix("\0").partition(" ")
    state, _, text = rest.partition(" ")
    if about != number or state not in {"ok", "binary", "error", "pending", "unknown"}:
        raise Failure(f"cannot understand the driver's reply: {result.output[:80]!r}", status=DATA)
    return state, text


def _trouble(context: Context, complaint: str) -> Failure:
    for text, message, hint, status in _TROUBLES:
        if text in complaint:
            return Failure(message, hint=hint, status=status)
    if "is invalid" not in complaint:  # a name that sysctl(8) does not find
        return Failure(f"the request was not sent to the host: {complaint}")
    nodes = guest.driver_nodes(context)[0]
    if not nodes:
        return Failure(f"{guest.DEVICE} is not attached", hint="vmtctl attach", status=UNAVAILABLE)
    if "rpc" in nodes:
        return Failure(
            f"the driver is older than vmtctl and has no node {REQUEST}",
            hint="load the driver that came with this vmtctl: vmtctl load",
            status=UNAVAILABLE,
        )
    return Failure(
        f"the driver has no node {REQUEST}",
        hint="the driver that is built into NetBSD cannot do this; load the module: vmtctl load",
        status=UNAVAILABLE,
    )
