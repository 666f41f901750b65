"""Connects this terminal with a Unix socket, as `--console` commands do for a serial line."""

from __future__ import annotations

import os
import select
import socket
import sys
import tty

line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
tty.setraw(0)
while True:
    ready, _, _ = select.select([0, line], [], [])
    if line in ready:
        data = line.recv(4096)
        if not data:
            break
        os.write(1, data)
    if 0 in ready:
        line.sendall(os.read(0, 4096))
