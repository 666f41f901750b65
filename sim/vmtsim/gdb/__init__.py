"""A real virtual machine in QEMU, with the simulated host behind its backdoor.

QEMU's GDB stub stops the guest at the instructions that would reach VMware.  Each stop is served
from ``vmtsim.host`` and the guest goes on behind the instruction, which is never carried out.
"""
