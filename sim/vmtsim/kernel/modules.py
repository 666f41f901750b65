"""module(9), modctl(2): loading, unloading, and their errors (NetBSD sys/kern/kern_module.c)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.twos import signed
from vmtgen.kobj import (
    KobjError,
    KobjPanicError,
    Loading,
    Message,
    consecutive_bases,
    load_module,
)
from vmtgen.kobj import Machine as KobjMachine
from vmtgen.kobj.admission import (
    AdmissionError,
    name_refusals,
    own_refusals,
    required_refusals,
    version_refusals,
)
from vmtgen.kobj.known import nearest_modules

from vmtsim.kernel import kauth
from vmtsim.kernel.api import Block, Call, Subject
from vmtsim.kernel.cachedtimes import CachedTimes
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.evcnt import EventCounters
from vmtsim.kernel.instructions import Instructions
from vmtsim.kernel.kauth import Kauth
from vmtsim.kernel.loaded import Loaded
from vmtsim.kernel.lwp import Lwp, WaitQueue
from vmtsim.kernel.memory import PAGE, round_page
from vmtsim.kernel.permission import FREAD, Permissions
from vmtsim.kernel.proplib import PropLib
from vmtsim.kernel.races import Races
from vmtsim.kernel.rule_table import Enforced
from vmtsim.kernel.sysctltree import SysctlTree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtgen.kobj import ModInfo, Module, Region

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.facts import Place
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.proplib import Value

CMD_INIT, CMD_FINI, CMD_STAT, CMD_AUTOUNLOAD = range(4)

# modctl(2): MODCTL_LOAD and MODCTL_UNLOAD of sys/sys/module.h.
_LOAD, _UNLOAD = 0, 1


class Modules(Subject):
    """Loaded modules by name, and the built-in ones, which can be disabled."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.loaded: dict[str, Loaded] = {}
        known = nearest_modules()
        self.builtin = set(known.builtin - known.idle - kernel.options.without)
        self.disabled: set[str] = set()
        self._required: Counter[str] = Counter()  # built-in modules that loaded ones require
        self._past: list[Loaded] = []
        # An unmapped page, before the first module and after each one.
        self._next = kernel.cpu.layout.modules + PAGE
        self._owner: Lwp | None = None
        self._queue = WaitQueue("kernconfig")
        if kernel.builtin_vmt:
            self.builtin.add("vmt")
        kernel.locate = self._locate
        kernel.loaded_at = lambda address: next(
            (each for each in self.loaded.values() if each.contains(address)), None
        )
        kernel.module_memory = lambda name: self._latest(name).contains

    def _latest(self, name: str) -> Loaded:
        """Return the most recent module of that name."""
        return next(each for each in reversed((*self._past, *self.loaded.values()))
                    if each.name == name)  # fmt: skip

    def all(self) -> tuple[Loaded, ...]:
        """Return the modules that are loaded, and those that were."""
        return (*self.loaded.values(), *self._past)

    def _locate(self, address: int, *, call: bool = True) -> Place | None:
        for module in self.all():
            if module.text_base <= address <= module.text_end:
                return module.location(address, call=call)
        return None

    def line(self, address: int) -> tuple[str, int] | None:
        """Return the source line of an address in a module's text."""
        for module in self.all():
            if module.text_base <= address < module.text_end:
                return module.line(address)
        return None

    def _error(self, text: str) -> None:
        self.kernel.subject(Console).print(f"WARNING: module error: {text}\n")

    def _lock(self) -> Model:
        while self._owner is not None:
            yield Block(self._queue, what="kernconfig")
        self._owner = self.kernel.current

    def _unlock(self) -> None:
        self._owner = None
        self.kernel.scheduler.wake_all(self._queue)

    # -- modctl(2) ---------------------------------------------------------------------------

    def load(
        self,
        path: str | Path,
        *,
        force: bool = False,
        properties: Mapping[str, Value] | None = None,
    ) -> Model:
        """MODCTL_LOAD by the running process; returns an errno.

        A ``path`` with a slash, or a Path, is a file; anything else is a name to search among the
        built-in modules and then in the module directory, which is empty here.
        """
        yield from self._lock()
        name = str(path)
        if not (yield from self.kernel.subject(Kauth).may(kauth.MODULE, 0, _LOAD)):
            error: int = Errno.EPERM
        elif isinstance(path, str) and "/" not in path:
            error = self._load_by_name(name, force=force)
        else:
            error = yield from self._load_file(Path(path), force=force, properties=properties)
        self._unlock()
        self.kernel.trace.emit("modctl.load", module=Path(name).name, error=int(error))
        return int(error)

    def _load_by_name(self, name: str, *, force: bool) -> int:
        if name in self.loaded or name in self.builtin:
            return Errno.EEXIST
        if name in self.disabled:
            if not force:
                self._error(f"use -f to reinstate builtin module `{name}'")
                return Errno.EPERM
            self._reinstate(name)
            return 0
        return self._not_from_file_system(name, Errno.ENOENT)

    def _reinstate(self, name: str) -> None:
        self.disabled.remove(name)
        self.builtin.add(name)

    def _load_file(
        self, path: Path, *, force: bool, properties: Mapping[str, Value] | None
    ) -> Model:
        # kobj_load_vfs: vn_open, once namei has found the file.
        denied = (
            (yield from self.kernel.subject(Permissions).open(str(path), FREAD))
            if path.exists()
            else 0
        )
        if denied:
            return self._not_from_file_system(str(path), Errno(denied))
        try:
            module = load_module(path, KobjMachine(self.kernel.options.machine))
            loading = Loading(module, self._take_space(module))
            loading.load(self._resolve)
        except FileNotFoundError:
            return self._not_from_file_system(str(path), Errno.ENOENT)
        except KobjError as refusal:
            return self._not_from_file_system(str(path), self._refused(refusal, path))
        try:
            info = loading.info()
        except KobjError as refusal:
            error = self._refused(refusal, path)
            self._error(f"cannot fetch info for `{path}', error {int(error)}")
            return error
        try:
            self._admit(info, force=force)
        except KobjError as refusal:
            return self._refused(refusal, path)
        try:
            linked = loading.affix(self._resolve)
        except KobjError as refusal:
            error = self._refused(refusal, path, name=info.name)
            self._error(f"unable to affix module `{info.name}', error {int(error)}")
            return error
        loaded = Loaded(module, linked, info)
        loaded.map(self.kernel.memory)
        self.kernel.subject(Races).loaded(loaded)
        self.kernel.subject(Instructions).install(loaded)
        self.kernel.subject(CachedTimes).install(loaded)
        return (yield from self._start(loaded, _with_file(path, properties)))

    def _not_from_file_system(self, name: str, error: Errno) -> Errno:
        """Print it like module_do_load() if the kernel has DEBUG; returns the errno."""
        if Enforced.DEBUG in self.kernel.options.checks:
            self._error(f"vfs load failed for `{name}', error {int(error)}")
        return error

    def _take_space(self, module: Module) -> dict[Region, int]:
        """Allocate the regions of a module, with a hole after them; never used again."""
        bases = consecutive_bases(module, self._next)
        self._next += sum(round_page(size) for size in module.sizes.values()) + PAGE
        if self._next > self.kernel.cpu.layout.modules_end:
            raise KobjError(Message("out of memory", "kobj_load", 458), errno="ENOMEM")
        return bases

    def _refused(self, refusal: KobjError, path: Path, *, name: str | None = None) -> Errno:
        """Print the kernel's message; return its errno, or panic if it panics.

        Messages have the path first, and the module's name from kobj_affix() on (kobj_setname()).
        """
        if isinstance(refusal, KobjPanicError):
            self.kernel.panic("module-loader", f"{path.name}: {refusal}")
        for line in refusal.console(name or f"%M{path.name}"):
            self.kernel.subject(Console).print(line + "\n")
        return Errno[refusal.errno]

    def _admit(self, info: ModInfo, *, force: bool) -> None:
        """Make the checks of module_do_load(); raises the first refusal."""
        for refusal in own_refusals(info):
            raise refusal
        for refusal in version_refusals(info, self.kernel.options.version):
            if not force:
                raise refusal
            self._error(refusal.text)
            self._error("forced load, system may be unstable")
        for refusal in name_refusals(info, self._active):
            raise refusal
        for name in info.required:
            if name in self.disabled:
                if not force:
                    text = f"use -f to reinstate builtin module `{name}'"
                    raise AdmissionError(text, "EPERM")
                self._reinstate(name)
        for refusal in required_refusals(info, self._active):
            raise refusal

    def _active(self, name: str) -> bool:
        """Whether a module is loaded or built in: the module directory is empty here."""
        return name in self.builtin or name in self.loaded

    def _resolve(self, name: str) -> int | None:
        address = self.kernel.dispatch.resolve(name)
        if address is not None:
            return address
        for module in self.loaded.values():
            if name in module.module.globals:
                return module.linked.address_of(name)
        return None

    def _start(self, loaded: Loaded, properties: Mapping[str, Value] | None) -> Model:
        kernel = self.kernel
        # In the list already, so that locations in it have names; removed if INIT fails.
        self.loaded[loaded.name] = loaded
        argument = kernel.subject(PropLib).new(properties) if properties is not None else 0
        error = yield from self._initialise(loaded, argument)
        if argument:
            # modctl(2) releases the dictionary once the module is loaded, or is not.
            kernel.subject(PropLib).release(argument)
        return error

    def _initialise(self, loaded: Loaded, argument: int) -> Model:
        kernel = self.kernel
        for setup in loaded.linked.link_sets.get("sysctl_funcs", ()):
            loaded.sysctl_log = loaded.sysctl_log or kernel.memory.place(bytes(16))
            yield Call(setup, (loaded.sysctl_log,))
        # module_load_evcnt in sys/kern/kern_module.c: before INIT, after the sysctl nodes.
        kernel.subject(EventCounters).attach_set(loaded.linked.link_sets.get("evcnts", ()))
        error = yield from self._command(loaded, CMD_INIT, argument)
        if error:
            self._error(f"modcmd(CMD_INIT) failed for `{loaded.name}', error {error}")
            yield from self._teardown(loaded)
            self._forget(loaded)
            return error
        for required in loaded.required:
            if required in self.loaded:
                self.loaded[required].references += 1
            self._required[required] += required in self.builtin
            loaded.holds.append(required)
        kernel.trace.emit(
            "module",
            name=loaded.name,
            text=loaded.text_base,
            size=sum(loaded.module.sizes.values()),
        )
        return 0

    def _command(self, loaded: Loaded, command: int, argument: int) -> Model:
        (modinfo,) = loaded.linked.link_sets["modules"]
        modcmd = self.kernel.memory.pointer(modinfo + 8)
        result = yield Call(modcmd, (command, argument))
        held = self.kernel.current.held
        if held:
            taken = self.kernel.location(held[0].taken_at)
            self.kernel.panic(
                "modcmd-with-mutex",
                f"modcmd of {loaded.name} returned with the mutex {held[0].describe()} held "
                f"(taken by {taken})",
                taken,
            )
        return signed(result, 32)

    def _forget(self, loaded: Loaded) -> None:
        """Unmap a module and check for objects that it left."""
        del self.loaded[loaded.name]
        self._past.append(loaded)
        for name in loaded.holds:
            if name in self.loaded:
                self.loaded[name].references -= 1
            self._required[name] -= name in self.builtin
        self.kernel.check_unload(loaded.name)
        loaded.unmap(self.kernel.memory)

    def unload(self, name: str) -> Model:
        """MODCTL_UNLOAD by the running process; returns an errno."""
        yield from self._lock()
        if (yield from self.kernel.subject(Kauth).may(kauth.MODULE, 0, _UNLOAD)):
            error = yield from self._unload(name)
        else:
            error = Errno.EPERM
        self._unlock()
        self.kernel.trace.emit("modctl.unload", module=name, error=int(error))
        return int(error)

    def _unload(self, name: str) -> Model:
        if name in self.builtin:
            if self._required[name]:
                return Errno.EBUSY
            # The stock driver's FINI does nothing: the name is disabled, the device stays.
            self.builtin.remove(name)
            self.disabled.add(name)
            return 0
        loaded = self.loaded.get(name)
        if loaded is None:
            self._error(f"module `{name}' not found")
            return Errno.ENOENT
        if loaded.references:
            return Errno.EBUSY
        error = yield from self._command(loaded, CMD_FINI, 0)
        if error:
            return error
        yield from self._teardown(loaded)
        self._forget(loaded)
        return 0

    def _teardown(self, loaded: Loaded) -> Model:
        """Remove the nodes that the SYSCTL_SETUP functions made, and the static counters."""
        if loaded.sysctl_log:
            yield from self.kernel.subject(SysctlTree).sysctl_teardown(loaded.sysctl_log) or ()
        events = loaded.linked.link_sets.get("evcnts", ())
        self.kernel.subject(EventCounters).detach_set(reversed(events))


def _with_file(path: Path, properties: Mapping[str, Value] | None) -> Mapping[str, Value] | None:
    """Return the options of modload(8) over those of the file x.plist beside x.kmod.

    module_load_plist_vfs() in sys/kern/kern_module_vfs.c; without either there is no dictionary.
    """
    file = path.with_suffix(".plist")
    if not file.is_file():
        return properties
    import plistlib  # noqa: PLC0415 - few modules have one
    from xml.parsers.expat import ExpatError  # noqa: PLC0415

    try:
        given = plistlib.loads(file.read_bytes())
    except (ValueError, plistlib.InvalidFileException, ExpatError):
        return properties
    return {**given, **(properties or {})}
