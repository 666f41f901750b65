"""Reads the name servers of resolv.conf(5) for the driver, because the kernel does not have them.

It follows NetBSD's resolver (lib/libc/resolv/res_init.c; MAXNS and MAXDNSRCH of include/resolv.h):
the first servers, and the last line of `domain` and `search`. Without such a line the domain is the
host name after its first dot.
"""

from __future__ import annotations

from vmtctl import guest
from vmtctl.exits import NO_PERMISSION, UNAVAILABLE, USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

FILE = "/etc/resolv.conf"
NODE = f"{guest.TREE}.net.dns"
_NAME = "net.dns"

SERVERS = 3
SUFFIXES = 6
# Bytes of a name in the message to the host (DNSINFO_MAX_ADDRLEN of open-vm-tools nicinfo.x), and
# of the node without its NUL.
_LONGEST = 255
_ROOM = 1023


def words(text: str, hostname: str = "") -> str:
    """Return the contents of a resolv.conf(5) in the format of the node machdep.vmt0.net.dns."""
    servers: list[str] = []
    domain, search = "", []
    for line in text.splitlines():
        # A keyword begins its line; ; and # at its beginning make a comment.
        key, *rest = line.split() or [""]
        if not line.startswith(key) or not rest:
            continue
        if key == "nameserver" and _address(rest[0]):
            servers.append(_address(rest[0]))
        elif key == "domain":
            domain, search = rest[0], [rest[0]]
        elif key == "search":
            domain, search = rest[0], rest
    if not domain:
        domain = hostname.partition(".")[2]
        search = [domain]
    known = [name for name in search if _is_name(name)][:SUFFIXES]
    parts = ["nameserver", *servers[:SERVERS]] if servers else []
    parts += ["domain", domain] if _is_name(domain) else []
    while known and len(" ".join([*parts, "search", *known])) > _ROOM:
        known.pop()
    return " ".join([*parts, *(["search", *known] if known else [])])


def _address(word: str) -> str:
    """Return an address without its zone, which is local to this machine; "" for another word."""
    try:
        from _socket import AF_INET, AF_INET6, inet_pton  # socket itself takes as long as Python
    except ImportError:
        from socket import AF_INET, AF_INET6, inet_pton

    address = word.partition("%")[0]
    try:
        inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except OSError:
        return ""
    return address


def _is_name(word: str) -> bool:
    printable = word.isascii() and word.isprintable() and " " not in word
    # The words that the node reads as keys are not names of domains.
    return (
        0 < len(word) <= _LONGEST and printable and word not in {"nameserver", "domain", "search"}
    )


def found(context: Context) -> str:
    """Return the contents of this system's resolv.conf(5), for the node."""
    names, _ = guest.sysctls(context, "kern.hostname")
    return words(context.read(FILE) or "", names.get("kern.hostname", ""))


def survey(context: Context, nodes: dict[str, str]) -> dict[str, str | None]:
    """Return the driver's value, and the value that it should have; None for a missing one."""
    there = context.read(FILE) is not None
    return {"driver": nodes.get(_NAME), "resolv_conf": found(context) if there else None}


def put(context: Context, value: str) -> None:
    """Write the node. Raises Failure."""
    result = context.tools.run("sysctl", "-w", f"{NODE}={value}")
    if result.ok:
        return
    complaint = result.complaint
    if "Operation not permitted" in complaint:
        raise Failure("only root may set it", hint="become root first", status=NO_PERMISSION)
    if "Invalid argument" in complaint:
        raise Failure(f"the driver does not accept {value!r}", status=USAGE)
    raise Failure(f"{NODE} was not set: {complaint}")


def current(context: Context) -> str:
    """Return the driver's value. Raises Failure where it is not attached or has no such node."""
    nodes, complaint = guest.driver_nodes(context)
    if not nodes:
        raise Failure(f"{guest.DEVICE} is not attached ({complaint})", hint="vmtctl attach")
    if _NAME not in nodes:
        raise Failure(
            "this driver does not support name servers",
            hint="NetBSD's built-in driver cannot do this; load the module: vmtctl load",
            status=UNAVAILABLE,
        )
    return nodes[_NAME]


def apply(context: Context) -> None:
    """Set the name servers in a driver that has just attached, if it has the node."""
    what = f"set the name servers of {FILE} in the driver"
    if context.read(FILE) is None:
        return
    if context.dry_run:
        context.step(what)
        return
    nodes, _ = guest.driver_nodes(context)
    if _NAME not in nodes:
        context.detail("the driver in charge does not support name servers")
        return
    value = found(context)
    if nodes[_NAME] == value:
        return
    try:
        put(context, value)
        context.step(what)
    except Failure as error:
        context.warn(f"the name servers were not set in the driver: {error}")
