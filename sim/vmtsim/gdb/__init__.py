"""A real virtual machine in QEMU whose backdoor calls the simulated host serves.

QEMU's GDB stub stops the guest at the instructions that would reach VMware.  ``vmtsim.host`` serves
each stop, and the guest continues after the instruction, which is never executed.
"""
