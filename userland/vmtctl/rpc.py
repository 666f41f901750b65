"""RPCI commands to the host, through the driver's node machdep.vmt0.rpc.

The kernel executes a request and returns the reply in one sysctl(3) call. sysctl(8) prints the
reply as the old value: ``machdep.vmt0.rpc: REPLY -> REQUEST``.  A reply may hold `` -> `` and
newlines, and so may a request, hence the known ends are stripped and nothing is split.
"""

from __future__ import annotations

from vmtctl import guest
from vmtctl.exits import DATA, NO_PERMISSION, TEMPORARY, UNAVAILABLE, USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

NODE = f"{guest.TREE}.rpc"

# The driver's buffer is 4096 bytes, and sysctl(8) sends the terminating NUL along.
REQUEST_LIMIT = 4095

# Seconds. The driver waits 1.5 s for the host; more is a guest that gets little time, or a hang.
TIME_LIMIT = 30.0

_TROUBLES = (
    ("Operation not permitted", "only root may talk to the host", "become root first",
     NO_PERMISSION),
    ("is invalid", f"the driver has no node {NODE}",
     "the driver that is built into NetBSD cannot do this; load the module: vmtctl load",
     UNAVAILABLE),
    ("string too long", "the request is too long", "", DATA),
    ("Device busy", "the driver is busy with another request", "try again in a moment",
     TEMPORARY),
    ("Resource temporarily unavailable", "the host did not answer in time",
     "try again; `vmtctl status` tells the state of the channel", TEMPORARY),
    ("Device not configured", "the driver was detached meanwhile", "vmtctl attach", TEMPORARY),
    ("Input/output error", "the channel to the host is broken; the driver opens it again",
     "try again in a moment", TEMPORARY),
    ("Message too long", "the value is longer than the driver can hand on", "", DATA),
    ("Cannot allocate memory", "the value is longer than the driver can hand on", "", DATA),
)  # fmt: skip


def call(context: Context, request: str) -> tuple[bool, str]:
    """Send ``request`` to the host.

    Returns whether the host took it, and its answer without the leading "1 " or "0 ".
    Raises Failure when the request cannot be sent or the host does not answer.
    """
    size = len(request.encode("utf-8", "surrogateescape"))
    if size > REQUEST_LIMIT:
        raise Failure(
            f"the request has {size} bytes; the driver takes {REQUEST_LIMIT}", status=DATA
        )
    if "\0" in request:
        raise Failure("a request cannot hold a NUL byte", status=USAGE)
    result = context.tools.run("sysctl", "-w", f"{NODE}={request}", limit=TIME_LIMIT)
    if not result.ok:
        raise _trouble(context, result.complaint)
    reply = strip(result.output, request)
    head, _, text = reply.partition(" ")
    if head in {"0", "1"}:
        return head == "1", text
    raise Failure(f"the host's reply makes no sense: {reply[:80]!r}", status=DATA)


def strip(output: str, request: str) -> str:
    """Return the reply in what sysctl(8) printed. Raises Failure when it is not there."""
    start, end = f"{NODE}: ", f" -> {request}\n"
    if not output.startswith(start) or not output.endswith(end):
        raise Failure(f"cannot understand what sysctl printed: {output[:120]!r}", status=DATA)
    reply = output[len(start) :]
    if len(reply) < len(end):  # the two ends share bytes: there is no reply between them
        raise Failure(f"cannot understand what sysctl printed: {output[:120]!r}", status=DATA)
    return reply[: -len(end)]


def _trouble(context: Context, complaint: str) -> Failure:
    for text, message, hint, status in _TROUBLES:
        if text in complaint:
            if status == UNAVAILABLE and not guest.driver_nodes(context)[0]:
                return Failure(
                    f"{guest.DEVICE} is not attached", hint="vmtctl attach", status=UNAVAILABLE
                )
            return Failure(message, hint=hint, status=status)
    return Failure(f"the host was not asked: {complaint}")
