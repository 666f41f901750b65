"""Serves each trap of a real guest from the simulated host.

The guest stops at a breakpoint on its trap instruction.  Its registers become a frame, the host
answers, the registers are written back with the program counter after the instruction, and the
guest continues: for the guest this is VMware.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, replace

from vmtsim.gdb import locate
from vmtsim.gdb.rsp import (
    SIGTRAP,
    Client,
    RemoteError,
    Stop,
    StubGoneError,
    StubRefusedError,
)
from vmtsim.gdb.sites import ARM, HYPERCALL, IN, OUT, Program, Site, SitesError, kind_of
from vmtsim.gdb.target import Target, describe
from vmtsim.host import Frame, GuestFault
from vmtsim.host.balloon import PORT as BALLOON_PORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host import Host

_LOW_PORT, _HIGH_PORT = 0x5658, 0x5659
_MASK32 = 0xFFFFFFFF
_PROTECTION, _PAGING = 1, 1 << 31
# The start of an x86 processor after a reset, as an address and as the stub shows the register
# (Intel's manual, volume 3, section 10.1.4).
_RESET_VECTOR, _RESET_PC = 0xFFFFFFF0, (0xFFF0, 0xFFFFFFF0)
# aarch64's operation word in x7: magic in the upper half (open-vm-tools backdoor_def.h).
_ARM_MAGIC, _ARM_IN, _ARM_OUT = 0x86, 0x1C, 0x18
_LEFTOVERS = 8


class _Memory:
    """Guest memory as the stopped vCPU sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, address: int, size: int, /) -> bytes:
        try:
            return self._client.read(address, size)
        except StubRefusedError as error:
            raise GuestFault(address, size, write=False) from error

    def write(self, address: int, data: bytes, /) -> None:
        try:
            self._client.write(address, data)
        except StubRefusedError as error:
            raise GuestFault(address, len(data), write=True) from error


class _Physical:
    """The guest's physical memory, where the balloon's batches lie."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, address: int, size: int, /) -> bytes:
        with self._client.physical() as able:
            if able:
                with contextlib.suppress(StubRefusedError):
                    return self._client.read(address, size)
        raise GuestFault(address, size, write=False)

    def write(self, address: int, data: bytes, /) -> None:
        with self._client.physical() as able:
            if able:
                with contextlib.suppress(StubRefusedError):
                    self._client.write(address, data)
                    return
        raise GuestFault(address, len(data), write=True)


@dataclass
class Patience:
    """Wall-clock seconds between checks: for the module, and when no call arrives."""

    look: float = 2.0
    quiet: float = 4.0


class Server:
    """One guest, reached through one stub.

    ``print_line`` prints one line for the user.  ``text`` is the base of the program's text if
    the user gave it, ``console`` returns the guest's console output so far.  Call ``begin``
    first, then ``poll`` repeatedly, and ``leave`` at the end in any case.
    """

    def __init__(
        self,
        client: Client,
        program: Program,
        host: Host,
        *,
        print_line: Callable[[str], None],
        text: int | None = None,
        console: Callable[[], str] = str,
        patience: Patience | None = None,
    ) -> None:
        self.client = client
        self.program = program
        self.host = host
        self.base: int | None = None
        self.armed: dict[int, Site] = {}
        self.served: Counter[str] = Counter()
        self.target: Target
        self.gone = False
        self._print_line = print_line
        self._text = text
        self._console = console
        self._patience = patience or Patience()
        self._memory = _Memory(client)
        host.balloon.physical = _Physical(client)
        self._seen = False
        self._heard = time.monotonic()
        self._looked = 0.0
        self._waiting_reported = False
        self._watches_reset = False

    # Start and end.

    def begin(self) -> None:
        """Query the machine, set the breakpoints if possible, resume the guest.

        Raises RemoteError, or SitesError if program and machine do not match.
        """
        self.client.start()
        self.target = describe(self.client)
        expected, found = self.program.machine, self.target.machine.name
        if expected and expected != found and (expected, found) != ("i386", "amd64"):
            raise SitesError(
                f"{self.program.name} is for {expected}, but QEMU's machine is {found}"
            )
        count = len(self.client.threads())
        self._print_line(
            f"{found} with {count} vCPU{'s' if count != 1 else ''} behind the GDB stub"
        )
        self._look()
        self._watch_reset()
        self._continue()

    def _watch_reset(self) -> None:
        """Stop at the reset vector too, if a breakpoint is left for it."""
        if not self.target.machine.x86:
            return
        with contextlib.suppress(StubRefusedError):
            self._clear(_RESET_VECTOR, 1)
            self.client.insert_breakpoint(_RESET_VECTOR, 1)
            self._watches_reset = True

    def leave(self) -> None:
        """Remove the breakpoints and let the guest continue alone; never raises."""
        if self.gone:
            self.client.close()
            return
        try:
            if self.client.running and self.client.interrupt().over:
                return
            self._disarm()
            if self._watches_reset:
                self.client.remove_breakpoint(_RESET_VECTOR, 1)
            self.client.detach()
        except RemoteError as error:
            if not isinstance(error, StubGoneError):
                self._print_line(f"could not detach cleanly: {error}")
        finally:
            self.client.close()

    # Called by the loop.

    def poll(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the guest, serve it, and return how many calls.

        Raises StubGoneError when QEMU has exited.
        """
        before = self.served.total()
        try:
            stop = self.client.wait(timeout)
            if stop is not None:
                self._stopped(stop)
            now = time.monotonic()
            if not self.armed and now - self._looked >= self._patience.look:
                self._pause(self._look)
            elif self.armed and now - self._heard >= self._patience.quiet:
                self._pause(self._check)
        except StubGoneError:
            self.gone = True
            raise
        return self.served.total() - before

    def _pause(self, work: Callable[[], None]) -> None:
        """Run a function with the guest stopped; then serve a trap that arrived in between."""
        stop = self.client.interrupt()
        if self._is_trap(stop):
            self._stopped(stop)
            return
        if stop.over:
            raise StubGoneError("QEMU has quit")
        work()
        self._heard = time.monotonic()
        self._continue()

    def _continue(self) -> None:
        if not self.client.running:
            self.client.resume()

    # Finding the module.

    def _look(self) -> None:
        """Set the breakpoints at the program's address, if it can be found."""
        self._looked = time.monotonic()
        try:
            base = self._find()
        except StubRefusedError as error:
            # This happens during a reset: there is no memory to search.
            base = None
            if not self._waiting_reported:
                self._print_line(f"cannot search for {self.program.name} now: {error}")
                self._waiting_reported = True
        if base is None:
            if not self._waiting_reported:
                self._print_line(
                    f"{self.program.name} is not in the guest's memory; load it "
                    "(modload -b force=true), vmtsim searches for it every "
                    f"{self._patience.look:g} s"
                )
                self._waiting_reported = True
            return
        self._waiting_reported = False
        self.base = base
        for site in sorted(self.program.at(base), key=lambda each: each.kind == HYPERCALL):
            try:
                self._arm(site)
            except StubRefusedError as error:  # noqa: PERF203 - five at most
                if site.kind == HYPERCALL:
                    # Only guests that see VMware's CPUID use it, which plain QEMU does not provide.
                    self._print_line(f"skipped, because no breakpoint is left: {site.text()}")
                    continue
                self._disarm()
                raise RemoteError(
                    f"{error} ({len(self.program.sites)} required)",
                    hint="KVM has four hardware breakpoints; name fewer instructions with --sites",
                ) from error
        self._heard = time.monotonic()
        where = f"text at {base:#x}, " if self.program.moves else ""
        sites = ", ".join(site.text() if site.kind else hex(site.address) for site in
                          self.armed.values())  # fmt: skip
        self._print_line(f"{self.program.name}: {where}breakpoints on {sites}")

    def _find(self) -> int | None:
        if not self.program.moves:
            return 0
        if self._text is not None:
            # The user gave the address: it holds before the module is loaded, too.
            self._seen = locate.holds(self.client, self.program, self._text)
            return self._text
        base = locate.from_modstat(self._console(), self.program.name)
        if base is not None and locate.holds(self.client, self.program, base):
            self._seen = True
            return base
        if not self.program.signature:
            raise SitesError(
                f"{self.program.name} is relocatable, and its address is not known",
                hint="give the address of its first byte in memory with --text",
            )
        found = locate.search(self.client, self.target, self.program)
        self._seen = found is not None
        return found

    def _arm(self, site: Site) -> None:
        size = site.size or 1
        self._clear(site.address, size)
        self.client.insert_breakpoint(site.address, size)
        self.armed[site.address] = site

    def _clear(self, address: int, size: int) -> None:
        """Remove a breakpoint that a killed debugger left at an address."""
        for _ in range(_LEFTOVERS):
            if not self.client.remove_breakpoint(address, size):
                return

    def _disarm(self) -> None:
        for site in self.armed.values():
            self.client.remove_breakpoint(site.address, site.size or 1)
        self.armed.clear()

    # Monitoring.

    def _check(self) -> None:
        """Check, after a long silence, whether the program and the breakpoints still exist."""
        for site in list(self.armed.values()):
            if not self.client.remove_breakpoint(site.address, site.size or 1):
                self._print_line(f"the breakpoint on {site.text()} was lost; set again")
            self.client.insert_breakpoint(site.address, site.size or 1)
        if not self.program.moves or self.base is None:
            return
        if locate.holds(self.client, self.program, self.base):
            if self._text is not None and not self._seen:
                self._print_line(f"{self.program.name} is at {self.base:#x} now")
            self._seen = True
        elif self._seen:
            self._vanished()

    def _vanished(self) -> None:
        registers = self.client.registers()
        control = self.target.value(registers, "cr0")
        if control is not None and not control & _PAGING:
            self._reset()
            return
        self._print_line(f"{self.program.name} was unloaded: it is gone from {self.base:#x}")
        self._forget()

    def _reset(self) -> None:
        self._print_line("the guest was reset: its channels are closed")
        self.host.lose_channel("all")
        self._forget()

    def _forget(self) -> None:
        """Search for the program again, unless it has a fixed address."""
        self._seen = False
        if not self.program.moves:
            return
        if self._text is None:
            self._disarm()
            self.base = None
            self._waiting_reported = True

    # Serving.

    def _is_trap(self, stop: Stop) -> bool:
        if stop.signal != SIGTRAP or stop.over:
            return False
        pc = self.target.value(self.client.registers(), self.target.machine.pc)
        return pc in self.armed

    def _stopped(self, stop: Stop) -> None:
        if stop.over:
            raise StubGoneError("QEMU has quit")
        registers = self.client.registers()
        pc = self.target.value(registers, self.target.machine.pc)
        site = self.armed.get(pc) if pc is not None else None
        if site is None or pc is None:
            self._stray(stop, pc)
            return
        self._heard = time.monotonic()
        if not site.kind:
            known = self._identify(site)
            if known is None:
                return
            site = known
        self.served["stops"] += 1
        if stop.thread:
            self.served[f"vCPU {stop.thread}"] += 1
        if not self._serve(site, registers):
            self._foreign(site, stop)

    def _stray(self, stop: Stop, pc: int | None) -> None:
        """Continue after a stop at none of the sites."""
        if stop.signal == SIGTRAP and self._watches_reset and pc in _RESET_PC:
            control = self.target.value(self.client.registers(), "cr0")
            if control is not None and not control & _PROTECTION:
                if self.served["stops"]:
                    self._reset()
                self._step_over(_RESET_VECTOR, 1, stop)
                return
        if stop.signal == SIGTRAP and pc is not None and self.client.remove_breakpoint(pc, 1):
            self._print_line(f"removed a breakpoint at {pc:#x} that another debugger left")
        self._continue()

    def _identify(self, site: Site) -> Site | None:
        """Determine the kind of an instruction given by address from its bytes."""
        try:
            found = kind_of(self.client.read(site.address, 4), self.target.machine.name)
        except StubRefusedError:
            found = None
        if found is None:
            self._print_line(f"no backdoor call at {site.address:#x}: its breakpoint is removed")
            self.client.remove_breakpoint(site.address, site.size or 1)
            del self.armed[site.address]
            self._continue()
            return None
        known = replace(site, kind=found[0])
        self.armed[site.address] = known
        return known

    def _serve(self, site: Site, registers: bytes) -> bool:
        """Let the host answer; returns false, with nothing done, if it is not addressed."""
        target = self.target
        names = target.machine.arguments
        before = [target.value(registers, name) or 0 for name in names]
        kind, size = site.kind, self._length(site)
        if kind == ARM:
            word = target.value(registers, target.machine.operation) or 0
            if word >> 32 != _ARM_MAGIC:
                return False
            kind = {_ARM_IN: IN, _ARM_OUT: OUT}.get(word & _MASK32, kind)
        elif kind != HYPERCALL:
            port = before[3] & 0xFFFF
            if port not in ({_HIGH_PORT} if kind in {IN, OUT} else {_LOW_PORT, BALLOON_PORT}):
                return False
        frame = Frame(*before)
        for name in ("arg0", "arg1", "arg2", "arg3", "arg6"):
            setattr(frame, name, getattr(frame, name) & _MASK32)
        self.host.advance()
        try:
            if kind in {IN, OUT}:
                self._buffer(frame, kind)
            elif kind == HYPERCALL:
                self.host.hypercall(frame, self._memory)
            else:
                frame.arg4 &= _MASK32
                frame.arg5 &= _MASK32
                self.host.low_bandwidth(frame)
        except GuestFault as fault:
            # A real processor would raise a page fault; the host has recorded the violation.
            self._print_line(f"{fault}: the host answers the call with failure")
        self.served[kind] += 1
        pc = site.address + size
        changed = [
            target.set(name, new)
            for name, old, new in zip(names, before, frame.values(), strict=True)
            if new != old
        ]
        self.client.resume(first=(*changed, target.set(target.machine.pc, pc)))
        self._seen = True
        return True

    @staticmethod
    def _length(site: Site) -> int:
        if site.size:
            return site.size
        return {IN: 2, OUT: 2, HYPERCALL: 3, ARM: 4}.get(site.kind, 1)

    def _buffer(self, frame: Frame, kind: str) -> None:
        """Copy a buffer, and leave the registers as the string instruction does."""
        count = frame.arg2
        if count == 0:
            return  # no repetition, no access to the port
        self.host.high_bandwidth(frame, self._memory, to_host=kind == OUT)
        if self.target.machine.x86:
            frame.arg2 = 0
            if kind == OUT:
                frame.arg4 += count
            else:
                frame.arg5 += count

    def _foreign(self, site: Site, stop: Stop) -> None:
        """Let the guest execute an instruction that does not address the host.

        Either it reads another port, or other code is at the address by now.
        """
        self.served["foreign"] += 1
        if (
            self.program.moves
            and self.base is not None
            and not locate.holds(self.client, self.program, self.base)
        ):
            if self._seen:
                self._vanished()
            if not self.armed:
                self._continue()
                return
        self._step_over(site.address, site.size or 1, stop)

    def _step_over(self, address: int, size: int, stop: Stop) -> None:
        """Let one vCPU execute the instruction at a breakpoint, with the others stopped; resume."""
        self.client.remove_breakpoint(address, size)
        self.client.resume(stop.thread or self.client.threads()[0])
        after = self.client.wait(self.client.timeout)
        if after is None:
            after = self.client.interrupt()
        if after.over:
            raise StubGoneError("QEMU has quit")
        self.client.insert_breakpoint(address, size)
        self._continue()
