/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Interfaces, addresses and default routes, as the kernel has them.
 *
 * All of this runs in the worker, without sc_lock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/errno.h>
#include <sys/intr.h>
#include <sys/kmem.h>
#include <sys/pserialize.h>
#include <sys/socket.h>
#include <sys/systm.h>

#include <net/if.h>
#include <net/if_dl.h>
#include <net/if_types.h>
#include <net/route.h>

#include <netinet/in.h>
#include <netinet/in_var.h>
#include <netinet6/in6.h>
#include <netinet6/in6_var.h>

#include "vmtvar.h"

/* The order in which interfaces are reported. */
enum vmt_net_rank {
	VMT_NET_PRIMARY,	/* named by the administrator */
	VMT_NET_VMWARE,		/* a card of the virtual machine */
	VMT_NET_ETHERNET,
	VMT_NET_OTHER,
	VMT_NET_OMITTED
};

static u_int	vmt_net_walk(struct vmt_net *);
static u_int	vmt_net_copy(struct vmt_net *, const struct ifnet *);
static int	vmt_net_copy_route(struct rtentry *, void *);
static bool	vmt_is_zero(const struct sockaddr *, int);
static void	vmt_copy_sockaddr(struct vmt_address *,
		    const struct sockaddr *);
static enum vmt_net_rank vmt_net_rank(const struct vmt_choice *,
		    const struct ifnet *);
static bool	vmt_net_match(const char *, const char *);
static bool	vmt_net_copy_ipv4(struct vmt_address *, const struct ifaddr *);
static bool	vmt_net_copy_ipv6(struct vmt_address *, const struct ifaddr *);
static uint8_t	vmt_count_mask_bits(const uint8_t *, size_t);
static const struct vmt_address *vmt_net_reachable(const struct vmt_address *,
		    u_int);
static bool	vmt_is_reachable(const struct vmt_address *);

/*
 * Collect the interfaces that are up, but not loopback ones nor those that the
 * administrator excludes, their addresses, at most VMT_ADDRESS_MAX, and the
 * default routes.  Returns false if there is no memory.
 *
 * KERNEL_LOCK guards the lists of the network stack: without NET_MPSAFE, as
 * in GENERIC, ifa_remove() frees an address at once, without waiting for
 * pserialize(9) readers.  Nothing may sleep, because that releases the lock:
 * count what is there, allocate memory without the lock, then copy.
 */
bool
vmt_net_collect(const struct vmt_softc *sc, struct vmt_net *net)
{

	memset(net, 0, sizeof(*net));
	net->n_choice = &sc->sc_chosen;
	/* Some may come between the two walks. */
	net->n_room = MIN(vmt_net_walk(net) + 4, VMT_ADDRESS_MAX);
	net->n_address = kmem_alloc(net->n_room * sizeof(*net->n_address),
	    KM_NOSLEEP);
	if (net->n_address == NULL) {
		net->n_room = 0;
		return false;
	}
	(void)vmt_net_walk(net);
	return true;
}

void
vmt_net_free(struct vmt_net *net)
{

	if (net->n_address == NULL)
		return;
	kmem_free(net->n_address, net->n_room * sizeof(*net->n_address));
	net->n_address = NULL;
}

/*
 * Copy the entries that fit.  Returns the number of addresses, also of those
 * that do not fit.  With NET_MPSAFE the read section keeps removed entries in
 * memory.  Routes are read outside of it, because rt_walktree() then takes a
 * lock that sleeps.  Without NET_MPSAFE it takes no lock: a thread that changes
 * routes holds KERNEL_LOCK, but a soft interrupt on this processor may do so,
 * too, hence splsoftnet() (see sysctl_rtable() in net/rtsock.c).
 */
static u_int
vmt_net_walk(struct vmt_net *net)
{
	struct ifnet *ifp;
	enum vmt_net_rank rank;
	u_int total = 0;
	int s;

	net->n_nics = net->n_addresses = net->n_first = net->n_routes = 0;
	KERNEL_LOCK(1, NULL);
	s = pserialize_read_enter();
	for (rank = 0; rank < VMT_NET_OMITTED; rank++) {
		IFNET_READER_FOREACH(ifp) {
			if (vmt_net_rank(net->n_choice, ifp) == rank)
				total += vmt_net_copy(net, ifp);
		}
		if (rank == VMT_NET_PRIMARY)
			net->n_first = net->n_addresses;
	}
	pserialize_read_exit(s);
	s = splsoftnet();
	(void)rt_walktree(AF_INET, vmt_net_copy_route, net);
	(void)rt_walktree(AF_INET6, vmt_net_copy_route, net);
	splx(s);
	KERNEL_UNLOCK_ONE(NULL);
	return total;
}

/* Copy an interface and its addresses.  Returns the number of these. */
static u_int
vmt_net_copy(struct vmt_net *net, const struct ifnet *ifp)
{
	const struct sockaddr_dl *sdl = ifp->if_sadl;
	struct vmt_address address;
	struct vmt_nic *nic, other;
	struct ifaddr *ifa;
	u_int total = 0;

	/* Only the addresses of other interfaces than Ethernet count. */
	if (ifp->if_type == IFT_ETHER && sdl != NULL &&
	    sdl->sdl_alen == sizeof(nic->n_mac) && net->n_nics < VMT_NIC_MAX) {
		nic = &net->n_nic[net->n_nics++];
		nic->n_ifp = ifp;
		memcpy(nic->n_mac, CLLADDR(sdl), sizeof(nic->n_mac));
	} else
		nic = &other;
	nic->n_first = net->n_addresses;
	IFADDR_READER_FOREACH(ifa, ifp) {
		if (!vmt_net_copy_ipv4(&address, ifa) &&
		    !vmt_net_copy_ipv6(&address, ifa))
			continue;
		total++;
		if (net->n_addresses < net->n_room)
			net->n_address[net->n_addresses++] = address;
	}
	nic->n_count = net->n_addresses - nic->n_first;
	return total;
}

/*
 * Copy a default route of an interface that was copied.  rt_walktree() walks
 * in the order of the keys and continues while this returns 0: the keys of
 * default routes are zeros, so they come first.
 */
static int
vmt_net_copy_route(struct rtentry *rt, void *arg)
{
	const struct sockaddr *gateway = rt->rt_gateway, *key = rt_getkey(rt);
	const void *mask = rt->rt_nodes->rn_mask; /* rt_mask(), uncast */
	struct vmt_net *net = arg;
	struct vmt_route *route;
	u_int i;

	if (!vmt_is_zero(key, key->sa_family))
		return EEXIST;
	if ((rt->rt_flags & RTF_HOST) != 0 ||
	    !vmt_is_zero(mask, key->sa_family) ||
	    (rt->rt_flags & (RTF_UP | RTF_REJECT | RTF_BLACKHOLE)) != RTF_UP)
		return 0;
	for (i = 0; i < net->n_nics && net->n_nic[i].n_ifp != rt->rt_ifp; i++)
		continue;
	if (i == net->n_nics || net->n_routes == VMT_ROUTE_MAX)
		return 0;
	route = &net->n_route[net->n_routes++];
	memset(route, 0, sizeof(*route));
	route->r_family = key->sa_family;
	route->r_nic = i;
	if ((rt->rt_flags & RTF_GATEWAY) != 0 && gateway != NULL &&
	    gateway->sa_family == key->sa_family)
		vmt_copy_sockaddr(&route->r_hop, gateway);
	return 0;
}

/*
 * Are all bytes of the address zeros, up to the length of the structure?  A
 * mask has no valid family: the bytes before its address are ones, or it has
 * none (rn_addmask()).
 */
static bool
vmt_is_zero(const struct sockaddr *sa, int family)
{
	const uint8_t *p = (const uint8_t *)sa;
	size_t first, i;

	if (sa == NULL)
		return true;
	first = family == AF_INET6 ?
	    offsetof(struct sockaddr_in6, sin6_addr) :
	    offsetof(struct sockaddr_in, sin_addr);
	for (i = first; i < sa->sa_len; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

/* Copy the address, without the scope that the kernel embeds in it. */
static void
vmt_copy_sockaddr(struct vmt_address *address, const struct sockaddr *sa)
{
	const struct sockaddr_in6 *sin6 = (const void *)sa;
	const struct sockaddr_in *sin = (const void *)sa;

	if (sa->sa_family == AF_INET) {
		address->a_length = sizeof(sin->sin_addr);
		memcpy(address->a_bytes, &sin->sin_addr, sizeof(sin->sin_addr));
		return;
	}
	address->a_length = sizeof(sin6->sin6_addr);
	memcpy(address->a_bytes, &sin6->sin6_addr, sizeof(sin6->sin6_addr));
	if (IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr))
		address->a_bytes[2] = address->a_bytes[3] = 0;
}

/*
 * The order of the interfaces.  It matters: a message may not hold all of
 * them, with many taps and bridges, and a host shows the first address.
 */
static enum vmt_net_rank
vmt_net_rank(const struct vmt_choice *choice, const struct ifnet *ifp)
{
	const struct sockaddr_dl *sdl = ifp->if_sadl;
	u_int i;

	if ((ifp->if_flags & (IFF_UP | IFF_LOOPBACK)) != IFF_UP ||
	    vmt_net_match(choice->c_exclude, ifp->if_xname))
		return VMT_NET_OMITTED;
	if (strcmp(choice->c_primary, ifp->if_xname) == 0)
		return VMT_NET_PRIMARY;
	if (ifp->if_type != IFT_ETHER || sdl == NULL)
		return VMT_NET_OTHER;
	for (i = 0; i < VMT_NIC_VENDORS; i++) {
		if (memcmp(CLLADDR(sdl), vmt_nic_vendors[i],
		    sizeof(vmt_nic_vendors[i])) == 0)
			return VMT_NET_VMWARE;
	}
	return VMT_NET_ETHERNET;
}

/*
 * Is a name in a list, separated by blanks or commas?  "*" at the end of a name
 * in the list matches any end.
 */
static bool
vmt_net_match(const char *list, const char *name)
{
	size_t length;

	for (; *list != '\0'; list += length) {
		for (length = 0; list[length] != '\0' && list[length] != ' ' &&
		    list[length] != ','; length++)
			continue;
		if (length == 0)
			length = 1;	/* a separator */
		else if (list[length - 1] == '*' ?
		    strncmp(list, name, length - 1) == 0 :
		    strncmp(list, name, length) == 0 && name[length] == '\0')
			return true;
	}
	return false;
}

static bool
vmt_net_copy_ipv4(struct vmt_address *address, const struct ifaddr *ifa)
{
	const struct sockaddr_in *mask, *sin;
	int flags;

	if (ifa->ifa_addr == NULL || ifa->ifa_addr->sa_family != AF_INET)
		return false;
	sin = (const void *)ifa->ifa_addr;
	mask = (const void *)ifa->ifa_netmask;
	if (sin->sin_addr.s_addr == INADDR_ANY ||
	    ntohl(sin->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
		return false;
	memset(address, 0, sizeof(*address));
	vmt_copy_sockaddr(address, ifa->ifa_addr);
	flags = ((const struct in_ifaddr *)ifa)->ia4_flags;
	address->a_status = (flags & IN_IFF_DUPLICATED) != 0 ?
	    VMT_NIC_DUPLICATE : (flags & IN_IFF_TENTATIVE) != 0 ?
	    VMT_NIC_TENTATIVE : (flags & IN_IFF_DETACHED) != 0 ?
	    VMT_NIC_INACCESSIBLE : VMT_NIC_PREFERRED;
	if (mask != NULL) {
		address->a_prefix = vmt_count_mask_bits(
		    (const uint8_t *)&mask->sin_addr, sizeof(mask->sin_addr));
	}
	return true;
}

static bool
vmt_net_copy_ipv6(struct vmt_address *address, const struct ifaddr *ifa)
{
	const struct sockaddr_in6 *mask, *sin6;
	int flags;

	if (ifa->ifa_addr == NULL || ifa->ifa_addr->sa_family != AF_INET6)
		return false;
	sin6 = (const void *)ifa->ifa_addr;
	mask = (const void *)ifa->ifa_netmask;
	if (IN6_IS_ADDR_UNSPECIFIED(&sin6->sin6_addr) ||
	    IN6_IS_ADDR_LOOPBACK(&sin6->sin6_addr))
		return false;
	memset(address, 0, sizeof(*address));
	vmt_copy_sockaddr(address, ifa->ifa_addr);
	flags = ((const struct in6_ifaddr *)ifa)->ia6_flags;
	address->a_status = (flags & IN6_IFF_DUPLICATED) != 0 ?
	    VMT_NIC_DUPLICATE : (flags & IN6_IFF_TENTATIVE) != 0 ?
	    VMT_NIC_TENTATIVE : (flags & IN6_IFF_DETACHED) != 0 ?
	    VMT_NIC_INACCESSIBLE : (flags & IN6_IFF_DEPRECATED) != 0 ?
	    VMT_NIC_DEPRECATED : VMT_NIC_UNKNOWN;
	if (mask != NULL) {
		address->a_prefix = vmt_count_mask_bits(mask->sin6_addr.s6_addr,
		    sizeof(mask->sin6_addr));
	}
	return true;
}

/* Count the bits of a mask. */
static uint8_t
vmt_count_mask_bits(const uint8_t *mask, size_t size)
{
	u_int bits = 0;

	for (; size > 0; mask++, size--)
		bits += popcount32(*mask);
	return (uint8_t)bits;
}

/*
 * The first address at which other machines can reach the guest: IPv4 if there
 * is one, else a global IPv6 address; an empty text if there is none.
 */
void
vmt_net_format_primary(const struct vmt_net *net, char *text, size_t size)
{
	const struct vmt_address *best;
	struct in6_addr ip6;
	struct in_addr ip4;

	/* From the interface that the administrator sets, if it has one. */
	best = vmt_net_reachable(net->n_address, net->n_first);
	if (best == NULL)
		best = vmt_net_reachable(net->n_address, net->n_addresses);
	text[0] = '\0';
	if (best != NULL && best->a_length == sizeof(ip4)) {
		memcpy(&ip4, best->a_bytes, sizeof(ip4));
		(void)in_print(text, size, &ip4);
	} else if (best != NULL) {
		memcpy(&ip6, best->a_bytes, sizeof(ip6));
		(void)in6_print(text, size, &ip6);
	}
}

static const struct vmt_address *
vmt_net_reachable(const struct vmt_address *address, u_int count)
{
	const struct vmt_address *best = NULL;

	for (; count > 0; address++, count--) {
		if (!vmt_is_reachable(address))
			continue;
		if (best == NULL || address->a_length < best->a_length)
			best = address;
		if (best->a_length == sizeof(struct in_addr))
			break;
	}
	return best;
}

/*
 * Not 169.254/16; of IPv6 only 2000::/3, which is routed globally; and no
 * address that is tentative, deprecated or unusable for another reason.
 */
static bool
vmt_is_reachable(const struct vmt_address *address)
{
	const uint8_t *b = address->a_bytes;

	if (address->a_status != VMT_NIC_PREFERRED &&
	    address->a_status != VMT_NIC_UNKNOWN)
		return false;
	if (address->a_length == sizeof(struct in_addr))
		return b[0] != 169 || b[1] != 254;
	return (b[0] & 0xe0) == 0x20;
}
