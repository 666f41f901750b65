"""What the host believes of the guest's tools: capabilities, version, alive or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.options import NANOSECONDS

if TYPE_CHECKING:
    from vmtsim.host.context import Context

# What the signed 32-bit maximum means to a host: tools that somebody else manages.
UNMANAGED = 0x7FFFFFFF


class Tools:
    """State of the tools, as the administrator would see it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.capabilities: dict[str, str] = {}
        self.features: dict[int, int] = {}
        self.version: int | None = None
        self.version_type: int | None = None
        self.health: str | None = None
        self.running = False
        self.heartbeat: int | None = None
        self._watching = False

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

    def alive(self) -> None:
        """Note a sign of life: any turn of the TCLO loop."""
        self.heartbeat = self._context.now()
        if not self._watching and self._context.options.heartbeat_timeout:
            self._watching = True
            self._context.after(self._context.options.heartbeat_timeout, self._check)

    def _check(self) -> None:
        limit = self._context.options.heartbeat_timeout * NANOSECONDS
        silent = self._context.now() - (self.heartbeat or 0)
        if silent < limit:
            self._context.after((limit - silent) / NANOSECONDS, self._check)
            return
        self._watching = False
        if self.running:
            self._context.log("Tools: Tools heartbeat timeout.")
            self.set_running(running=False, reason="heartbeat")

    def set_running(self, *, running: bool, reason: str) -> None:
        """Change the running status."""
        if running != self.running:
            self.running = running
            change = "2 => 1" if running else "1 => 2"
            self._context.log(f"Tools: Changing running status: {change}.")
            self._context.trace.emit("tools", running=running, reason=reason)

    def forget(self) -> None:
        """Forget what a reset makes the guest tell again."""
        self.capabilities.clear()
        self.features.clear()
        self.version = self.version_type = None
