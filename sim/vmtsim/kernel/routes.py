"""The routing table of each address family, and the walk through it.

The members of a struct rtentry that have a name in netlayout.RouteLayout are filled in; the links
of the radix tree are the kernel's own.  Sources: NetBSD sys/net/route.c 1.237, rtbl.c 1.7, radix.c
1.49 (rn_walktree, rn_addmask).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.netlayout import (
    AF_INET,
    AF_INET6,
    RTENTRY,
    RTF_GATEWAY,
    RTF_HOST,
    RTF_STATIC,
    RTF_UP,
    embed_scope,
    link_sockaddr,
    sockaddr,
)
from vmtsim.kernel.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.network import Interface

# IPL_SOFTNET of sys/arch/x86/include/intrdefs.h and sys/arch/evbarm/include/intr.h.
_SOFTNET = {"amd64": 4, "i386": 4, "aarch64": 3}

Net = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(eq=False)
class Route:
    """One struct rtentry."""

    net: Net
    interface: Interface
    gateway: str
    struct: KernelObject


class Routes(Subject):
    """Routes by their destination: a table has one for each.

    Without NET_MPSAFE a route that is deleted is freed at once, even while a thread reads it.  A
    reader is protected by KERNEL_LOCK, and by its interrupt level from the soft interrupts of its
    own processor (sysctl_rtable() of sys/net/rtsock.c 1.256 reads at splsoftnet, with KERNEL_LOCK;
    PR_WRAP_USRREQS of sys/sys/protosw.h takes that for a routing socket).  With NET_MPSAFE the walk
    holds a lock for readers, which may sleep.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/net/route.c 1.237": "rt_walktree",
    }
    # The callers hold the lock of the routing table.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.layout = RTENTRY[kernel.memory.pointer_size]
        self._routes: dict[Net, Route] = {}
        self._walks = 0
        self._freed: list[KernelObject] = []  # during a walk, with NET_MPSAFE

    def boot(self) -> None:
        """Route everything through the first card, like dhcpcd(8) and a router advertisement."""
        network = self.kernel.subject(Network)
        network.removed.append(self._interface_gone)
        self.add("default", "192.0.2.1", "wm0")
        self.add("default", "fe80::1", "wm0")

    # -- route(8) ----------------------------------------------------------------------------

    def add(
        self, destination: str, gateway: str = "", interface: str = "", *, flags: int = 0
    ) -> None:
        """Add a route: ``destination`` is a net or "default".

        Without a ``gateway`` it ends at the interface; "default" is then one of IPv4.  Without an
        interface it is the one with the gateway's net.  ``flags`` are RTF_REJECT and so on.  Raises
        KeyError if there is none, FileExistsError if the destination has a route.
        """
        net = self._net(destination, gateway)
        if net in self._routes:
            raise FileExistsError(f"there already is a route to {net}")
        via = self.kernel.subject(Network).find(interface) if interface else self._near(gateway)
        width = net.max_prefixlen
        flags |= RTF_UP | RTF_STATIC | (RTF_GATEWAY if gateway else 0)
        flags |= RTF_HOST if net.prefixlen == width else 0
        hop = (
            sockaddr(embed_scope(ipaddress.ip_address(gateway).packed, via.index))
            if gateway
            else link_sockaddr(via.index, 6, via.name.encode("latin-1"), b"")
        )
        self._routes[net] = Route(net, via, gateway, self._make(net, via, hop, flags))

    def delete(self, destination: str, gateway: str = "") -> None:
        """Delete the route to a net or "default"; KeyError if there is none."""
        net = self._net(destination, gateway)
        if net not in self._routes:
            raise KeyError(f"there is no route to {net}")
        self._free(self._routes.pop(net))

    def clear(self) -> None:
        """Delete all of them."""
        for net in list(self._routes):
            self._free(self._routes.pop(net))

    def _net(self, destination: str, gateway: str) -> Net:
        if destination != "default":
            return ipaddress.ip_network(destination)
        return ipaddress.ip_network("::/0" if ":" in gateway else "0.0.0.0/0")

    def _near(self, gateway: str) -> Interface:
        address = ipaddress.ip_address(gateway)
        for interface in self.kernel.subject(Network).interfaces:
            if any(address in ipaddress.ip_interface(t).network for t in interface.texts()):
                return interface
        raise KeyError(f"no interface has an address in the net of {gateway}")

    def _make(self, net: Net, via: Interface, hop: bytes, flags: int) -> KernelObject:
        """Create a struct rtentry, followed by key, mask and gateway."""
        memory, layout = self.kernel.memory, self.layout
        key = sockaddr(net.network_address.packed)
        struct = KernelObject(self.kernel, layout.size + 128, f"struct rtentry to {net}")
        at, room = struct.at, struct.at + layout.size
        memory.write(room, key)
        memory.put_pointer(at + layout.key, room)
        memory.write(room + 32, hop)
        memory.put_pointer(at + layout.gateway, room + 32)
        mask = _mask(net)
        if mask:
            memory.write(room + 96, mask)
            memory.put_pointer(at + layout.mask, room + 96)
        memory.put_u32(at + layout.flags, flags)
        memory.put_pointer(at + layout.ifp, via.at)
        return struct

    def _interface_gone(self, interface: Interface) -> None:
        """Delete its routes: if_rt_walktree() of sys/net/if.c."""
        for net, route in list(self._routes.items()):
            if route.interface is interface:
                self._free(self._routes.pop(net))

    def _free(self, route: Route) -> None:
        if self.kernel.options.net_mpsafe and self._walks:
            self._freed.append(route.struct)
        else:
            route.struct.free("rt_free")

    # -- functions for modules ---------------------------------------------------------------

    @kernel_function(
        "int rt_walktree(sa_family_t family, int (*f)(struct rtentry *, void *), void *v)"
    )
    def rt_walktree(self, family: int, function: int, argument: int) -> Model:
        """Call back for each route: by its key, of equal ones the longest mask first."""
        kernel = self.kernel
        if kernel.options.net_mpsafe:
            kernel.rules.may_sleep("rt_walktree")
        elif not kernel.current.kernel_locks or kernel.current.spl < _SOFTNET[kernel.cpu.machine]:
            missing = (
                "splsoftnet()" if kernel.current.kernel_locks else "KERNEL_LOCK and splsoftnet()"
            )
            kernel.violation(
                "routes-unlocked",
                f"rt_walktree by {kernel.where()} in thread {kernel.current.name} without "
                f"{missing}: the kernel has no NET_MPSAFE",
            )
        self._walks += 1
        try:
            for route in self._in_order(family):
                error = yield Call(function, (route.struct.at, argument))
                if error & 0xFFFFFFFF:
                    return error & 0xFFFFFFFF
        finally:
            self._walks -= 1
            if not self._walks:
                freed, self._freed = self._freed, []
                for struct in freed:
                    struct.free("rt_free")
        return 0

    def _in_order(self, family: int) -> Iterator[Route]:
        version = {AF_INET: 4, AF_INET6: 6}.get(family)
        found = [route for route in self._routes.values() if route.net.version == version]
        yield from sorted(
            found, key=lambda each: (int(each.net.network_address), -each.net.prefixlen)
        )


def _mask(net: Net) -> bytes:
    """Return the mask in the format of the tree of masks: rn_addmask().

    Bytes before the address are ones, trailing zeros are cut, and the mask of a default route is
    rn_zeros, whose length is 0.  A host's route has none.
    """
    if net.prefixlen == net.max_prefixlen:
        return b""
    skip = 4 if net.version == 4 else 8
    content = b"\0" + b"\xff" * (skip - 1) + net.netmask.packed.rstrip(b"\0")
    if net.prefixlen == 0:
        return bytes(len(sockaddr(net.network_address.packed)))
    return bytes([len(content)]) + content[1:]
