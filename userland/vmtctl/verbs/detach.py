"""``vmtctl detach``."""

from __future__ import annotations

from vmtctl import device
from vmtctl.exits import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Detach vmt0; idempotent."""
    context.no_image()
    changed = device.detach(context)
    context.finish(changed=changed)
    return OK
