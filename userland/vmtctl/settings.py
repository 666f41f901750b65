"""The settings of the drivers, which start with their defaults each time that they attach.

The administrator's changes are lost when vmt0 is detached, and rc.d/sysctl reads sysctl.conf(5) at
boot before a module is loaded. So `attach` and `load` apply the settings in that file, and `run`
restores the previous ones.
"""

from __future__ import annotations

from vmtctl import balloon, guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtctl.context import Context

FILE = "/etc/sysctl.conf"

# The nodes below each tree that hold a setting (specs/*/driver.yaml). Not among them: net.dns,
# which follows resolv.conf(5), and the nodes that start an action.
NAMES = {
    guest.TREE: (
        "clock_sync.period",
        "clock_sync.follow_host",
        "backup.freeze",
        "backup.scripts",
        "backup.require_scripts",
        "info.memory_period",
        "net.primary",
        "net.exclude",
    ),
    balloon.TREE: ("floor",),
}


def persisted(text: str | None, tree: str = guest.TREE) -> dict[str, str]:
    """Return the settings in a sysctl.conf(5), by their name below ``tree``.

    The last line of each wins, as it does at boot.
    """
    found = {}
    for line in (text or "").splitlines():
        node, equals, value = line.partition("#")[0].partition("=")
        name = node.strip().rstrip("?").rstrip().removeprefix(f"{tree}.")
        if equals and name in NAMES[tree] and name != node.strip():
            found[name] = value.strip()
    return found


def current(context: Context) -> dict[str, str]:
    """Return the settings of the driver in charge; none where vmt0 is not attached."""
    nodes, _ = guest.driver_nodes(context)
    return {name: nodes[name] for name in NAMES[guest.TREE] if name in nodes}


def apply(context: Context, kept: Mapping[str, str] | None = None, tree: str = guest.TREE) -> None:
    """Apply the settings in /etc/sysctl.conf, or the previous ones, ``kept``, to a driver.

    A setting that cannot be set is a warning: the driver works without it.
    """
    values = {**persisted(context.read(FILE), tree), **(kept or {})}
    nodes = {} if context.dry_run or not values else guest.sysctls(context, tree)[0]
    for name in NAMES[tree]:
        node = f"{tree}.{name}"
        if name not in values or (node in nodes and _same(values[name], nodes[node])):
            continue
        what = f"set {_in_words(node, values[name])}"
        if context.dry_run:
            context.step(what)
        elif node not in nodes:
            context.detail(f"the driver in charge has no {name}")
        else:
            _set(context, node, values[name], what)


def _set(context: Context, node: str, value: str, what: str) -> None:
    result = context.tools.run("sysctl", "-w", f"{node}={value}")
    if not result.ok:
        context.warn(f"{node} was not set to {value!r}: {result.complaint}")
        return
    now = guest.sysctls(context, node)[0].get(node)
    if now is None or not _same(value, now):
        context.warn(f"{node} was set to {value!r}, but the driver reports {now!r}")
        return
    context.step(what)


def _same(given: str, shown: str) -> bool:
    """Report whether a text for sysctl(8) and what it shows of a node are the same value.

    It reads a number as strtouq(3) with base 0 does, and shows it in decimal (write_number and
    display_number of NetBSD sbin/sysctl/sysctl.c).
    """
    return given == shown or (shown.lstrip("-").isdecimal() and _number(given) == int(shown))


def _number(text: str) -> int | None:
    octal = text.lstrip("+-").startswith("0") and text.lstrip("+-").isdecimal()
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        return None


def _in_words(node: str, value: str) -> str:
    from vmtctl import clocks

    name = node.removeprefix(f"{guest.TREE}.")
    branch, _, leaf = name.partition(".")
    number = _number(value)
    if branch == clocks.BRANCH and number is not None:
        return clocks.described(leaf, number)
    return f"{name} to {value if number is not None else repr(value)}"
