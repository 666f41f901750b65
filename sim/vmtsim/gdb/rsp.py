"""A client of the GDB remote serial protocol, for QEMU's stub.

Source: the GDB manual, appendix "GDB Remote Serial Protocol"; QEMU's gdbstub for its handling of
bytes that arrive while the guest runs: any of them stops it.  That is why acknowledgements wait for
the next command, and why none is sent after the guest was resumed.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import UnavailableError

from vmtsim.gdb.packets import Decoder, Packet, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TRIES = 4
_BATCH = 32
# Seconds within which a stub must answer; QEMU on a busy machine is slow.
TIMEOUT = 30.0
_INTERRUPT = b"\x03"
# Signals in GDB's numbering.
SIGINT, SIGTRAP = 2, 5


class RemoteError(UnavailableError):
    """Communication with the stub failed."""


class StubGoneError(RemoteError):
    """The other end closed the connection: QEMU has exited."""


class StubSilentError(RemoteError):
    """No answer in time, or none that could be parsed."""


class StubRefusedError(RemoteError):
    """The stub answered with an error; ``code`` is its number, -1 for "not known"."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Stop:
    """The reason of a stop: a signal of GDB's, and the vCPU's thread id ("" if unknown).

    ``over`` is set if the stub's program has ended.
    """

    signal: int
    thread: str = ""
    over: bool = False


def connect(target: str, *, timeout: float = TIMEOUT) -> socket.socket:
    """Return a connection to ``HOST:PORT`` or to the path of a Unix socket.

    Raises RemoteError, with a hint, if there is no server.
    """
    hint = "start QEMU with `-gdb tcp:127.0.0.1:1234`, and vmtsim with `--gdb 127.0.0.1:1234`"
    try:
        if "/" in target:
            local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                local.settimeout(timeout)
                local.connect(target)
            except OSError:
                local.close()
                raise
            return local
        name, _, port = target.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise RemoteError(f"--gdb {target}: not HOST:PORT and not a path", hint=hint)
        connection = socket.create_connection((name.strip("[]") or "127.0.0.1", int(port)), timeout)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RemoteError(f"no GDB stub at {target}: {reason}", hint=hint) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Client:
    """One connection to a stub.  All methods except ``interrupt`` require a stopped guest.

    ``timeout`` is in seconds, for each answer.  ``running`` is whether the guest was resumed and
    has not reported a stop since.
    """

    def __init__(self, connection: socket.socket, *, timeout: float = TIMEOUT) -> None:
        self.connection = connection
        self.timeout = timeout
        self.running = False
        self.packets = 0
        self.features: dict[str, str] = {}
        self._decoder = Decoder()
        self._received: deque[Packet | str] = deque()
        self._owed = b""
        # Commands that were sent before a resume and whose OK is still pending.
        self._unanswered: deque[bytes] = deque()
        self._acknowledge = True
        connection.setblocking(False)

    # Bytes.

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.connection.fileno()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _transmit(self, data: bytes) -> None:
        deadline = time.monotonic() + self.timeout
        view = memoryview(data)
        while view:
            try:
                view = view[self.connection.send(view) :]
            except BlockingIOError:  # noqa: PERF203 - the socket is full, which is rare
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([], [self.connection], [], left)[1]:
                    raise StubSilentError("the GDB stub accepts no more bytes") from None
            except OSError as error:
                raise StubGoneError("QEMU closed the connection") from error

    def _next(self, deadline: float) -> Packet | str | None:
        """Return the next packet, "+" or "-", or None when ``deadline`` has passed."""
        while True:
            found = self._decoder.next()
            if found is not None:
                return found
            left = deadline - time.monotonic()
            if not select.select([self.connection], [], [], max(left, 0))[0]:
                return None
            try:
                data = self.connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError as error:
                raise StubGoneError("QEMU closed the connection") from error
            if not data:
                raise StubGoneError("QEMU closed the connection")
            self._decoder.feed(data)

    # Packets.

    def _command(self, *payloads: bytes) -> bytes:
        """Return the bytes of these commands, preceded by the pending acknowledgement."""
        owed, self._owed = self._owed, b""
        self.packets += len(payloads)
        return owed + b"".join(map(encode, payloads))

    def ask(self, payload: bytes, *, timeout: float | None = None) -> bytes:
        """Send a command and return its answer.

        Resends a packet that the stub rejects, and requests broken packets again.  Raises
        StubSilentError after some tries, or if nothing arrives in time.
        """
        self._settle()
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        self._transmit(self._command(payload))
        tries = _TRIES
        while True:
            found = self._next(deadline)
            if found is None:
                raise StubSilentError(f"no answer from the GDB stub to {shown(payload)}")
            if found == "+":
                continue
            if found == "-":
                broken: bytes = encode(payload)
            else:
                assert isinstance(found, Packet)
                if found.payload is not None:
                    self._take()
                    if payload != b"?" and parse_stop(found.payload) is not None:
                        continue  # the connection itself stopped the guest, and the stub reports it
                    return found.payload
                broken = b"-"
            tries -= 1
            if tries == 0:
                raise StubSilentError(
                    f"{_TRIES} consecutive broken packets from the GDB stub after {shown(payload)}",
                    hint="another client uses this connection",
                )
            self._transmit(broken)

    def _take(self) -> None:
        if self._acknowledge:
            self._owed = b"+"

    def ask_all(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Send commands that do not resume the guest in one batch; return their answers in order.

        If a packet breaks, the commands from it on are sent one by one.
        """
        answers: list[bytes] = []
        for start in range(0, len(payloads), _BATCH):
            answers += self._batch(payloads[start : start + _BATCH])
        return answers

    def _batch(self, payloads: Sequence[bytes]) -> list[bytes]:
        self._settle()
        answers: list[bytes] = []
        deadline = time.monotonic() + self.timeout
        self._transmit(self._command(*payloads))
        while len(answers) < len(payloads):
            found = self._next(deadline)
            if found == "+":
                continue
            if isinstance(found, Packet) and found.payload is not None:
                self._take()
                answers.append(found.payload)
                continue
            if found is None:
                raise StubSilentError("no answer from the GDB stub to a batch of commands")
            self._drain(len(payloads) - len(answers) - 1)
            return answers + [self.ask(payload) for payload in payloads[len(answers) :]]
        return answers

    def _drain(self, count: int) -> None:
        """Discard the remaining answers to a batch, as many as still arrive.

        A late one would be mistaken for the answer to the next command.
        """
        deadline = time.monotonic() + self.timeout
        while count > 0:
            found = self._next(deadline)
            if found is None:
                return
            if isinstance(found, Packet):
                count -= 1
        self._take()

    def order(self, payload: bytes, what: str) -> None:
        """Send a command whose only valid answer is OK; raises StubRefusedError."""
        check(self.ask(payload), what)

    # Stopping and resuming.

    def resume(self, thread: str | None = None, *, first: Sequence[bytes] = ()) -> None:
        """Resume the guest, or make one step with ``thread`` while the other vCPUs stay stopped.

        The commands ``first`` are sent before it, in the same bytes; their answers are checked when
        the next stop is awaited.
        """
        self._settle()
        action = b"vCont;c" if thread is None else b"vCont;s:" + thread.encode()
        self._transmit(self._command(*first, action))
        self._unanswered.extend(first)
        self.running = True

    def wait(self, timeout: float) -> Stop | None:
        """Return the stop that the guest reports within ``timeout`` seconds, or None."""
        deadline = time.monotonic() + timeout
        while self.running:
            found = self._next(deadline)
            if found is None:
                return None
            if not isinstance(found, Packet):
                continue
            if found.payload is None:
                # The guest is stopped, as this answer shows: request it again.
                self._transmit(b"-")
                continue
            if self._unanswered:
                check(found.payload, shown(self._unanswered.popleft()))
                continue
            if found.payload[:1] == b"O" and found.payload != b"OK":
                continue  # console output of the stub
            stop = parse_stop(found.payload)
            if stop is not None:
                self.running = False
                self._take()
                return stop
        return None

    def interrupt(self) -> Stop:
        """Stop the guest and return the reason: this call, or an earlier event.

        Raises StubSilentError.
        """
        if not self.running:
            return self.why()
        self._transmit(_INTERRUPT)
        stop = self.wait(self.timeout)
        if stop is None:
            raise StubSilentError("the guest does not stop on request")
        return stop

    def _settle(self) -> None:
        if self.running:
            raise StubRefusedError("the guest runs: it has to be stopped first", -1)

    def why(self) -> Stop:
        """Return why the guest is stopped (``?``)."""
        stop = parse_stop(self.ask(b"?"))
        if stop is None:
            raise StubSilentError("the GDB stub does not report why the guest is stopped")
        return stop

    # Setup.

    def start(self) -> None:
        """Query the stub's features, and disable acknowledgements if it can."""
        answer = self.ask(b"qSupported:hwbreak+;swbreak+;vContSupported+;xmlRegisters=i386")
        for feature in answer.decode("ascii", "replace").split(";"):
            name, sign, value = feature.partition("=")
            if sign:
                self.features[name] = value
            elif feature[-1:] in {"+", "-", "?"}:
                self.features[feature[:-1]] = feature[-1]
        if self.features.get("QStartNoAckMode") == "+":
            self.order(b"QStartNoAckMode", "QStartNoAckMode")
            self._acknowledge, self._owed = False, b""
            self._transmit(b"+")

    @property
    def packet_size(self) -> int:
        """The most bytes that a packet for the stub may have."""
        try:
            return max(int(self.features.get("PacketSize", "400"), 16), 64)
        except ValueError:
            return 0x400

    def document(self, name: str) -> str:
        """Return a document of the target's description (``qXfer:features:read``).

        Raises StubRefusedError where there is none.
        """
        text = b""
        while True:
            size = self.packet_size - 4
            answer = self.ask(b"qXfer:features:read:%b:%x,%x" % (name.encode(), len(text), size))
            if answer[:1] not in {b"m", b"l"}:
                raise StubRefusedError(f"the GDB stub has no description {name!r}", -1)
            text += answer[1:]
            if answer[:1] == b"l" or len(answer) == 1:
                return text.decode("utf-8", "replace")

    def threads(self) -> tuple[str, ...]:
        """Return the ids of the vCPUs."""
        found: list[str] = []
        answer = self.ask(b"qfThreadInfo")
        while answer[:1] == b"m":
            found += answer[1:].decode("ascii", "replace").split(",")
            answer = self.ask(b"qsThreadInfo")
        return tuple(found)

    # Registers and memory.

    def registers(self) -> bytes:
        """Return all registers of the selected vCPU, in the layout of the description."""
        return unhex(self.ask(b"g"), "the registers")

    @staticmethod
    def set_register(number: int, value: int, size: int) -> bytes:
        """Return the command that writes a register of ``size`` bytes."""
        return b"P%x=%b" % (number, value.to_bytes(size, "little").hex().encode())

    def read(self, address: int, size: int) -> bytes:
        """Return guest memory; raises StubRefusedError if it is not mapped."""
        most = (self.packet_size - 8) // 2
        starts = range(0, size, most)
        answers = self.ask_all(
            [b"m%x,%x" % (address + start, min(most, size - start)) for start in starts]
        )
        data = b"".join(unhex(answer, f"memory at {address:#x}") for answer in answers)
        if len(data) != size:
            raise StubRefusedError(f"memory at {address:#x}: {len(data)} of {size} bytes", -1)
        return data

    def probe(self, addresses: Sequence[int], size: int) -> list[bytes | None]:
        """Return ``size`` bytes at each of many addresses, None if they are not mapped."""
        answers = self.ask_all([b"m%x,%x" % (address, size) for address in addresses])
        found: list[bytes | None] = []
        for answer in answers:
            try:
                data = unhex(answer, "memory")
            except StubRefusedError:
                data = b""
            found.append(data if len(data) == size else None)
        return found

    def write(self, address: int, data: bytes) -> None:
        """Store guest memory; raises StubRefusedError if it is not mapped."""
        most = (self.packet_size - 48) // 2
        parts = [(start, data[start : start + most]) for start in range(0, len(data), most)]
        answers = self.ask_all(
            [b"M%x,%x:%b" % (address + start, len(part), part.hex().encode())
             for start, part in parts]
        )  # fmt: skip
        for answer in answers:
            check(answer, f"writing memory at {address:#x}")

    # Breakpoints.

    def insert_breakpoint(self, address: int, size: int) -> None:
        """Set a hardware breakpoint; ``size`` is that of the instruction in bytes."""
        self.order(b"Z1,%x,%x" % (address, size), f"a breakpoint at {address:#x}")

    def remove_breakpoint(self, address: int, size: int) -> bool:
        """Remove a hardware breakpoint; returns whether there was one."""
        return self.ask(b"z1,%x,%x" % (address, size)) == b"OK"

    # QEMU's extensions.

    def monitor(self, command: str) -> str:
        """Run a command of QEMU's monitor and return its output.

        Raises StubSilentError where the output does not end.
        """
        answer = self.ask(b"qRcmd," + command.encode().hex().encode())
        output = b""
        while answer[:1] == b"O" and answer != b"OK":
            output += unhex(answer[1:], "the monitor's output")
            found = self._next(time.monotonic() + self.timeout)
            while found == "+":
                found = self._next(time.monotonic() + self.timeout)
            if not isinstance(found, Packet) or found.payload is None:
                raise StubSilentError(f"the monitor's output of {command!r} does not end")
            answer = found.payload
        check(answer, f"the monitor command {command!r}")
        return output.decode("utf-8", "replace")

    @contextlib.contextmanager
    def physical(self) -> Iterator[bool]:
        """Make ``read`` use physical addresses in the block; false if the stub cannot."""
        able = self.ask(b"Qqemu.PhyMemMode:1") == b"OK"
        try:
            yield able
        finally:
            if able:
                self.ask(b"Qqemu.PhyMemMode:0")

    def detach(self) -> None:
        """Detach: the stub removes its breakpoints and resumes the guest."""
        self.order(b"D", "detaching")
        owed, self._owed = self._owed, b""
        self._transmit(owed)


def unhex(answer: bytes, what: str) -> bytes:
    """Return the bytes that an answer holds as hexadecimal digits; raises StubRefusedError."""
    if answer[:1] != b"E" or len(answer) % 2 == 0:
        try:
            return bytes.fromhex(answer.decode("ascii"))
        except ValueError:
            pass
    return check(answer, what)


def check(answer: bytes, what: str) -> bytes:
    """Return b"" for OK; raises StubRefusedError for anything else."""
    if answer == b"OK":
        return b""
    if not answer:
        raise StubRefusedError(f"the GDB stub cannot do this: {what}", -1)
    if answer[:1] == b"E":
        number = answer[1:3].decode("ascii", "replace")
        try:
            code = int(number, 16)
        except ValueError:
            code = -1
        raise StubRefusedError(f"the GDB stub refuses {what}: error {number}", code)
    raise StubRefusedError(f"the GDB stub answers {what} with {shown(answer)}", -1)


def parse_stop(answer: bytes) -> Stop | None:
    """Return the content of a stop reply, None for anything else."""
    kind, rest = answer[:1], answer[1:]
    try:
        if kind in {b"W", b"X"}:
            return Stop(int(rest[:2], 16), over=True)
        if kind not in {b"S", b"T"}:
            return None
        signal = int(rest[:2], 16)
    except ValueError:
        return None
    thread = ""
    for part in rest[2:].decode("ascii", "replace").split(";"):
        name, _, value = part.partition(":")
        if name == "thread":
            thread = value
    return Stop(signal, thread)


def shown(payload: bytes) -> str:
    """Return the beginning of a packet for an error's text."""
    text = payload[:40].decode("ascii", "replace")
    return repr(text + ("..." if len(payload) > 40 else ""))
