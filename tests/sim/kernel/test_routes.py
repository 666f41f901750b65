"""Routes as a module sees them: the walk, its order, its locks."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.network import Network
from vmtsim.kernel.routes import Routes

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/intr.h>
    #include <sys/pserialize.h>
    #include <sys/socket.h>
    #include <sys/systm.h>

    #include <net/if.h>
    #include <net/route.h>
    #include <netinet/in.h>
    #include <netinet6/in6.h>

    char text[4096];
    static size_t used;
    static int left;

    static void
    bytes(const void *at, int first, int length)
    {
            for (int i = first; i < length; i++)
                    used += snprintf(text + used, sizeof(text) - used, "%02x",
                        ((const uint8_t *)at)[i]);
            used += snprintf(text + used, sizeof(text) - used, " ");
    }

    static int
    show(struct rtentry *rt, void *arg)
    {
            const struct sockaddr *mask = rt_mask(rt), *key = rt_getkey(rt);

            if (arg != text)
                    return -1;
            bytes(key, 1, key->sa_len);
            if (mask != NULL)
                    bytes(mask, 0, mask->sa_len);
            used += snprintf(text + used, sizeof(text) - used, "%x %s %d %u|",
                rt->rt_flags, rt->rt_ifp->if_xname, rt->rt_gateway->sa_family,
                rt->rt_gateway->sa_len);
            return --left == 0 ? 77 : 0;
    }

    int
    walk(int family, int most)
    {
            int error, s;

            used = 0;
            text[0] = 0;
            left = most;
            KERNEL_LOCK(1, NULL);
            s = splsoftnet();
            error = rt_walktree(family, show, text);
            splx(s);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    unlocked(int family)
    {
            return 1 + rt_walktree(family, show, text);	/* routes-unlocked */
    }

    int
    level_alone(int family)
    {
            int error, s = splsoftnet();

            error = rt_walktree(family, show, text);	/* level alone */
            splx(s);
            return error;
    }

    int
    lock_alone(int family)
    {
            int error;

            KERNEL_LOCK(1, NULL);
            error = rt_walktree(family, show, text);	/* lock alone */
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    reading(int family)
    {
            int s = pserialize_read_enter();

            s = rt_walktree(family, show, text) + s;	/* sleep-in-pserialize */
            return s;
    }
"""
INET, INET6 = 2, 24


def _routes(code: Code) -> Routes:
    return code.kernel.subject(Routes)


@pytest.mark.parametrize("machine", MACHINES)
def test_module_with_kernel_layout_reads_routes(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    routes = _routes(code)
    routes.add("0.0.0.0/1", "192.0.2.1")
    routes.add("198.51.100.7/32", "192.0.2.1")
    routes.add("10.0.0.0/8", interface="wm0")
    assert code.call("walk", INET, 99) == 0
    # Family 2 and port 0 of a key; a mask begins with ones, as rn_addmask() makes it, and a default
    # route has one of no bytes; a route to a host has none.
    port, zero = "020000", "00000000" + "00" * 8
    assert code.text("text").split("|") == [
        f"{port}00000000{'00' * 8} 05ffffff80 803 wm0 2 16",
        f"{port}{zero}  803 wm0 2 16",
        f"{port}0a000000{'00' * 8} 05ffffffff 801 wm0 18 11",
        f"{port}c6336407{'00' * 8} 807 wm0 2 16",
        "",
    ]
    assert code.call("walk", INET6, 99) == 0
    assert code.text("text") == f"18{'00' * 26}  803 wm0 24 28|"
    assert code.violations() == []


def test_walk_returns_result_of_callback(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    _routes(code).add("10.0.0.0/8", "192.0.2.1")
    assert code.call("walk", INET, 1) == 77
    assert code.text("text").count("|") == 1
    assert code.call("walk", INET, 2) == 77
    assert code.call("walk", 99, 1) == 0  # no such table


@pytest.mark.parametrize(
    ("function", "missing", "line"),
    [
        ("unlocked", "KERNEL_LOCK and splsoftnet()", "routes-unlocked"),
        ("level_alone", "KERNEL_LOCK and splsoftnet()", "level alone"),
        ("lock_alone", "splsoftnet()", "lock alone"),
    ],
)
def test_routes_are_walked_with_kernel_lock_at_splsoftnet(
    load: Callable[..., Code], function: str, missing: str, line: str
) -> None:
    code = load(SOURCE)
    code.call(function, INET6)
    (found,) = code.violations()
    assert found.startswith("routes-unlocked: ")
    assert f"without {missing}:" in found
    assert f":{line_of(SOURCE, line)}" in found


def test_net_mpsafe_walk_needs_no_lock_and_may_sleep(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE, net_mpsafe=True)
    code.call("unlocked", INET6)
    assert code.violations() == []
    assert code.panic("reading", INET6).startswith("sleep-in-pserialize: rt_walktree")


def test_routes_are_removed_with_interface(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    network, routes = code.kernel.subject(Network), _routes(code)
    network.add("wm1")
    network.add_address("wm1", "203.0.113.7/24")
    routes.add("10.0.0.0/8", "203.0.113.1")
    network.remove("wm0")
    assert code.call("walk", INET, 99) == 0
    assert code.text("text").count("|") == 1
    network.remove("wm1")
    assert code.call("walk", INET, 99) == 0
    assert code.text("text") == ""


def test_table_has_one_route_per_destination(load: Callable[..., Code]) -> None:
    routes = _routes(load(SOURCE))
    with pytest.raises(FileExistsError, match=r"there already is a route to 0\.0\.0\.0/0"):
        routes.add("default", "192.0.2.254")
    with pytest.raises(KeyError, match=r"no interface has an address in the net of 10\.9\.9\.9"):
        routes.add("10.0.0.0/8", "10.9.9.9")
    routes.delete("default")
    with pytest.raises(KeyError, match="there is no route to"):
        routes.delete("default")
    assert ipaddress.ip_network("::/0") in routes._routes
