"""``vmtctl completion SHELL``."""

from __future__ import annotations

from vmtctl.completion import SHELLS
from vmtctl.exits import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Print the completions."""
    shell = context.values.word("shell") or ""
    text = SHELLS[shell]()
    context.print_json({"shell": shell, "text": text})
    if not context.json:
        print(text, end="")
    return OK
