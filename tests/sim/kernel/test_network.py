"""Interfaces and addresses as a module sees them: lists, references, text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel import netlayout
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.network import Network
from vmtsim.kernel.scheduler import CALL_COST

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.lwp import Lwp

    from .guestcode import Code

LISTING = """
    #include <sys/param.h>
    #include <sys/pserialize.h>
    #include <sys/socket.h>
    #include <sys/systm.h>

    #include <net/if.h>
    #include <net/if_dl.h>
    #include <netinet/in.h>
    #include <netinet/in_var.h>
    #include <netinet6/in6.h>
    #include <netinet6/in6_var.h>

    char text[4096];
    static size_t used;

    static void
    show4(struct ifaddr *ifa)
    {
            const struct sockaddr_in *mask = (void *)ifa->ifa_netmask;
            const struct sockaddr_in *other = (void *)ifa->ifa_dstaddr;

            used += in_print(text + used, sizeof(text) - used,
                &((struct sockaddr_in *)(void *)ifa->ifa_addr)->sin_addr);
            used += snprintf(text + used, sizeof(text) - used, "/%u[%u]+%d",
                popcount32(mask->sin_addr.s_addr), mask->sin_len,
                ifatoia(ifa)->ia4_flags);
            if (other != NULL) {
                    used += snprintf(text + used, sizeof(text) - used, ">");
                    used += in_print(text + used, sizeof(text) - used, &other->sin_addr);
            }
    }

    static void
    show6(struct ifaddr *ifa)
    {
            const struct sockaddr_in6 *mask = (void *)ifa->ifa_netmask;
            unsigned int bits = 0;

            for (int i = 0; i < 4; i++)
                    bits += popcount32(mask->sin6_addr.s6_addr32[i]);
            used += in6_print(text + used, sizeof(text) - used,
                &((struct sockaddr_in6 *)(void *)ifa->ifa_addr)->sin6_addr);
            used += snprintf(text + used, sizeof(text) - used, "/%u+%d", bits,
                ifatoia6(ifa)->ia6_flags);
    }

    int
    list(void)
    {
            struct ifnet *ifp;
            struct ifaddr *ifa;
            int s, n = 0;

            used = 0;
            s = pserialize_read_enter();
            IFNET_READER_FOREACH(ifp) {
                    const struct sockaddr_dl *sdl = ifp->if_sadl;

                    used += snprintf(text + used, sizeof(text) - used,
                        "%s %u %x %u", ifp->if_xname, ifp->if_index, ifp->if_flags,
                        ifp->if_type);
                    for (int i = 0; i < sdl->sdl_alen; i++)
                            used += snprintf(text + used, sizeof(text) - used, "%c%02x",
                                i ? ':' : ' ', (uint8_t)CLLADDR(sdl)[i]);
                    IFADDR_READER_FOREACH(ifa, ifp) {
                            if (ifa->ifa_ifp != ifp)
                                    return -1;
                            if (ifa->ifa_addr->sa_family == AF_LINK &&
                                ifa->ifa_addr != (const void *)sdl)
                                    return -2;
                            used += snprintf(text + used, sizeof(text) - used, " ");
                            if (ifa->ifa_addr->sa_family == AF_LINK)
                                    used += snprintf(text + used, sizeof(text) - used, "link");
                            if (ifa->ifa_addr->sa_family == AF_INET)
                                    show4(ifa);
                            if (ifa->ifa_addr->sa_family == AF_INET6)
                                    show6(ifa);
                    }
                    used += snprintf(text + used, sizeof(text) - used, "|");
                    n++;
            }
            pserialize_read_exit(s);
            return n;
    }
"""

DEFAULT = (
    "wm0 1 8843 6 00:0c:29:3e:5a:01 link fe80:1::20c:29ff:fe3e:5a01/64+0 "
    "192.0.2.10/24[7]+0>192.0.2.255 2001:db8::10/64+0|"
    "lo0 2 8049 24 link ::1/128+0 fe80:2::1/64+0 127.0.0.1/8[5]+0>127.0.0.1|"
)


@pytest.mark.parametrize("machine", MACHINES)
def test_interface_lists_match_kernel_layout(load: Callable[..., Code], machine: str) -> None:
    code = load(LISTING, machine)
    assert code.call("list") == 2
    assert code.text("text") == DEFAULT
    assert code.unload() == []


def test_interfaces_and_addresses_change_as_by_ifconfig(
    load: Callable[..., Code],
) -> None:
    code = load(LISTING)
    network = code.kernel.subject(Network)
    network.add("tap0", mac="f2:0b:a4:00:00:01")
    network.add_address("tap0", "10.1.2.3/8")
    network.add_address("tap0", "fe80::5/64", flags=netlayout.IN6_IFF_TENTATIVE)
    network.remove("wm0")
    network.down("lo0")
    network.remove_address("lo0", "127.0.0.1/8")
    assert code.call("list") == 2
    assert code.text("text") == (
        "lo0 2 8008 24 link ::1/128+0 fe80:2::1/64+0|"
        "tap0 3 8843 6 f2:0b:a4:00:00:01 link 10.1.2.3/8[5]+0>10.255.255.255 fe80:3::5/64+2|"
    )
    network.set_address_flags("tap0", "fe80::5/64", 0)
    network.up("lo0")
    network.add("tun0", kind="tunnel")
    network.add_address("tun0", "192.0.2.129/32", destination="198.51.100.1")
    assert code.call("list") == 3
    assert "lo0 2 8049" in code.text("text")
    assert "fe80:3::5/64+0|" in code.text("text")
    assert "tun0 4 8051 131 link 192.0.2.129/32[8]+0>198.51.100.1|" in code.text("text")


def test_configure_keeps_unchanged_parts(load: Callable[..., Code]) -> None:
    code = load(LISTING)
    network = code.kernel.subject(Network)
    before = network.find("wm0").addresses[2].at
    network.configure({"wm0": ["192.0.2.10/24"], "wm1": ["203.0.113.7/24"]})
    assert network.find("wm0").addresses[1].at == before
    assert [i.name for i in network.interfaces] == ["wm0", "lo0", "wm1"]
    assert network.find("wm1").texts() == ["203.0.113.7/24"]
    network.clear()
    assert code.call("list") == 0
    assert code.kernel.memory.pointer(code.kernel.symbols["ifnet_pslist"]) == 0


def test_unknown_names_are_refused_with_existing_ones(load: Callable[..., Code]) -> None:
    network = load(LISTING).kernel.subject(Network)
    with pytest.raises(KeyError, match=r"no network interface 'em0' \(interfaces: wm0, lo0\)"):
        network.up("em0")
    with pytest.raises(KeyError, match=r"wm0 has no address 10\.0\.0\.1/8 \(it has: fe80::"):
        network.remove_address("wm0", "10.0.0.1/8")
    with pytest.raises(ValueError, match="the interface 'wm0' already exists"):
        network.add("wm0")


KEEPER = """
    #include <sys/param.h>
    #include <sys/kthread.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>
    #include <sys/psref.h>
    #include <sys/socket.h>
    #include <net/if.h>

    struct ifnet *kept;
    struct ifaddr *kept_address;
    struct psref psref, other;
    unsigned char family;

    int
    keep(void)
    {
            struct ifnet *ifp;
            struct ifaddr *ifa;
            int s = pserialize_read_enter();

            IFNET_READER_FOREACH(ifp) {
                    if (ifp->if_index != 1)
                            continue;
                    kept = ifp;
                    IFADDR_READER_FOREACH(ifa, ifp) {
                            kept_address = ifa;
                            if (ifa->ifa_addr->sa_family == AF_INET)
                                    break;
                    }
            }
            pserialize_read_exit(s);
            return kept->if_index;
    }

    int
    look(void)
    {

            family = kept_address->ifa_addr->sa_family;     /* looked here */
            return family;
    }

    /* A slow reader: each call inside takes virtual time. */
    int
    read_slowly(void)
    {
            struct ifaddr *ifa;
            int n = 0, s = pserialize_read_enter();

            IFADDR_READER_FOREACH(ifa, kept) {
                    for (int i = 0; i < 50; i++)
                            (void)pserialize_in_read_section();
                    n++;
            }
            pserialize_read_exit(s);
            return n;
    }

    int
    get_and_put(int index)
    {
            struct ifnet *ifp = if_get_byindex(index, &psref);

            if (ifp == NULL)
                    return -1;
            index = ifp->if_index;
            if_put(ifp, &psref);                            /* put here */
            return index;
    }

    int
    get_by_name(void)
    {
            struct ifnet *ifp = if_get("lo0", &psref);
            int index = ifp->if_index;

            if_put(ifp, &psref);
            return if_get("lo1", &psref) == NULL ? index : -1;
    }

    int
    hold_address(void)
    {
            int s = pserialize_read_enter();

            ifa_acquire(kept_address, &psref);              /* held here */
            pserialize_read_exit(s);
            return 0;
    }

    int
    hold_and_wait(void)
    {

            hold_address();
            kpause("hold", false, 10, NULL);
            family = kept_address->ifa_addr->sa_family;
            ifa_release(kept_address, &psref);
            return family;
    }

    int
    put_twice(void)
    {
            struct ifnet *ifp = if_get_byindex(1, &psref);

            if_put(ifp, &psref);
            if_put(ifp, &psref);                            /* put again */
            return 0;
    }

    int
    put_wrong(void)
    {
            struct ifnet *ifp = if_get_byindex(1, &psref);  /* got wm0 */

            if_get_byindex(2, &other);
            if_put(ifp, &other);
            return 0;
    }

    int
    use_one_twice(void)
    {

            if_get_byindex(1, &psref);                      /* first use */
            if_get_byindex(2, &psref);
            return 0;
    }
"""


def test_address_kept_after_read_section_is_invalid(
    load: Callable[..., Code],
) -> None:
    code = load(KEEPER)
    assert code.call("keep") == 1
    assert code.call("look") == netlayout.AF_INET
    code.kernel.subject(Network).remove_address("wm0", "192.0.2.10/24")
    text = code.panic("look")
    assert text.startswith("use-after-free: page fault: read of 8 bytes at ")
    assert "(the freed struct ifaddr 192.0.2.10/24 of wm0, which was removed)" in text
    assert f"look (tried.c:{line_of(KEEPER, '/* looked here */')})" in text


def _remove_in_the_middle(code: Code) -> Lwp:
    """Remove the second of four addresses while a slow reader uses it."""
    code.call("keep")
    kernel = code.kernel
    network = kernel.subject(Network)
    lwp = code.start("read_slowly")
    # After two of the four addresses, in the middle of the section.
    kernel.clock.at(
        kernel.clock.now + 75 * CALL_COST,
        lambda: network.remove_address("wm0", "fe80::20c:29ff:fe3e:5a01/64"),
    )
    code.start("keep")  # a ready thread makes the scheduler check its timers
    return lwp


def test_reader_on_removed_address_continues_with_net_mpsafe(
    load: Callable[..., Code],
) -> None:
    code = load(KEEPER, net_mpsafe=True)
    lwp = _remove_in_the_middle(code)
    network = code.kernel.subject(Network)
    code.finish(lwp)
    assert lwp.result == 4
    assert network.find("wm0").texts() == ["192.0.2.10/24", "2001:db8::10/64"]
    assert code.call("read_slowly") == 3


def test_generic_read_section_does_not_keep_address(load: Callable[..., Code]) -> None:
    code = load(KEEPER)
    lwp = _remove_in_the_middle(code)
    with pytest.raises(KernelPanic, match="the freed struct ifaddr fe80::20c:29ff:fe3e"):
        code.finish(lwp)


def test_reference_keeps_address_with_net_mpsafe(load: Callable[..., Code]) -> None:
    code = load(KEEPER, net_mpsafe=True)
    code.call("keep")
    lwp = code.start("hold_and_wait", bound=True)
    code.kernel.run(lambda: lwp.state == "asleep")
    code.kernel.subject(Network).remove_address("wm0", "192.0.2.10/24")
    code.finish(lwp)
    assert lwp.result == netlayout.AF_INET
    assert code.panic("look").startswith("use-after-free")


def test_references_by_index_and_name(load: Callable[..., Code]) -> None:
    code = load(KEEPER)
    assert code.call("get_and_put", 2, bound=True) == 2
    assert code.call("get_and_put", 9, bound=True) == -1
    assert code.call("get_by_name", bound=True) == 2
    assert code.unload() == []


@pytest.mark.parametrize("machine", MACHINES)
def test_psref_of_unbound_thread_panics(load: Callable[..., Code], machine: str) -> None:
    text = load(KEEPER, machine).panic("get_and_put", 1)
    assert text.startswith("psref-unbound: if_put by get_and_put")
    assert (
        "passive references are CPU-local, but preemption is enabled and the caller is not in a "
        "softint or CPU-bound LWP" in text
    )
    assert f"(tried.c:{line_of(KEEPER, '/* put here */')})" in text


def test_releasing_psref_twice_panics(load: Callable[..., Code]) -> None:
    text = load(KEEPER).panic("put_twice", bound=True)
    assert text.startswith("psref-not-held: if_put by put_twice")
    assert f"(tried.c:{line_of(KEEPER, '/* put again */')})" in text


def test_releasing_psref_for_other_interface_panics(load: Callable[..., Code]) -> None:
    text = load(KEEPER).panic("put_wrong", bound=True)
    assert text.startswith("psref-target-mismatch: ")
    assert "struct ifnet of lo0" in text
    assert "struct ifnet of wm0" in text


def test_reusing_struct_psref_panics_with_first_use(load: Callable[..., Code]) -> None:
    text = load(KEEPER).panic("use_one_twice", bound=True)
    assert text.startswith("psref-in-use: ")
    assert f"use_one_twice (tried.c:{line_of(KEEPER, '/* first use */')})" in text


def test_psref_of_ended_thread_is_reported(load: Callable[..., Code]) -> None:
    code = load(KEEPER)
    code.call("keep")
    text = code.panic("hold_address", bound=True)
    assert text.startswith("psref-kept: thread hold_address ended with a passive reference")
    assert "struct ifaddr 192.0.2.10/24 of wm0" in text
    assert f"hold_address (tried.c:{line_of(KEEPER, '/* held here */')})" in text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000000000001", "::1"),
        ("20010db8000000000001000000000000", "2001:db8::1:0:0:0"),  # the first run, not the longest
        ("20010db8000000010002000300040000", "2001:db8:0:1:2:3:4:0"),
        ("fe80000200000000020c29fffe3e5a01", "fe80:2::20c:29ff:fe3e:5a01"),
        ("00000000000000000000ffffc000020a", "::ffff:192.0.2.10"),
        ("00010002000300040005000600000000", "1:2:3:4:5:6::"),
    ],
)
def test_ipv6_addresses_are_printed_as_by_in6_print(address: str, text: str) -> None:
    assert netlayout.print6(bytes.fromhex(address)) == text


MASKS = """
    #include <sys/param.h>
    #include <sys/systm.h>
    #include <netinet/in.h>
    #include <netinet6/in6.h>
    #include <netinet6/in6_var.h>

    char text[8];
    struct in_addr mask;
    struct in6_addr mask6;

    int
    len2mask(u_int len)
    {

            in_len2mask(&mask, len);
            return ntohl(mask.s_addr);
    }

    int
    there_and_back(int len)
    {

            in6_prefixlen2mask(&mask6, len);
            return in6_mask2len(&mask6, NULL);
    }

    struct { struct in_addr mask; unsigned char behind[4]; } wide = { .behind = { 9, 9, 9, 9 } };

    int
    too_wide(void)
    {

            in_len2mask(&wide.mask, 36);
            return wide.behind[0] << 8 | wide.behind[1];
    }

    int
    half_a_byte(int byte)
    {

            in6_prefixlen2mask(&mask6, 64);
            mask6.s6_addr[8] = byte;
            return in6_mask2len(&mask6, NULL);
    }

    struct { struct in6_addr address; unsigned short behind; char text[64]; } last;

    int
    print_last(int behind)
    {
            int i;

            for (i = 0; i < 14; i++)
                    last.address.s6_addr[i] = i % 2;
            last.behind = behind;
            return in6_print(last.text, sizeof(last.text), &last.address);
    }

    int
    clear(int zone)
    {
            struct in6_addr address = { { { 0 } } };

            address.s6_addr[0] = 0xfe;
            address.s6_addr[1] = 0x80;
            address.s6_addr[3] = zone;
            return in6_clearscope(&address);
    }

    int
    holes(void)
    {

            in6_prefixlen2mask(&mask6, 64);
            mask6.s6_addr[12] = 1;
            return in6_mask2len(&mask6, NULL);
    }

    int
    cut(void)
    {

            mask.s_addr = INADDR_LOOPBACK;
            return in_print(text, sizeof(text), &mask);
    }
"""


def test_masks_and_truncated_text(load: Callable[..., Code]) -> None:
    code = load(MASKS)
    assert code.call("len2mask", 24) & 0xFFFFFFFF == 0xFFFFFF00
    assert code.call("len2mask", 0) == 0
    assert [code.call("there_and_back", n) for n in (0, 1, 64, 127, 128)] == [0, 1, 64, 127, 128]
    assert code.call("holes") == -1
    assert code.call("too_wide") == 0xF009  # four bits of the byte after the mask
    # A byte that begins with a zero is not checked further; one with a gap is not a mask.
    assert [code.call("half_a_byte", byte) for byte in (0x7F, 1, 0xF0, 0xF1)] == [64, 64, 68, -1]
    assert code.call("print_last", 1) == len("1:1:1:1:1:1:1:0")
    assert code.call("print_last", 0) == len("1:1:1:1:1:1:1:")
    assert [code.call("clear", zone) for zone in (2, 0)] == [1, 0]
    assert code.call("cut") == len("127.0.0.1")
    assert code.text("text") == "127.0.0"


SADL = """
    #include <sys/param.h>
    #include <sys/psref.h>
    #include <sys/pslist.h>
    #include <sys/systm.h>
    #include <net/if.h>
    #include <net/if_dl.h>

    const struct sockaddr_dl *kept;
    struct ifnet *ifp, *nothing;
    struct psref ref;
    static char zeros[2048];

    int
    keep(void)
    {

            ifp = if_byindex(1);
            kept = ifp->if_sadl;
            return kept->sdl_len << 16 | kept->sdl_nlen << 8 | kept->sdl_alen;
    }

    int
    look(void)
    {

            return kept->sdl_data[8];               /* kept too long */
    }

    int
    last_byte(void)
    {

            return ((const unsigned char *)CLLADDR(if_byindex(1)->if_sadl))[5];
    }

    int
    by_digits(void)
    {
            struct ifnet *found = if_get("2", &ref);
            int index = found->if_index;

            if_put(found, &ref);
            return index;
    }

    int
    acquire_nothing(void)
    {

            if_acquire((struct ifnet *)zeros, &ref);        /* never attached */
            return 0;
    }
"""


def test_mac_change_moves_link_level_address(load: Callable[..., Code]) -> None:
    code = load(SADL)
    network = code.kernel.subject(Network)
    assert code.call("keep") == (8 + 3 + 6) << 16 | 3 << 8 | 6
    network.set_mac("wm0", "00:0c:29:00:00:77")
    assert code.call("last_byte") == 0x77
    assert [address.text for address in network.find("wm0").addresses][-1] == ""
    text = code.panic("look")
    assert text.startswith("use-after-free: page fault: read of 1 byte")
    assert "the freed struct ifaddr of the link level of wm0" in text
    assert f"tried.c:{line_of(SADL, '/* kept too long */')}" in text


def test_numeric_name_is_an_index_and_indexes_are_reused(load: Callable[..., Code]) -> None:
    code = load(SADL)
    network = code.kernel.subject(Network)
    assert code.call("by_digits", bound=True) == 2
    assert network.add("wm1").index == 3
    network.remove("wm1")
    assert network.add("wm2").index == 3


def test_interface_without_index_cannot_be_referenced(load: Callable[..., Code]) -> None:
    text = load(SADL).panic("acquire_nothing", bound=True)
    assert text.startswith("ifnet-not-attached: if_acquire by acquire_nothing")
    assert f"tried.c:{line_of(SADL, '/* never attached */')}" in text


def test_ipv4_address_always_has_destination(load: Callable[..., Code]) -> None:
    code = load(SADL)
    network, memory = code.kernel.subject(Network), code.kernel.memory
    network.add("tun0", kind="tunnel")
    network.add_address("tun0", "10.0.0.1/24")
    network.add_address("tun0", "2001:db8:9::1/64")
    for name in ("tun0", "lo0"):
        for address in network.find(name).addresses[1:]:
            assert memory.pointer(address.at + memory.pointer_size), address.text
    ethernet = {each.text: each for each in network.find("wm0").addresses}
    assert not memory.pointer(ethernet["2001:db8::10/64"].at + memory.pointer_size)
