"""Functions of the network code: references to interfaces, addresses as text, netmasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.netlayout import is_link_local, print4, print6
from vmtsim.kernel.network import Network
from vmtsim.kernel.pserialize import PSerialize
from vmtsim.kernel.psref import PassiveReferences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.network import Interface


class NetworkFunctions(Subject):
    """The functions that modules call, besides walking the lists."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/net/if.c 1.531": "*",
        "sys/netinet6/scope6.c 1.23": "in6_clearscope",
        "sys/netinet6/in6.c 1.292": "in6_mask2len in6_prefixlen2mask",
        "sys/netinet6/in6_print.c 1.1": "in6_print",
        "sys/netinet/in.c 1.248": "in_len2mask",
        "sys/lib/libkern/intoa.c 1.3": "intoa",
        "sys/netinet/in_print.c 1.1": "in_print",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "in6_clearscope in6_mask2len in6_prefixlen2mask in6_print in_print"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._text = 0

    @kernel_function("char *intoa(uint32_t addr)")
    def intoa(self, address: int) -> int:
        """Return the text of an address in network order, in a buffer that the next call uses."""
        memory = self.kernel.memory
        if not self._text:
            self._text = memory.place(bytes(16))
        text = ".".join(str(byte) for byte in address.to_bytes(4, "little"))
        memory.write(self._text, text.encode() + b"\0")
        return self._text

    # -- references (NetBSD sys/net/if.c) --------------------------------------------------------

    def _take(self, function: str, interface: Interface | None, psref: int) -> int:
        """Find an interface and take a reference, inside a read section of the function."""
        if interface is None:
            return 0
        network = self.kernel.subject(Network)
        references = self.kernel.subject(PassiveReferences)
        serialize = self.kernel.subject(PSerialize)
        cookie = serialize.pserialize_read_enter()
        target = interface.at + network.layout.psref
        references.acquire(function, psref, target, network.ifnet_class)
        serialize.pserialize_read_exit(cookie)
        return interface.at

    @kernel_function("struct ifnet *if_get(const char *name, struct psref *psref)")
    def if_get(self, name: str | None, psref: int) -> int:
        """Find a name; a name of digits is an index."""
        if name and name.isdigit():
            return self.if_get_byindex(int(name), psref)
        found = (i for i in self.kernel.subject(Network).interfaces if i.name == name)
        return self._take("if_get", next(found, None), psref)

    @kernel_function("struct ifnet *if_get_byindex(u_int idx, struct psref *psref)")
    def if_get_byindex(self, index: int, psref: int) -> int:
        found = (i for i in self.kernel.subject(Network).interfaces if i.index == index)
        return self._take("if_get_byindex", next(found, None), psref)

    @kernel_function("struct ifnet *if_byindex(u_int idx)")
    def if_byindex(self, index: int) -> int:
        found = (i.at for i in self.kernel.subject(Network).interfaces if i.index == index)
        return next(found, 0)

    @kernel_function("void if_acquire(struct ifnet *ifp, struct psref *psref)")
    def if_acquire(self, interface: int, psref: int) -> None:
        network, memory = self.kernel.subject(Network), self.kernel.memory
        if not memory.u16(interface + network.layout.index):
            self.kernel.panic(
                "ifnet-not-attached",
                f"if_acquire by {self.kernel.where()}: {self.kernel.describe(interface)} has no "
                "index",
            )
        self.kernel.subject(PassiveReferences).acquire(
            "if_acquire", psref, interface + network.layout.psref, network.ifnet_class
        )

    @kernel_function("void if_put(const struct ifnet *ifp, struct psref *psref)")
    def if_put(self, interface: int, psref: int) -> None:
        if interface:
            network = self.kernel.subject(Network)
            self.kernel.subject(PassiveReferences).release(
                "if_put", psref, interface + network.layout.psref, network.ifnet_class
            )

    @kernel_function("bool if_held(struct ifnet *ifp)")
    def if_held(self, interface: int) -> bool:
        network = self.kernel.subject(Network)
        return self.kernel.subject(PassiveReferences).psref_held(
            interface + network.layout.psref, network.ifnet_class
        )

    @kernel_function("void ifa_acquire(struct ifaddr *ifa, struct psref *psref)")
    def ifa_acquire(self, address: int, psref: int) -> None:
        network = self.kernel.subject(Network)
        self.kernel.subject(PassiveReferences).acquire(
            "ifa_acquire", psref, address + network.ifaddr.psref, network.ifaddr_class
        )

    @kernel_function("void ifa_release(struct ifaddr *ifa, struct psref *psref)")
    def ifa_release(self, address: int, psref: int) -> None:
        if address:
            network = self.kernel.subject(Network)
            self.kernel.subject(PassiveReferences).release(
                "ifa_release", psref, address + network.ifaddr.psref, network.ifaddr_class
            )

    @kernel_function("bool ifa_held(struct ifaddr *ifa)")
    def ifa_held(self, address: int) -> bool:
        network = self.kernel.subject(Network)
        return self.kernel.subject(PassiveReferences).psref_held(
            address + network.ifaddr.psref, network.ifaddr_class
        )

    # -- text and masks --------------------------------------------------------------------------

    def _store(self, buffer: int, size: int, text: str) -> int:
        """Store as much of ``text`` as fits with a NUL; returns the length of all of it."""
        if size:
            self.kernel.memory.write(buffer, text.encode("ascii")[: size - 1] + b"\0")
        return len(text)

    @kernel_function("int in_print(char *buf, size_t len, const struct in_addr *ia)")
    def in_print(self, buffer: int, size: int, address: int) -> int:
        return self._store(buffer, size, print4(self.kernel.memory.read(address, 4)))

    @kernel_function("int in6_print(char *buf, size_t len, const struct in6_addr *ia6)")
    def in6_print(self, buffer: int, size: int, address: int) -> int:
        content = self.kernel.memory.read(address, 16)
        # For a single trailing zero group it reads the bytes after the address.
        alone = content[14:] == bytes(2) and content[12:14] != bytes(2)
        following = self.kernel.memory.read(address + 16, 2) if alone else b"\1\1"
        return self._store(buffer, size, print6(content, following))

    @kernel_function("void in_len2mask(struct in_addr *mask, u_int len)")
    def in_len2mask(self, mask: int, length: int) -> None:
        """Write len/8 bytes of ones, and the rest of one: more than 32 bits overflow the mask."""
        whole, rest = divmod(length, 8)
        content = b"\xff" * whole + (bytes([0xFF00 >> rest & 0xFF]) if rest else b"")
        self.kernel.memory.write(mask, content.ljust(4, b"\0"))

    @kernel_function("int in6_mask2len(struct in6_addr *mask, u_char *lim0)")
    def in6_mask2len(self, mask: int, limit: int) -> int:
        """-1 for a mask with a one after a zero; ``limit`` ends the mask early.

        If the byte after the full ones begins with a zero, its other bits are not checked.
        """
        size = min(max(limit - mask, 0), 16) if limit else 16
        content = self.kernel.memory.read(mask, size)
        whole = len(content) - len(content.lstrip(b"\xff"))
        if whole == size:
            return 8 * whole
        first = content[whole]
        ones = next(bit for bit in range(9) if bit == 8 or not first & (0x80 >> bit))
        if (ones and first & (0xFF >> ones)) or any(content[whole + 1 :]):
            return -1
        return 8 * whole + ones

    @kernel_function("void in6_prefixlen2mask(struct in6_addr *maskp, int len)")
    def in6_prefixlen2mask(self, mask: int, length: int) -> None:
        if 0 <= length <= 128:
            ones = ((1 << length) - 1) << (128 - length)
            self.kernel.memory.write(mask, ones.to_bytes(16, "big"))

    @kernel_function("int in6_clearscope(struct in6_addr *in6)")
    def in6_clearscope(self, address: int) -> int:
        content = self.kernel.memory.read(address, 16)
        multicast = content[0] == 0xFF and content[1] & 0xF in {1, 2}
        if not is_link_local(content) and not multicast:
            return 0
        self.kernel.memory.write(address + 2, bytes(2))
        return int(content[2:4] != bytes(2))
