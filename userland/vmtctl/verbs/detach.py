"""``vmtctl detach``."""

from __future__ import annotations

from vmtctl import device, guest
from vmtctl.exits import OK
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Detach vmt0; idempotent."""
    context.no_image()
    if context.dry_run or not device.is_attached(context):
        changed = device.detach(context)
    else:
        context.need_root(f"detach {guest.DEVICE}")
        with Lock(context, "detach"):
            changed = device.detach(context)
    context.finish(changed=changed)
    return OK
