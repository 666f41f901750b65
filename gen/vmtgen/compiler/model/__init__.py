"""What the specs say, as frozen dataclasses: one module per file of specs/.

Attributes have the names of the YAML keys. A mapping of named entries is an ``Entries``: a tuple
in file order whose elements have a ``name`` and which can be asked by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmtgen.compiler.model.backdoor import Backdoor
from vmtgen.compiler.model.driver import Driver
from vmtgen.compiler.model.guestinfo import Guestinfo
from vmtgen.compiler.model.rpci import Rpci
from vmtgen.compiler.model.tclo import Tclo
from vmtgen.compiler.model.transport import Transport
from vmtgen.targets import Targets


@dataclass(frozen=True, slots=True)
class Specs:
    """Everything in specs/; each attribute is the file of that name."""

    backdoor: Backdoor
    transport: Transport
    rpci: Rpci
    tclo: Tclo
    guestinfo: Guestinfo
    driver: Driver
    netbsd: Targets


__all__ = ["Backdoor", "Driver", "Guestinfo", "Rpci", "Specs", "Targets", "Tclo", "Transport"]
