"""Names and versions of the machine as kernel variables (NetBSD sys/kern/init_main.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.kernel.api import DataSymbol, Preempt, Subject
from vmtsim.kernel.sysctllock import SysctlLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtsim.kernel.api import Model

_MAXHOSTNAMELEN = 256

_VENDORS = {"GenuineIntel": 1, "CyrixInstead": 2, "AuthenticAMD": 4, "CentaurHauls": 5}


class Identity(Subject):
    """hostname and related variables."""

    def data(self) -> Iterator[DataSymbol]:
        """Yield the strings that uname(1) prints, and the host name."""
        options = self.kernel.options
        kernel = self.kernel
        version = f"NetBSD {options.release} (VMTSIM) #0: Thu Jan  1 00:00:00 UTC 1970\n"
        for name, text in (
            ("ostype", "NetBSD"),
            ("osrelease", options.release),
            ("version", version),
            ("machine", kernel.port),
            ("machine_arch", kernel.port_arch),
        ):
            yield DataSymbol(name, text.encode("ascii") + b"\0", writable=False)
        yield DataSymbol("hostname", bytes(_MAXHOSTNAMELEN))
        yield DataSymbol("hostnamelen", bytes(4))
        yield DataSymbol("domainname", bytes(_MAXHOSTNAMELEN))
        yield DataSymbol("physmem", (524288).to_bytes(kernel.memory.pointer_size, "little"))
        yield DataSymbol("boothowto", bytes(4))
        yield DataSymbol("securelevel", (0xFFFFFFFF).to_bytes(4, "little"))
        yield DataSymbol("doing_shutdown", bytes(4))
        yield DataSymbol("panicstr", bytes(kernel.memory.pointer_size))
        if kernel.cpu.machine != "aarch64":
            # The highest basic leaf of CPUID; -1 on an i486 without CPUID (locore.S).
            leaves = self.kernel.options.cpuid
            level = leaves[0][0] if 0 in leaves else 0xD
            yield DataSymbol("cpuid_level", level.to_bytes(4, "little"))
            yield DataSymbol("cpu_vendor", self._vendor().to_bytes(4, "little"))

    def _vendor(self) -> int:
        """Return CPUVENDOR_* from leaf 0 of CPUID, AMD without one, like the processor model.

        cpu_probe() in sys/arch/x86/x86/identcpu.c; sys/arch/x86/include/cputypes.h.
        """
        leaf = self.kernel.options.cpuid.get(0)
        if leaf is None:
            return _VENDORS["AuthenticAMD"]
        text = b"".join(leaf[at].to_bytes(4, "little") for at in (1, 3, 2))
        return _VENDORS.get(text.decode("latin-1"), 0)

    def boot(self) -> None:
        """Set the host name, as rc(8) does."""
        self.set_hostname(self.kernel.options.hostname)

    def set_hostname(self, name: str) -> None:
        """Set the name and its length at once."""
        self._copy(name.encode("utf-8")[: _MAXHOSTNAMELEN - 1], 0)

    def _copy(self, data: bytes, start: int) -> None:
        memory, symbols = self.kernel.memory, self.kernel.symbols
        whole = data.ljust(_MAXHOSTNAMELEN, b"\0")
        memory.write(symbols["hostname"] + start, whole[start:])
        memory.put_u32(symbols["hostnamelen"], len(data))

    def rename(self, name: str) -> Model:
        """Set kern.hostname as a process does with sysctl -w.

        Under the write lock of the tree; sysctl_lookup() copies byte by byte, and a reader of the
        variable without a lock at that time gets a part of each name.
        """
        data = name.encode("utf-8")[: _MAXHOSTNAMELEN - 1]
        half = len(data) // 2
        lock = self.kernel.subject(SysctlLock)
        yield from lock.lock("sysctl", write=True)
        self.kernel.memory.write(self.kernel.symbols["hostname"], data[:half])
        yield Preempt()
        self._copy(data, half)
        lock.unlock()
