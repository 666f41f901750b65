"""pmf(9): hooks of devices for suspend, resume and shutdown, and events.

Sources: NetBSD sys/kern/kern_pmf.c 1.51; sys/kern/subr_autoconf.c 1.314 (device_pmf_lock,
device_pmf_driver_suspend, device_pmf_driver_resume, device_pmf_driver_deregister).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.kernlock import KernelLock
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


@dataclass(frozen=True)
class Hooks:
    """The hooks of one device; 0 if it has none."""

    suspend: int
    resume: int
    shutdown: int
    made_at: int


@dataclass(frozen=True)
class EventHandler:
    """A handler of an event of a device, or of all devices."""

    device: int
    event: int
    function: int
    everywhere: bool
    made_at: int


class Pmf(Subject):
    """The hooks that devices have registered, by the address of the struct device.

    ``suspended`` are the devices whose driver is suspended.  The kernel's own devices have no
    hooks, but are registered.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_pmf.c 1.51": "*"}
    # No lock guards its lists in the kernel; the models order hooks by the lock of the device.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.hooks: dict[int, Hooks] = {}
        self.suspended: set[int] = set()
        self.handlers: list[EventHandler] = []
        self._holders: dict[int, Lwp] = {}  # the device's pmf lock
        self._unlocked = WaitQueue("pmfsusp")
        self._qualifier = 0

    @kernel_function(
        "bool pmf_device_register1(device_t dev, bool (*susp)(device_t, const pmf_qual_t *), "
        "bool (*res)(device_t, const pmf_qual_t *), bool (*shut)(device_t, int))"
    )
    def pmf_device_register1(self, device: int, suspend: int, resume: int, shutdown: int) -> bool:
        self.hooks[device] = Hooks(suspend, resume, shutdown, self.kernel.call_site)
        self._lock_given(device)
        return True

    @kernel_function("void pmf_device_deregister(device_t dev)")
    def pmf_device_deregister(self, device: int) -> Model:
        """Remove the hooks; waits until a running suspend or resume hook has returned."""
        self.kernel.rules.may_sleep("pmf_device_deregister")
        self.hooks.pop(device, None)
        while device in self._holders:
            yield Block(self._unlocked, what="pmfsusp")
        self._lock_taken(device)

    def _lock_taken(self, device: int) -> None:
        """Order after the last holder of the device's lock (device_pmf_lock)."""
        self.kernel.order.takes(self.kernel.current, ("device_pmf_lock", device))

    def _lock_given(self, device: int) -> None:
        self.kernel.order.gives(self.kernel.current, ("device_pmf_lock", device))

    # -- events --------------------------------------------------------------------------------

    @kernel_function(
        "bool pmf_event_register(device_t dev, int ev, void (*handler)(device_t), bool global)"
    )
    def pmf_event_register(self, device: int, event: int, function: int, everywhere: bool) -> bool:
        self.kernel.rules.may_sleep("pmf_event_register")
        self.handlers.append(
            EventHandler(device, event, function, everywhere, self.kernel.call_site)
        )
        return True

    @kernel_function(
        "void pmf_event_deregister(device_t dev, int ev, void (*handler)(device_t), bool global)"
    )
    def pmf_event_deregister(
        self, device: int, event: int, function: int, everywhere: bool
    ) -> None:
        self.kernel.rules.thread_context("pmf_event_deregister")
        key = (device, event, function, everywhere)
        for each in self.handlers:
            if (each.device, each.event, each.function, each.everywhere) == key:
                self.handlers.remove(each)
                return

    @kernel_function("bool pmf_event_inject(device_t dev, int ev)")
    def pmf_event_inject(self, device: int, event: int) -> bool:
        """Let a thread of the kernel call the handlers (pmf_event_worker)."""
        self.kernel.spawn("pmfevent", "kthread", self._deliver(device, event))
        return True

    def _deliver(self, device: int, event: int) -> Model:
        for each in list(self.handlers):
            if each.event == event and (each.everywhere or each.device == device):
                yield Call(each.function, (each.device,))

    def check_unload(self, module: str) -> None:
        """Report leftover handlers: they point into freed memory."""
        super().check_unload(module)
        loaded = self.kernel.loaded_at
        kept = [each for each in self.handlers if loaded(each.made_at)]
        for each in self.handlers:
            if each in kept:
                continue
            place = self.kernel.location(each.made_at)
            self.kernel.violation(
                "pmf-event-left",
                f"module {module} is unloaded, but its handler of the power event {each.event}, "
                f"registered by {place}, is still registered",
                place,
            )
        self.handlers[:] = kept

    # -- called by the kernel --------------------------------------------------------------------

    def shutdown(self, howto: int) -> Model:
        """Run the shutdown hooks in the running thread, children first (pmf_system_shutdown).

        A device that is suspended is not active, and is skipped.
        """
        for address in reversed(self.kernel.devices()):
            hooks = self.hooks.get(address)
            if hooks is not None and hooks.shutdown and address not in self.suspended:
                yield Call(hooks.shutdown, (address, howto))

    def suspend(self, device: int, *, native: bool, resume: bool = False) -> Model:
        """Run a device's suspend or resume hook, as ``drvctl -S`` and ``-Q`` do, if it is due.

        Returns whether that is done: false for a device that is not registered, and for the second
        time in a row. Under KERNEL_LOCK and the device's own lock (pmf_device_suspend).
        """
        if native:
            return True
        big = self.kernel.subject(KernelLock)
        yield from big.lock(1) or ()
        good = yield from self._change(device, resume=resume)
        big.unlock(1)
        return good

    def _change(self, device: int, *, resume: bool) -> Model:
        lwp = self.kernel.current
        while device in self.hooks and self._holders.get(device, lwp) is not lwp:
            yield Block(self._unlocked, what="pmfsusp")
        hooks = self.hooks.get(device)
        if hooks is None:
            return False
        if (device in self.suspended) != resume:
            return True
        self._holders[device] = lwp
        self._lock_taken(device)
        function = hooks.resume if resume else hooks.suspend
        result = (yield Call(function, (device, self._qual()))) if function else 1
        self._holders.pop(device, None)
        self._lock_given(device)
        self.kernel.scheduler.wake_all(self._unlocked)
        good = bool(result & 0xFF)
        if good:
            (self.suspended.discard if resume else self.suspended.add)(device)
        return good

    def _qual(self) -> int:
        """Return a pmf_qual_t, as PMF_Q_DRVCTL: the suspensor, then the depth."""
        if not self._qualifier:
            self._qualifier = self.kernel.memory.place(bytes(2 * 8))
        return self._qualifier

    def check_detach(self, address: int, device: str) -> None:
        """Report hooks of a detached device."""
        hooks = self.hooks.pop(address, None)
        self.suspended.discard(address)
        if hooks is not None:
            place = self.kernel.location(hooks.made_at)
            self.kernel.violation(
                "pmf-hook-left",
                f"{device} is detached, but its pmf hooks are still registered (by {place})",
                place,
            )
