"""The VMware side, written by hand from public descriptions of the protocol.

It is an independent test oracle: it does not use the specs from which the driver is rendered, so a
wrong number there makes driver and host disagree.
"""

from vmtsim.core.frame import Frame, GuestFault, GuestMemory
from vmtsim.host.faults import FAULTS
from vmtsim.host.machine import Host
from vmtsim.host.options import HostOptions

__all__ = ["FAULTS", "Frame", "GuestFault", "GuestMemory", "Host", "HostOptions"]
