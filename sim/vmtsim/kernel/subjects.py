"""The subjects of the kernel: every class derived from Subject in a file of this directory."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from vmtsim import kernel

if TYPE_CHECKING:
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


@cache
def load_subjects() -> tuple[type[Subject], ...]:
    """Import every subject class, in boot order."""
    from vmtsim.kernel.api import Subject  # noqa: PLC0415 - some need this module, by the kernel

    first = []
    for name in _FIRST:
        module, cls = name.split(":")
        first.append(getattr(importlib.import_module(f"vmtsim.kernel.{module}"), cls))
    found: list[type[Subject]] = []
    for name in sorted(each.name for each in pkgutil.iter_modules(kernel.__path__)):
        module_of = importlib.import_module(f"vmtsim.kernel.{name}")
        own = [
            value
            for value in vars(module_of).values()
            if isinstance(value, type) and value.__module__ == module_of.__name__
        ]
        found += [
            cls
            for cls in own
            if issubclass(cls, Subject) and cls is not Subject and cls not in first
        ]
    return (*first, *found)
