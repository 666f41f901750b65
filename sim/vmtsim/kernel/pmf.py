"""pmf(9): hooks of devices for suspend, resume and shutdown (NetBSD sys/kern/kern_pmf.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Call, Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


@dataclass(frozen=True)
class Hooks:
    """The hooks of one device; 0 where it has none."""

    suspend: int
    resume: int
    shutdown: int
    made_at: int


class Pmf(Subject):
    """Which device registered which hooks, by the address of its struct device."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_pmf.c 1.51": "*"}

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.hooks: dict[int, Hooks] = {}

    @kernel_function(
        "bool pmf_device_register1(device_t dev, bool (*susp)(device_t, const pmf_qual_t *), "
        "bool (*res)(device_t, const pmf_qual_t *), bool (*shut)(device_t, int))"
    )
    def pmf_device_register1(self, device: int, suspend: int, resume: int, shutdown: int) -> bool:
        self.hooks[device] = Hooks(suspend, resume, shutdown, self.kernel.call_site)
        return True

    @kernel_function("void pmf_device_deregister(device_t dev)")
    def pmf_device_deregister(self, device: int) -> None:
        self.hooks.pop(device, None)

    @kernel_function(
        "bool pmf_event_register(device_t dev, int ev, void (*handler)(device_t), bool global)"
    )
    def pmf_event_register(self, _d: int, _event: int, _handler: int, _everywhere: bool) -> bool:
        return True

    @kernel_function(
        "void pmf_event_deregister(device_t dev, int ev, void (*handler)(device_t), bool global)"
    )
    def pmf_event_deregister(self, _d: int, _event: int, _handler: int, _global: bool) -> None:
        return None

    @kernel_function("bool pmf_event_inject(device_t dev, int ev)")
    def pmf_event_inject(self, _device: int, _event: int) -> bool:
        return True

    def shutdown(self, howto: int) -> Model:
        """Run the shutdown hooks in the running thread, children first."""
        for address in reversed(self.kernel.devices()):
            hooks = self.hooks.get(address)
            if hooks is not None and hooks.shutdown:
                yield Call(hooks.shutdown, (address, howto))

    def suspend(self, device: int, *, resume: bool = False) -> Model:
        """Run a device's suspend or resume hook, as ``drvctl -S`` and ``-Q`` do."""
        hooks = self.hooks.get(device)
        function = 0 if hooks is None else hooks.resume if resume else hooks.suspend
        if not function:
            return True
        result = yield Call(function, (device, 0))
        return bool(result & 0xFF)

    def check_detach(self, address: int, device: str) -> None:
        """Report hooks of a device that is gone."""
        hooks = self.hooks.pop(address, None)
        if hooks is not None:
            place = self.kernel.location(hooks.made_at)
            self.kernel.violation(
                "pmf-hook-left",
                f"{device} is detached, but its pmf hooks are still registered (by {place})",
                place,
            )
