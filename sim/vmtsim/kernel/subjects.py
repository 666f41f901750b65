"""The subjects of the kernel: every class derived from Subject in a file of this directory.

A kernel has all of them from its start, except for those of ON_DEMAND: a run imports their files
only if the module under test calls one of their functions.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vmtsim import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Subject

# module:class of those that others need at their start, in boot order.  The others boot after
# these, in the order of their files: a new file of models needs no line here.
_FIRST = (
    "console:Console",
    "libkern:LibKern",
    "objects:Objects",
    "kmem:Kmem",
    "mutex:Mutexes",
    "rwlock:RwLocks",
    "kernlock:KernelLock",
    "condvar:CondVars",
    "kthread:KThreads",
    "softint:SoftInterrupts",
    "callout:Callouts",
    "timekeeping:TimeKeeping",
    "process:Processes",
    "kauth:Kauth",
    "identity:Identity",
    "syslog:SysLog",
    "uuid:Uuids",
    "proplib:PropLib",
    "entropy:Entropy",
    "preempt:Preemption",
    "pserialize:PSerialize",
    "psref:PassiveReferences",
    "network:Network",
    "netfuncs:NetworkFunctions",
    "atomic:Atomics",
    "evcnt:EventCounters",
    "workqueue:WorkQueues",
    "taskq:TaskQueue",
    "softhandler:SoftHandlers",
    "xcall:CrossCalls",
    "mounts:Mounts",
    "vfs:FileSystems",
    "sysctllock:SysctlLock",
    "sysctltree:SysctlTree",
    "sysctl:Sysctl",
    "pmf:Pmf",
    "alldevs:AllDevices",
    "autoconf:Autoconf",
    "components:Components",
    "deferred:Deferred",
    "sysmon:SysmonPower",
    "modules:Modules",
    "pages:Pages",
)


# module:class of the subjects that few modules call, with all their functions.  Such a class only
# answers calls: it has neither variables of the kernel nor anything to do at boot.
ON_DEMAND: Mapping[str, str] = {
    "calendar:Calendar": "clock_secs_to_ymdhms",
    "children:Children": "config_attach config_detach_children config_found config_match "
    "config_probe config_search config_stdsubmatch gpiobus_print",
    "deferred:Deferred": "config_interrupts config_mountroot",
    "malloc:Malloc": "kern_free kern_malloc kern_realloc",
    "once:Once": "_fini_once _init_once",
    "percpu:PerCpus": "percpu_alloc percpu_create percpu_foreach percpu_free percpu_getptr_remote "
    "percpu_getref percpu_putref percpu_traverse_enter percpu_traverse_exit",
    "propvalues:PropValues": "prop_bool_create prop_bool_true prop_data_create_copy "
    "prop_data_create_data prop_data_create_data_nocopy prop_data_create_nocopy "
    "prop_data_data_nocopy prop_data_equals prop_data_size prop_data_value "
    "prop_number_create_integer prop_number_create_signed prop_number_create_unsigned "
    "prop_number_create_unsigned_integer prop_number_equals prop_number_equals_signed "
    "prop_number_equals_unsigned prop_number_integer_value prop_number_signed_value "
    "prop_number_size prop_number_unsigned prop_number_unsigned_integer_value "
    "prop_number_unsigned_value prop_string_create_copy prop_string_create_cstring "
    "prop_string_create_cstring_nocopy prop_string_create_nocopy prop_string_cstring_nocopy "
    "prop_string_equals prop_string_equals_string prop_string_size prop_string_value",
    "softhandler:SoftHandlers": "softint_disestablish softint_establish softint_schedule",
}


@cache
def subject_of(function: str) -> type[Subject] | None:
    """Import the subject of ON_DEMAND that models a function; None if there is none."""
    found = next((name for name, text in ON_DEMAND.items() if function in text.split()), None)
    return None if found is None else _load(found)


@cache
def load_subjects(*, on_demand: bool = True) -> tuple[type[Subject], ...]:
    """Import every subject class, in boot order; those of ON_DEMAND only if it is true."""
    from vmtsim.kernel.api import Subject  # noqa: PLC0415 - some need this module, by the kernel

    later = set() if on_demand else {name.partition(":")[0] for name in ON_DEMAND}
    classes = [_load(name) for name in _FIRST if name.partition(":")[0] not in later]
    found = (file.stem for path in kernel.__path__ for file in Path(path).glob("*.py"))
    for file in sorted({*found} - {*later, "__init__"}):
        module = importlib.import_module(f"vmtsim.kernel.{file}")
        classes += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and issubclass(value, Subject)
            and value is not Subject
            and value not in classes
        ]
    return tuple(classes)


def boot_order(cls: type[Subject]) -> tuple[int, str]:
    """Return the key that sorts the subjects of a kernel like ``load_subjects``."""
    file, name = cls.__module__.rpartition(".")[2], subject_name(cls)
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), file)


def subject_name(cls: type[Subject]) -> str:
    """Return the class as it is written in the tables of this module."""
    return f"{cls.__module__.rpartition('.')[2]}:{cls.__name__}"


def _load(name: str) -> type[Subject]:
    file, cls = name.split(":")
    found: type[Subject] = getattr(importlib.import_module(f"vmtsim.kernel.{file}"), cls)
    return found
