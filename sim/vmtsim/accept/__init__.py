"""``vmtsim accept``: the driver on a real NetBSD in stock QEMU, checked and compared.

``console`` and ``texts`` read the guest's console, ``boot`` gets to a root shell, ``shell`` runs
commands there; ``disks``, ``files`` and ``machine`` make the virtual machine; ``session`` runs a
scenario on it, ``compare`` compares its conversation with the simulator's, ``verdict`` judges, and
``report`` and ``page`` write the report.
"""
