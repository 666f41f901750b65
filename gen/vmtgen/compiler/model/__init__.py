"""The specs of a module as frozen dataclasses: one Python module per kind of spec.

Attributes have the names of the YAML keys. A mapping of named entries is an ``Entries``: a tuple
in file order whose elements have a ``name`` and which can be indexed by name.
"""

from __future__ import annotations

from types import SimpleNamespace

from vmtgen.compiler.model.backdoor import Backdoor
from vmtgen.compiler.model.balloon import Balloon
from vmtgen.compiler.model.driver import Driver
from vmtgen.compiler.model.guestinfo import Guestinfo
from vmtgen.compiler.model.rpci import Rpci
from vmtgen.compiler.model.tclo import Tclo
from vmtgen.compiler.model.transport import Transport
from vmtgen.targets import Targets


class Specs(SimpleNamespace):
    """Everything in specs/MODULE/, and netbsd.yaml; each attribute is the file of that name.

    The attributes of files that the module does not have are not set.
    """

    module: str
    """The name of the module; its directory has the same name."""

    backdoor: Backdoor
    transport: Transport
    rpci: Rpci
    tclo: Tclo
    guestinfo: Guestinfo
    balloon: Balloon
    driver: Driver
    netbsd: Targets


__all__ = [
    "Backdoor",
    "Balloon",
    "Driver",
    "Guestinfo",
    "Rpci",
    "Specs",
    "Targets",
    "Tclo",
    "Transport",
]
