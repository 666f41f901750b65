"""rc.conf(5) and modules.conf(5), as far as a reader that runs no shell can know them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

# What makes rc.d/vmtctl load the module at each boot.
LOAD_AT_BOOT = (
    "cp /usr/pkg/share/examples/rc.d/vmtctl /etc/rc.d/ && chmod 555 /etc/rc.d/vmtctl && "
    "echo vmtctl=YES >> /etc/rc.conf"
)

_YES = {"yes", "true", "on", "1"}
_NO = {"no", "false", "off", "0"}


class RcConf:
    """The plain assignments of /etc/rc.conf and /etc/rc.conf.d/NAME."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def value(self, name: str) -> str | None:
        """Return the value of the variable ``name`` for the script ``name``, or None."""
        found = None
        for path in ("/etc/rc.conf", f"/etc/rc.conf.d/{name}"):
            for line in (self._context.read(path) or "").splitlines():
                left, equals, right = line.strip().partition("=")
                if equals and left == name:
                    found = right.partition("#")[0].strip().strip("\"'")
        return found

    def enabled(self, name: str) -> bool:
        """Tell whether the script is said to run."""
        return (self.value(name) or "").lower() in _YES

    def disabled(self, name: str) -> bool:
        """Tell whether the script is said not to run."""
        return (self.value(name) or "").lower() in _NO


def boot_modules(context: Context) -> list[str]:
    """Return what /etc/modules.conf has modload(8) load (NetBSD etc/rc.d/modules)."""
    lines = (context.read("/etc/modules.conf") or "").splitlines()
    return [words[0] for line in lines if (words := line.partition("#")[0].split())]


def loaded_at_boot(context: Context) -> bool:
    """Tell whether rc.d/vmtctl, or the module's path in modules.conf, loads it at boot."""
    return RcConf(context).enabled("vmtctl") or any(
        name.endswith("/vmt.kmod") for name in boot_modules(context)
    )
