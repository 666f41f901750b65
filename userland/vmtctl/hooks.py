"""The places of powerd's scripts, and a quick check of the installed hooks.

powerd(8) looks for /etc/powerd/scripts/TYPE/NAME, then for /etc/powerd/scripts/NAME; TYPE is
"acpi" where acpi(4) is, and empty elsewhere (NetBSD usr.sbin/powerd/powerd.c).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

DIRECTORY = "/etc/powerd/scripts"
TYPED = f"{DIRECTORY}/acpi"
HANDLER = "/etc/powerd/vmt-event"
SITE = "/etc/powerd/vmt.d"
# The directories that `vmtctl powerd install` created, and uninstall removes.
RECORD = "/etc/powerd/vmt.installed"

# The events of vmt(4): a halt, a reboot, a resume (NetBSD sys/dev/sysmon/sysmon_power.c).
SCRIPTS = ("power_button", "reset_button", "sleep_button", "hotkey_button")

# An edited script of vmtctl that --force replaces is kept under this name.
EDITED = ".edited"

# The line that identifies a script of vmtctl; its last line shows whether it is unchanged.
MARK = "vmtctl: part of netbsd-vmt"


def chosen(context: Context, name: str) -> str | None:
    """Return the script that powerd would run on an ACPI machine, or None."""
    for path in (f"{TYPED}/{name}", f"{DIRECTORY}/{name}"):
        if os.access(context.file(path), os.X_OK | os.R_OK):
            return path
    return None


def state(context: Context) -> str:
    """Whether the hooks are "installed", "partial" or "absent"; `powerd status` has the details."""
    found = [_has_mark(context, HANDLER)]
    found += [
        _has_mark(context, f"{TYPED}/{name}") or _has_mark(context, f"{DIRECTORY}/{name}")
        for name in SCRIPTS
    ]
    if all(found):
        return "installed"
    return "partial" if any(found) else "absent"


def _has_mark(context: Context, path: str) -> bool:
    text = context.read(path)
    return text is not None and MARK in text
