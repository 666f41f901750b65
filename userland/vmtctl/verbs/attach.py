"""``vmtctl attach``."""

from __future__ import annotations

from vmtctl import device, guest
from vmtctl.exits import OK
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Attach vmt0; idempotent."""
    context.no_image()
    if context.dry_run or context.values.on("force") or device.is_attached(context):
        changed = device.attach(context)
    else:
        # `vmtctl run` holds the lock as long as its command needs the channel.
        context.need_root(f"attach {guest.DEVICE}")
        with Lock(context, "attach"):
            changed = device.attach(context)
    context.finish(changed=changed)
    return OK
