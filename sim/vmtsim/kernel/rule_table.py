"""All rules of the kernel that the simulator checks: the requirement, the fix, and the source.

``vmtsim rules`` prints this table.  ``kernel.panic`` and ``kernel.violation`` take only its ids,
so that every rule that can be broken is explained.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection


class Enforced(enum.Enum):
    """The kernels of NetBSD that detect a broken rule.

    ``HARMLESS``: the kernel whose source was read is not corrupted; the rule comes from the manual,
    or protects against another release.
    """

    ALWAYS = "every kernel"  # it panics, or its memory management does
    DIAGNOSTIC = "kernels with DIAGNOSTIC"
    DEBUG = "kernels with DEBUG"
    LOCKDEBUG = "kernels with LOCKDEBUG"
    HEARTBEAT = "kernels with HEARTBEAT"
    UNDETECTED = "no kernel: it continues, and is damaged or waits forever"
    HARMLESS = "no kernel: it continues, and nothing is damaged"


OPTIONS = {
    each.name: each
    for each in (Enforced.DIAGNOSTIC, Enforced.DEBUG, Enforced.LOCKDEBUG, Enforced.HEARTBEAT)
}
"""The debug options(4) of a kernel's configuration, by their names."""


_GENERIC = {
    "amd64": "DIAGNOSTIC,HEARTBEAT",
    "i386": "DIAGNOSTIC,HEARTBEAT",
    "aarch64": "HEARTBEAT",
}
"""The debug options of NetBSD-current's kernels: sys/arch/{amd64,i386}/conf/GENERIC and
sys/arch/evbarm/conf/GENERIC64 of 10.99.12.  Kernels of a release branch have none of them."""


def configured(text: str, machine: str) -> frozenset[Enforced]:
    """Return the options for ``text``: none, generic, all, or a comma-separated list of names.

    Raises ValueError for another name.
    """
    words = {"none": "", "generic": _GENERIC[machine], "all": ",".join(OPTIONS)}
    names = [name for name in words.get(text, text).upper().split(",") if name]
    unknown = [name for name in names if name not in OPTIONS]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} is not a debug option of a kernel: expected none, generic, all, or a "
            f"comma-separated list of {', '.join(OPTIONS)}"
        )
    return frozenset(OPTIONS[name] for name in names)


class Consequence(enum.Enum):
    """The consequence of a broken rule for a kernel."""

    PANIC = "it panics"
    DAMAGE = "it continues, and is damaged or waits forever"
    WARNING = "it continues, and nothing is damaged"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``holds`` is the requirement, ``remedy`` the fix for code that breaks it.

    ``source`` names NetBSD's files and functions.
    """

    id: str
    holds: str
    remedy: str
    source: str
    enforced: Enforced

    def consequence(self, options: Collection[Enforced]) -> Consequence:
        """Return the consequence for a kernel with these options."""
        if self.enforced is Enforced.ALWAYS or self.enforced in options:
            return Consequence.PANIC
        if self.enforced is Enforced.HARMLESS or self.id in WITHOUT_DAMAGE:
            return Consequence.WARNING
        return Consequence.DAMAGE

    def detected(self, options: Collection[Enforced]) -> str:
        """Return which kernels detect it, and the effect on a kernel that does not."""
        if self.enforced is Enforced.ALWAYS:
            return "by every kernel: it panics"
        if self.enforced not in OPTIONS.values():
            return f"by {self.enforced.value}"
        without = (Consequence.WARNING if self.id in WITHOUT_DAMAGE else Consequence.DAMAGE).value
        if self.enforced in options:
            return f"by {self.enforced.value}: they panic; without it, {without}"
        return f"not by this kernel: {without}; {self.enforced.value} panic"


_ALWAYS, _DIAGNOSTIC, _DEBUG = Enforced.ALWAYS, Enforced.DIAGNOSTIC, Enforced.DEBUG
_LOCKDEBUG, _UNDETECTED = Enforced.LOCKDEBUG, Enforced.UNDETECTED
_HEARTBEAT, _HARMLESS = Enforced.HEARTBEAT, Enforced.HARMLESS

# fmt: off
_TABLE: dict[str, tuple[tuple[str, Enforced, str, str], ...]] = {
    "sys/uvm/uvm_fault.c (uvm_fault), sys/arch/*/*/trap.c (trap)": (
        ("page-fault", _ALWAYS, "only mapped memory is used",
         "check where the pointer comes from"),
        ("null-pointer", _ALWAYS, "a null pointer is neither followed nor passed to the kernel",
         "check the result of a call that may fail before using it"),
        ("user-pointer", _ALWAYS,
         "a process's memory is accessed only with copyin(9) and copyout(9)",
         "use copyin, copyout or sysctl_lookup"),
        ("read-only-memory", _ALWAYS, "text and constants are not written to",
         "write to a copy, or remove const from the object"),
        ("stack-overflow", _ALWAYS, "a thread's stack holds all its frames",
         "allocate large buffers with kmem_alloc(9)"),
        ("trap", _ALWAYS, "no instruction raises an exception of the processor",
         "check the instruction: division by 0, an undefined one, a breakpoint"),
    ),
    "sys/kern/subr_kobj.c (kobj_load, kobj_relocate), sys/kern/subr_kobj_vfs.c (kobj_read_vfs)": (
        ("module-loader", _ALWAYS, "the kernel's loader survives the module's file",
         "vmtgen lint FILE reports the problem"),
    ),
    "sys/uvm/uvm_pglist.c (uvm_pglistalloc, uvm_pglistfree), sys/uvm/uvm_page.c (uvm_pagefree)": (
        ("pglist-arguments", _DIAGNOSTIC,
         "the alignment and the boundary of pages are 0 or powers of two",
         "pass PAGE_SIZE and 0 if there are no requirements"),
        ("pglist-unknown", _DIAGNOSTIC, "a page is used and freed once while it is allocated",
         "remove a page from its list before adding it to another one"),
        ("pglist-lost", _UNDETECTED, "the list that uvm_pglistalloc fills is empty before",
         "allocate into a separate list, then TAILQ_CONCAT"),
        ("pages-left", _UNDETECTED, "a module frees all its pages before it is unloaded",
         "uvm_pglistfree before freeing the softc with the list"),
    ),
    "sys/kern/subr_devsw.c (devsw_attach, devsw_detach)": (
        ("devsw-unknown", _DIAGNOSTIC, "devsw_detach gets a cdevsw or bdevsw that is attached",
         "pass the same tables to devsw_attach and devsw_detach, once"),
        ("devsw-left", _UNDETECTED, "a module detaches its device switch before it is unloaded",
         "devsw_detach in MODULE_CMD_FINI"),
        ("devsw-with-units", _DIAGNOSTIC, "a device switch is detached after its driver's devices",
         "config_fini_component(9) first"),
        ("devsw-open", _HARMLESS, "no device is open when its switch is detached",
         "return EBUSY from MODULE_CMD_FINI while a count of opens is not 0"),
    ),
    "sys/dev/sysmon/sysmon_envsys.c, sys/dev/sysmon/sysmon_envsys_events.c": (
        ("envsys-unknown", _UNDETECTED, "a sysmon_envsys comes from sysmon_envsys_create",
         "call sysmon_envsys_create first, and nothing after sysmon_envsys_unregister"),
        ("envsys-left", _UNDETECTED, "a module unregisters its sysmon_envsys before it is unloaded",
         "sysmon_envsys_unregister in detach; sysmon_envsys_destroy if registering failed"),
        ("envsys-not-registered", _ALWAYS,
         "sysmon_envsys_unregister gets a registered sysmon_envsys",
         "sysmon_envsys_destroy if sysmon_envsys_register failed or was not called"),
        ("envsys-destroy-registered", _UNDETECTED,
         "sysmon_envsys_destroy gets a sysmon_envsys that is not registered",
         "sysmon_envsys_unregister, which also destroys it"),
        ("envsys-sensor-unknown", _UNDETECTED,
         "a sensor that is detached is attached to this device",
         "sysmon_envsys_sensor_detach once, and only if sysmon_envsys_sensor_attach returned 0"),
        ("envsys-sensor-freed", _UNDETECTED, "memory is freed after the sensor in it is detached",
         "sysmon_envsys_unregister before freeing the softc"),
        ("envsys-refresh-lock", _UNDETECTED, "a refresh function releases each mutex that it takes",
         "mutex_exit on every return path"),
        ("envsys-state-units", _ALWAYS,
         "only drives, batteries and indicators have monitored states",
         "set ENVSYS_FMONSTCHANGED only for these units"),
    ),
    "sys/dev/sysmon/sysmon_wdog.c (sysmon_wdog_register, sysmon_wdog_unregister, "
    "sysmon_wdog_setmode)": (
        ("wdog-unknown", _UNDETECTED, "sysmon_wdog_unregister gets a registered watchdog",
         "sysmon_wdog_unregister once, and only if sysmon_wdog_register returned 0"),
        ("wdog-left", _UNDETECTED, "a module unregisters its watchdogs before it is unloaded",
         "sysmon_wdog_unregister in detach"),
    ),
    "sys/kern/subr_autoconf.c (config_attach_pseudo, config_detach, config_cfdriver_detach)": (
        ("cfdriver-not-attached", _UNDETECTED, "config_cfdriver_detach gets an attached cfdriver",
         "config_cfdriver_detach once, and only if config_cfdriver_attach returned 0"),
        ("kernel-lock-asserted", _DIAGNOSTIC,
         "config_found and config_detach_children are called with the kernel lock",
         "KERNEL_LOCK(1, NULL) around it"),
        ("cfargs-version", _ALWAYS, "a struct cfargs comes from CFARGS(), with one function",
         "CFARGS(.iattr = ...) with submatch or search, or CFARGS_NONE"),
        ("cfdata-unknown", _ALWAYS, "config_attach gets a cfdata from config_search",
         "config_search first, or the cfdata that a search function gets"),
        ("found-attribute", _DIAGNOSTIC,
         "a parent searches for children at an attribute that it has",
         "name one of cd_attrs in CFARGS(.iattr = ...) if there are several"),
        ("submatch-locators", _DIAGNOSTIC,
         "a bus that uses config_stdsubmatch passes the locators of its attribute",
         "pass CFARGS(.locators = ...) with as many numbers as the attribute has locators"),
        ("pseudo-state", _DIAGNOSTIC, "a cfdata of one unit is attached once",
         "use FSTATE_STAR, or pass the table to config_cfdata_attach, so that a detach resets it"),
        ("detach-forced", _ALWAYS, "a detach function does not refuse DETACH_FORCE",
         "return 0 if the flags have DETACH_FORCE, or call config_detach without that flag"),
    ),
    "sys/kern/subr_percpu.c": (
        ("percpu-unknown", _UNDETECTED, "a percpu comes from percpu_alloc or percpu_create",
         "call percpu_alloc first, and nothing after percpu_free"),
        ("percpu-left", _UNDETECTED, "a module frees its percpu before it is unloaded",
         "percpu_free it with its allocated size"),
        ("percpu-size", _DIAGNOSTIC, "percpu_free gets the size that was allocated",
         "pass percpu_free the size of percpu_alloc"),
        ("percpu-cpu", _ALWAYS, "percpu_getptr_remote names a processor",
         "pass a struct cpu_info, such as from cpu_lookup"),
    ),
    "sys/kern/kern_entropy.c (rnd_attach_source, rnd_detach_source)": (
        ("rnd-source-unknown", _ALWAYS, "a source is attached while it is used",
         "rnd_attach_source first, and nothing after rnd_detach_source"),
        ("rnd-source-twice", _UNDETECTED,
         "a source is attached once", "rnd_detach_source it first"),
        ("rnd-source-left", _UNDETECTED, "a module detaches its sources before it is unloaded",
         "rnd_detach_source in detach"),
        ("rnd-source-freed", _UNDETECTED, "memory is freed after the source in it is detached",
         "rnd_detach_source before freeing the softc"),
        ("rnd-source-name", _DIAGNOSTIC, "a source has a name, and a callback if the flags say so",
         "pass a name; call rndsource_setcb before RND_FLAG_HASCB"),
    ),
    "sys/kern/sys_select.c (selinit, selrecord, selnotify, seldestroy)": (
        ("selinfo-unknown", _UNDETECTED, "a selinfo is initialised before it is used",
         "selinit before the device can be opened, seldestroy after the last poll"),
        ("selinfo-freed", _UNDETECTED, "memory is freed after the selinfo in it is destroyed",
         "seldestroy before kmem_free"),
        ("selinfo-left", _UNDETECTED, "a module destroys its selinfos before it is unloaded",
         "seldestroy in detach or MODULE_CMD_FINI"),
        ("selrecord-other", _DIAGNOSTIC, "a thread records only itself",
         "pass the lwp argument of d_poll"),
    ),
    "sys/kern/subr_once.c (_init_once, _fini_once)": (
        ("once-never", _DIAGNOSTIC, "FINI_ONCE comes after a RUN_ONCE of the same once_t",
         "call FINI_ONCE as often as RUN_ONCE has succeeded, and no more"),
    ),
    "sys/kern/subr_copy.c (uiomove)": (
        ("uio-direction", _DIAGNOSTIC, "uio_rw is UIO_READ or UIO_WRITE",
         "set uio_rw before uiomove"),
        ("uio-resid", _DIAGNOSTIC, "uio_resid is the sum of the iovecs' lengths",
         "change uio_resid, uio_iov and uio_offset together, or only through uiomove"),
    ),
    "sys/kern/subr_kmem.c (kmem_alloc, kmem_free), sys/kern/subr_pool.c": (
        ("use-after-free", _UNDETECTED, "freed memory is not used",
         "free it after its last use; KASAN finds it on a real kernel"),
        ("out-of-bounds", _UNDETECTED, "only the bytes of an object are used",
         "check the length; KASAN finds it on a real kernel"),
        ("double-free", _DIAGNOSTIC, "an object is freed once",
         "clear the pointer when it is freed"),
        ("bad-free", _DIAGNOSTIC, "kmem_free gets the start of an object of kmem(9)",
         "pass the pointer that kmem_alloc has returned"),
        ("kmem-size", _DIAGNOSTIC, "an object is allocated and freed with the same size, not 0",
         "keep the size beside the pointer"),
        ("kmem-flags", _DIAGNOSTIC, "one of KM_SLEEP and KM_NOSLEEP is given",
         "pass KM_SLEEP if the thread may sleep, else KM_NOSLEEP"),
        ("memory-exhausted", _UNDETECTED, "a module uses less memory than the machine has",
         "free unused memory; guest: memory in a scenario sets the machine's memory"),
        ("softint-context", _DIAGNOSTIC, "kmem_alloc(9) is called only by threads",
         "use kmem_intr_alloc(9), or defer the work to a thread"),
        ("uninitialised-read", _UNDETECTED, "memory is written before it is used",
         "use kmem_zalloc(9), or set every member; KMSAN finds it on a real kernel"),
        ("leak", _UNDETECTED, "a module frees its memory before it is unloaded",
         "free it in detach, or in modcmd's MODULE_CMD_FINI"),
    ),
    "sys/kern/kern_mutex.c, sys/kern/subr_lockdebug.c": (
        ("mutex-uninitialised", _LOCKDEBUG, "a mutex is used between mutex_init and mutex_destroy",
         "initialise it before the first use, destroy it after the last"),
        ("mutex-already-initialised", _LOCKDEBUG, "a mutex is initialised once",
         "destroy it before initialising it again"),
        ("mutex-double-enter", _ALWAYS, "a thread does not enter a mutex that it holds",
         "split the function into one that locks and one that expects the lock"),
        ("mutex-spin-double-enter", _LOCKDEBUG,
         "a thread does not enter a spin mutex that it holds",
         "split the function into one that locks and one that expects the lock"),
        ("data-race", _UNDETECTED,
         "a lock, a join or a barrier orders two accesses to the same bytes, one of them a write",
         "take one lock at both places; atomic_load and atomic_store if either order is correct"),
        ("lock-order", _UNDETECTED, "locks are taken in one order everywhere",
         "choose an order, document it beside the locks, and follow it at both places"),
        ("mutex-exit-by-non-owner", _DIAGNOSTIC, "a mutex is released by the thread that holds it",
         "check for a path without mutex_enter, or with two mutex_exit"),
        ("mutex-destroy-held", _DIAGNOSTIC, "a mutex is not destroyed while it is held",
         "stop the users first: callout_halt, kthread_join, sysctl_teardown"),
        ("mutex-destroy-waited-on", _DIAGNOSTIC, "no thread waits for a mutex that is destroyed",
         "stop the users first: callout_halt, kthread_join, sysctl_teardown"),
        ("mutex-spin-on-adaptive", _UNDETECTED,
         "mutex_spin_enter gets a mutex for IPL_VM or higher",
         "call mutex_enter, or initialise the mutex for the level of the interrupt"),
        ("mutex-owned-by-another", _HARMLESS,
         "only the holder of a spin mutex calls mutex_owned: the result does not name the owner",
         "use it only to assert that the caller holds it"),
        ("mutex-in-softint", _HARMLESS,
         "a soft interrupt takes no mutex initialised for IPL_NONE",
         "initialise it for IPL_SOFTCLOCK or the level of the interrupt"),
        ("mutex-not-destroyed", _UNDETECTED, "a module destroys its mutexes before it is unloaded",
         "call mutex_destroy in detach"),
        ("free-with-mutex", _LOCKDEBUG, "memory that is freed holds no mutex",
         "call mutex_destroy first"),
        ("sleep-with-spin-mutex", _LOCKDEBUG,
         "no function that may sleep is called while a spin mutex is held",
         "release the spin mutex first, or use an adaptive one"),
        ("exit-with-mutex", _LOCKDEBUG, "a thread that ends holds no mutex",
         "call mutex_exit before kthread_exit"),
        ("syscall-with-mutex", _LOCKDEBUG, "a system call returns without holding a mutex",
         "check for a path of the handler without mutex_exit"),
        ("modcmd-with-mutex", _LOCKDEBUG, "modcmd returns without holding a mutex",
         "check for a path without mutex_exit"),
    ),
    "sys/kern/kern_synch.c (mi_switch), sys/kern/kern_softint.c (softint_execute)": (
        ("switch-with-spin-mutex", _DIAGNOSTIC, "no thread sleeps while it holds a spin mutex",
         "release the spin mutex first, or use an adaptive one"),
        ("switch-in-pserialize", _DIAGNOSTIC, "no thread sleeps inside a pserialize read section",
         "take a reference with psref(9), leave the section, then sleep"),
        ("callback-with-spin-mutex", _DIAGNOSTIC, "a callback returns without holding a spin mutex",
         "check for a path without mutex_exit"),
        ("callback-in-pserialize", _DIAGNOSTIC, "a callback returns outside of read sections",
         "check for a path without pserialize_read_exit"),
        ("pserialize-left", _DIAGNOSTIC, "a thread that ends is in no read section",
         "check for a path without pserialize_read_exit"),
    ),
    "sys/kern/kern_rwlock.c, sys/kern/subr_lockdebug.c": (
        ("rwlock-uninitialised", _LOCKDEBUG, "a lock is used between rw_init and rw_destroy",
         "initialise it before the first use, destroy it after the last"),
        ("rwlock-already-initialised", _LOCKDEBUG, "a lock is initialised once",
         "destroy it before initialising it again"),
        ("rwlock-double-enter", _ALWAYS, "a thread does not wait for a lock that it holds",
         "release it first: a reader that takes the lock again waits behind a writer"),
        ("rwlock-recursive-read", _LOCKDEBUG, "a reader does not take the lock again",
         "split the function into one that locks and one that expects the lock"),
        ("rwlock-not-held", _DIAGNOSTIC,
         "a lock is released or changed by the thread that holds it",
         "check for a path without rw_enter, or with two rw_exit"),
        ("rwlock-destroy-held", _DIAGNOSTIC, "a lock is not destroyed while it is held",
         "stop the users first"),
        ("rwlock-not-destroyed", _UNDETECTED, "a module destroys its locks before it is unloaded",
         "call rw_destroy in detach"),
        ("exit-with-rwlock", _LOCKDEBUG, "a thread that ends holds no lock",
         "call rw_exit before kthread_exit"),
        ("free-with-rwlock", _LOCKDEBUG, "memory that is freed holds no lock",
         "call rw_destroy first"),
    ),
    "sys/kern/kern_condvar.c, sys/kern/kern_synch.c (kpause)": (
        ("condvar-uninitialised", _DIAGNOSTIC,
         "a condition variable is used between cv_init and cv_destroy",
         "initialise it before the first use, destroy it after the last"),
        ("condvar-in-softint", _DIAGNOSTIC,
         "a soft interrupt does not wait on a condition variable",
         "defer the work to a thread: workqueue(9), kthread(9)"),
        ("condvar-already-initialised", _HARMLESS, "a condition variable is initialised once",
         "destroy it before initialising it again"),
        ("condvar-init-with-sleepers", _UNDETECTED,
         "no thread sleeps on a condition variable when it is initialised",
         "wake the sleepers and wait for them first: otherwise they are lost"),
        ("condvar-without-mutex", _DIAGNOSTIC,
         "a thread that sleeps on a condition variable holds the mutex that it passes",
         "enter the mutex before cv_wait"),
        ("condvar-two-mutexes", _HARMLESS, "all sleepers of a condition variable use one mutex",
         "use one condition variable for each mutex"),
        ("condvar-wake-without-mutex", _UNDETECTED,
         "a thread that wakes sleepers holds their mutex",
         "enter the mutex around the change and cv_signal or cv_broadcast"),
        ("condvar-destroy-waited-on", _DIAGNOSTIC,
         "no thread sleeps on a condition variable when it is destroyed",
         "wake the sleepers and wait for them first"),
        ("condvar-not-destroyed", _UNDETECTED,
         "a condition variable is destroyed before its memory is freed and its module unloaded",
         "call cv_destroy in detach"),
        ("free-with-condvar", _UNDETECTED,
         "memory that is freed holds no condition variable with sleepers",
         "wake the sleepers and wait for them first"),
        ("kpause-forever", _DIAGNOSTIC, "kpause with a timeout of 0 can be interrupted",
         "pass a timeout, or let signals end the sleep"),
    ),
    "sys/kern/kern_lock.c (assert_sleepable, _kernel_lock, _kernel_unlock)": (
        ("sleep-in-softint", _DEBUG, "no function that may sleep is called in a soft interrupt",
         "defer the work to a thread: workqueue(9), kthread(9)"),
        ("sleep-in-pserialize", _DEBUG,
         "no function that may sleep is called inside a pserialize read section",
         "take a reference with psref(9), leave the section, then sleep"),
        ("kernel-lock-not-held", _LOCKDEBUG,
         "the kernel lock is released by the thread that holds it",
         "pair each KERNEL_UNLOCK with a KERNEL_LOCK"),
        ("kernel-lock", _UNDETECTED, "autoconf(9) is called with the kernel lock",
         "KERNEL_LOCK(1, NULL) around it"),
        ("callback-kernel-lock", _DIAGNOSTIC, "a callback leaves the kernel lock unchanged",
         "pair each KERNEL_LOCK with a KERNEL_UNLOCK"),
        ("exit-with-kernel-lock", _DIAGNOSTIC, "a thread that ends does not hold the kernel lock",
         "pair each KERNEL_LOCK with a KERNEL_UNLOCK"),
        ("callback-with-mutex", _UNDETECTED, "a callback returns without holding an adaptive mutex",
         "check for a path without mutex_exit"),
    ),
    "sys/kern/kern_heartbeat.c (heartbeat), sys/kern/kern_softint.c": (
        ("heartbeat", _HEARTBEAT, "no processor is kept from its clock or soft interrupts for 15 s",
         "release the spin mutex, or end the soft interrupt, and continue later"),
    ),
    "sys/kern/kern_kthread.c (kthread_create, kthread_exit, kthread_join)": (
        ("kthread-return", _ALWAYS, "a kernel thread ends with kthread_exit",
         "call kthread_exit(0) at the end"),
        ("kthread-join", _DIAGNOSTIC,
         "only a thread created with KTHREAD_MUSTJOIN is joined, and only once",
         "pass KTHREAD_MUSTJOIN to kthread_create"),
        ("kthread-join-self", _UNDETECTED, "a thread does not join itself",
         "let another thread join it"),
        ("kthread-left", _UNDETECTED, "a module's threads end before it is unloaded",
         "wake the thread, then kthread_join it in detach"),
    ),
    "sys/kern/kern_timeout.c (callout_init, callout_destroy, callout_halt)": (
        ("callout-uninitialised", _DIAGNOSTIC,
         "a callout is used between callout_init and callout_destroy",
         "initialise it before the first use, destroy it after the last"),
        ("callout-already-initialised", _UNDETECTED, "a pending callout is not initialised again",
         "callout_halt it first"),
        ("callout-without-function", _DIAGNOSTIC, "a callout has a function before it is scheduled",
         "call callout_setfunc or callout_reset"),
        ("callout-ticks", _DIAGNOSTIC, "the ticks of a timeout are not negative",
         "limit the input of the computation: seconds times hz overflows an int"),
        ("callout-flags", _DIAGNOSTIC, "callout_init gets 0 or CALLOUT_MPSAFE",
         "pass one of them"),
        ("callout-interlock", _DIAGNOSTIC, "the interlock of callout_halt is held by its caller",
         "mutex_enter it first, or pass NULL"),
        ("callout-destroy-pending", _DIAGNOSTIC, "a pending callout is not destroyed",
         "callout_halt it first; callout_stop does not wait for one that runs"),
        ("callout-destroy-running", _DIAGNOSTIC, "a running callout is not destroyed",
         "callout_halt it first; callout_stop does not wait for one that runs"),
        ("callout-pending-at-detach", _UNDETECTED,
         "a device that is detached has no pending callout",
         "callout_halt it in detach"),
        ("callout-left", _UNDETECTED, "no callout of an unloaded module is pending",
         "callout_halt it in detach"),
        ("callout-not-destroyed", _UNDETECTED,
         "a module destroys its callouts before it is unloaded",
         "call callout_destroy in detach"),
        ("free-with-callout", _UNDETECTED, "memory that is freed holds no pending callout",
         "callout_halt and callout_destroy it first"),
    ),
    "sys/kern/kern_softint.c (softint_establish, softint_schedule, softint_disestablish)": (
        ("softint-establish", _DIAGNOSTIC, "a handler has one of the four levels",
         "pass SOFTINT_CLOCK, _BIO, _NET or _SERIAL"),
        ("softint-without-function", _UNDETECTED, "a handler has a function",
         "pass it to softint_establish"),
        ("softint-flags", _DIAGNOSTIC, "a handler's flags are a level and SOFTINT_MPSAFE",
         "pass no other bit"),
        ("softint-unknown", _UNDETECTED, "a handler is used between establish and disestablish",
         "disestablish it after the last softint_schedule"),
        ("softint-schedule-preemptible", _DIAGNOSTIC,
         "softint_schedule is called with preemption off",
         "call it in an interrupt, with a spin mutex, or after kpreempt_disable"),
        ("softint-left", _UNDETECTED, "a module disestablishes its handlers before it is unloaded",
         "call softint_disestablish in detach"),
    ),
    "sys/kern/subr_workqueue.c": (
        ("workqueue-without-function", _UNDETECTED, "a queue has a function",
         "pass it to workqueue_create"),
        ("workqueue-name", _DIAGNOSTIC, "the name of a queue has 15 characters at most",
         "shorten it: device_xname() with a suffix is easily too long"),
        ("workqueue-unknown", _UNDETECTED, "a queue is used between create and destroy",
         "destroy it after the last workqueue_enqueue"),
        ("workqueue-cpu", _DIAGNOSTIC, "only for a queue with WQ_PERCPU a processor is named",
         "pass NULL, or WQ_PERCPU to workqueue_create"),
        ("workqueue-dying", _UNDETECTED, "no work is enqueued while the queue is destroyed",
         "stop the callers of workqueue_enqueue first"),
        ("workqueue-in-softint", _HARMLESS,
         "a soft interrupt does not enqueue on a queue created for IPL_NONE",
         "create the queue for the level of the interrupt"),
        ("workqueue-destroy-self", _UNDETECTED, "a queue's own thread does not destroy it",
         "let another thread destroy it"),
        ("workqueue-destroy-pending", _DIAGNOSTIC, "a queue is empty when it is destroyed",
         "use workqueue_wait for each work first"),
        ("workqueue-left", _UNDETECTED, "a module destroys its queues before it is unloaded",
         "call workqueue_destroy in detach"),
        ("work-enqueued-twice", _DEBUG, "pending work is not enqueued again",
         "keep a flag under the lock that protects the work"),
        ("work-freed-pending", _UNDETECTED, "memory that is freed holds no pending work",
         "use workqueue_wait first"),
    ),
    "sys/dev/sysmon/sysmon_taskq.c": (
        ("taskq-of-the-kernel", _UNDETECTED, "a module does not stop the kernel's task queue",
         "call sysmon_task_queue_fini only after sysmon_task_queue_init"),
        ("taskq-barrier-self", _UNDETECTED, "a task does not wait for the queue that it runs in",
         "call sysmon_task_queue_barrier from another thread"),
        ("taskq-left", _UNDETECTED, "no task of an unloaded module is pending",
         "call sysmon_task_queue_barrier in detach"),
    ),
    "sys/kern/subr_xcall.c (xc_broadcast, xc_wait)": (
        ("xcall-cpu", _DIAGNOSTIC, "xc_unicast names a processor",
         "pass a struct cpu_info, or use xc_broadcast"),
        ("xcall-left", _UNDETECTED, "cross calls have returned before the module is unloaded",
         "use xc_wait"),
    ),
    "sys/net/route.c (rt_walktree), sys/net/rtsock.c (sysctl_rtable)": (
        ("routes-unlocked", _UNDETECTED,
         "without NET_MPSAFE, routes are walked at splsoftnet with the kernel lock",
         "KERNEL_LOCK(1, NULL) and splsoftnet() around rt_walktree"),
    ),
    "sys/kern/subr_pserialize.c": (
        ("pserialize-not-entered", _ALWAYS,
         "a read section is left by the thread that entered it",
         "pair each pserialize_read_exit with a pserialize_read_enter"),
        ("pserialize-cookie", _UNDETECTED,
         "read sections are left with the value that pserialize_read_enter returned",
         "keep the value of pserialize_read_enter and pass it to the matching exit"),
        ("pserialize-unknown", _UNDETECTED,
         "a pserialize object is used between pserialize_create and pserialize_destroy",
         "destroy it after the last pserialize_perform"),
        ("pserialize-not-destroyed", _UNDETECTED, "a module destroys its pserialize objects",
         "call pserialize_destroy before it is unloaded"),
    ),
    "sys/kern/subr_psref.c": (
        ("psref-unbound", _DIAGNOSTIC, "a thread with a passive reference stays on its processor",
         "call curlwp_bind() before psref_acquire, curlwp_bindx() after psref_release"),
        ("psref-target-destroyed", _DIAGNOSTIC,
         "no reference is taken to a target that is being destroyed",
         "look the target up again in a read section"),
        ("psref-in-use", _DEBUG, "a struct psref holds one reference at a time",
         "release it first, or use another struct psref"),
        ("psref-not-held", _DIAGNOSTIC, "a reference is released once, by its struct psref",
         "pair each psref_release with a psref_acquire"),
        ("psref-target-mismatch", _DIAGNOSTIC,
         "a reference is released for the target that it was taken to",
         "pass the same target to psref_acquire and psref_release"),
        ("psref-class-mismatch", _DIAGNOSTIC,
         "a target is used with the class of its psref_target_init",
         "pass the class of psref_target_init"),
        ("psref-transferred", _DIAGNOSTIC, "the thread that took a reference releases it",
         "let each thread take its own reference with psref_copy"),
        ("psref-deadlock", _UNDETECTED, "a thread does not wait for its own reference",
         "release it before psref_target_destroy"),
        ("psref-kept", _DIAGNOSTIC,
         "a soft interrupt and a system call return without passive references",
         "check for a path without psref_release"),
        ("psref-left", _UNDETECTED,
         "no reference is held by a thread that ends, or after the module is unloaded",
         "check for a path without psref_release"),
        ("psref-class-unknown", _UNDETECTED, "a class is destroyed once",
         "call psref_class_destroy once, with the result of psref_class_create"),
        ("psref-class-in-use", _DIAGNOSTIC, "no reference is held when its class is destroyed",
         "destroy the targets first"),
        ("psref-class-left", _UNDETECTED, "a module destroys its classes before it is unloaded",
         "call psref_class_destroy"),
    ),
    "sys/net/if.c (if_acquire)": (
        ("ifnet-not-attached", _DIAGNOSTIC, "a reference is taken to an attached interface",
         "take it from the list, or with if_get()"),
    ),
    "sys/kern/kern_synch.c (kpreempt), sys/kern/subr_spldebug.c": (
        ("preemption-left", _DIAGNOSTIC,
         "preemption is enabled again when a callback, a thread or a system call ends",
         "check for a path without kpreempt_enable"),
        ("interrupts-off", _UNDETECTED,
         "interrupts are on when a thread sleeps, or its function returns to the kernel",
         "undo cli, or msr daifset, on each path"),
        ("spl-left", _UNDETECTED,
         "a callback, a thread or a system call ends at the level at which it began",
         "check for a path without splx"),
        ("preemption-not-disabled", _DIAGNOSTIC,
         "preemption is enabled only as often as it was disabled",
         "pair each kpreempt_enable with a kpreempt_disable"),
    ),
    "sys/kern/subr_autoconf.c, sys/kern/subr_device.c, sys/kern/kern_pmf.c": (
        ("no-device", _UNDETECTED, "a device_t is used between attach and detach",
         "do not keep it after config_detach"),
        ("unit-taken", _ALWAYS, "the unit of a fixed device is free when it is attached",
         "wait until the detached device is freed: no device iterator may be active"),
        ("cfattach-flags", _DIAGNOSTIC, "a cfattach has the flag DVF_PRIV_ALLOC",
         "declare it with CFATTACH_DECL_NEW"),
        ("cfattach-not-attached", _UNDETECTED,
         "only a cfattach that is in its driver's list is detached",
         "detach it once, and only if config_cfattach_attach returned 0"),
        ("detached-with-children", _DIAGNOSTIC, "a device that is detached has no children",
         "call config_detach_children in detach"),
        ("autoconf-left", _UNDETECTED, "a module removes its tables from autoconf's lists",
         "call config_fini_component in MODULE_CMD_FINI, and return its error"),
        ("attach-line", _HARMLESS, "attach ends its console line",
         'call aprint_normal("\\n") and aprint_naive("\\n")'),
        ("pmf-event-left", _UNDETECTED, "a module deregisters its handlers of power events",
         "call pmf_event_deregister in detach"),
        ("pmf-hook-left", _UNDETECTED, "a device that is detached has no power hooks",
         "call pmf_device_deregister in detach"),
    ),
    "sys/kern/kern_sysctl.c": (
        ("sysctl-lock", _ALWAYS,
         "a handler does not take the lock of the tree, which its caller holds",
         "let another thread create or destroy nodes"),
        ("sysctl-lock-read", _LOCKDEBUG,
         "a handler of a read does not take the lock of the tree again",
         "let another thread create or destroy nodes"),
        ("sysctl-not-locked", _DIAGNOSTIC,
         "a handler releases the lock of the tree only once, and takes it again",
         "pair sysctl_unlock with sysctl_relock, in the thread of the handler"),
        ("sysctl-unlocked", _DIAGNOSTIC, "sysctl_lookup is called only by handlers",
         "create a node without a function, or call it from the handler"),
        ("sysctl-log", _UNDETECTED, "sysctl_teardown gets the log of sysctl_createv",
         "pass the address of the same struct sysctllog *"),
        ("sysctl-left", _UNDETECTED, "a module removes its nodes before it is unloaded",
         "call sysctl_teardown in detach"),
        ("sysctl-handler-blocks", _UNDETECTED,
         "a handler does not keep the tree's lock for seconds",
         "queue a request for a thread, or release the lock around the wait"),
        ("sysctl-without-kauth", _UNDETECTED, "a handler that accepts a value calls kauth(9)",
         "call sysctl_lookup, or kauth_authorize_system with the required action"),
    ),
    "sys/kern/kern_entropy.c (entropy_enter)": (
        ("rnd-bits", _DIAGNOSTIC, "a sample has at most as many bits of entropy as bits",
         "pass 0 bits for data that others may know"),
    ),
    "sys/kern/kern_auth.c (kauth_listen_scope, kauth_unlisten_scope, kauth_register_scope)": (
        ("kauth-unknown", _ALWAYS, "a listener or scope is registered",
         "pass the result of kauth_listen_scope or kauth_register_scope, once"),
        ("kauth-left", _UNDETECTED,
         "a module removes its listeners and scopes before it is unloaded",
         "keep the result of kauth_listen_scope, and pass it to kauth_unlisten_scope"),
        ("kauth-scope-listeners", _UNDETECTED, "a scope is removed after its listeners",
         "call kauth_unlisten_scope first; one that kauth_register_scope makes cannot be removed"),
    ),
    "sys/kern/kern_auth.c (kauth_authorize_action_internal)": (
        ("kauth-action", _DIAGNOSTIC, "an authorization request names an action",
         "pass one of KAUTH_*, which start at 1"),
    ),
    "sys/kern/kern_descrip.c (fd_allocfile, fd_clone, fd_abort)": (
        ("file-unknown", _DIAGNOSTIC, "a file that is cloned or aborted comes from fd_allocfile",
         "pass the file and the descriptor that fd_allocfile stored, once"),
        ("file-left", _UNDETECTED, "a file that an open allocates is cloned or aborted",
         "call fd_abort if the open fails"),
        ("file-of-module", _UNDETECTED, "no cloned file is open when its module is unloaded",
         "count open files, and return EBUSY from MODULE_CMD_FINI"),
    ),
    "sys/kern/kern_event.c (kqueue_register, filter_event, filter_detach)": (
        ("knote-filter", _DIAGNOSTIC, "an accepted knote has filterops with f_event and f_detach",
         "set kn_fop in d_kqfilter, or return EINVAL for a filter that is not yours"),
    ),
    "sys/kern/kern_event.c (knote_detach)": (
        ("knote-not-of-file", _ALWAYS, "the filterops of a device have FILTEROP_ISFD",
         "set f_flags to FILTEROP_ISFD, and FILTEROP_MPSAFE where the filter takes its own locks"),
        ("knote-on-list", _UNDETECTED, "a knote that is detached is on no list",
         "call selremove_knote in f_detach, and before d_kqfilter fails"),
        ("knote-of-module", _UNDETECTED, "no knote has the filterops of an unloaded module",
         "seldestroy or klist_fini before the unload, or refuse while the device is open"),
    ),
    "sys/kern/kern_event.c (klist_remove)": (
        ("knote-not-on-list", _ALWAYS, "a knote that is removed from a list is on it",
         "remove it once, and from the list to which selrecord_knote added it"),
    ),
    "sys/kern/vfs_bio.c (buf_init, getiobuf, putiobuf)": (
        ("buf-unknown", _UNDETECTED, "a buf comes from buf_init or getiobuf",
         "call getiobuf, and putiobuf once"),
        ("buf-freed", _UNDETECTED, "memory is freed after the buf in it is destroyed",
         "buf_destroy before kmem_free"),
        ("buf-left", _UNDETECTED, "a module destroys its bufs before it is unloaded",
         "putiobuf or buf_destroy each of them"),
        ("buf-busy", _UNDETECTED, "a buf is destroyed after its request has ended",
         "wait with biowait, or in b_iodone"),
    ),
    "sys/kern/vfs_bio.c (biodone)": (
        ("biodone-twice", _ALWAYS, "a request ends once",
         "call biodone on each path of d_strategy, and on no two"),
    ),
    "sys/kern/vfs_bio.c (biowait)": (
        ("buf-not-busy", _DIAGNOSTIC, "a buf is marked as busy before a wait for it",
         "set BC_BUSY in b_cflags before the request begins"),
    ),
    "sys/kern/subr_devsw.c (bdev_strategy), sys/kern/vfs_bio.c (biowait)": (
        ("buf-never-done", _UNDETECTED, "a driver ends each request before its module is unloaded",
         "end queued requests with EIO and biodone, and b_resid as b_bcount"),
    ),
    "sys/kern/kern_physio.c (physio_done)": (
        ("buf-resid", _DIAGNOSTIC, "b_resid is at most b_bcount, and not 0 after an error",
         "with an error set b_resid to b_bcount"),
    ),
    "sys/kern/kern_physio.c (physio)": (
        ("physio-size", _DIAGNOSTIC, "a minphys function leaves at most MAXPHYS bytes",
         "call minphys(9) in it"),
    ),
    "sys/kern/kern_descrip.c (fd_clone), sys/kern/vfs_vnops.c (vn_open)": (
        ("file-not-moved", _UNDETECTED,
         "an open returns the result of fd_clone, and no other EMOVEFD",
         "return fd_clone(...)"),
    ),
    "sys/arch/x86/x86/bus_space.c (bus_space_map, bus_space_unmap)": (
        ("bus-space-tag", _ALWAYS, "a bus_space_tag_t comes from a bus",
         "keep the tag of the attach arguments in the softc"),
        ("bus-space-left", _UNDETECTED, "a module unmaps its registers before it is unloaded",
         "bus_space_unmap in detach, and where attach fails"),
        ("bus-space-unmap", _UNDETECTED, "bus_space_unmap gets a region as it was mapped",
         "pass the handle and the size of bus_space_map, once"),
        ("bus-space-outside", _UNDETECTED, "registers are in a mapped region",
         "map as much as the device has, and keep the offsets in it"),
    ),
    "sys/arch/x86/x86/bus_space.c (bus_space_barrier)": (
        ("bus-space-barrier", _ALWAYS, "the flags of a barrier are reads, writes, or both",
         "pass BUS_SPACE_BARRIER_READ, BUS_SPACE_BARRIER_WRITE, or both"),
    ),
    "sys/dev/i2c/i2c_exec.c (iic_acquire_bus, iic_exec)": (
        ("i2c-tag", _UNDETECTED, "a driver uses the bus that its attach arguments name",
         "keep ia_tag of struct i2c_attach_args in the softc"),
        ("i2c-not-acquired", _UNDETECTED, "a driver acquires the bus before using it",
         "call iic_acquire_bus first, and iic_release_bus on each path"),
    ),
    "sys/kern/kern_descrip.c (closef)": (
        ("file-close-restart", _DIAGNOSTIC, "fo_close does not return ERESTART",
         "wait with cv_wait, which no signal interrupts"),
    ),
    "sys/secmodel/secmodel.c (secmodel_register, secmodel_deregister)": (
        ("secmodel-unknown", _ALWAYS, "a secmodel_t is registered",
         "pass the result of secmodel_register, once"),
        ("secmodel-left", _UNDETECTED,
         "a module deregisters its security model before it is unloaded",
         "call secmodel_deregister before it is unloaded"),
    ),
    "sys/kern/kern_auth.c (kauth_authorize_action)": (
        ("kauth-credentials", _ALWAYS, "an authorization request passes credentials of a user",
         "pass l->l_cred or kauth_cred_get(); NOCRED is allowed everything"),
    ),
    "sys/dev/sysmon/sysmon_power.c (sysmon_pswitch_event)": (
        ("pswitch-with-mutex", _UNDETECTED, "an event is raised without a lock",
         "call mutex_exit first: a shutdown hook may take the lock"),
        ("pswitch-event", _HARMLESS,
         "a switch has one of the types, an event is pressed or released",
         "use PSWITCH_TYPE_* and PSWITCH_EVENT_*"),
        ("pswitch-unregistered", _HARMLESS, "a switch is registered before it raises an event",
         "call sysmon_pswitch_register in attach"),
        ("pswitch-left", _UNDETECTED, "a module unregisters its switches before it is unloaded",
         "call sysmon_pswitch_unregister in detach"),
    ),
    "sys/kern/kern_tc.c, sys/kern/kern_time.c": (
        ("timeval-range", _DIAGNOSTIC, "tvtohz gets microseconds from 0 to 999,999",
         "carry into the seconds"),
        ("timespec-range", _UNDETECTED, "nanoseconds are from 0 to 999,999,999",
         "carry into the seconds"),
    ),
    "sys/kern/vfs_mount.c, sys/kern/vfs_trans.c, sys/kern/vfs_syscalls.c": (
        ("mount-unknown", _UNDETECTED, "a mount is used while it is mounted",
         "take it from a mount iterator, and keep it busy"),
        ("mount-iterator-unknown", _UNDETECTED, "an iterator is used between init and destroy",
         "call mountlist_iterator_destroy last"),
        ("mount-iterator-left", _UNDETECTED,
         "a mount iterator is destroyed: otherwise the last mount stays busy",
         "call mountlist_iterator_destroy"),
        ("mount-iterator-thread", _UNDETECTED, "only one thread uses a mount iterator",
         "create the iterator in the thread that uses it"),
        ("dostatvfs-lwp", _DIAGNOSTIC, "dostatvfs is called for the running thread",
         "pass curlwp"),
        ("vfs-unbusy", _UNDETECTED, "vfs_unbusy is called by the thread that called vfs_busy",
         "pair each vfs_unbusy with a vfs_busy"),
        ("vfs-busy-left", _DIAGNOSTIC, "a thread that ends keeps no mount busy",
         "check for a path without vfs_unbusy"),
        ("vfs-suspend-twice", _ALWAYS, "a thread suspends one file system at a time",
         "call vfs_resume first"),
        ("vfs-resume-by-non-owner", _DIAGNOSTIC,
         "the thread that suspended a file system resumes it",
         "let the same thread suspend and resume"),
        ("vfs-suspended-left", _UNDETECTED, "a suspended file system is resumed",
         "call vfs_resume on each path, before the thread or the module ends"),
        ("vfs-rele", _UNDETECTED, "a reference to a mount is released only by its holder",
         "pair each vfs_rele with a vfs_ref"),
        ("vfs-ref-left", _UNDETECTED,
         "a module releases its references to mounts before it is unloaded",
         "check for a path without vfs_rele"),
        ("fstrans-state", _UNDETECTED, "a file system's state is one of FSTRANS_*",
         "pass FSTRANS_NORMAL, _SUSPENDING or _SUSPENDED"),
        ("fstrans-owner", _DIAGNOSTIC, "the thread that suspended a file system changes its state",
         "let the same thread suspend and resume"),
    ),
    "sys/kern/vfs_trans.c (_fstrans_start), sys/uvm/uvm_pdaemon.c, sys/kern/subr_prf.c (log)": (
        ("suspended-allocates", _UNDETECTED,
         "a thread that has suspended a file system does not wait for memory",
         "allocate before vfs_suspend, or with KM_NOSLEEP"),
        ("suspended-logs", _UNDETECTED, "a thread that has suspended a file system logs nothing",
         "log after vfs_resume"),
    ),
    "sys/kern/subr_evcnt.c, sys/kern/kern_module.c (module_unload_evcnt)": (
        ("evcnt-type", _HARMLESS, "a counter has one of the types",
         "use EVCNT_TYPE_MISC, _INTR or _TRAP"),
        ("evcnt-string", _DIAGNOSTIC, "group and name have 1 to 254 characters",
         "shorten them"),
        ("evcnt-string-gone", _UNDETECTED, "group and name outlive the counter",
         "use constants, or memory that is freed after evcnt_detach"),
        ("evcnt-attached-twice", _UNDETECTED, "a counter is in the list once",
         "detach it first; those of a link set are attached by the kernel"),
        ("evcnt-not-attached", _UNDETECTED, "only a counter that is in the list is detached",
         "detach it once; those of a link set are detached by the kernel"),
        ("evcnt-not-detached", _UNDETECTED, "a module detaches its counters before it is unloaded",
         "call evcnt_detach before it is unloaded"),
        ("evcnt-freed-attached", _UNDETECTED, "memory that is freed holds no attached counter",
         "call evcnt_detach first"),
    ),
    "common/lib/libprop/prop_dictionary.c": (
        ("prop-object", _UNDETECTED, "a prop_dictionary_t is a dictionary, or null",
         "pass the argument of modcmd at MODULE_CMD_INIT"),
        ("prop-left", _UNDETECTED, "a module releases its property objects before it is unloaded",
         "prop_object_release each, also after prop_dictionary_set and prop_array_add"),
        ("prop-nocopy", _UNDETECTED, "a value in a dictionary without a copy outlives its entry",
         "use prop_string_create_copy, or remove it before the memory is freed"),
        ("prop-released", _UNDETECTED, "a reference is released by its owner",
         "do not release what prop_dictionary_get and prop_array_get return"),
        ("prop-index", _DIAGNOSTIC, "an index of an array is below its count, or that to append",
         "compare it with prop_array_count"),
    ),
    "common/lib/libc/atomic, sys/arch/*/include/lock.h": (
        ("atomic-alignment", _UNDETECTED, "an atomic operation is on an aligned word",
         "do not use them on members of packed structures"),
    ),
    "sys/lib/libkern (common/lib/libc/stdlib/_strtol.h, _strtoul.h)": (
        ("strtol-base", _ALWAYS, "the base of strtoul(9) and related functions is 0 or 2 to 36",
         "pass 10, 16, 8 or 0"),
    ),
    "ISO C (memcpy), common/lib/libc/string/memcpy.c": (
        ("memcpy-overlap", _UNDETECTED, "memcpy copies between ranges that do not overlap",
         "use memmove"),
    ),
    "the C calling convention of the machine (System V ABI, AAPCS64)": (
        ("direction-flag", _UNDETECTED,
         "the direction flag of x86 is clear when a function returns or calls the kernel",
         "cld after std"),
        ("registers-preserved", _UNDETECTED,
         "a function preserves the registers that belong to its caller",
         "list the registers that inline assembly changes as clobbered"),
    ),
    "sys/kern/subr_prf.c (panic)": (
        ("driver-panic", _ALWAYS, "the module itself does not panic",
         "its message gives the reason: a KASSERT or a call of panic(9)"),
    ),
    "docs/campaigns.md: what a campaign checks beyond kernel and host": (
        ("channel-abandoned", _UNDETECTED,
         "a channel is closed before another is opened for its protocol",
         "send CLOSE for the abandoned channel"),
        ("sysctl-handler-sleeps", _UNDETECTED,
         "a sysctl handler waits neither for a thread nor for time with the tree's lock held",
         "let a second call collect the result, or release the lock meanwhile (sysctl_unlock)"),
        ("reply-of-another", _UNDETECTED,
         "the sender of a command to the host gets the reply to it",
         "check how a reply is found by its number"),
        ("snapshot-not-written", _UNDETECTED,
         "data written before a quiesced snapshot is on the disk when the host takes it",
         "VFS_SYNC with MNT_WAIT: do_sys_sync starts the writes and does not wait"),
        ("suspended-before-scripts", _UNDETECTED,
         "a file system is suspended after scripts have run for freeze, or after their time limit",
         "wait for the answer of powerd(8)'s script, or for its time limit"),
        ("freeze-without-thaw", _UNDETECTED, "scripts that ran for freeze run for thaw",
         "raise the event of thaw on each path, and again until it is answered"),
    ),
}
# fmt: on

WITHOUT_DAMAGE = frozenset({"kernel-lock-not-held", "dostatvfs-lwp", "cfattach-flags"})
"""Rules that an option enforces, and that cause no damage in a kernel without it."""

RULES: dict[str, Rule] = {
    name: Rule(name, holds, remedy, source, enforced)
    for source, rules in _TABLE.items()
    for name, enforced, holds, remedy in rules
}
"""All rules by their ids, in the order of their sources."""


def by_id(name: str) -> Rule:
    """Return the rule; LookupError, an internal error of the simulator, for an unknown id."""
    found = RULES.get(name)
    if found is None:
        raise LookupError(f"rule {name!r} has no row in vmtsim.kernel.rule_table")
    return found
