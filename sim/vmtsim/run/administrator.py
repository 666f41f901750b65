"""The administrator's actions in the guest: the verbs that scenarios call ``guest.*``."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.envsys import Envsys
from vmtsim.kernel.errors import Errno, Stalled
from vmtsim.kernel.failnth import FailNth
from vmtsim.kernel.identity import Identity
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.memcounters import MemoryCounters
from vmtsim.kernel.memory import PAGE
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.netlayout import RTF_BLACKHOLE, RTF_REJECT
from vmtsim.kernel.network import Network
from vmtsim.kernel.otherprocessor import OtherProcessorAction
from vmtsim.kernel.pages import Pages
from vmtsim.kernel.permission import FWRITE, SIGINT, Permissions
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.process import Processes
from vmtsim.kernel.routes import Routes
from vmtsim.kernel.sysctl import Reply, Sysctl
from vmtsim.kernel.sysctltree import BOOL, INT, STRING, SysctlTree
from vmtsim.kernel.sysmon import RB_POWERDOWN, SysmonPower
from vmtsim.kernel.timekeeping import TimeKeeping
from vmtsim.kernel.watchdog import Watchdogs
from vmtsim.run.devices import Devices
from vmtsim.run.sitescripts import SCRIPT, SiteScripts
from vmtsim.scenario.guest import COMMANDS, listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.core.verb import Scalar
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp
    from vmtsim.scenario.guest import (
        Cards,
        Ifconfig,
        Pressure,
        Route,
        Scripts,
        Usage,
        Watchdog,
        Write,
    )

FEATURE_BUS = "cpufeaturebus"
# Virtual time within which a command of the administrator must end.
PATIENCE = 600 * SECOND
# A module starts to read the lists of the network stack with one of these.
_READERS = frozenset({"pserialize_read_enter", "_kernel_lock"})
_WALK = 120 * SECOND
# Size for the longest reply, the size with which sysctl(8) starts for a string (NetBSD
# sbin/sysctl/sysctl.c, print_tree), and how often a process polls for a reply.
_REPLY_ROOM = 65600
_LOOK_ROOM = 1024
_POLL = SECOND // 100


def describe_errno(error: int) -> str:
    """Return 'EBUSY (16)' for 16, '0' for success."""
    return f"{Errno(error).name} ({error})" if error else "0"


class Administrator:
    """The administrator's commands as processes of the simulated kernel.

    ``do`` starts one and returns at once; ``wait`` runs the kernel until it has ended.
    """

    def __init__(self, kernel: Kernel, module: Path) -> None:
        self.kernel = kernel
        self.module = module
        self.results: list[tuple[str, Any, Any]] = []  # verb, argument, result
        self.devices: Devices = Devices(kernel)
        # Options of modload(8) for the module under test; None: no dictionary.
        self.properties: Mapping[str, bool | int | str] | None = None
        self._powerd: Lwp | None = None
        self.scripts: SiteScripts | None = None
        # The last value of backup.scripts, in seconds; when the driver last accepted a value
        # written to backup.done, and since when powerd has run, in virtual ns.
        self.scripts_limit = 0
        self.scripts_reported = -1
        self.powerd_since = -1

    def fact(self, name: str) -> str | None:
        """Return the current value of one of scenario.expect.FACTS."""
        options = self.kernel.options
        if name == "release":
            return options.release
        if name == "hostname":
            return self.kernel.memory.string(self.kernel.symbols["hostname"]) or None
        addresses = [
            ipaddress.ip_interface(text)
            for interface in self.kernel.subject(Network).interfaces
            for text in interface.texts()
        ]
        version = 6 if name.endswith("6") else 4
        for each in addresses:
            if each.version == version and not each.is_loopback and not each.is_link_local:
                return str(each.network.prefixlen if name.startswith("prefix") else each.ip)
        return None

    # -- running commands --------------------------------------------------------------------

    def start(self, name: str, main: Model, *, uid: int = 0) -> Lwp:
        """Start a process."""
        return self.kernel.subject(Processes).spawn(name, main, uid=uid)

    def wait(self, name: str, main: Model, *, uid: int = 0) -> Any:
        """Run a process until it has exited, and return its result.

        Raises Stalled when it has not ended within PATIENCE of virtual time.
        """
        lwp = self.start(name, main, uid=uid)
        until = self.kernel.clock.now + PATIENCE
        if not self.kernel.run(lambda: lwp.state == "gone", until):
            raise Stalled(
                f"{name} has not ended after {PATIENCE // SECOND} s: it {self._state(lwp)}"
            )
        return lwp.result

    def _state(self, lwp: Lwp) -> str:
        if lwp.state == "asleep":
            return f"sleeps on '{lwp.what}'"
        if lwp.kernel_lock_pending:
            owner = self.kernel.scheduler.biglock.owner
            return f"waits for the kernel lock, which {owner.name if owner else 'no thread'} holds"
        return f"is {lwp.state}"

    def do(self, verb: str, argument: Any) -> None:
        """Start the command of scenario.guest.COMMANDS; the result goes to ``results``."""
        self.start(verb, self._noted(verb, argument, self.command(verb, argument)))

    def command(self, verb: str, argument: Any) -> Model:
        """Return the command that scenarios call ``guest.VERB``; raises ArgumentError."""
        row = COMMANDS[verb]
        return row.run(self, row.value(argument))

    def _noted(self, verb: str, argument: Any, main: Model) -> Model:
        result = yield from main
        self.results.append((verb, argument, result))
        shown = describe_errno(result) if isinstance(result, int) else str(result)
        self.kernel.trace.emit(
            "guest.done",
            verb=verb,
            argument="" if argument is None else str(argument),
            result=shown,
        )
        return result

    # -- commands, as models -----------------------------------------------------------------

    def load(self, path: str | None = None) -> Model:
        """Run modload; without a path, for the module under test."""
        modules = self.kernel.subject(Modules)
        if path is not None:
            return modules.load(path)
        return modules.load(self.module, properties=self.properties)

    def unload(self, name: str) -> Model:
        """Run modunload NAME."""
        return self.kernel.subject(Modules).unload(name)

    def detach(self, device: str) -> Model:
        """Run drvctl -d DEVICE."""
        return self.kernel.subject(Autoconf).drvctl_detach(device)

    def rescan(self, bus: str) -> Model:
        """Run drvctl -r -a cpufeaturebus BUS."""
        return self.kernel.subject(Autoconf).drvctl_rescan(bus, FEATURE_BUS)

    def hostname(self, name: str) -> Model:
        """Run sysctl -w kern.hostname=NAME."""
        yield from self.kernel.subject(Identity).rename(name)
        return 0

    def addresses(self, given: Cards) -> Model:
        """ifconfig: a mapping of interface to addresses, or those of the one card."""
        return self._locked(lambda: self.set_addresses(given))

    def ifconfig(self, given: Ifconfig) -> Model:
        """Ifconfig INTERFACE create, destroy, up, down, alias ADDRESS, delete ADDRESS or link MAC.

        ``reading: [CALLS, INSTRUCTIONS]`` runs it on another processor, that many kernel calls and
        instructions after a thread of the module has started to read the lists.  If no thread does
        so within two minutes, it runs then.
        """
        if given.reading is not None:
            calls, instructions = given.reading
            scheduler = self.kernel.scheduler
            now = OtherProcessorAction(_READERS, calls, max(1, instructions), WaitQueue("ifconfig"))
            scheduler.elsewhere.planned.append(now)
            yield Block(now.queue, deadline=self.kernel.clock.now + _WALK, what="ifconfig")
            if now in scheduler.elsewhere.planned:
                scheduler.elsewhere.planned.remove(now)
        return (yield from self._locked(lambda: self._ifconfig(given)))

    def _ifconfig(self, given: Ifconfig) -> None:
        network = self.kernel.subject(Network)
        interface = given.interface
        if given.do == "create":
            network.add(interface)
        if given.delete:
            network.remove_address(interface, given.delete)
        if given.link:
            network.set_mac(interface, given.link)
        if given.alias:
            network.add_address(interface, given.alias, flags=given.flags)
        if given.do in {"up", "down"}:
            network.up(interface, up=given.do == "up")
        if given.do == "destroy":
            network.remove(interface)

    def route(self, given: Route) -> Model:
        """Run route add, delete or change.

        Returns ESRCH if there is no such route, EEXIST if there already is one, as route(8) prints
        it.
        """

        def change() -> None:
            routes = self.kernel.subject(Routes)
            gateway = given.gateway or ("::" if ":" in given.to else "")
            if given.do != "add":
                routes.delete(given.to, gateway)
            if given.do != "delete":
                flags = {"reject": RTF_REJECT, "blackhole": RTF_BLACKHOLE}.get(given.flag or "", 0)
                routes.add(given.to, given.gateway or "", given.interface or "", flags=flags)

        return self._locked(change, missing=Errno.ESRCH)

    def _locked(self, change: Callable[[], None], missing: Errno = Errno.ENXIO) -> Model:
        """Change the network like ifioctl() and a routing socket: under KERNEL_LOCK.

        Sources: sys/net/if.c; PR_WRAP_USRREQS of sys/sys/protosw.h.  Returns ``missing`` if there
        is no such interface, address or route.
        """
        lock = self.kernel.subject(KernelLock)
        waiting = lock.lock(1)
        if waiting is not None:
            yield from waiting
        try:
            change()
        except KeyError:
            return missing
        except FileExistsError:
            return Errno.EEXIST
        finally:
            lock.unlock(1)
        return 0

    def set_addresses(self, given: Cards) -> None:
        """Set the addresses of the card, or of the cards in a mapping."""
        cards = given if isinstance(given, Mapping) else {"wm0": given}
        self.kernel.subject(Network).configure(
            {name: list(listed(each)) for name, each in cards.items()}
        )

    def write(self, given: Write) -> Model:
        """Write, as a user, to an open device or to the file system mounted there."""
        if given.name is not None:
            return (yield from self.devices.write(given.name, given.text))
        directory = given.directory or "/"
        denied = yield from self.kernel.subject(Permissions).open(f"{directory}/file", FWRITE)
        if denied:
            return denied
        yield from self.kernel.subject(Mounts).write(directory)
        return 0

    def envstat(self, device: str) -> Model:
        """Run envstat -d DEVICE; return its output for each sensor, or ENXIO."""
        return self.kernel.subject(Envsys).envstat(device)

    def wdogctl(self, given: Watchdog) -> Model:
        """Run wdogctl -k, -u or -e -p PERIOD NAME, -t or -d."""
        return self.kernel.subject(Watchdogs).control(given.name, given.mode, given.period)

    def interrupt(self) -> Model:
        """Kill -INT: processes that wait in a driver return EINTR or ERESTART."""
        scheduler, permissions = self.kernel.scheduler, self.kernel.subject(Permissions)
        spared = {self.kernel.current, self._powerd}
        for lwp in tuple(scheduler.lwps):
            if lwp.kind != "user" or lwp in spared:
                continue
            if (yield from permissions.signal(lwp, SIGINT)) and lwp in scheduler.lwps:
                scheduler.interrupt(lwp)
        return 0

    def fault(self, nth: int) -> Model:
        """Make the Nth call that may fail return failure; 0 cancels that."""
        self.kernel.subject(FailNth).arm(nth)
        yield from ()
        return 0

    def pressure(self, given: Pressure) -> Model:
        """Take all memory except that much, then release it."""
        kmem = self.kernel.subject(Kmem)
        pages = self.kernel.subject(Pages)
        kmem.press(given.free)
        pages.press(given.free // PAGE, given.files // PAGE)
        yield Block(deadline=self.kernel.clock.now + round(given.seconds * SECOND), what="memory")
        kmem.press(None)
        pages.press(None)
        return 0

    def usage(self, given: Usage) -> Model:
        """Change the use of memory and swap, and advance the counters."""
        counters = self.kernel.subject(MemoryCounters)
        for member, value in (
            ("filepages", given.files),
            ("execpages", given.programs),
            ("swpages", given.swap),
            ("swpgavail", given.swap),
            ("swpginuse", given.swap_used),
        ):
            if value is not None:
                counters.set(member, value)
        for member, more in (
            ("pageins", given.page_in),
            ("pgswapout", given.page_out),
            ("swtch", given.switches),
        ):
            counters.add(member, more)
        yield from ()
        return 0

    def powerd(self, *, on: bool) -> Model:
        """Start or kill the power daemon."""
        self.set_powerd(on=on)
        yield from ()
        return 0

    def set_powerd(self, *, on: bool) -> None:
        """Open or close /dev/power."""
        power = self.kernel.subject(SysmonPower)
        if on and self._powerd is None and power.open() == 0:
            self._powerd = self.start("powerd", power.daemon(self._event))
            self.powerd_since = self.kernel.clock.now
        elif not on and self._powerd is not None:
            self.kernel.scheduler.kill(self._powerd)
            self._powerd = None
            self.powerd_since = -1
            power.close()

    def _event(self, script: str, event: str, device: str) -> Model:
        """Run powerd's script for an event to completion, in a process that outlives powerd."""
        if self.scripts is None or script != SCRIPT:
            return
        hook = self.start("vmt-event", self.scripts.hook(device, event))
        while hook.state != "gone":
            yield Block(deadline=self.kernel.clock.now + _POLL, what="wait")

    def site_scripts(self, given: Scripts) -> Model:
        """Install the hook and the administrator's scripts."""
        self.scripts = SiteScripts(self, given.seconds, fail=given.fail)
        yield from ()
        return 0

    def clock(self, seconds: float) -> Model:
        """Step the guest's clock by that many seconds, as date(1) does."""
        time = self.kernel.subject(TimeKeeping)
        time.step(time.realtime() + round(seconds * SECOND))
        yield from ()
        return 0

    def sysctl(self, values: Mapping[str, Scalar]) -> Model:
        """Run sysctl -w NAME=VALUE for each."""
        for name, value in values.items():
            reply = yield from self.set_node(name, value)
            if reply.error:
                return reply.error
        return 0

    def rpc(self, message: bytes) -> Model:
        """Send an RPCI command through the driver's nodes, as vmtctl does; returns the Reply.

        Its data is the host's reply.  The error is the errno of the driver, or ETIMEDOUT for a
        command that was dropped.
        """
        rpc = self._rpc()
        sent = yield from self.request(message)
        if sent.error:
            return sent
        number = sent.text
        node = f"{rpc}.reply.{number}"
        while True:
            got = yield from self.kernel.subject(Sysctl).call(node, old=_REPLY_ROOM)
            if got.error:
                return got
            about, _, rest = got.data.partition(b" ")
            if about.decode() != number:
                self.kernel.violation(
                    "reply-of-another",
                    f"the reply to command {number} is the reply to command {about.decode()}",
                )
            state, _, text = rest.partition(b" ")
            if state in {b"ok", b"binary"}:
                return Reply(0, text, len(text))
            if state == b"error":
                return Reply(int(text.rstrip(b"\0")), b"", 0)
            if state != b"pending\0":
                return Reply(Errno.ETIMEDOUT, b"", 0)
            yield Block(deadline=self.kernel.clock.now + _POLL, what="nanoslp")

    def request(self, message: bytes) -> Model:
        """Send an RPCI command and never collect the reply; returns the Reply with its number."""
        return self.kernel.subject(Sysctl).call(
            f"{self._rpc()}.request", old=_REPLY_ROOM, new=message + b"\0"
        )

    def _rpc(self) -> str:
        """Return the driver's node that takes RPCI commands; without one, the node does not exist.

        The node is named after the driver's device, so it is identified by its children.
        """
        for node in self.kernel.subject(SysctlTree).leaves("machdep"):
            if node.path.endswith(".rpc.request"):
                return node.path.removesuffix(".request")
        return "machdep.rpc"

    def look(self, below: str | None) -> Model:
        """Read a node with all below it, or the whole tree as ``sysctl -a`` does."""
        sysctl, tree = self.kernel.subject(Sysctl), self.kernel.subject(SysctlTree)
        tops = tuple(top.path for top in tree.root.children.values())
        for top in tops if below is None else (below,):
            for node in tree.leaves(top):
                yield from sysctl.call(node.path, old=_LOOK_ROOM)
        return 0

    def suspend(self) -> Model:
        """Run drvctl -S: the pmf suspend hooks."""
        return self._pmf(resume=False)

    def resume(self) -> Model:
        """Run drvctl -Q: the pmf resume hooks."""
        return self._pmf(resume=True)

    def _pmf(self, *, resume: bool) -> Model:
        """Suspend leaves first, resume parents first; one device without hooks prevents it."""
        devices = self.kernel.subject(AllDevices).devices()
        for device in devices if resume else reversed(devices):
            good = yield from self.kernel.subject(Pmf).suspend(
                device.address, native=device.native, resume=resume
            )
            if not good:
                return Errno.EBUSY
        return 0

    def shutdown(self) -> Model:
        """Do the kernel's part of shutdown -p now."""
        return self.kernel.subject(SysmonPower).reboot(RB_POWERDOWN)

    def panic(self) -> Model:
        """Panic for a reason that the module did not cause, on a kernel with ddb.onpanic=0."""
        return self.kernel.subject(SysmonPower).panicked("by the administrator")

    # -- sysctl ------------------------------------------------------------------------------

    def set_node(self, name: str, value: Any) -> Model:
        """Set a node from text or a number, as sysctl(8) does; returns the Reply."""
        node = self.kernel.subject(SysctlTree).find(name)
        if node is None:
            return Reply(Errno.ENOENT, b"", 0)
        if node.kind == STRING:
            content = str(value).encode() + b"\0"
        else:
            # Like write_number() in sbin/sysctl/sysctl.c.
            try:
                number = int(value) if not isinstance(value, str) else int(value, 0)
            except ValueError:
                return Reply(Errno.EINVAL, b"", 0)
            bits = 32 if node.kind == INT else 64
            if not -(1 << bits) <= number < 1 << bits:
                return Reply(Errno.ERANGE, b"", 0)
            size = {INT: 4, BOOL: 1}.get(node.kind, 8)
            if node.kind == BOOL:
                number = bool(number)
            content = (number & (1 << 8 * size) - 1).to_bytes(size, "little")
        reply = yield from self.kernel.subject(Sysctl).call(name, new=content)
        if name.endswith(".backup.scripts") and not reply.error:
            self.scripts_limit = int(str(value), 0)
        elif name.endswith(".backup.done") and not reply.error:
            self.scripts_reported = self.kernel.clock.now
        return reply

    def read(self, name: str) -> Model:
        """Return a node's value as int or str, None if it does not exist or cannot be read."""
        node = self.kernel.subject(SysctlTree).find(name)
        if node is None:
            return None
        reply = yield from self.kernel.subject(Sysctl).call(name, old=16384)
        if reply.error:
            return None
        return reply.text if node.kind == STRING else reply.number
