"""Rules that concern several specs at once and are not references by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.located import listed, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from vmtgen.common.located import Node, Problems


def check_together(
    values: Mapping[str, Any], nodes: Mapping[str, Node], problems: Problems
) -> None:
    """Check ``values``, the specs that could be built, by name; ``nodes`` are their documents."""
    for names, rule in _RULES:
        if all(name in values for name in names):
            rule(*(values[name] for name in names), *(nodes[name] for name in names), problems)


def _message_is_a_command_of_its_own(
    backdoor: Any, transport: Any, _: Node, node: Node, problems: Problems
) -> None:
    for command in backdoor.commands:
        if command.number == transport.command:
            message = f"{transport.command} is taken: backdoor.yaml has commands.{command.name}"
            problems.add(node["command"], message)


def _host_requests_log_plain_texts(
    tclo: Any, driver: Any, node: Node, _: Node, problems: Problems
) -> None:
    for command in tclo.commands:
        log = driver.logs.get(command.log) if command.log else None
        if log is not None and log.text.fields:
            message = f"the log text {log.name!r} has fields, which nothing fills here"
            problems.add(node["commands"][command.name]["log"], message)


def _an_action_takes_one_kind_of_arguments(tclo: Any, node: Node, problems: Problems) -> None:
    takes: dict[str, str] = {}
    for command in tclo.commands:
        if command.action is None:
            continue
        before = takes.setdefault(command.action, command.arguments)
        if before != command.arguments:
            message = f"the action {command.action!r} takes arguments {before!r} elsewhere"
            problems.add(node["commands"][command.name]["arguments"], message)


def _first_period_is_in_the_range_of_its_node(driver: Any, node: Node, problems: Problems) -> None:
    if driver.clock is None:
        return
    for leaf in driver.sysctl_leaves():
        # A range that is not two numbers has been reported already.
        if leaf.data == "clock.period" and leaf.range is not None and len(leaf.range) == 2:
            low, high = leaf.range
            if not low <= driver.clock.period <= high:
                message = (
                    f"{driver.clock.period} lies outside the range of the sysctl node {leaf.path}"
                )
                problems.add(node["clock"]["period"], message)


def _short_names_are_of_known_machines(
    guestinfo: Any, netbsd: Any, node: Node, _: Node, problems: Problems
) -> None:
    known = netbsd.machines.names
    for entry in guestinfo.short_names:
        if entry.name not in known:
            place = node["short_names"][entry.name]
            near = nearest(entry.name, known)
            message = f"there is no machine {entry.name!r}"
            message += "" if near else f": there are {listed(known)}"
            problems.add(place.key or place, message, hint=near)
    for name in known:
        if name not in guestinfo.short_names:
            problems.add(node["short_names"], f"the machine {name!r} of netbsd.yaml has none here")


def _guest_information_fits_a_message(
    guestinfo: Any, transport: Any, node: Node, _: Node, problems: Problems
) -> None:
    room = transport.limits.message - _HEAD
    sizes = [
        (guestinfo.nics.largest, node["nics"]["addresses"]),
        (guestinfo.disks.text, node["disks"]["text"]),
    ]
    for size, place in sizes:
        if size > room:
            problems.add(place, f"{size} bytes do not fit a message: at most {room}")


def _the_host_gets_the_texts_for_its_log(
    driver: Any, rpci: Any, node: Node, _: Node, problems: Problems
) -> None:
    message = rpci.messages.get("log")
    fits = message is not None and [field.type for field in message.text.fields] == ["text"] * 2
    for log in driver.logs:
        if log.host and not fits:
            text = "rpci.yaml has no message 'log' with two fields of type text"
            problems.add(node["logs"][log.name]["host"], text)


# Bytes for the command and the key before the value, plenty.
_HEAD = 32

_RULES: tuple[tuple[tuple[str, ...], Callable[..., None]], ...] = (
    (("backdoor", "transport"), _message_is_a_command_of_its_own),
    (("tclo", "driver"), _host_requests_log_plain_texts),
    (("tclo",), _an_action_takes_one_kind_of_arguments),
    (("guestinfo", "transport"), _guest_information_fits_a_message),
    (("driver", "rpci"), _the_host_gets_the_texts_for_its_log),
    (("guestinfo", "netbsd"), _short_names_are_of_known_machines),
    (("driver",), _first_period_is_in_the_range_of_its_node),
)
