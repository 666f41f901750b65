"""Memory counters: uvmexp, and uvm_update_uvmexp(9), which updates its sums.

Some members are updated at the event that they count.  Others are sums over all processors, which
are kept separately (cpu_count() of sys/sys/cpu_data.h) and reach uvmexp only on request.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.memory import PAGE
from vmtsim.kernel.pages import FREEMIN, FREETARG, PAGES, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel

# Members of struct uvmexp, each an int, up to the last one with a value here: sys/uvm/uvm_extern.h
# 1.233.
_MEMBERS = (
    *("pagesize", "pagemask", "pageshift", "npages", "free", "paging", "wired"),
    *("ncolors", "colormask", "zeropages", "reserve_pagedaemon", "reserve_kernel"),
    *("anonpages", "filepages", "execpages", "freemin", "freetarg", "wiredmax"),
    *("nswapdev", "swpages", "swpgavail", "swpginuse", "swpgonly", "nswget"),
    *("faults", "traps", "intrs", "swtch", "softs", "syscalls", "pageins"),
    *("unused1", "unused2", "pgswapin", "pgswapout"),
)
_SIZE = 480  # bytes, larger than needed: the following members are 0
# The members that uvm_update_uvmexp copies, of those with a value here.
_SUMS = ("filepages", "execpages", "swtch", "pageins")


class MemoryCounters(Subject):
    """The structure, and the sums that are not in it yet."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/uvm/uvm_meter.c 1.80": "uvm_update_uvmexp",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._sums = dict.fromkeys(_SUMS, 0)
        kernel.subject(Pages).on_files = lambda count: self.set("filepages", count)

    def data(self) -> Iterator[DataSymbol]:
        """Yield uvmexp as uvm_init and uvmpd_tune leave it, without swap.

        Source: sys/uvm/uvm_extern.h 1.233 for the layout.
        """
        values = dict.fromkeys(_MEMBERS, 0) | {
            "pagesize": PAGE, "pagemask": PAGE - 1, "pageshift": 12,
            "npages": PAGES, "free": PAGES, "ncolors": 1,
            "reserve_pagedaemon": 1, "reserve_kernel": 5,
            "freemin": FREEMIN, "freetarg": FREETARG, "wiredmax": PAGES // 3,
        }  # fmt: skip
        words = struct.pack(f"<{len(_MEMBERS)}i", *values.values())
        yield DataSymbol("uvmexp", words + bytes(_SIZE - len(words)))

    def set(self, member: str, value: int) -> None:
        """Set a member, or the sum that becomes it at the next uvm_update_uvmexp."""
        if member in self._sums:
            self._sums[member] = value
        else:
            self._put(member, value)

    def add(self, member: str, more: int) -> None:
        """Advance a counter: an int, so it restarts at 0 after 2^32 - 1."""
        if member in self._sums:
            self._sums[member] += more
        else:
            before = self.kernel.memory.read(self._at(member), 4)
            self._put(member, int.from_bytes(before, "little") + more)

    def _put(self, member: str, value: int) -> None:
        self.kernel.memory.put_u32(self._at(member), value & 0xFFFFFFFF)

    def _at(self, member: str) -> int:
        return self.kernel.symbols["uvmexp"] + 4 * _MEMBERS.index(member)

    @kernel_function("void uvm_update_uvmexp(void)")
    def uvm_update_uvmexp(self) -> None:
        """Copy the free pages and the sums: from any context (cpu_count_sync, splvm alone)."""
        self._put("free", self.kernel.subject(Pages).available)
        for name, value in self._sums.items():
            self._put(name, value)
