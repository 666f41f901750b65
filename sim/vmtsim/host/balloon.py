"""The memory balloon: the host requests pages of the guest, page by page or in batches.

Port, magic, commands, statuses and capabilities: Linux drivers/misc/vmw_balloon.c 1.5 and
open-vm-tools modules/shared/vmmemctl (backdoor_balloon.h, balloon_def.h).  A call is IN on the
port with the magic in EAX, the command in ECX, its arguments in EBX and ESI; the status comes back
in EAX, the target in EBX after every success of a command that reports one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmtsim.core.frame import Frame, GuestFault, GuestMemory, low16

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.host.context import Context

PORT = 0x5670
MAGIC = 0x456C6D6F
START, GET_TARGET, LOCK, UNLOCK, GUEST_ID = range(5)
BATCHED_LOCK, BATCHED_UNLOCK = 6, 7
OK, INVALID_COMMAND, PAGE_INVALID, PAGE_LOCKED, PAGE_UNLOCKED = range(5)
PINNED, NOT_NEEDED, RESET, BUSY = 5, 6, 7, 8
OK_WITH_CAPABILITIES = 0x03000000
BASIC, BATCHED = 1 << 1, 1 << 2
LINUX, BSD = 1, 2

_ALL_ONES = 0xFFFFFFFF
_PAGE_SHIFT = 12
_ENTRIES = 512  # of 64 bits in a page
_STATUS_BITS = 0x1F
# Number of calls that a guest may make between the report of a reset and the required START.
_UNAWARE = 1


class Balloon:
    """The memory balloon: the pages of the guest's memory that the host has.

    ``target`` and the result of ``size`` are in pages.  ``physical`` is the guest's memory by
    physical address, which batches need.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.physical: GuestMemory | None = None
        self.target = 0
        self.refuse = 0  # number of next pages to refuse
        self.busy = 0  # number of next calls to answer with BUSY
        self.guest = 0  # its GUEST_ID
        self.limit = 0  # the guest's memory in pages, as the guest reports it
        self.resets = 0
        self.calls = 0  # on its port
        self.polls = 0  # how often the guest requested the target
        self.taken_back = 0  # pages that the guest took back although the host requested them
        self.locked: set[int] = set()
        self._started = False
        self._capabilities = 0
        self._since_reset: int | None = None  # calls since the host reported a reset
        self._seen = (0, 0)  # size and target at the guest's last request
        self._taken_back = 0  # taken_back at the guest's last request
        self._commands: dict[int, Callable[[Frame], int]] = {
            START: self._start,
            GET_TARGET: self._get_target,
            LOCK: lambda frame: self._lock(frame.arg1 & _ALL_ONES),
            UNLOCK: lambda frame: self._unlock(frame.arg1 & _ALL_ONES),
            GUEST_ID: self._guest_id,
            BATCHED_LOCK: lambda frame: self._batch(frame, self._lock),
            BATCHED_UNLOCK: lambda frame: self._batch(frame, self._unlock),
        }

    @property
    def size(self) -> int:
        """The number of pages that the host has."""
        return len(self.locked)

    @property
    def started(self) -> bool:
        """Whether a driver in the guest works with it: it agreed on a capability."""
        return self._started and bool(self._capabilities)

    def reset(self) -> None:
        """Start over, as after a revert: all pages are the guest's again, and it has to START."""
        self._started = False
        self.resets += 1
        self.locked.clear()
        self._context.trace.emit("balloon.reset")

    def page_freed(self, number: int) -> None:
        """Handle the guest's reuse of a page."""
        if number in self.locked:
            self._context.violation("balloon-freed", f"page {number:#x}")

    def call(self, frame: Frame) -> None:
        """Execute the call in ``frame``, in place."""
        self.calls += 1
        options = self._context.options
        if options.kind != "vmware" or not options.ports or options.balloon == "none":
            frame.arg0 = _ALL_ONES
            return
        if frame.arg0 & _ALL_ONES != MAGIC:
            self._context.violation("balloon-magic", f"EAX {frame.arg0 & _ALL_ONES:#010x}")
            frame.arg0 = _ALL_ONES
            return
        number = low16(frame.arg2)
        command = self._commands.get(number)
        if command is None or (self._started and not self._agreed(number)):
            self._context.violation("balloon-command", f"command {number}")
            frame.arg0 = INVALID_COMMAND
            return
        if number != START and not self._started:
            self._not_started(number)
            frame.arg0 = RESET
            return
        if self.busy and number != START:
            self.busy -= 1
            frame.arg0 = BUSY
            return
        status = command(frame)
        frame.arg0 = status
        if status == OK and number not in {START, GUEST_ID}:
            frame.arg1 = self.target

    def _agreed(self, number: int) -> bool:
        """Whether START has agreed on a command ("Backdoor commands availability" there)."""
        needed = {LOCK: BASIC, UNLOCK: BASIC, BATCHED_LOCK: BATCHED, BATCHED_UNLOCK: BATCHED}
        return not needed.get(number, 0) & ~self._capabilities

    def _not_started(self, number: int) -> None:
        if not self.resets or (self._since_reset is not None and self._since_reset >= _UNAWARE):
            self._context.violation("balloon-start", f"command {number}")
        self._since_reset = (self._since_reset or 0) + 1

    def _start(self, frame: Frame) -> int:
        asked = frame.arg1 & _ALL_ONES
        offered = BASIC if self._context.options.balloon == "basic" else BASIC | BATCHED
        self.locked.clear()
        self._started, self._since_reset = True, None
        if self._context.options.balloon == "old":
            self._capabilities = BASIC
            return OK
        self._capabilities = asked & offered
        frame.arg2 = self._capabilities
        return OK_WITH_CAPABILITIES

    def _get_target(self, frame: Frame) -> int:
        self.limit = frame.arg1 & _ALL_ONES
        self.polls += 1
        if self.taken_back != self._taken_back:
            pages, self._taken_back = self.taken_back - self._taken_back, self.taken_back
            self._context.trace.emit("balloon.taken-back", pages=pages)
        seen = (self.size, self.target)
        if seen != self._seen:
            self._seen = seen
            self._context.trace.emit("balloon", size=self.size, target=self.target)
        return OK

    def _guest_id(self, frame: Frame) -> int:
        self.guest = frame.arg1 & _ALL_ONES
        if self.guest not in {LINUX, BSD}:
            self._context.violation("balloon-guest", f"identity {self.guest}")
        return OK

    def _lock(self, page: int) -> int:
        if self.size >= self.target:
            return NOT_NEEDED
        if self.refuse:
            self.refuse -= 1
            return PINNED
        if page in self.locked:
            self._context.violation("balloon-page", f"page {page:#x} is locked already")
            return PAGE_LOCKED
        self.locked.add(page)
        return OK

    def _unlock(self, page: int) -> int:
        if page not in self.locked:
            self._context.violation("balloon-page", f"page {page:#x} is not locked")
            return PAGE_UNLOCKED
        if self.size <= self.target:
            self.taken_back += 1
        self.locked.remove(page)
        return OK

    def _batch(self, frame: Frame, one: Callable[[int], int]) -> int:
        """Put the status of each page into the lowest bits of its entry."""
        count, at = frame.arg4 & _ALL_ONES, (frame.arg1 & _ALL_ONES) << _PAGE_SHIFT
        if not 1 <= count <= _ENTRIES or self.physical is None:
            self._context.violation("balloon-batch", f"{count} pages")
            return PAGE_INVALID
        try:
            entries = struct.unpack(f"<{count}Q", self.physical.read(at, 8 * count))
            done = [
                entry & ~_STATUS_BITS | one(entry >> _PAGE_SHIFT) & _STATUS_BITS
                for entry in entries
            ]
            self.physical.write(at, struct.pack(f"<{count}Q", *done))
        except GuestFault as fault:
            self._context.violation("balloon-batch", str(fault))
            return PAGE_INVALID
        return OK
