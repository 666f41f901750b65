"""Devices come and go as autoconf(9) lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Block
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.errors import KernelPanic

from .modkit import MACHINES, Machine, built, marked

if TYPE_CHECKING:
    from vmtsim.kernel.alldevs import Device
    from vmtsim.kernel.api import Model

EINTR, ENXIO, EBUSY, ENODEV, EINVAL, EOPNOTSUPP, ENOTSUP = 4, 6, 16, 19, 22, 45, 86


def children(machine: Machine, parent: str) -> list[str]:
    """The devices below one, as `drvctl -l` lists them."""
    devices = machine.kernel.subject(AllDevices).devices()
    found = [device for device in devices if device.parent is not None]
    return [device.name for device in found if device.parent.name == parent]  # type: ignore[union-attr]


def _classic(machine: str = "amd64", bug: int = 0, *, seed: int = 1) -> Machine:
    flags = (f"-DBUG={bug}",) if bug else ()
    made = Machine(built("classic", machine, flags), machine, seed=seed)
    assert made.do("load") == 0
    return made


@pytest.mark.parametrize("machine", MACHINES)
def test_classic_driver_attaches_runs_and_leaks_nothing(machine: str) -> None:
    made = _classic(machine)
    assert made.console[-1] == "classic0 at cpu0: counts seconds"
    made.kernel.run_for(10_500_000_000)
    assert made.guest.wait("sysctl", made.guest.read("machdep.classic0.count")) == 10
    assert made.do("sysctl", {"machdep.classic0.step": 5}) == 0
    made.kernel.run_for(2_000_000_000)
    assert made.guest.wait("sysctl", made.guest.read("machdep.classic0.count")) == 20
    assert made.do("unload", "classic") == 0
    assert made.console[-1] == "classic0: detached"
    assert made.broken() == []


def test_device_is_child_of_cpu() -> None:
    machine = _classic()
    assert children(machine, "cpu0") == ["classic0"]


def test_detach_and_rescan_reattach_device() -> None:
    machine = _classic()
    for _ in range(3):
        assert machine.do("detach", "classic0") == 0
        assert machine.console[-1] == "classic0: detached"
        assert machine.do("detach", "classic0") == ENXIO
        assert machine.do("rescan", "cpu0") == 0
        assert machine.console[-1] == "classic0 at cpu0: counts seconds"
    assert machine.broken() == []


def test_second_detach_waits_until_interrupted() -> None:
    # config_detach_release() of the first waits for the reference that the second holds.
    machine = Machine(built("worker"))
    assert machine.do("load") == 0
    autoconf = machine.kernel.subject(Autoconf)
    first, second = (
        machine.guest.start(f"drvctl{n}", autoconf.drvctl_detach("worker0")) for n in range(2)
    )
    machine.kernel.run(lambda: second.what == "cfgmisc" and first.what == "cfgmisc")
    before = machine.kernel.clock.now
    machine.kernel.run(lambda: first.state == second.state == "gone")
    assert machine.kernel.clock.now - before > 5_000_000_000
    assert sorted((first.result, second.result)) == [0, EINTR]
    assert machine.kernel.subject(AllDevices).find("worker0") is None
    assert machine.console.count("worker0: detached") == 1
    assert machine.do("rescan", "cpu0") == 0
    assert machine.kernel.subject(AllDevices).find("worker0") is not None
    assert machine.broken() == []


def test_failed_detach_allows_next_attempt() -> None:
    machine = Machine(built("classic"), builtin=True)
    autoconf = machine.kernel.subject(Autoconf)
    vmt0 = machine.kernel.subject(AllDevices).find("vmt0")
    assert vmt0 is not None
    detach = vmt0.attachment.native["detach"]
    tries = []

    def slow(device: Device, flags: int) -> Model:
        tries.append(machine.kernel.clock.now)
        yield Block(deadline=tries[-1] + 1_000_000_000)
        return EBUSY if len(tries) == 1 else (yield from detach(device, flags))

    vmt0.attachment.native["detach"] = slow
    first = machine.guest.start("first", autoconf.drvctl_detach("vmt0"))
    second = machine.guest.start("second", autoconf.drvctl_detach("vmt0"))
    machine.kernel.run(lambda: first.state == second.state == "gone")
    assert sorted([first.result, second.result]) == [0, EBUSY]
    assert tries[1] - tries[0] >= 1_000_000_000


@pytest.mark.parametrize("builtin", [False, True])
def test_old_aarch64_kernel_has_no_cpufeaturebus(builtin: bool) -> None:
    version = 1_000_000_100
    made = Machine(built("classic", "aarch64"), "aarch64", builtin=builtin, version=version)
    assert made.do("rescan", "cpu0") == ENODEV
    assert children(made, "cpu0") == []
    assert children(made, "simplebus0") == (["vmt0"] if builtin else [])
    assert made.do("detach", "vmt0") == (EOPNOTSUPP if builtin else ENXIO)


def test_refused_detach_and_rescan_give_reason() -> None:
    machine = _classic()
    autoconf = machine.kernel.subject(Autoconf)
    assert machine.do("detach", "cpu0") == EOPNOTSUPP  # its driver has no ca_detach
    assert machine.do("detach", "mainbus0") == EOPNOTSUPP  # the root is tried
    # On aarch64 the parent could not be notified.
    assert _classic("aarch64").do("detach", "cpu0") == ENOTSUP
    assert machine.do("rescan", "cpu1") == ENXIO
    assert machine.do("rescan", "mainbus0") == ENODEV
    assert machine.guest.wait("drvctl", autoconf.drvctl_rescan("cpu0", "pci")) == EINVAL


def test_detached_unit_stays_allocated_while_module_is_loaded() -> None:
    # drvctl -d detaches under a device iterator and config_init_component() rescans under one:
    # a stock kernel panics, and so does this one.
    machine = Machine(built("classic"), builtin=True)
    assert machine.do("detach", "vmt0") == 0
    with pytest.raises(KernelPanic, match="allocation of device softc failed") as caught:
        machine.do("load")
    assert caught.value.rule == "unit-taken"


def test_built_in_driver_attaches_at_boot_and_after_rescan() -> None:
    machine = Machine(built("classic"), builtin=True)
    assert "vmt0 at cpu0" in machine.console
    assert machine.guest.wait("sysctl", machine.guest.read("machdep.vmt0.clock_sync.period")) == 60
    assert machine.do("detach", "vmt0") == 0
    assert machine.guest.wait("sysctl", machine.guest.read("machdep.vmt0.uuid")) is None
    assert machine.do("rescan", "cpu0") == 0
    assert machine.console[-1] == "vmt0 at cpu0"


# bug of classic.c -> (rule, words that the message must have)
PANICS = {
    1: ("callout-pending-at-detach", "classic_tick"),
    2: ("callback-with-spin-mutex", "classic_tick"),
    5: ("out-of-bounds", "object of 40 bytes"),
}
VIOLATIONS = {
    3: ("pmf-hook-left", "classic0 is detached, but its pmf hooks are still registered"),
    4: ("leak", "object of 40 bytes allocated by classic_attach"),
    6: ("sysctl-without-kauth", "machdep.classic0.step (classic_sysctl_step"),
    7: ("sysctl-left", "machdep.classic0, machdep.classic0.count, machdep.classic0.step"),
    8: ("attach-line", "did not end its console line"),
    9: ("uninitialised-read", "offset 39 of object of 40 bytes, allocated by classic_attach"),
}


def _run_cycle(machine: Machine) -> None:
    machine.kernel.run_for(5_500_000_000)
    machine.do("sysctl", {"machdep.classic0.step": 2})
    machine.do("detach", "classic0")
    machine.do("unload", "classic")


@pytest.mark.parametrize("bug", PANICS)
def test_planted_bug_panics_at_its_line(bug: int) -> None:
    machine = _classic(bug=bug)
    rule, words = PANICS[bug]
    with pytest.raises(KernelPanic) as caught:
        _run_cycle(machine)
    assert caught.value.rule == rule
    assert words in caught.value.message
    for line in marked("classic", f"planted: {rule}"):
        assert f"classic.c:{line}" in caught.value.message


@pytest.mark.parametrize("bug", VIOLATIONS)
def test_planted_bug_is_reported_at_its_line(bug: int) -> None:
    machine = _classic(bug=bug)
    _run_cycle(machine)
    rule, words = VIOLATIONS[bug]
    (violation,) = [v for v in machine.kernel.violations if v.rule == rule]
    assert words in violation.message
    for line in marked("classic", f"planted: {rule}"):
        assert f"classic.c:{line}" in violation.message


def test_overrun_by_callout_stops_at_first_byte() -> None:
    machine = _classic(bug=5)
    with pytest.raises(KernelPanic, match="0 bytes after"):
        machine.kernel.run_for(60_000_000_000)
    assert 2_900_000_000 < machine.kernel.clock.now < 3_100_000_000
