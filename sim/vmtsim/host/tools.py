"""The host's view of the guest's tools: capabilities, version, running or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.heartbeat import RUNNING, Heartbeat

if TYPE_CHECKING:
    from vmtsim.host.context import Context

# The signed 32-bit maximum means to a host: tools that the guest's owner manages.
UNMANAGED = 0x7FFFFFFF


class Tools:
    """State of the tools, as the administrator sees it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.heartbeat = Heartbeat(context)
        self.capabilities: dict[str, str] = {}
        self.features: dict[int, int] = {}
        self.version: int | None = None
        self.version_type: int | None = None
        self.health: str | None = None
        # Whether the guest has answered the VIX command for its state (E17).
        self.guest_operations = False

    @property
    def running(self) -> bool:
        """Whether the guest sent any message within the time limit for silence."""
        return self.heartbeat.status == RUNNING

    @property
    def power_operations(self) -> bool:
        """Whether shutdown and reboot of the guest are offered (not greyed out)."""
        return self.running and "statechange" in self.capabilities

    @property
    def status(self) -> str:
        """Return the status line of a management client."""
        if not self.running:
            return "not running"
        if self.version is None:
            return "running, not installed"
        return "running, unmanaged" if self.version == UNMANAGED else "running"

    def set_capability(self, name: str, value: str) -> None:
        """Record ``tools.capability.NAME VALUE``."""
        self.capabilities[name] = value
        self._context.trace.emit("tools", capability=name, value=value)

    def set_version(self, version: int, kind: int | None = None) -> None:
        """Record the tools' version (and their type)."""
        self.version, self.version_type = version, kind
        self._context.log(f"TOOLS Received tools.set.version rpc call, version = {version}.")
        self._context.trace.emit("tools", version=version, type=kind)

    def set_guest_operations(self, *, ready: bool) -> None:
        """Record whether the guest offers to run programs and to copy files."""
        self.guest_operations = ready
        self._context.trace.emit("tools", guest_operations=ready)

    def forget(self) -> None:
        """Forget the information that the guest resends after a reset."""
        self.capabilities.clear()
        self.features.clear()
        self.version = self.version_type = None
        self.guest_operations = False
