"""Modules of NetBSD's tree that run in a scenario, each with a line whose change fails it.

This file has of NetBSD's sources only the replaced fragments: a row names the module, the file and
function of the fragment, and its replacement.  ``found`` are the rules of the kernel that the
unmodified module breaks: its own defects, each confirmed in the source.
"""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build.compile import build_module
from vmtgen.common.dataclass import dataclass, replace
from vmtsim.kernel.errors import Unmodelled
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmtsim.run.findings import Finding

SCENARIOS = Path(__file__).with_name("netbsd_scenarios")
_EXAMPLES = "modules/examples"


class FragmentError(ValueError):
    """The fragment is not in the function, or more than once: another revision of the file."""


@dataclass(frozen=True)
class Break:
    """One line to break: in the function of a file of the tree, ``old`` becomes ``new``."""

    file: str
    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Run:
    """A module of sys/modules, what its scenario does, and the change that must fail it."""

    module: str
    does: str
    broken: Break
    found: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()  # modules that are loaded before it

    @property
    def scenario(self) -> Path:
        """The scenario's file."""
        return SCENARIOS / f"{self.module.rpartition('/')[2]}.yaml"


def _example(name: str, does: str, *change: str, found: Iterable[str] = ()) -> Run:
    file = f"{_EXAMPLES}/{name}/{name}.c"
    return Run(f"examples/{name}", does, Break(file, *change), frozenset(found))


RUNS = (
    _example("current_time", "loads, prints the date of the clock",
             "print_current_time", "dt.dt_mon", "dt.dt_day"),
    _example("executor", "counts for five seconds", "executor_modcmd", "callout_halt", "(void)",
             found=["mutex-in-softint"]),
    _example("hello", "loads, unloads", "hello_modcmd", "module loaded", "module gone"),
    _example("panic_string", "a process writes blanks, which do not cause a panic",
             "panic_string_write", "kmem_free(buffer, len)", "(void)buffer"),
    _example("ping", "a process reads a pong; a second open fails while the device is open",
             "ping_modcmd", "devsw_detach(NULL, &ping_cdevsw)", "(void)0"),
    _example("pollpal", "a process polls until a text arrives; each open creates a file of its own",
             "pollpal_close", "seldestroy(&pl->psel)", "(void)pl"),
    _example("properties", "loads with a property, prints it",
             "handle_props", "!= PROP_TYPE_STRING", "== PROP_TYPE_STRING"),
    _example("readhappy", "a process reads the first happy numbers",
             "check_happy", "total == HAPPY_NUMBER", "total != HAPPY_NUMBER"),
    _example("readhappy_mpsafe", "the same, without the kernel lock",
             "happy_close", "mutex_exit(&sc.lock)", "(void)0"),
    _example("sysctl", "a process sets its node", "sysctl_modcmd",
             "sysctl_teardown(&example_sysctl_log)", "(void)0"),
    Run("coretemp", "envstat prints the temperature of the processor",
        Break("arch/x86/x86/coretemp.c", "coretemp_refresh_xcall",
              "value_cur -= ", "value_cur += ")),
    Run("finsio", "a chip behind ports of an isa bus is found; envstat prints what it measures",
        Break("dev/isa/finsio_isa.c", "finsio_isa_detach",
              "bus_space_unmap(sc->sc_iot, sc->sc_ioh, FINSIO_DECODE_SIZE)", "(void)0"),
        frozenset({"bus-space-outside"})),
    Run("itesio", "the same with another chip, which also has a watchdog",
        Break("dev/isa/itesio_isa.c", "itesio_isa_detach",
              "bus_space_unmap(sc->sc_iot, sc->sc_ec_ioh, 8)", "(void)0"),
        frozenset({"pmf-hook-left"})),
    Run("gpiosim", "pins are set by sysctl; gpio, which is loaded first, attaches to it",
        Break("dev/gpio/gpiosim.c", "gpiosim_detach",
              "config_detach_children(self, flags)", "0"),
        frozenset({"free-with-mutex", "kernel-lock", "pmf-hook-left"}), ("gpio",)),
    Run("odcm", "the duty cycle of the processor is set and read back",
        Break("arch/x86/x86/odcm.c", "odcm_detach",
              "kmem_free(sc->sc_names, sc->sc_names_len)",
              "kmem_free(sc->sc_names, sc->sc_names_len - 1)")),
    Run("sdtemp", "a chip on an i2c bus is found at its address; envstat prints its temperature",
        Break("dev/i2c/sdtemp.c", "sdtemp_refresh",
              "iic_release_bus(sc->sc_tag, 0)", "(void)0")),
    Run("secmodel_overlay", "the security model is asked whether root may unload a module",
        Break("secmodel/overlay/secmodel_overlay.c", "secmodel_overlay_system_cb",
              "(result == KAUTH_RESULT_DEFER)", "(result == KAUTH_RESULT_DENY)"),
        frozenset({"kauth-left"})),
    Run("swsensor", "the sensor's value is set by sysctl; its limit raises an event of powerd",
        Break("dev/sysmon/swsensor.c", "swsensor_refresh",
              "value_cur = sw_sensor_value", "value_cur = 0")),
    Run("swwdog", "the watchdog is armed, tickled in time, and disarmed",
        Break("dev/sysmon/swwdog.c", "swwdog_disarm", "callout_stop(&sc->sc_c)", "(void)sc"),
        frozenset({"kernel-lock"})),
    Run("viac7temp", "envstat prints the temperature of a C7 processor",
        Break("arch/x86/x86/viac7temp.c", "viac7temp_detach",
              "sysmon_envsys_unregister(sc->sc_sme)", "(void)0")),
    Run("vmt", "NetBSD's own driver: the host presses the power button",
        Break("dev/vmt/vmt_subr.c", "vmt_tclo_state_change_success", "statechange", "changestate"),
        frozenset({"pmf-hook-left"})),
)  # fmt: skip


@dataclass(frozen=True)
class Defect:
    """A defect of an unmodified module: the scenario that shows it, the rules broken, the reason.

    The scenario is one of ``SCENARIOS``, or one that vmtsim ships.  ``why`` is the reason in
    the source.
    """

    module: str
    scenario: str
    rules: tuple[str, ...]
    why: str
    needs: tuple[str, ...] = ()
    seeds: int = 1  # one of the seeds from 1 to this finds it: schedules of several threads


DEFECTS = (
    Defect("examples/executor", "executor", ("mutex-in-softint",),
           "callout_example calls RUN_ONCE, whose mutex is initialised for IPL_NONE, in a "
           "callout"),
    Defect("examples/pollpal", "pollpal-text", ("out-of-bounds",),
           "pollpal_read prints with %s the bytes that pollpal_write copied from the process, "
           "without a terminating NUL"),
    Defect("swsensor", "swsensor-option", ("envsys-left", "leak"),
           "swsensor_init returns EINVAL for an option that it does not know, and releases "
           "neither its sysmon_envsys nor the iterator over the options"),
    Defect("swwdog", "swwdog", ("kernel-lock",),
           "swwdogattach and swwdog_fini change autoconf's lists from modcmd, which has no kernel "
           "lock; the comment at config_attach_pseudo requires it"),
    Defect("finsio", "finsio", ("bus-space-outside",),
           "finsio_isa_match and finsio_isa_attach map 2 ports for the configuration, but access "
           "those at offsets 5 and 6 (FINSIO_ADDR and FINSIO_DATA), which belong to another "
           "device"),
    Defect("itesio", "itesio", ("pmf-hook-left",),
           "itesio_isa_detach does not call pmf_device_deregister"),
    Defect("nsclpcsio", "nsclpcsio", ("bus-space-outside",),
           "nsclpcsio_tms_init and nsclpcsio_vlm_init write to devices that nsclpcsio_isa_attach "
           "did not map because they are not active: with the handle 0 they write to the DMA "
           "controller"),
    Defect("gpiosim", "gpiosim", ("free-with-mutex",),
           "gpiosim_detach does not destroy sc_intr_mutex, which gpiosim_attach initialised",
           ("gpio",)),
    Defect("gpiosim", "gpiosim", ("kernel-lock",),
           "gpiosim_modcmd changes autoconf's lists without the kernel lock, as swwdog does",
           ("gpio",)),
    Defect("gpiosim", "gpiosim", ("pmf-hook-left",),
           "gpio_detach of the module gpio does not call pmf_device_deregister", ("gpio",)),
    Defect("secmodel_overlay", "secmodel_overlay", ("kauth-left",),
           "secmodel_overlay_init registers 7 scopes and 11 listeners, and secmodel_overlay_modcmd "
           "removes none of them. It also does not restart suser, which it stopped: after that "
           "root has no rights"),
    Defect("vmt", "vmt", ("pmf-hook-left",),
           "vmt_common_detach does not call pmf_device_deregister"),
    Defect("vmt", "vmt-period", ("callout-ticks",),
           "vmt_sysctl_update_clock_sync_period multiplies the period by 1000 without a limit"),
    Defect("vmt", "vmt-writes", ("callout-without-function",),
           "N15: vmt_common_attach creates the sysctl node of the period before "
           "callout_setfunc: a process that writes the node in between schedules a callout "
           "without a function", seeds=20),
    Defect("vmt", "vmt-writes", ("callout-uninitialised",),
           "N16: vmt_common_detach destroys the callout before the sysctl node of the period: "
           "a process that writes the node in between schedules a destroyed callout", seeds=20),
    Defect("vmt", "table-full", ("double-free",),
           "vmt_common_attach frees sc_rpc_buf where it fails and keeps the pointer; "
           "vmt_common_detach frees it again"),
    Defect("vmt", "clock-steps", ("timespec-range",),
           "vmt_sync_guest_clock passes any number of microseconds from the host to tc_setclock"),
    Defect("vmt", "lost-channel", ("protocol: channel-dead",),
           "vmt_tclo_tick opens a channel only if its numbers are 0, and continues to use one "
           "that failed until a reset arrives on it"),
    Defect("vmt", "no-high-bandwidth", ("protocol: high-bandwidth-refused",),
           "vm_rpc_send continues with vm_outs whether or not the host's reply offers high "
           "bandwidth"),
    Defect("vmt", "long-messages", ("protocol: payload-size",),
           "vmt_tclo_tick truncates the announced length to the size of its buffer, and reads "
           "that many bytes"),
)  # fmt: skip


def shown(defect: Defect, tree: Path, machine: str, out: Path) -> str:
    """Return why the run does not show a defect by its rules; "" if it does."""
    own = SCENARIOS / f"{defect.scenario}.yaml"
    scenario = str(own) if own.is_file() else defect.scenario
    needs = tuple(tree / "modules" / each for each in defect.needs)
    place = tree / "modules" / defect.module
    missed = set(defect.rules)
    for seed in range(1, defect.seeds + 1):
        findings = played(scenario, place, tree, machine, out / "whole", needs, seed)
        missed -= {each.rule for each in findings}
        if not missed:
            break
    return f"not found: {', '.join(sorted(missed))}" if missed else ""


def _body(text: str, function: str, name: str) -> tuple[int, int]:
    """Return the range of a function's definition: from its name at the line's start to "}"."""
    start = re.search(rf"^{function}\(", text, re.MULTILINE)
    end = re.search(r"^\}", text[start.end() :], re.MULTILINE) if start else None
    if start is None or end is None:
        raise FragmentError(f"{name}: there is no function {function}")
    return start.start(), start.end() + end.end()


def broken_text(text: str, change: Break) -> str:
    """Return the text of a file with its line broken.  Raises FragmentError."""
    first, last = _body(text, change.function, change.file)
    body = text[first:last]
    if body.count(change.old) != 1:
        raise FragmentError(
            f"{change.file}: {change.old!r} is {body.count(change.old)} times in {change.function}"
        )
    return text[:first] + body.replace(change.old, change.new) + text[last:]


def overlay(tree: Path, module: str, change: Break, top: Path) -> Path:
    """Make a copy of ``tree`` at ``top`` with one broken file; returns the module's place.

    All is links, except for the broken file, the module's directory, and their parents.
    """
    source = tree / change.file
    text = broken_text(source.read_text(encoding="latin-1"), change)
    for path in (Path(change.file).parent, Path("modules") / module):
        _real(tree, path, top)
    place = top / "modules" / module
    for each in place.iterdir():
        if each.is_file():
            copy = each.resolve()
            each.unlink()
            shutil.copyfile(copy, each)
    target = top / change.file
    target.unlink()
    target.write_text(text, encoding="latin-1")
    return place


def _real(tree: Path, path: Path, top: Path) -> None:
    """Make a directory below ``top``, and its parents, real ones that contain links."""
    for part in (*reversed(path.parents), path):
        here = top / part
        if here.is_dir() and not here.is_symlink():
            continue
        if here.is_symlink():
            here.unlink()
        here.mkdir(parents=True)
        for each in (tree / part).iterdir():
            (here / each.name).symlink_to(each)


@functools.cache
def _built(directory: Path, tree: Path, machine: str, out: Path) -> Path:
    """Return the module of a directory: a file that is built once."""
    return build_module(directory, machine=machine, sys=tree, out=out, cache=out / ".cache").path


def played(
    scenario: str | Path,
    directory: Path,
    tree: Path,
    machine: str,
    out: Path,
    needs: tuple[Path, ...] = (),
    seed: int = 1,
) -> list[Finding]:
    """Build the module of a directory, run its scenario, and return what was found.

    In a guest with several processors, another thread may run between any two accesses to
    memory.
    """
    module = _built(directory, tree, machine, out)
    script = load(str(scenario))
    before = tuple(str(_built(each, tree, machine, out)) for each in needs)
    script = replace(script, guest=replace(script.guest, modules=before))
    several = script.guest.cpus > 1
    return (
        Simulation(module, script, seed=seed, cpus=script.guest.cpus, races=several).run().findings
    )


def verdict(run: Run, tree: Path, machine: str, out: Path) -> tuple[str, str]:
    """Run a module unmodified and broken; return an error, or "", and a rule.

    The rule is the one that the module breaks with the broken line; it is "" after an error.
    """
    whole = out / "whole"
    needs = tuple(tree / "modules" / each for each in run.needs)
    try:
        findings = played(run.scenario, tree / "modules" / run.module, tree, machine, whole, needs)
    except Unmodelled as error:
        return str(error), ""
    rules = {each.rule for each in findings if each.status}
    if rules - run.found or not run.found <= {each.rule for each in findings}:
        return "; ".join(f"{each.rule}: {each.message}" for each in findings) or "found nothing", ""
    top = out / "broken" / run.module.replace("/", "-")
    directory = overlay(tree, run.module, run.broken, top)
    needs = tuple(top / "modules" / each for each in run.needs)
    after = played(run.scenario, directory, top, machine, out / "changed", needs)
    new = [each for each in after if each.rule not in run.found]
    if not new:
        return f"{run.broken.old!r} in {run.broken.function} was broken, and nothing failed", ""
    return "", new[0].rule
