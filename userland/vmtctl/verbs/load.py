"""``vmtctl load``: replaces the kernel's driver with a module, and verifies each step.

The order was tried on a real kernel: disable the built-in module, load the file while the
built-in's vmt0 is still attached, and only then detach and rescan. Loading right after a
``drvctl -d vmt0`` makes a stock kernel panic, because the detached unit is not freed before the
next rescan (NetBSD sys/kern/subr_autoconf.c, config_detach and config_init_component).
"""

from __future__ import annotations

from vmtctl import balloon, balloonload, device, guest, modulefile, record, resolver, settings
from vmtctl.checks.rcconf import loaded_at_boot
from vmtctl.exits import OK, Failure
from vmtctl.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtctl.context import Context


def run(context: Context) -> int:
    """Load the module and hand vmt0 over to it, or load the balloon beside it."""
    context.no_image()
    name = context.values.word("driver") or guest.MODULE
    path = modulefile.chosen(context, name)
    if name == balloon.MODULE:
        return balloonload.load(context, path)
    if _is_loaded(context, path) and device.is_attached(context):
        return _in_place(context, path, changed=False)
    if context.dry_run:
        return _plan(context, path)
    context.need_root("load modules")
    with Lock(context, "load"):
        if _is_loaded(context, path):
            changed = device.attach(context)
            return _in_place(context, path, changed=changed)
        device.refuse_beside_daemon(context)
        _Loader(context, path).go()
        settings.apply(context)
        resolver.apply(context)
    if not loaded_at_boot(context):
        context.warn(
            "hint: this lasts until the next boot; `vmtctl doctor` shows how to load it at boot"
        )
    context.finish(changed=True, module=path)
    return OK


def _modules(context: Context) -> list[guest.Module]:
    found, complaint = guest.modules(context)
    if complaint:
        raise Failure(f"cannot determine which modules are loaded: {complaint}")
    return found


def _is_loaded(context: Context, path: str) -> bool:
    loaded = next((each for each in _modules(context) if not each.disabled), None)
    return (
        loaded is not None and not loaded.builtin and record.is_current(context, guest.MODULE, path)
    )


def _in_place(context: Context, path: str, *, changed: bool) -> int:
    context.step(f"the module is unchanged: {path} is loaded", state="unchanged")
    context.finish(changed=changed, module=path)
    return OK


def _plan(context: Context, path: str) -> int:
    if _is_loaded(context, path):
        return _in_place(context, path, changed=device.attach(context))
    device.refuse_beside_daemon(context)
    found = _modules(context)
    loaded = next((each for each in found if not each.disabled), None)
    disabled = any(each.disabled for each in found)
    attached = device.is_attached(context)
    stock = disabled if loaded is None else loaded.builtin
    if found and not attached:
        context.step("attach vmt0 to the driver in place first, so that its unit is free")
    if loaded is not None:
        context.step("disable the built-in driver" if loaded.builtin else "unload the old module")
    context.step(f"load {path}")
    if stock:
        context.step(f"detach {guest.DEVICE} from the built-in driver")
    context.step(f"attach {guest.DEVICE} to the module")
    context.finish(changed=True, module=path)
    return OK


class _Loader:
    """The steps, each with the step that undoes it."""

    def __init__(self, context: Context, path: str) -> None:
        found = _modules(context)
        loaded = next((each for each in found if not each.disabled), None)
        disabled = any(each.disabled for each in found)
        self._context = context
        self._path = path
        self._loaded = loaded
        self._builtin = loaded is not None and loaded.builtin
        # Even with its module disabled, the kernel's own driver keeps and claims the device.
        self._stock = self._builtin or (disabled and loaded is None)
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def go(self) -> None:
        """Do all steps, or undo those that were done and raise the Failure."""
        try:
            self._steps()
        except BaseException as error:
            self._take_back()
            if isinstance(error, Failure):
                error.args = (f"{error}; all steps were undone",) if self._clean else error.args
            raise
        record.write(self._context, guest.MODULE, self._path)

    def _steps(self) -> None:
        context = self._context
        if (self._stock or self._loaded is not None) and not device.is_attached(context):
            # A rescan frees the unit that an earlier detach left behind, also that of a run
            # that was interrupted after it had loaded the module.
            context.tools.run("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)
        if self._loaded is not None:
            self._drop_old()
        else:
            record.forget(context, guest.MODULE)
        attached = device.is_attached(context)
        result = context.tools.run("modload", *self._options(), self._path)
        if not result.ok:
            raise modulefile.refused(context, self._path, result)
        self._undo.append(("unload the module", lambda: self._tool("modunload", "vmt")))
        now, _ = guest.module(context)
        if now is None or now.builtin:
            raise Failure(
                f"modload reports that it loaded {self._path}, but modstat does not show it"
            )
        context.step(f"loaded {self._path}")
        if attached:
            self._undo.append(("attach vmt0 again", self._rescan))
            device.detach(context)
        if not device.is_attached(context):
            device.attach(context)
        else:
            context.step(f"attached {guest.DEVICE}")

    def _options(self) -> tuple[str, ...]:
        return ("-f",) if self._context.values.on("force") else ()

    def _drop_old(self) -> None:
        context = self._context
        result = context.tools.run("modunload", "vmt")
        if not result.ok:
            raise Failure(f"the present driver cannot be unloaded: {result.complaint}")
        old = (record.read(context, guest.MODULE) or {}).get("path")
        # From here on an interrupted run must not look like a successful one.
        record.forget(context, guest.MODULE)
        if self._builtin:
            self._undo.append(
                ("enable the built-in driver", lambda: self._tool("modload", "-f", "vmt"))
            )
        elif isinstance(old, str) and old:
            self._undo.append(("load the old module", lambda: self._tool("modload", old)))
        left, _ = guest.module(context)
        if left is not None:
            raise Failure("modunload reports that it unloaded vmt, but modstat still shows it")
        context.step("disabled the built-in driver" if self._builtin else "unloaded the old module")

    def _tool(self, tool: str, *arguments: str) -> None:
        result = self._context.tools.run(tool, *arguments)
        if not result.ok:
            raise Failure(result.complaint)

    def _rescan(self) -> None:
        if not device.is_attached(self._context):
            self._tool("drvctl", "-r", "-a", guest.ATTRIBUTE, guest.BUS)

    def _take_back(self) -> None:
        """Run the undo steps: unload the module, restore the replaced driver, attach the device."""
        self._clean = bool(self._undo)
        devices = [step for step in self._undo if "attach" in step[0]]
        others = [step for step in reversed(self._undo) if "attach" not in step[0]]
        for what, step in (*others, *devices):
            try:
                step()
                self._context.detail(f"undone: {what}")
            except Failure as error:
                self._clean = False
                self._context.warn(f"could not {what}: {error}")

    _clean = False
