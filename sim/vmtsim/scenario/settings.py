"""The scenario's settings of host and guest before power-on: sections ``host:`` and ``guest:``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.construct import value_of
from vmtgen.common.dataclass import replace

from vmtsim.host.options import HostOptions
from vmtsim.scenario.guest import GuestSettings

if TYPE_CHECKING:
    from vmtgen.common.located import Node, Problems


def guest_settings(node: Node | None, problems: Problems) -> GuestSettings:
    """Return the section ``guest:``; reports problems."""
    if node is None:
        return GuestSettings()
    return value_of(GuestSettings, node, problems) or GuestSettings()


def host_options(node: Node | None, problems: Problems) -> HostOptions:
    """Return the section ``host:``; reports problems."""
    if node is None:
        return HostOptions()
    others = {name: each for name, each in node.entries.items() if name != "option_burst"}
    rest = replace(node, value=others) if node.kind == "mapping" else node
    options: HostOptions = value_of(HostOptions, rest, problems) or HostOptions()
    burst = node.get("option_burst")
    if burst is not None:
        options = replace(options, option_burst=_burst(burst, problems))
    return options


def _burst(node: Node, problems: Problems) -> tuple[tuple[str, str], ...]:
    """Return the options that the host sends at once, which a scenario writes as NAME VALUE."""
    texts = value_of(tuple[str, ...], node, problems)
    pairs = [text.partition(" ") for text in texts or ()]
    for (_, _, value), item in zip(pairs, node.elements, strict=False):
        if not value:
            problems.add(item, f"expected NAME VALUE, not {item.described}")
    return tuple((key, value) for key, _, value in pairs)
