"""rc.conf(5) as rc.d sees it, and modules.conf(5).

rc.conf(5) is a shell script.  On the running system, for root, the shell evaluates it, as for
service(8) (NetBSD etc/rc.subr, load_rc_config), provided that only root can write to the files.
On an image, and for other users, vmtctl only parses the files; a value that the text does not
fix is unknown.
"""

from __future__ import annotations

import os
import stat

from vmtctl.checks.shellvars import UNKNOWN, Variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

CONF = "/etc/rc.conf"
DEFAULTS = "/etc/defaults/rc.conf"
SUBR = "/etc/rc.subr"
OWN = "/etc/rc.conf.d"

# Whether rc.d/vmtctl loads the memory balloon too.
BALLOON = "vmtctl_balloon"
# The variables that are checked: of rc.d/NAME, or NAME_MORE of rc.d/NAME.
NAMES = ("powerd", "vmtctl", BALLOON, "vmtools", "ntpd", "openntpd", "chronyd", "timed")

# Seconds; rc.conf only sets variables, so this is enough.
TIME_LIMIT = 5.0

# The values that checkyesno of rc.subr accepts.
_YES = {"yes", "true", "on", "1"}

# For each name on the command line, in a subshell: the value that its script in rc.d would get.
# rc.subr redefines echo and printf as functions, and rc.conf may print, too.
_SCRIPT = """
root=$1; shift
. "$root/etc/rc.subr" || exit 1
for each; do (
	load_rc_config "${each%%_*}" >/dev/null 2>&1
	eval "value=\\${$each-} state=\\${$each+set}"
	command printf 'rc.conf:%s:%s:%s\\n' "$each" "$state" "$value"
) done
"""


class RcConf:
    """The variables NAMES, and the files that they come from."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._values = self._ask() if _may_run(context) else None

    def value(self, name: str) -> str | None:
        """Return the variable of rc.d/NAME, None when it is not set, or UNKNOWN."""
        if self._values is not None:
            return self._values.get(name)
        return self._read(name)

    def enabled(self, name: str) -> bool | None:
        """Whether rc(8) starts rc.d/NAME; None when the text of the files does not decide it."""
        value = self.value(name)
        return None if value == UNKNOWN else (value or "").lower() in _YES

    def file(self, name: str) -> str:
        """Return the file to change the variable in: the last one that sets it."""
        own = _own_file(name)
        return own if f"{name}=" in (self._context.read(own) or "") else CONF

    def enable(self, name: str) -> str:
        """Return the command for sh(1) that enables rc.d/NAME."""
        path = self.file(name)
        text = self._context.read(path) or ""
        shown = self._context.shown(path)
        if text and not text.endswith("\n"):
            return f"printf '\\n{name}=YES\\n' >> {shown}"
        return f"echo {name}=YES >> {shown}"

    def _read(self, name: str) -> str | None:
        context = self._context
        variables = Variables(
            lambda path: context.read(path) if path == DEFAULTS else None, self._condition
        )
        for path in (CONF, _own_file(name)):
            variables.read(context.read(path) or "")
        return variables.get(name)

    def _condition(self, words: list[str]) -> bool | None:
        """Return whether a condition in NetBSD's own files holds on this system."""
        if words[:2] in (["[", "-r"], ["[", "-f"]) and words[3:] == ["]"]:
            return os.path.exists(self._context.file(words[2]))
        # etc/etc.amd64/rc.conf.append; every x86 machine of VMware has ACPI, and none runs Xen.
        if words == ["/sbin/sysctl", "-q", "hw.acpi.root"]:
            return True
        if words == ["/sbin/sysctl", "-q", "machdep.xen"]:
            return False
        return None

    def _ask(self) -> dict[str, str] | None:
        """Evaluate with sh(1); None when that fails."""
        from vmtctl.exits import Failure

        root = self._context.tools.root
        try:
            result = self._context.tools.run(
                "sh", "-c", _SCRIPT, "sh", root, *NAMES, limit=TIME_LIMIT
            )
        except Failure:
            return None
        found = {}
        for line in result.output.splitlines():
            mark, _, rest = line.partition(":")
            name, _, rest = rest.partition(":")
            state, _, value = rest.partition(":")
            if mark == "rc.conf" and state:
                found[name] = value
        return found if result.ok else None


def _own_file(name: str) -> str:
    """Return the file for the script of a variable, which load_rc_config reads last."""
    return f"{OWN}/{name.partition('_')[0]}"


def _may_run(context: Context) -> bool:
    """Whether root may run the files: only root can change them."""
    if context.image or not context.tools.has("sh"):
        return False
    if os.geteuid() != 0 and not context.values.option("tools-root"):
        return False
    if not os.path.exists(context.file(SUBR)):
        return False
    paths = ["/", "/etc", SUBR, CONF, "/etc/defaults", DEFAULTS, OWN]
    paths += [_own_file(name) for name in NAMES]
    owners = {0, os.geteuid()}
    for path in paths:
        try:
            found = os.lstat(context.file(path))
        except FileNotFoundError:
            continue
        except OSError:
            return False
        if found.st_uid not in owners or found.st_mode & 0o022 or stat.S_ISLNK(found.st_mode):
            return False
    return True


def boot_modules(context: Context) -> list[str]:
    """Return the modules in /etc/modules.conf, which modload(8) loads (NetBSD etc/rc.d/modules)."""
    lines = (context.read("/etc/modules.conf") or "").splitlines()
    return [words[0] for line in lines if (words := line.partition("#")[0].split())]


def loaded_at_boot(context: Context, rc: RcConf | None = None) -> bool | None:
    """Whether rc.d/vmtctl, or the module's path in modules.conf, loads it at boot.

    None when rc.conf does not decide it.
    """
    if any(name.endswith("/vmt.kmod") for name in boot_modules(context)):
        return True
    return (rc or RcConf(context)).enabled("vmtctl")


def balloon_at_boot(context: Context, rc: RcConf | None = None) -> bool | None:
    """Whether rc.d/vmtctl, or its path in modules.conf, loads the balloon's module at boot.

    None when rc.conf does not say.
    """
    if any(name.endswith("/vmmemctl.kmod") for name in boot_modules(context)):
        return True
    rc = rc or RcConf(context)
    return rc.enabled("vmtctl") and rc.enabled(BALLOON)


def load_at_boot(context: Context, rc: RcConf) -> str:
    """Return the command that makes rc.d/vmtctl load the module at each boot."""
    steps = []
    if not os.access(context.file("/etc/rc.d/vmtctl"), os.X_OK):
        steps.append(install_script(context))
    if rc.enabled("vmtctl") is not True:
        steps.append(rc.enable("vmtctl"))
    return " && ".join(steps)


def install_script(context: Context) -> str:
    """Return the command that copies rc.d/vmtctl to /etc/rc.d."""
    example = context.shown("/usr/pkg/share/examples/rc.d/vmtctl")
    target = context.shown("/etc/rc.d/vmtctl")
    return f"cp {example} {target} && chmod 555 {target}"
