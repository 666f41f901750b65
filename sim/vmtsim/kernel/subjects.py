"""The list of subjects: add a line to add a file of models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.kernel.api import Subject

# module:class, in the order of boot.
SUBJECTS = (
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
    "sysctl:Sysctl",
    "pmf:Pmf",
    "autoconf:Autoconf",
    "deferred:Deferred",
    "sysmon:SysmonPower",
    "modules:Modules",
)


def load_subjects() -> list[type[Subject]]:
    """Import every subject class, in order."""
    found: list[type[Subject]] = []
    for name in SUBJECTS:
        module, cls = name.split(":")
        found.append(getattr(importlib.import_module(f"vmtsim.kernel.{module}"), cls))
    return found
