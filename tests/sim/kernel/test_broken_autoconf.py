"""Rules of autoconf(9) and pmf(9), each broken by a driver with its own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.api import Call
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Halted, KernelPanic
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.sysmon import RB_POWERDOWN, SysmonPower

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.kernel.api import Model

SOURCE = """
#include <sys/param.h>
#include <sys/device.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/pmf.h>
#include <sys/proc.h>
#include <sys/pserialize.h>
#include <sys/systm.h>

#if defined(__x86_64__) || defined(__i386__)
#include <x86/cpuvar.h>
#endif

bool	pmf_event_register(device_t, int, void (*)(device_t), bool);
void	pmf_event_deregister(device_t, int, void (*)(device_t), bool);
bool	pmf_event_inject(device_t, int);
bool	device_is_active(device_t);

int	tried_match(device_t, cfdata_t, void *);
void	tried_attach(device_t, device_t, void *);
int	tried_detach(device_t, int);

struct softc {
	int	sc_word;
};

CFATTACH_DECL_NEW(tried, sizeof(struct softc), tried_match, tried_attach,
    tried_detach, NULL);
CFDRIVER_DECL(tried, DV_DULL, NULL);
static struct cfdriver * const drivers[] = { &tried_cd, NULL };
static struct cfparent parent = { "cpufeaturebus", "cpu", 0 };
static struct cfdata table[] = {
	{ "tried", "tried", 0, FSTATE_STAR, NULL, 0, &parent },
	{ .cf_name = NULL }
};
static struct cfattach other_ca = { .ca_name = "other", .ca_flags = DVF_PRIV_ALLOC };
static struct cfattach * const list[] = { &tried_ca, NULL };
static const struct cfattachinit attachments[] = {
	{ "tried", list }, { NULL, NULL }
};

MODULE(MODULE_CLASS_DRIVER, tried, NULL);

int *aux_kept, units, hooks, events;
const void *qualifier;
device_t me;
device_t *vector_kept;
int forget;

int
tried_match(device_t p, cfdata_t cf, void *aux)
{
#if defined(__x86_64__) || defined(__i386__)
	struct cpufeature_attach_args *cfaa = aux;

	return strcmp(cfaa->name, "vm") == 0;
#else
	return device_find_by_xname("tried0") == NULL;
#endif
}

void
tried_attach(device_t p, device_t self, void *aux)
{

	aprint_naive("\\n");
	aprint_normal(": tried\\n");
	me = self;
	aux_kept = aux;
	vector_kept = tried_cd.cd_devs;
	units = tried_cd.cd_ndevs;
}

int
tried_detach(device_t self, int flags)
{

	return 0;
}

static int
tried_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return 0;
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}

int
init(void)
{

	return config_init_component(drivers, attachments, table);
}

int
fini(void)
{

	return config_fini_component(drivers, attachments, table);
}

int
init_without_flag(void)
{

	tried_ca.ca_flags = 0;
	return init();
}

int
init_below(const char *attribute)
{

	parent.cfp_parent = attribute != NULL ? "cpufeaturebus" : NULL;
	parent.cfp_unit = 7;
	return init();
}

int
below_attribute(void)
{

	return init_below("");
}

int
below_no_device(void)
{

	return init_below(NULL);
}

int
detach_other(void)
{

	return 1 + config_cfattach_detach("tried", &other_ca);	/* not attached */
}

int
attach_other(void)
{

	return config_cfattach_attach("tried", &other_ca);
}

int
look_at_aux(void)
{

	return *aux_kept;			/* the stack of another */
}

int
look_at_vector(void)
{

	return vector_kept[0] != NULL;		/* kept */
}

int
devices(void)
{

	return tried_cd.cd_devs == NULL ? -1 : tried_cd.cd_ndevs;
}

static bool
suspend(device_t self, const pmf_qual_t *qual)
{

	hooks += 1;
	qualifier = qual;
	kpause("suspend", false, 20, NULL);
	return true;
}

static bool
resume(device_t self, const pmf_qual_t *qual)
{

	hooks += 100;
	return true;
}

static bool
shutdown(device_t self, int how)
{

	hooks += 10000;
	units = how;
	return true;
}

static void
event(device_t self)
{

	events++;
}

int
hook(void)
{

	return pmf_device_register1(me, suspend, resume, shutdown);
}

int
unhook(void)
{

	pmf_device_deregister(me);
	return hooks;
}

int
unhook_in_section(void)
{
	int s = pserialize_read_enter();

	pmf_device_deregister(me);
	pserialize_read_exit(s);
	return 0;
}

int
listen(void)
{

	return pmf_event_register(me, 10, event, true);	/* listens */
}

int
inject(void)
{

	pmf_event_inject(me, 10);
	pmf_event_inject(NULL, 11);
	kpause("wait", false, 2, NULL);
	return events;
}

int
deaf(void)
{

	pmf_event_deregister(me, 10, event, true);
	return inject();
}

int
active(void)
{

	return device_is_active(me);
}
"""
EBUSY, EINVAL, TICK = 16, 22, 10_000_000


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        machine: compile_module(SOURCE, tmp_path_factory.mktemp(machine), machine)
        for machine in ("amd64", "aarch64")
    }


@pytest.fixture
def code(modules: dict[str, Path]) -> Code:
    return Code(modules["amd64"], "amd64")


def drvctl(code: Code, *, resume: bool = False) -> Model:
    device = code.kernel.subject(AllDevices).find("tried0")
    assert device is not None
    return code.kernel.subject(Pmf).suspend(device.address, native=False, resume=resume)


def unloads(code: Code) -> int:
    return int(code.kernel.run_process("modunload", code.kernel.subject(Modules).unload("tried")))


def test_tables_left_by_module_are_reported(code: Code) -> None:
    assert code.call("init") == 0
    assert unloads(code) == 0
    left = [text for text in code.violations() if text.startswith("autoconf-left: ")]
    assert [text.split(", but ")[1] for text in left] == [
        "the cfdata table is still in autoconf's lists",
        "the cfdriver tried is still in autoconf's lists",
        "the cfattach tried of driver tried is still in autoconf's lists",
    ]


def test_device_without_unit_gets_driver_name(
    code: Code,
) -> None:
    assert code.call("below_attribute") == 0
    assert code.kernel.subject(AllDevices).find("tried0") is None
    assert code.call("fini") == 0
    assert code.call("below_no_device") == 0
    assert code.kernel.subject(AllDevices).find("tried0") is not None


def test_failed_fini_is_rolled_back(code: Code) -> None:
    """An iterator keeps the unit: config_cfattach_detach returns EBUSY, and a later call works."""
    devices = code.kernel.subject(AllDevices)
    assert code.call("init") == 0
    devices.iterate()
    assert code.call("fini") == EBUSY
    assert code.kernel.subject(Console).lines[-1].text == (
        "configure: attachment `tried' of `tried' driver fini failed: 16"
    )
    assert [table for table, _ in devices.config] == [code.address("table")]
    devices.iterated()
    assert code.call("fini") == 0
    assert code.unload() == []


def test_missing_table_is_detected_after_its_devices(code: Code) -> None:
    assert code.call("fini") == EINVAL
    assert code.call("init") == 0
    assert code.call("fini") == 0
    assert code.call("fini") == EINVAL


def test_unattached_cfattach_is_not_detached(code: Code) -> None:
    assert code.call("init") == 0
    assert code.call("attach_other") == 0
    assert code.call("detach_other") == 1
    text = code.panic("detach_other")
    assert text.startswith("cfattach-not-attached: config_cfattach_detach by detach_other")
    assert f"tried.c:{line_of(SOURCE, '/* not attached */')}" in text
    assert "other_ca in data of module tried is not in the list of driver tried" in text


def test_hand_made_cfattach_needs_its_flag(code: Code) -> None:
    text = code.panic("init_without_flag")
    assert text.startswith("cfattach-flags: the cfattach tried has no DVF_PRIV_ALLOC")


def test_device_vector_grows_by_four_and_is_freed_with_last(code: Code) -> None:
    assert code.call("init") == 0
    assert (code.call("devices"), code.number("units"), code.call("look_at_vector")) == (4, 4, 1)
    autoconf = code.kernel.subject(Autoconf)
    assert code.kernel.run_process("drvctl", autoconf.drvctl_detach("tried0")) == 0
    # Marked, because drvctl iterates; the next scan of all devices frees it.
    assert code.call("devices") == 4
    assert [
        each.gone for each in code.kernel.subject(AllDevices)._devices if each.name == "tried0"
    ] == [True]
    assert code.call("fini") == 0
    assert code.call("devices") == -1
    text = code.panic("look_at_vector")
    assert text.startswith("use-after-free: page fault: read of 8 bytes")
    assert "the freed cd_devs of driver tried, which was removed" in text
    assert f"tried.c:{line_of(SOURCE, '/* kept */')}" in text


def test_attach_arguments_are_invalid_after_attach(code: Code) -> None:
    assert code.call("init") == 0
    text = code.panic("look_at_aux")
    assert text.startswith("use-after-free: page fault: read of 4 bytes")
    assert "the freed attach arguments of cpu0" in text
    assert f"tried.c:{line_of(SOURCE, '/* the stack of another */')}" in text


def test_device_with_children_is_not_detached(code: Code) -> None:
    assert code.call("init") == 0
    autoconf = code.kernel.subject(Autoconf)
    cpu = code.kernel.subject(AllDevices).find("cpu0")
    assert cpu is not None

    def detach(_device: object, _flags: int) -> Model:
        yield from ()
        return 0

    cpu.attachment.native["detach"] = detach
    with pytest.raises(KernelPanic) as caught:
        code.kernel.run_process("detach", autoconf.detach(cpu))
    assert caught.value.rule == "detached-with-children"
    assert "detached device cpu0 has children tried0" in caught.value.message


# pmf


def test_pmf_hook_runs_once_and_device_without_is_refused(
    code: Code,
) -> None:
    assert code.call("init") == 0
    run = code.kernel.run_process
    assert run("drvctl", drvctl(code)) is False  # EBUSY
    assert code.call("hook") == 1
    assert run("drvctl", drvctl(code, resume=True)) is True
    assert code.number("hooks") == 0
    for _ in range(2):
        assert run("drvctl", drvctl(code)) is True
    assert code.number("hooks") == 1
    assert code.kernel.memory.pointer(code.address("qualifier"))
    assert code.call("active") == 0
    for _ in range(2):
        assert run("drvctl", drvctl(code, resume=True)) is True
    assert (code.number("hooks"), code.call("active")) == (101, 1)


def test_deregistration_waits_for_running_hook(code: Code) -> None:
    code.call("init")
    code.call("hook")
    suspending = code.kernel.spawn("drvctl", "user", drvctl(code))
    code.kernel.run(lambda: suspending.state == "asleep")
    waiting = code.start("unhook")
    code.kernel.run_for(5 * TICK)
    assert (waiting.state, waiting.what, suspending.state) == ("asleep", "pmfsusp", "asleep")
    code.finish(waiting, suspending)
    text = code.panic("unhook_in_section")
    assert text.startswith("sleep-in-pserialize: pmf_device_deregister")


def test_events_reach_handlers_until_deregistration(code: Code) -> None:
    code.call("init")
    assert code.call("listen") == 1
    assert code.call("inject") == 1
    assert code.call("deaf") == 1
    assert code.call("listen") == 1
    assert code.call("fini") == 0
    (text,) = code.unload()
    assert text.startswith("pmf-event-left: module tried is unloaded, but its handler of the power")
    assert f"tried.c:{line_of(SOURCE, '/* listens */')}" in text


@pytest.mark.parametrize(("machine", "how"), [("amd64", RB_POWERDOWN), ("aarch64", 0)])
def test_shutdown_hook_gets_boot_flags_of_machine(
    modules: dict[str, Path], machine: str, how: int
) -> None:
    """cpu_reboot() of aarch64 passes those of the last boot."""
    code = Code(modules[machine], machine)
    code.call("init")
    code.call("hook")
    with pytest.raises(Halted):
        code.kernel.run_process("shutdown", code.kernel.subject(SysmonPower).reboot(RB_POWERDOWN))
    assert (code.number("hooks"), code.number("units")) == (10000, how)


def test_suspended_device_is_skipped_at_shutdown(code: Code) -> None:
    code.call("init")
    code.call("hook")
    code.kernel.run_process("drvctl", drvctl(code))
    with pytest.raises(Halted):
        code.kernel.run_process("shutdown", code.kernel.subject(SysmonPower).reboot(RB_POWERDOWN))
    assert code.number("hooks") == 1


def test_shutdown_hook_holds_its_device(code: Code) -> None:
    """shutdown_all() holds an iterator: a device that is detached during it is only marked."""
    code.call("init")
    code.call("hook")
    autoconf, devices = code.kernel.subject(Autoconf), code.kernel.subject(AllDevices)
    device = devices.find("tried0")
    assert device is not None
    seen = []

    def hook() -> Model:
        yield from autoconf.detach(device)
        seen.append(device in devices._devices)
        yield Call(code.address("active"), ())

    def shutdown(_howto: int) -> Model:
        return hook()

    code.kernel.subject(Pmf).shutdown = shutdown  # type: ignore[method-assign]
    with pytest.raises(Halted):
        code.kernel.run_process("shutdown", code.kernel.subject(SysmonPower).reboot(0))
    assert seen == [True]
