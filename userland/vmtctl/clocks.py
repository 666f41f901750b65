"""The driver's clock nodes: reading and setting them."""

from __future__ import annotations

from vmtctl import guest, settings
from vmtctl.exits import CONFIG, NO_PERMISSION, UNAVAILABLE, USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context
    from vmtctl.system import Result

BRANCH = "clock_sync"
# The settings of an administrator, which /etc/sysctl.conf may have.
SETTINGS = {name: f"{guest.TREE}.{BRANCH}.{name}" for name in ("period", "follow_host")}
NOW = f"{guest.TREE}.{BRANCH}.now"

# Seconds; longer ones overflow the ticks of an int (NetBSD sys/kern/kern_clock.c, hz 100).
LONGEST = 2147483

# Microseconds.  Without a limit from the host, the driver steps errors from this size on
# (specs/vmt/driver.yaml).
FAR = 1_000_000

# Microseconds per second by which NetBSD slews while more than a second remains
# (sys/kern/kern_ntptime.c, ntp_update_second).
_SLEW = 5000

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_period(word: str) -> int:
    """Return the seconds of "60", "5m", "2h" or "off". Raises Failure."""
    if word == "off":
        return 0
    number, unit = word, 1
    if word and word[-1] in _UNITS:
        number, unit = word[:-1], _UNITS[word[-1]]
    if not (number.isascii() and number.isdigit()):
        raise Failure(f"{word!r} is not a period: give seconds (60), 5m, 2h, or off", status=USAGE)
    seconds = int(number) * unit
    if seconds > LONGEST:
        raise Failure(f"a period of {seconds} seconds is too long: at most {LONGEST}", status=USAGE)
    return seconds


def as_typed(name: str, value: int) -> str:
    """Return a setting as the arguments of ``vmtctl clock``."""
    if name == "follow_host":
        return f"--follow-host {'on' if value else 'off'}"
    return "off" if value == 0 else str(value)


def parse_switch(word: str) -> int:
    """Return 1 or 0 for "on" or "off". Raises Failure."""
    if word not in {"on", "off"}:
        raise Failure(f"--follow-host is {word!r}: give on or off", status=USAGE)
    return int(word == "on")


def described(name: str, value: int) -> str:
    """Return the description of a setting, to follow "set"."""
    if name == "period":
        return f"the clock's period: {in_words(value)}"
    return f"who decides about the clock: {'the host' if value else 'the guest'} ({name} {value})"


def in_words(seconds: int) -> str:
    """Return ``seconds`` as the manual writes a period."""
    return "off" if seconds == 0 else f"every {seconds} s"


def slew_in_words(microseconds: int) -> str:
    """Return how long NetBSD takes to slew an error of this size."""
    minutes = -(-microseconds // _SLEW // 60)
    if minutes < 120:
        return f"about {minutes} minutes"
    return f"about {-(-minutes // 60)} hours" if minutes < 2880 else f"about {minutes // 1440} days"


def apply(context: Context, name: str, value: int) -> None:
    """Write the setting ``name``, and read it back. Raises Failure."""
    _set(context, SETTINGS[name], str(value))
    nodes, _ = guest.driver_nodes(context)
    now = nodes.get(f"{BRANCH}.{name}")
    if now != str(value):
        raise Failure(f"{SETTINGS[name]} was set to {value}, but the driver says {now}")


def synchronise(context: Context) -> None:
    """Set the clock once. Raises Failure where the driver has no such node."""
    _set(context, NOW, "1")


def _set(context: Context, node: str, value: str) -> None:
    result = context.tools.run("sysctl", "-w", f"{node}={value}")
    if not result.ok:
        raise _trouble(context, node, value, result)


def _trouble(context: Context, node: str, value: str, result: Result) -> Failure:
    complaint = result.complaint
    if "Operation not permitted" in complaint:
        return Failure(
            "only root may set the clock", hint="become root first", status=NO_PERMISSION
        )
    if "is invalid" in complaint:
        nodes, _ = guest.driver_nodes(context)
        if not nodes:
            return Failure(f"{guest.DEVICE} is not attached", hint="vmtctl attach")
        return Failure(
            f"this driver has no {node.removeprefix(guest.TREE + '.')}",
            hint="the driver that is built into NetBSD cannot do this; load the module: "
            "vmtctl load",
            status=UNAVAILABLE,
        )
    if "Device busy" in complaint and node == NOW:
        return Failure(
            "the clock is off: while the period is 0, the driver does not touch it",
            hint="vmtctl clock 60 && vmtctl clock sync",
            status=CONFIG,
        )
    if "Invalid argument" in complaint:
        return Failure(f"the driver does not accept {node} = {value}", status=USAGE)
    return Failure(f"{node} was not set: {complaint}")


def persisted(context: Context) -> dict[str, int | None]:
    """Return the clock settings in sysctl.conf(5); None for those that it does not have."""
    saved = settings.persisted(context.read(settings.FILE))
    values = {name: saved.get(f"{BRANCH}.{name}", "") for name in SETTINGS}
    return {name: int(value) if value.isdecimal() else None for name, value in values.items()}


def with_setting(data: bytes, name: str, value: int) -> bytes:
    """Return the sysctl.conf(5) ``data`` with the setting once and all other bytes unchanged.

    The node gets the question mark with which sysctl(8) ignores a driver that attaches later.
    """
    node = SETTINGS[name].encode()
    line = node + f"?={value}".encode()
    lines = data.splitlines(keepends=True)
    places = [
        index
        for index, text in enumerate(lines)
        if text.partition(b"=")[0].strip().rstrip(b"?") == node
    ]
    if not places:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        return b"".join(lines) + line + b"\n"
    last = places[-1]
    end = lines[last][len(lines[last].rstrip(b"\r\n")) :]
    lines[last] = line + (end or b"\n")
    for index in reversed(places[:-1]):
        del lines[index]
    return b"".join(lines)
