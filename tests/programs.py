"""The project's programs for shells that tests run, without the start of an interpreter.

A program sends its arguments, environment, working directory and streams to a
process that has imported everything.  A fork of that process becomes the command (see ``forked``).
The program passes signals on, and ends with the status of the command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import marshal
import os
import pkgutil
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Descriptors of the process: the socket, in which a command has its connection.
_LINK = 3
# It imports nothing but parts of the interpreter: with -I and -S it starts in 10 ms.
_PROGRAM = """\
import _signal, _socket, marshal, os, sys
place, *words = sys.argv[1:]
request = marshal.dumps((words, os.getcwd(), dict(os.environ)))
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
link = _socket.socket(_socket.AF_UNIX)
link.connect(place)
head = len(request).to_bytes(4, "big")
link.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
link.sendall(request)
process = int.from_bytes(link.recv(4), "big")
ends = [_signal.SIGKILL]
def forward(number, frame):
    ends.append(number)
    os.kill(process, number)
for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
    _signal.signal(number, forward)
status = link.recv(1)
if not status:  # a signal has ended it
    if len(ends) > 1:
        _signal.signal(ends[-1], _signal.SIG_DFL)
    os.kill(os.getpid(), ends[-1])
os._exit(status[0])
"""


@contextmanager
def programs(*names: str, before: Callable[[], None] | None = None) -> Iterator[str]:
    """Yield the words of a shell to which one of ``names`` and its arguments are added.

    ``before`` is called in each command's process.  At the end, everything that the commands have
    left running is killed.
    """
    for name in names:
        package = importlib.import_module(f"{name}.verbs")
        for verb in pkgutil.iter_modules(package.__path__, f"{name}.verbs."):
            importlib.import_module(verb.name)
        importlib.import_module(f"{name}.cli")
    if "vmtsim" in names:
        forked.warm()
    with tempfile.TemporaryDirectory(prefix="programs-") as directory:
        place, program = Path(directory, "socket"), Path(directory, "program.py")
        program.write_text(_PROGRAM, encoding="utf-8")
        with socket.socket(socket.AF_UNIX) as listener, warnings.catch_warnings():
            listener.bind(str(place))
            listener.listen()
            warnings.simplefilter("ignore", DeprecationWarning)  # as in forked
            process = subprocess.Popen(
                ["programs"],
                preexec_fn=lambda: _serve(listener.fileno(), before),  # noqa: PLW1509
                start_new_session=True,
            )
        try:
            yield shlex.join([sys.executable, "-I", "-S", str(program), str(place)])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _serve(listening: int, before: Callable[[], None] | None) -> NoReturn:
    """Make a fork for each connection, until the process is killed."""
    try:
        os.dup2(listening, _LINK)
        os.closerange(_LINK + 1, forked.LAST_DESCRIPTOR)
        listener = socket.socket(fileno=_LINK)
        signal.signal(signal.SIGCHLD, _wait)
        gc.freeze()
        while True:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.detach()
                _become(link, before)
            link.close()
    finally:
        os._exit(70)


def _wait(_number: int, _frame: object) -> None:
    """Wait for each command that has ended: its processor time then counts as this process's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(link: socket.socket, before: Callable[[], None] | None) -> NoReturn:
    """Act as the command that a program requests."""
    status = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, streams, *_ = socket.recv_fds(link, 4, 3)
        request = bytearray()
        while len(request) < int.from_bytes(head, "big"):
            request += link.recv(1 << 20)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.dup2(link.detach(), _LINK, inheritable=False)
        os.closerange(_LINK + 1, forked.LAST_DESCRIPTOR)
        (name, *words), directory, environment = marshal.loads(request)
        os.chdir(directory)
        os.write(_LINK, os.getpid().to_bytes(4, "big"))
        main = importlib.import_module(f"{name}.cli").main
        status = forked.as_command(main, words, environment, before)
    finally:
        with contextlib.suppress(OSError):  # a program that was killed does not read it
            os.write(_LINK, bytes([status]))
        os._exit(status)
