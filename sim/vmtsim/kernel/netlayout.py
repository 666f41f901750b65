"""Numbers and layouts of the network code: structures, socket addresses and their text format."""

from __future__ import annotations

import ipaddress

from vmtgen.common.dataclass import dataclass

IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_SIMPLEX = 0x800
IFF_MULTICAST = 0x8000
IFT_ETHER = 6
IFT_LOOP = 24
IFT_TUNNEL = 131
# ia4_flags and ia6_flags: the address is not to be used yet, or not at all
IN_IFF_TENTATIVE, IN_IFF_DUPLICATED, IN_IFF_DETACHED = 1, 2, 4
IN6_IFF_TENTATIVE, IN6_IFF_DUPLICATED, IN6_IFF_DETACHED, IN6_IFF_DEPRECATED = 2, 4, 8, 16
RTF_UP = 0x1
RTF_GATEWAY = 0x2
RTF_HOST = 0x4
RTF_REJECT = 0x8
RTF_STATIC = 0x800
RTF_BLACKHOLE = 0x1000
AF_INET = 2
AF_LINK = 18
AF_INET6 = 24


@dataclass(frozen=True)
class IfnetLayout:
    """The offsets of members of struct ifnet, in bytes."""

    xname: int
    index: int
    flags: int
    type: int
    addrlen: int
    mtu: int
    dl: int
    sadl: int
    pslist: int
    psref: int
    addresses: int
    size: int


@dataclass(frozen=True)
class IfaddrLayout:
    """The offsets of members of struct ifaddr, and of in_ifaddr and in6_ifaddr, which extend it.

    The first four members are a pointer each: address, other end, mask, interface.  ``size`` is
    that of a struct ifaddr; members after the flags of an in_ifaddr are the kernel's own.
    """

    pslist: int
    psref: int
    size: int
    in_addr: int  # struct in_ifaddr: ia_addr, then ia_dstaddr and ia_sockmask, 16 bytes each
    in_flags: int
    in_size: int
    in6_addr: int  # struct in6_ifaddr: ia_addr, ia_net, ia_dstaddr, ia_prefixmask, 28 bytes each
    in6_flags: int
    in6_size: int


@dataclass(frozen=True)
class RouteLayout:
    """The offsets of members of struct rtentry; ``mask`` is that of its first struct radix_node."""

    mask: int
    gateway: int
    flags: int
    ifp: int
    ifa: int
    key: int
    size: int


# Pointer size -> layout; amd64 and aarch64 agree.
RTENTRY = {
    8: RouteLayout(32, 96, 104, 120, 128, 256, 320),
    4: RouteLayout(16, 48, 52, 68, 72, 176, 224),
}
IFNET = {
    8: IfnetLayout(40, 72, 76, 80, 81, 88, 336, 344, 856, 872, 888, 920),
    4: IfnetLayout(20, 44, 48, 52, 53, 60, 212, 216, 488, 496, 504, 520),
}
IFADDR = {
    8: IfaddrLayout(112, 128, 144, 200, 268, 320, 144, 280, 384),
    4: IfaddrLayout(68, 76, 84, 120, 180, 224, 84, 208, 272),
}


def sockaddr(address: bytes) -> bytes:
    """Return struct sockaddr_in or sockaddr_in6, by the length of the address."""
    if len(address) == 4:
        return bytes([16, AF_INET, 0, 0]) + address + bytes(8)
    return bytes([28, AF_INET6, 0, 0, 0, 0, 0, 0]) + address + bytes(4)


def mask_sockaddr(mask: bytes) -> bytes:
    """Return the sockaddr of a netmask.

    The kernel cuts sin_len of an IPv4 mask after its last nonzero byte (in_socktrim() of NetBSD
    sys/netinet/in.c), so it is 7 for a /24, and 0 for a /0.
    """
    content = bytearray(sockaddr(mask))
    if len(mask) == 4:
        used = len(mask.rstrip(b"\0"))
        content[0] = 4 + used if used else 0
    return bytes(content)


def link_sockaddr(index: int, if_type: int, name: bytes, mac: bytes) -> bytes:
    """Return struct sockaddr_dl: name and link-level address are in sdl_data.

    Its length depends on them (sockaddr_dl_measure() of NetBSD sys/net/link_proto.c).
    """
    size = 8 + len(name) + len(mac)
    header = bytes([size, AF_LINK]) + index.to_bytes(2, "little")
    return header + bytes([if_type, len(name), len(mac), 0]) + name + mac


def link_mask(name_length: int) -> bytes:
    """Return the mask of a link-level address: ones under the name (if_dl_create() of if.c)."""
    return bytes([8 + name_length, AF_LINK, 0, 0, 0, 0, 0, 0]) + b"\xff" * name_length


def is_link_local(address: bytes) -> bool:
    """Whether this is fe80::/10."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def embed_scope(address: bytes, index: int) -> bytes:
    """Return the address as the kernel keeps it: link-local ones contain the interface's number."""
    if not is_link_local(address):
        return address
    return address[:2] + index.to_bytes(2, "big") + address[4:]


def print4(address: bytes) -> str:
    """Format an IPv4 address as in_print() does."""
    return ".".join(str(byte) for byte in address)


def print6(address: bytes, following: bytes = b"\1\1") -> str:
    """Format an IPv6 address as in6_print() of NetBSD sys/netinet6/in6_print.c does.

    It shortens the first run of two or more zero groups, not the longest.  A single zero group at
    the end counts as a run if the two bytes ``following`` the address are zero.
    """
    if ipaddress.IPv6Address(address).ipv4_mapped is not None:
        return f"::ffff:{print4(address[12:])}"
    groups = [f"{int.from_bytes(address[i : i + 2], 'big'):x}" for i in range(0, 16, 2)]
    start = next((i for i in range(7) if groups[i] == groups[i + 1] == "0"), None)
    if start is None and groups[7] == "0" and not any(following):
        return ":".join(groups[:7]) + ":"
    if start is None:
        return ":".join(groups)
    end = start
    while end < 8 and groups[end] == "0":
        end += 1
    return ":".join(groups[:start]) + "::" + ":".join(groups[end:])
