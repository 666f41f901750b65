"""Commands that a host refuses because its administrator has configured it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.host.options import HostOptions

# guest_rpc.rpci.auth.cmd.NAME = "TRUE": every user gets this over the backdoor, also root (E15).
DENIED = b"0 Permission denied"
# isolation.tools.setinfo.disable (E15).  No public log has the text; "disabled" is the one that
# VMware's hosts return for features that an administrator has switched off.
DISABLED = b"0 disabled"
# services/plugins/vmbackup/stateMachine.c of open-vm-tools checks for this text after an event.
UNPRIVILEGED = b"0 Guest is not privileged"

_GUEST_INFORMATION = frozenset({"SetGuestInfo", "SetGuestDiskInfo", "info-set"})


def refusal(options: HostOptions, command: str) -> bytes | None:
    """Return the reply that refuses ``command``, or None if nothing is configured."""
    if command in options.denied_commands:
        return DENIED
    if not options.setinfo and command in _GUEST_INFORMATION:
        return DISABLED
    if not options.privileged and command == "vmbackup.eventSet":
        return UNPRIVILEGED
    return None
