"""Network interfaces and their addresses, as lists in guest memory that modules walk themselves.

Sources: NetBSD sys/net/if.c 1.531 (ifa_remove, if_detach, ifioctl), if.h, if_dl.h,
sys/netinet/in.c, in.h, sys/netinet6/in6.h and sys/sys/pslist.h (pslist_entry_destroy); offsets
measured with the headers of NetBSD 10 and 11.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import DataSymbol, Subject
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.netlayout import (
    IFADDR,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_SIMPLEX,
    IFF_UP,
    IFNET,
    IFT_ETHER,
    IFT_LOOP,
    IFT_TUNNEL,
    embed_scope,
    link_mask,
    link_sockaddr,
    mask_sockaddr,
    sockaddr,
)
from vmtsim.kernel.pserialize import PSerialize
from vmtsim.kernel.psref import PassiveReferences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vmtsim.kernel.kernel import Kernel

# sys/sys/pslist.h: the next entry, as seen in an entry that was removed and destroyed.
_POISON = 1

# kind -> (if_type, if_flags of an interface that is up)
_KINDS = {
    "ethernet": (
        IFT_ETHER,
        IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_SIMPLEX | IFF_MULTICAST,
    ),
    "loopback": (IFT_LOOP, IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_MULTICAST),
    "tunnel": (IFT_TUNNEL, IFF_UP | IFF_POINTOPOINT | IFF_RUNNING | IFF_MULTICAST),
}
DEFAULT_MAC = "00:0c:29:3e:5a:01"  # 00:0c:29 is VMware's


@dataclass
class Address:
    """One struct ifaddr; ``text`` is in ifconfig(8)'s format, '' for the link-level address."""

    text: str
    at: int
    sockaddr: int


@dataclass
class Interface:
    """One struct ifnet.  ``at`` is its address; ``addresses`` begin with the link-level one."""

    name: str
    index: int
    kind: str
    mac: bytes
    at: int
    addresses: list[Address] = field(default_factory=list)

    def texts(self) -> list[str]:
        """Return the network addresses with their prefix lengths, in order."""
        return [address.text for address in self.addresses if address.text]


class Network(Subject):
    """The machine's interfaces.  Scenarios change them as ifconfig(8) does, at any time.

    An interface that is removed leaves the list at once.  Its memory is freed when no thread is in
    a read section and no thread holds a reference, for which if_detach() waits.  The same holds for
    an address on a kernel with options NET_MPSAFE.  Without them ifa_remove() poisons the entry and
    frees it at once, even while a thread reads it: a reader is protected by KERNEL_LOCK, which
    threads that change addresses hold.  A module that reads freed memory faults.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        size = kernel.memory.pointer_size
        self.layout = IFNET[size]
        self.ifaddr = IFADDR[size]
        self.interfaces: list[Interface] = []
        self.ifnet_class = 0
        self.ifaddr_class = 0
        self._latest_index = 1
        self.removed: list[Callable[[Interface], None]] = []  # called when one is removed
        self._retired: dict[int, int] = {}  # address -> its psref target
        self._objects: dict[int, KernelObject] = {}

    def data(self) -> Iterator[DataSymbol]:
        """Yield the list's head, and the class of references to addresses."""
        size = self.kernel.memory.pointer_size
        yield DataSymbol("ifnet_pslist", bytes(size))
        yield DataSymbol("ifa_psref_class", bytes(size))

    def boot(self) -> None:
        """Give the machine an Ethernet card and the loopback interface, both up."""
        references = self.kernel.subject(PassiveReferences)
        self.ifnet_class = references.new_class("ifnet")
        self.ifaddr_class = references.new_class("ifa")
        self.kernel.memory.put_pointer(self.kernel.symbols["ifa_psref_class"], self.ifaddr_class)
        references.released.append(lambda _target: self._collect())
        # A card is found before the pseudo-devices are created, so it is number 1.
        self.add("wm0", mac=DEFAULT_MAC)
        for text in ("fe80::20c:29ff:fe3e:5a01/64", "192.0.2.10/24", "2001:db8::10/64"):
            self.add_address("wm0", text)
        self.add("lo0", kind="loopback")
        for text in ("::1/128", "fe80::1/64", "127.0.0.1/8"):
            self.add_address("lo0", text)

    # -- configuration -------------------------------------------------------------------------

    def find(self, name: str) -> Interface:
        """Return the interface with that name; KeyError with the existing names."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        known = ", ".join(interface.name for interface in self.interfaces) or "none"
        raise KeyError(f"no network interface {name!r} (interfaces: {known})")

    def add(
        self, name: str, *, kind: str = "ethernet", mac: str = "", up: bool = True
    ) -> Interface:
        """Attach an interface of a kind: ethernet, loopback or tunnel.

        ``mac`` is like 00:0c:29:3e:5a:01; an Ethernet interface without one gets one derived from
        its number.
        Raises ValueError for an unknown kind, or for a name that exists or is too long.
        """
        if kind not in _KINDS:
            raise ValueError(
                f"unknown kind of interface {kind!r}: expected one of {', '.join(_KINDS)}"
            )
        if not 0 < len(name) <= 15:
            raise ValueError(f"interface name {name!r} must have 1 to 15 characters")
        if any(interface.name == name for interface in self.interfaces):
            raise ValueError(f"the interface {name!r} already exists")
        index = self._free_index()
        if name.startswith("tap") and not mac:
            mac = f"f2:0b:a4:00:00:{index & 0xFF:02x}"  # sys/net/if_tap.c, tap_attach
        elif kind == "ethernet" and not mac:
            mac = f"00:0c:29:3e:5b:{index & 0xFF:02x}"
        raw = bytes.fromhex(mac.replace(":", ""))
        memory, layout = self.kernel.memory, self.layout
        if_type, flags = _KINDS[kind]
        if not up:
            flags &= ~(IFF_UP | IFF_RUNNING)
        at = self._object(layout.size, f"struct ifnet of {name}")
        memory.write(at + layout.xname, name.encode("latin-1").ljust(16, b"\0"))
        memory.put_u16(at + layout.index, index)
        memory.put_u16(at + layout.flags, flags)
        memory.put_u8(at + layout.type, if_type)
        memory.put_u8(at + layout.addrlen, len(raw))
        memory.put_u64(at + layout.mtu, 33624 if kind == "loopback" else 1500)
        self.kernel.subject(PassiveReferences).init_target(at + layout.psref, self.ifnet_class)
        interface = Interface(name, index, kind, raw, at)
        self.interfaces.append(interface)
        self._attach_link(interface)
        self._link()
        return interface

    def _free_index(self) -> int:
        """Return the next index: the latest again if its interface was destroyed (if_getindex)."""
        taken = {interface.index for interface in self.interfaces}
        while self._latest_index in taken:
            self._latest_index += 1
        return self._latest_index

    def _attach_link(self, interface: Interface) -> None:
        """Create the link-level address, the last of the list, and point to it (if_alloc_sadl)."""
        memory, layout, at = self.kernel.memory, self.layout, interface.at
        link = link_sockaddr(
            interface.index,
            memory.u8(at + layout.type),
            interface.name.encode("latin-1"),
            interface.mac,
        )
        base, word = self.ifaddr.size, memory.pointer_size
        room = -(-len(link) // word) * word
        parts = ((base, link), (0, b""), (base + room, link_mask(len(interface.name))))
        self._attach(interface, "", base + 2 * room, parts)
        memory.put_pointer(at + layout.dl, interface.addresses[-1].at)
        memory.put_pointer(at + layout.sadl, interface.addresses[-1].sockaddr)

    def set_mac(self, name: str, mac: str) -> None:
        """Give an interface another MAC: a new link-level address, and the old one is freed.

        SIOCALIFADDR and SIOCDLIFADDR in sys/net/link_proto.c; lagg(4), vlan(4), carp(4) too.
        """
        interface = self.find(name)
        old = next(address for address in interface.addresses if not address.text)
        interface.mac = bytes.fromhex(mac.replace(":", ""))
        self._attach_link(interface)
        interface.addresses.remove(old)
        self._link()
        self._remove_address(old)

    def remove(self, name: str) -> None:
        """Detach an interface: its addresses go first, while it is still in the list."""
        interface = self.find(name)
        memory, layout = self.kernel.memory, self.layout
        memory.put_pointer(interface.at + layout.sadl, 0)
        memory.put_pointer(interface.at + layout.dl, 0)
        for notify in self.removed:
            notify(interface)
        gone, interface.addresses = interface.addresses, []
        self._link()
        for address in gone:
            self._remove_address(address)
        self.interfaces.remove(interface)
        self._link()
        self._retire(interface.at, interface.at + layout.psref)

    def up(self, name: str, *, up: bool = True) -> None:
        """Set or clear IFF_UP and IFF_RUNNING."""
        at = self.find(name).at + self.layout.flags
        flags = self.kernel.memory.u16(at) & ~(IFF_UP | IFF_RUNNING)
        self.kernel.memory.put_u16(at, flags | (IFF_UP | IFF_RUNNING if up else 0))

    def down(self, name: str) -> None:
        """Clear IFF_UP and IFF_RUNNING."""
        self.up(name, up=False)

    def add_address(self, name: str, text: str, *, destination: str = "", flags: int = 0) -> None:
        """Give an interface an address like 192.0.2.10/24 or 2001:db8::10/64.

        ``destination`` is the other end of a tunnel, ``flags`` the address's ia4_flags or
        ia6_flags (netlayout.IN6_IFF_TENTATIVE ...).  Link-local IPv6 addresses get the number
        of the interface in their bytes 2 and 3, as everywhere inside the kernel.
        """
        interface = self.find(name)
        parsed = ipaddress.ip_interface(text)
        raw = embed_scope(parsed.ip.packed, interface.index)
        if destination:
            other = sockaddr(embed_scope(ipaddress.ip_address(destination).packed, interface.index))
        elif parsed.version == 4 and interface.kind == "ethernet":
            other = sockaddr(parsed.network.broadcast_address.packed)
        elif parsed.version == 4 and interface.kind == "loopback":
            other = sockaddr(raw)
        elif parsed.version == 4 or interface.kind in {"loopback", "tunnel"}:
            other = bytes(len(sockaddr(raw)))  # ifa_dstaddr is set, with zeros in it
        else:
            other = b""
        layout = self.ifaddr
        first, size = (
            (layout.in_addr, layout.in_size)
            if parsed.version == 4
            else (layout.in6_addr, layout.in6_size)
        )
        parts = (
            sockaddr(raw),
            other,
            mask_sockaddr(parsed.netmask.packed),
        )
        # The members are as large as the address; in_ifaddr has no ia_net between them.
        step = len(parts[0])
        second = first + step * (1 if parsed.version == 4 else 2)
        places = (first, second, second + step)
        at = self._attach(interface, str(parsed), size, tuple(zip(places, parts, strict=True)))
        if parsed.version == 6:
            net = embed_scope(parsed.network.network_address.packed, interface.index)
            self.kernel.memory.write(at + first + step, sockaddr(net))
        self._set_flags(at, parsed.version, flags)
        self._link()

    def _set_flags(self, at: int, version: int, flags: int) -> None:
        where = self.ifaddr.in_flags if version == 4 else self.ifaddr.in6_flags
        self.kernel.memory.put_u32(at + where, flags)

    def _address(self, name: str, text: str) -> Address:
        interface = self.find(name)
        expected = str(ipaddress.ip_interface(text))
        for address in interface.addresses:
            if address.text == expected:
                return address
        known = ", ".join(interface.texts()) or "none"
        raise KeyError(f"{name} has no address {expected} (it has: {known})")

    def set_address_flags(self, name: str, text: str, flags: int) -> None:
        """Change an address's ia4_flags or ia6_flags, as duplicate address detection does."""
        address = self._address(name, text)
        self._set_flags(address.at, ipaddress.ip_interface(text).version, flags)

    def remove_address(self, name: str, text: str) -> None:
        """Remove an address from an interface."""
        address = self._address(name, text)
        self.find(name).addresses.remove(address)
        self._link()
        self._remove_address(address)

    def _remove_address(self, address: Address) -> None:
        """Free an address that has left the list: ifa_remove()."""
        if self.kernel.options.net_mpsafe:
            self._retire(address.at, address.at + self.ifaddr.psref)
            return
        memory = self.kernel.memory
        memory.put_pointer(address.at + self.ifaddr.pslist + memory.pointer_size, _POISON)
        self._objects.pop(address.at).free("ifa_remove")

    def clear(self) -> None:
        """Detach all interfaces."""
        for interface in list(self.interfaces):
            self.remove(interface.name)

    def configure(self, cards: Mapping[str, Sequence[str]]) -> None:
        """Make these the Ethernet cards, with these addresses; other interfaces stay.

        An existing card keeps its number and its MAC, and an address that stays is not changed.
        """
        for interface in list(self.interfaces):
            if interface.kind == "ethernet" and interface.name not in cards:
                self.remove(interface.name)
        for name, texts in cards.items():
            if all(interface.name != name for interface in self.interfaces):
                self.add(name)
            kept = [str(ipaddress.ip_interface(text)) for text in texts]
            for text in self.find(name).texts():
                if text not in kept:
                    self.remove_address(name, text)
            for text in kept:
                if text not in self.find(name).texts():
                    self.add_address(name, text)

    # -- objects in guest memory -----------------------------------------------------------------

    def _object(self, size: int, what: str) -> int:
        made = KernelObject(self.kernel, size, what)
        self._objects[made.at] = made
        return made.at

    def _attach(
        self, interface: Interface, text: str, size: int, parts: tuple[tuple[int, bytes], ...]
    ) -> int:
        """Create a struct ifaddr of ``size`` bytes with its address, other end and mask.

        ``parts`` are their offsets in it and their contents; one without content is absent.
        """
        memory, word = self.kernel.memory, self.kernel.memory.pointer_size
        what = f"struct ifaddr {text or 'of the link level'} of {interface.name}"
        at = self._object(size, what)
        for member, (place, content) in enumerate(parts):
            if content:
                memory.write(at + place, content)
                memory.put_pointer(at + member * word, at + place)
        memory.put_pointer(at + 3 * word, interface.at)
        target = at + self.ifaddr.psref
        self.kernel.subject(PassiveReferences).init_target(target, self.ifaddr_class)
        interface.addresses.append(Address(text, at, at + parts[0][0]))
        return at

    def _link(self) -> None:
        """Make the lists match ``interfaces``.

        An object that is no longer in a list keeps its link, for readers that are at it.
        """
        self._link_list(
            self.kernel.symbols["ifnet_pslist"],
            [interface.at + self.layout.pslist for interface in self.interfaces],
        )
        for interface in self.interfaces:
            self._link_list(
                interface.at + self.layout.addresses,
                [address.at + self.ifaddr.pslist for address in interface.addresses],
            )

    def _link_list(self, link: int, entries: list[int]) -> None:
        """Write a pslist: a head, and entries of a pointer to the link and the next entry."""
        memory = self.kernel.memory
        for entry in entries:
            memory.put_pointer(link, entry)
            memory.put_pointer(entry, link)
            link = entry + memory.pointer_size
        memory.put_pointer(link, 0)

    def _retire(self, at: int, target: int) -> None:
        """Free the object when no thread can be reading it any more."""
        memory = self.kernel.memory
        memory.put_u8(target + memory.pointer_size, 1)  # prt_draining
        self._retired[at] = target
        self.kernel.subject(PSerialize).after_readers(self._collect)

    def _collect(self) -> None:
        references = self.kernel.subject(PassiveReferences)
        readers = any(lwp.pserialize for lwp in self.kernel.scheduler.lwps)
        for at, target in list(self._retired.items()):
            if not readers and not references.is_held(target):
                del self._retired[at]
                self._objects.pop(at).free("if_detach")
