"""The driver's nodes for quiesced snapshots, and the record of powerd's hook."""

from __future__ import annotations

from vmtctl import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vmtctl.context import Context

BRANCH = "backup"
# The hook's record of a freeze, until scripts have run for thaw (userland/powerd/vmt-event).
NOTE = f"/var/run/{guest.DEVICE}.frozen"


def survey(context: Context, nodes: dict[str, str]) -> dict[str, Any]:
    """Return the driver's settings of snapshots; None for unknown ones."""

    def number(name: str) -> int | None:
        value = nodes.get(f"{BRANCH}.{name}")
        return None if value is None else guest.signed(value)

    required = number("require_scripts")
    return {
        "freeze": nodes.get(f"{BRANCH}.freeze"),
        "scripts": number("scripts"),
        "require_scripts": None if required is None else bool(required),
        "event": nodes.get(f"{BRANCH}.event"),
        "left": (context.read(NOTE) or "").strip() or None,
    }


def in_words(found: dict[str, Any]) -> str:
    """Return the settings in one line."""
    if found["freeze"] is None:
        return "the driver in charge has no settings for them"
    pieces = [f"{found['freeze']} is frozen" if found["freeze"] else "synced, nothing is frozen"]
    if found["scripts"]:
        text = f"scripts of powerd have {found['scripts']} s"
        pieces.append(text + ("" if found["require_scripts"] else ", and may fail"))
    if found["event"]:
        pieces.append(f"waits for scripts: {found['event']}")
    return "; ".join(pieces)
