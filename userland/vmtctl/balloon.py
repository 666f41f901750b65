"""The memory balloon, vmmemctl(4): the state that its driver reports."""

from __future__ import annotations

import os

from vmtctl import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vmtctl.context import Context

MODULE = "vmmemctl"
DEVICE = "vmmemctl0"
TREE = f"machdep.{DEVICE}"
# Values of the node "state" (kmod/vmmemctl/vmmemctl.c).
SHORT = "memory is short"
LOST = "the host does not answer"
_PAGES_PER_MB = 256  # pages of 4 KiB, on amd64 and i386


def survey(context: Context, children: Sequence[str]) -> dict[str, Any]:
    """Return the state of the balloon; None for unknown values.

    ``children`` are those of cpu0. Sizes are in pages of 4 KiB, the floor is in megabytes.
    """
    attached = DEVICE in children
    loaded: bool | None = None
    if attached or os.path.exists(context.file(guest.kernel(context).module_file(MODULE))):
        found, complaint = guest.module(context, MODULE)
        loaded = None if complaint else found is not None
    nodes = guest.sysctls(context, TREE)[0] if attached else {}

    def number(name: str) -> int | None:
        return guest.signed(nodes.get(f"{TREE}.{name}", ""))

    return {
        "loaded": loaded,
        "attached": attached,
        "target": number("target"),
        "size": number("size"),
        "floor_mb": number("floor"),
        "state": nodes.get(f"{TREE}.state"),
    }


def in_words(found: dict[str, Any]) -> str:
    """Return the state in one line; "" where the module is neither loaded nor installed."""
    if not found["attached"]:
        return f"{MODULE} is loaded, {DEVICE} is not attached" if found["loaded"] else ""
    if None in {found["size"], found["target"]}:
        return f"{DEVICE} attached; its size is unknown"
    text = f"the host has {megabytes(found['size'])} of {megabytes(found['target'])} MB"
    if found["floor_mb"] is not None:
        text += f"; floor {found['floor_mb']} MB"
    return f"{text}; {found['state']}" if found["state"] else text


def megabytes(pages: int) -> str:
    """Return a number of pages in megabytes, without decimals unless it is below 10."""
    size = pages / _PAGES_PER_MB
    return f"{size:.0f}" if size >= 10 or size == int(size) else f"{size:.1f}"
