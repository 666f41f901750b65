"""``vmtsim accept``: the driver on a real NetBSD in stock QEMU, judged and compared.

``console`` and ``texts`` read the guest's console, ``boot`` gets to a root shell, ``shell`` runs
commands there; ``disks``, ``files`` and ``machine`` make the virtual machine; ``session`` plays a
scenario on it, ``compare`` holds its conversation against the simulator's, ``verdict`` judges, and
``report`` and ``page`` write down what was seen.
"""
