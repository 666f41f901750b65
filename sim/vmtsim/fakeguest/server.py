"""The event loop of ``vmtsim guest``: sockets on one side, virtual time on the other.

Everything happens in one thread, one request after the other, so that the same requests in the same
order give the same run.  Virtual time advances while a tool works and while ``advance`` runs; for
``advance`` it stands still as long as powerd's script runs, because the effects of that script are
part of the run.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import asdict

from vmtsim.fakeguest import control, tools
from vmtsim.fakeguest.call import Answer, Call, refuse, strerror
from vmtsim.fakeguest.machine import Down
from vmtsim.kernel.clock import SECOND
from vmtsim.run.simulation import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.fakeguest.machine import Daemon, Machine
    from vmtsim.fakeguest.tree import Tree

_LONGEST = 1 << 20  # bytes of a request
_SLICE = 0.02  # wall seconds between two steps of --realtime


class _Connection:
    """One client, and its kind."""

    def __init__(self, link: socket.socket, kind: str) -> None:
        self.link = link
        self.kind = kind
        self.input = b""
        self.daemon: Daemon | None = None
        link.settimeout(60)  # a client that does not read must not hold up the others

    def send(self, document: dict[str, Any]) -> None:
        """Send one line; a client that has disconnected is no error."""
        with suppress(OSError):
            self.link.sendall(json.dumps(document).encode("ascii") + b"\n")


class Server:
    """Serves the tools of one guest until ``stop``."""

    def __init__(self, machine: Machine, tree: Tree, *, realtime: bool) -> None:
        self.machine = machine
        self.tree = tree
        self._realtime = realtime
        self._started = (0.0, 0)
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._powerd: _Connection | None = None
        self._powerd_daemon: Daemon | None = None
        self._powerd_busy = False
        self._advances: deque[tuple[_Connection, int]] = deque()
        for path, kind in zip(tree.sockets(), ("control", "power"), strict=True):
            self._listen(path, kind)

    def _listen(self, path: Path, kind: str) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        here = Path.cwd()
        # Use a relative path: a socket's address holds about a hundred characters.
        os.chdir(path.parent)
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)
        path.chmod(0o600)
        listener.listen(16)
        self._selector.register(listener, selectors.EVENT_READ, (self._accept, kind))

    # -- the loop ----------------------------------------------------------------------------

    def serve(self, ready: Callable[[], None], *, powerd: bool) -> int:
        """Answer until a signal or ``stop``; returns the exit status of the run."""
        waker, wakened = socket.socketpair()
        wakened.setblocking(False)
        waker.setblocking(False)
        self._selector.register(wakened, selectors.EVENT_READ, (self._woken, "signal"))
        previous = signal.set_wakeup_fd(waker.fileno())
        handlers = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        # Wakes the loop, which reaps powerd: kill(1) finds a process until then.
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        child = self._start_powerd() if powerd else None
        self._started = (time.monotonic(), self.machine.now)
        announced = False
        try:
            with Watchdog(self.machine.simulation):
                while not self._stopping:
                    ended = child is None or child.poll() is not None
                    if not announced and (ended or self._powerd_daemon is not None):
                        announced = True
                        ready()
                    self._progress()
                    for key, _ in self._selector.select(_SLICE if self._realtime else None):
                        act, kind = key.data
                        act(key.fileobj, kind)
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._close()
            if child is not None:
                child.terminate()
                child.wait()
        return self.machine.status

    def _start_powerd(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.tree.root / "usr/sbin/powerd"), "-d"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    @staticmethod
    def _woken(link: Any, _kind: str) -> None:
        link.recv(64)

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    # -- virtual time ------------------------------------------------------------------------

    def _progress(self) -> None:
        """Advance time as far as allowed, pass on power events, shut down when requested."""
        machine = self.machine
        # Read the wall clock once: it never stands still, and other clients wait.
        wall = self._wall_target() if self._realtime else None
        while True:
            self._deliver()
            if machine.shutting_down and not machine.ended and not self._powerd_busy:
                machine.shut_down()
            if machine.ended:
                self._after_the_end()
                return
            target = wall if self._realtime else self._target()
            if target is None:
                return
            if machine.now >= target:
                if self._advances and not self._powerd_busy:
                    self._advanced()
                    continue
                return
            try:
                machine.run(target, self._event_waits)
            except Down as down:
                self._report(str(down))

    def _wall_target(self) -> int:
        """Return the virtual time that corresponds to the wall clock."""
        began, at = self._started
        return at + round((time.monotonic() - began) * SECOND)

    def _target(self) -> int | None:
        """Return the virtual time to run to now, None if it stands still."""
        if self._advances and not self._powerd_busy:
            return self._advances[0][1]
        return None

    def _event_waits(self) -> bool:
        return self._powerd is not None and not self._powerd_busy and self.machine.power.waiting

    def _advanced(self) -> None:
        connection, _ = self._advances.popleft()
        self._answer(connection, Answer(f"{self.machine.now / SECOND:.3f}\n"))

    def _after_the_end(self) -> None:
        """Answer clients that wait for time that will not pass; powerd ends with its machine."""
        while self._advances:
            connection, _ = self._advances.popleft()
            status = 0 if not self.machine.status else 1
            self._answer(connection, Answer(f"the machine is down: {self.machine.ended}\n", "",
                                            status))  # fmt: skip
        if self._powerd is not None and not self._powerd_busy:
            self._drop(self._powerd)

    @staticmethod
    def _report(text: str) -> None:
        sys.stderr.write(f"vmtsim: {text}\n")

    # -- connections -------------------------------------------------------------------------

    def _accept(self, listener: Any, kind: str) -> None:
        link, _ = listener.accept()
        connection = _Connection(link, kind)
        self._selector.register(link, selectors.EVENT_READ, (lambda _l, _k: self._read(connection),
                                                            kind))  # fmt: skip
        if kind == "power":
            self._open_power(connection)

    def _drop(self, connection: _Connection) -> None:
        """Remove a client."""
        try:
            self._selector.unregister(connection.link)
        except KeyError:
            return
        connection.link.close()
        self._advances = deque(each for each in self._advances if each[0] is not connection)
        if connection is self._powerd:
            self._powerd, self._powerd_busy = None, False
            if not self.machine.ended:
                self.machine.power.close()
        if connection.daemon is not None:
            self.machine.remove_daemon(connection.daemon)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.link.recv(65536)
        except OSError:
            data = b""
        connection.input += data
        if not data or len(connection.input) > _LONGEST:
            self._drop(connection)
            return
        while b"\n" in connection.input:
            line, _, connection.input = connection.input.partition(b"\n")
            self._take(connection, line)

    def _take(self, connection: _Connection, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._drop(connection)
        elif connection.kind == "power":
            self._power_line(connection, request)
        elif "tool" in request:
            self._tool(connection, request)
        elif "daemon" in request:
            connection.daemon = self.machine.add_daemon(
                str(request["daemon"]), int(request["pid"]), str(request["command"])
            )
        else:
            self._control(connection, request)

    def _answer(self, connection: _Connection, answer: Answer) -> None:
        connection.send(asdict(answer))
        self._drop(connection)

    def _tool(self, connection: _Connection, request: dict[str, Any]) -> None:
        name = str(request["tool"])
        arguments = tuple(str(word) for word in request["arguments"])
        call = Call(name, arguments, str(request["directory"]), self.tree.root)
        self._answer(connection, tools.run(self.machine, call))

    def _control(self, connection: _Connection, request: dict[str, Any]) -> None:
        verb = request.get("control")
        words = [str(word) for word in request.get("arguments", ())]
        if verb == "advance":
            self._advance(connection, words[0])
        elif verb == "host":
            if self.machine.ended:
                answer = refuse(f"the machine is down: {self.machine.ended}")
            else:
                answer = control.host(self.machine, words)
            self._answer(connection, answer)
        elif verb == "status":
            pid = self._powerd_daemon.pid if self._powerd and self._powerd_daemon else None
            answer = control.status(self.machine, powerd=pid, as_json="json" in words)
            self._answer(connection, answer)
        elif verb == "stop":
            self._stopping = True
            self._answer(connection, Answer())
        else:
            self._answer(connection, refuse(f"unknown request {verb!r}", 64))

    def _advance(self, connection: _Connection, seconds: str) -> None:
        if self._realtime:
            self._answer(connection, refuse("time advances by itself (--realtime)", 64))
        else:
            start = max([self.machine.now, *(target for _, target in self._advances)])
            self._advances.append((connection, start + round(float(seconds) * SECOND)))

    # -- /dev/power --------------------------------------------------------------------------

    def _open_power(self, connection: _Connection) -> None:
        error = 6 if self.machine.ended else self.machine.power.open()
        if error:
            connection.send({"error": strerror(error)})
            self._drop(connection)
            return
        connection.send({"type": "acpi" if self.machine.acpi else ""})
        self._powerd = connection

    def _power_line(self, connection: _Connection, request: dict[str, Any]) -> None:
        """Handle powerd's pid, once, and later its report that an event's script has ended."""
        if "pid" in request:
            connection.daemon = self._powerd_daemon = self.machine.add_daemon(
                "powerd", int(request["pid"]), "/usr/sbin/powerd"
            )
        else:
            self._powerd_busy = False

    def _deliver(self) -> None:
        """Send powerd the next event, when it has finished the previous one."""
        if not self._event_waits() or self._powerd is None:
            return
        power = self.machine.power
        event = power.take()
        script, name = event["powerd-script-name"], event["powerd-event-name"]
        device = event["driver-name"]
        self.machine.kernel.trace.emit(
            "powerd", script=script, name=name, device=device, type=event["power-type"]
        )
        self._powerd_busy = True
        self._powerd.send({"script": script, "event": name, "device": device})
