/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * What the guest reports about itself.
 *
 * Names, release, uptime: each item remembers what the host has and goes out
 * when it differs.  What the host refuses is not repeated before the next
 * reset; what did not reach it is tried again with the next look.
 *
 * Interfaces: MAC address, addresses with prefix and status, host name.  The
 * message is XDR (RFC 4506): big-endian words, strings padded to words.
 *
 * File systems: only local ones, for a server that does not answer would hold
 * the worker, and of the types that keep data on a disk.  A file system that is
 * suspended is left out until the next look.
 *
 * Hosts know one of several forms of interfaces and file systems; the first
 * that is taken stays in use until the next reset.
 *
 * All of this runs in the worker, without sc_lock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/lwp.h>
#include <sys/mount.h>
#include <sys/proc.h>
#include <sys/pserialize.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/systm.h>
#include <sys/vfs_syscalls.h>

#include <net/if.h>
#include <net/if_dl.h>
#include <net/if_types.h>

#include <netinet/in.h>
#include <netinet/in_var.h>
#include <netinet6/in6.h>
#include <netinet6/in6_var.h>

#include "vmtvar.h"

#define	VMT_DETAILED_RETRY	60000	/* ms */

/* Bytes of a message beside its addresses, and of an address: no more. */
#define	VMT_NIC_FIXED	(VMT_NIC_MAX * 64 + MAXHOSTNAMELEN + 128)
#define	VMT_NIC_ENTRY	40

#define	VMT_MAC_SIZE	18		/* "xx:xx:xx:xx:xx:xx" */
#define	VMT_DISK_NAME	100		/* bytes of a mount point with NUL */
#define	VMT_DISK_FORMS	2		/* JSON, and an older structure */

/* The long form of what the system is; see hostinfo.h of open-vm-tools. */
struct vmt_detailed {
	uint32_t	d_version;	/* little-endian */
	char		d_short[VMT_DETAILED_SHORT];
	char		d_full[VMT_DETAILED_FULL];
	char		d_pairs[512] __aligned(4);
};

struct vmt_disk {
	char		d_name[VMT_DISK_NAME];
	char		d_type[_VFS_NAMELEN];
	uint64_t	d_free;		/* bytes */
	uint64_t	d_size;
};

/* The older form. */
struct vmt_disk_v0 {
	uint64_t	v_free;
	uint64_t	v_size;
	char		v_name[VMT_DISK_NAME];
} __packed;

/* In which order interfaces are reported. */
enum vmt_net_rank {
	VMT_NET_PRIMARY,	/* named by the administrator */
	VMT_NET_VMWARE,		/* a card of the virtual machine */
	VMT_NET_ETHERNET,
	VMT_NET_OTHER,
	VMT_NET_OMITTED
};

static void	vmt_info_send_detailed(struct vmt_softc *, int64_t);
static int	vmt_report_send(struct vmt_softc *, struct vmt_report *, u_int,
		    const void *, size_t);
static void	vmt_report_forget(struct vmt_report *);
static int64_t	vmt_nic_run(struct vmt_softc *, int64_t);
static size_t	vmt_nic_encode(uint8_t *, const struct vmt_net *, u_int);
static uint8_t	*vmt_xdr_put_word(uint8_t *, uint32_t);
static uint8_t	*vmt_xdr_put_opaque(uint8_t *, const void *, size_t);
static void	vmt_nic_send(struct vmt_softc *, const struct vmt_net *);
static int	vmt_nic_send_primary(struct vmt_softc *, const struct vmt_net *,
		    bool);
static bool	vmt_nic_read_choice(struct vmt_softc *);
static bool	vmt_net_collect(const struct vmt_softc *, struct vmt_net *);
static void	vmt_net_free(struct vmt_net *);
static u_int	vmt_net_walk(struct vmt_net *);
static u_int	vmt_net_copy(struct vmt_net *, const struct ifnet *);
static enum vmt_net_rank vmt_net_rank(const struct vmt_choice *,
		    const struct ifnet *);
static bool	vmt_net_match(const char *, const char *);
static bool	vmt_net_copy_ipv4(struct vmt_address *, const struct ifaddr *);
static bool	vmt_net_copy_ipv6(struct vmt_address *, const struct ifaddr *);
static void	vmt_net_format_primary(const struct vmt_net *, char *, size_t);
static uint8_t	vmt_count_mask_bits(const uint8_t *, size_t);
static const struct vmt_address *vmt_net_reachable(const struct vmt_address *,
		    u_int);
static bool	vmt_is_reachable(const struct vmt_address *);
static int64_t	vmt_disk_run(struct vmt_softc *, int64_t);
static u_int	vmt_disk_collect(struct vmt_disk *, struct statvfs *);
static bool	vmt_is_disk(const struct statvfs *);
static size_t	vmt_disk_encode_json(char *, const struct vmt_disk *, u_int);
static size_t	vmt_disk_encode_v0(char *, const struct vmt_disk *, u_int);
static void	vmt_encode_base64(char *, const char *);

/* Forget what the host has: send everything again. */
void
vmt_info_forget(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_INFOS; i++) {
		sc->sc_info[i].i_sent = false;
		sc->sc_info[i].i_refused = false;
		sc->sc_info[i].i_next = 0;
	}
	sc->sc_detailed = sc->sc_detailed_refused = false;
	sc->sc_detailed_next = 0;
	vmt_report_forget(&sc->sc_nics);
	vmt_report_forget(&sc->sc_disks);
	sc->sc_primary[0] = '\0';
}

/*
 * Look at what is due and send what changed.  Returns when to come back
 * (uptime in ms).
 */
int64_t
vmt_info_run(struct vmt_softc *sc, int64_t now)
{
	int64_t next = INT64_MAX;
	u_int i;

	if (!sc->sc_detailed && !sc->sc_detailed_refused) {
		if (now >= sc->sc_detailed_next)
			vmt_info_send_detailed(sc, now);
		if (!sc->sc_detailed)
			next = sc->sc_detailed_next;
	}
	for (i = 0; i < VMT_INFOS; i++) {
		if (sc->sc_info[i].i_next <= now)
			(void)vmt_info_send(sc, i);
		next = MIN(next, sc->sc_info[i].i_next);
	}
	next = MIN(next, vmt_disk_run(sc, now));
	return MIN(next, vmt_nic_run(sc, now));
}

/* Look at one item and send it if the host does not have it. */
int
vmt_info_send(struct vmt_softc *sc, enum vmt_info which)
{
	const struct vmt_info_item *item = &vmt_info_items[which];
	char value[VMT_VALUE_MAX + 1], *known;
	int error;

	sc->sc_info[which].i_next = vmt_uptime() +
	    (int64_t)item->i_period * 1000;
	if (sc->sc_info[which].i_refused)
		return ENOTSUP;
	if (item->i_plain && !sc->sc_detailed_refused)
		return 0;
	(void)vmt_format(which, value, item->i_limit + 1);
	if (value[0] == '\0')
		return 0;	/* not set yet */
	known = sc->sc_info[which].i_value;
	if (!item->i_always && sc->sc_info[which].i_sent &&
	    known != NULL && strcmp(known, value) == 0)
		return 0;

	error = vmt_rpc_set_guest_info(sc, item->i_key, value);
	sc->sc_info[which].i_sent = error == 0;
	if (error == ENOTSUP) {
		sc->sc_info[which].i_refused = true;
		vmt_log(sc, VMT_LOG_INFO_REFUSED, item->i_key);
	}
	if (error == 0 && !item->i_always) {
		if (known == NULL)
			known = kmem_alloc(item->i_limit + 1, KM_SLEEP);
		strlcpy(known, value, item->i_limit + 1);
		sc->sc_info[which].i_value = known;
	}
	return error;
}

static void
vmt_info_send_detailed(struct vmt_softc *sc, int64_t now)
{
	struct vmt_detailed *d;
	int error;

	d = kmem_zalloc(sizeof(*d), KM_SLEEP);
	d->d_version = htole32(VMT_DETAILED_VERSION);
	(void)vmt_format(VMT_INFO_OS_NAME, d->d_short, sizeof(d->d_short));
	(void)vmt_format(VMT_INFO_OS_NAME_FULL, d->d_full, sizeof(d->d_full));
	(void)vmt_format(VMT_FORMAT_PAIRS, d->d_pairs, sizeof(d->d_pairs));
	error = vmt_rpc_set_guest_info_binary(sc, VMT_KEY_DETAILED, d,
	    offsetof(struct vmt_detailed, d_pairs) + strlen(d->d_pairs) + 1);
	kmem_free(d, sizeof(*d));
	sc->sc_detailed = error == 0;
	/* The names go out by themselves then. */
	sc->sc_detailed_refused = error == ENOTSUP || error == EPROTO;
	sc->sc_detailed_next = now + VMT_DETAILED_RETRY;
}

void
vmt_info_free(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_INFOS; i++) {
		if (sc->sc_info[i].i_value == NULL)
			continue;
		kmem_free(sc->sc_info[i].i_value,
		    vmt_info_items[i].i_limit + 1);
		sc->sc_info[i].i_value = NULL;
	}
	vmt_report_forget(&sc->sc_nics);
	vmt_report_forget(&sc->sc_disks);
	vmt_buffer_free(&sc->sc_nic);
}

/*
 * Send the report under a key, or as the file systems where key is 0, unless
 * the host has it.  After ENOTSUP the next form is due.
 */
static int
vmt_report_send(struct vmt_softc *sc, struct vmt_report *r, u_int key,
    const void *data, size_t length)
{
	int error;

	if (length == r->r_length &&
	    memcmp(data, r->r_sent.b_data, length) == 0)
		return 0;
	if (key != 0)
		error = vmt_rpc_set_guest_info_binary(sc, key, data, length);
	else
		error = vmt_rpc_set_disk_info(sc, data, length);
	/* After a failure the host may have a part of it. */
	r->r_length = 0;
	/* Without memory it goes out once more. */
	if (error == 0 && vmt_buffer_reserve(&r->r_sent, length) == 0) {
		memcpy(r->r_sent.b_data, data, length);
		r->r_length = length;
	}
	if (error == ENOTSUP)
		r->r_form++;
	return error;
}

/* Send it again, and try the best form first. */
static void
vmt_report_forget(struct vmt_report *r)
{

	vmt_buffer_free(&r->r_sent);
	memset(r, 0, sizeof(*r));
}

/*
 * Look at the interfaces and report to the host what changed.  Returns
 * when to come back (uptime in ms).
 */
static int64_t
vmt_nic_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_report *r = &sc->sc_nics;
	struct vmt_net net;

	if (!vmt_nic_read_choice(sc) && now < r->r_next)
		return r->r_next;
	r->r_next = now + VMT_NIC_PERIOD * 1000;
	if (!vmt_net_collect(sc, &net))
		return r->r_next;
	(void)vmt_nic_send_primary(sc, &net, false);
	if (r->r_form < VMT_NIC_METHODS)
		vmt_nic_send(sc, &net);
	vmt_net_free(&net);
	return r->r_next;
}

/* Copy what the administrator says.  Returns whether it is new. */
static bool
vmt_nic_read_choice(struct vmt_softc *sc)
{
	bool changed;

	mutex_enter(&sc->sc_lock);
	changed = memcmp(&sc->sc_chosen, &sc->sc_choice,
	    sizeof(sc->sc_chosen)) != 0;
	sc->sc_chosen = sc->sc_choice;
	mutex_exit(&sc->sc_lock);
	return changed;
}

/* Send the interfaces in the first form that the host takes. */
static void
vmt_nic_send(struct vmt_softc *sc, const struct vmt_net *net)
{
	struct vmt_report *r = &sc->sc_nics;
	const struct vmt_nic_method *method;
	size_t length, size;
	int error;

	size = VMT_NIC_FIXED + net->n_addresses * VMT_NIC_ENTRY;
	if (vmt_buffer_reserve(&sc->sc_nic, size) != 0)
		return;
	do {
		method = &vmt_nic_methods[r->r_form];
		length = vmt_nic_encode(sc->sc_nic.b_data, net,
		    method->m_addresses);
		KASSERT(length <= size);
		error = vmt_report_send(sc, r, method->m_key,
		    sc->sc_nic.b_data, length);
	} while (error == ENOTSUP && r->r_form < VMT_NIC_METHODS);
	if (error == ENOTSUP)
		vmt_log(sc, VMT_LOG_INFO_REFUSED, vmt_nic_methods[0].m_key);
	vmt_buffer_shrink(&sc->sc_nic);
}

/* The host asks for the primary address: send it, though it has it. */
int
vmt_nic_broadcast(struct vmt_softc *sc)
{
	struct vmt_net net;
	int error;

	if (vmt_nic_read_choice(sc))
		sc->sc_nics.r_next = 0;
	if (!vmt_net_collect(sc, &net))
		return 0;	/* with the next look */
	error = vmt_nic_send_primary(sc, &net, true);
	vmt_net_free(&net);
	return error;
}

/*
 * Keep guestinfo.ip up to date where the host asks for it.  An address that
 * is gone is taken back with an empty value.  What the host refuses is not
 * sent again before the address changes or the host asks.
 */
static int
vmt_nic_send_primary(struct vmt_softc *sc, const struct vmt_net *net,
    bool always)
{
	char text[VMT_ADDRESS_TEXT];
	int error;

	if (!sc->sc_broadcast)
		return 0;
	vmt_net_format_primary(net, text, sizeof(text));
	if (strcmp(text, sc->sc_primary) == 0 && (!always || text[0] == '\0'))
		return 0;
	error = vmt_rpc_info_set(sc, "ip", text);
	if (error == 0 || error == ENOTSUP)
		strlcpy(sc->sc_primary, text, sizeof(sc->sc_primary));
	return error;
}

/* At most max addresses of each interface. */
static size_t
vmt_nic_encode(uint8_t *start, const struct vmt_net *net, u_int max)
{
	const struct vmt_address *address;
	const struct vmt_nic *nic;
	const uint8_t *m;
	char mac[VMT_MAC_SIZE];
	uint8_t *p;
	u_int i, n;

	p = vmt_xdr_put_word(start, VMT_NIC_VERSION);
	p = vmt_xdr_put_word(p, 1);		/* the information follows */
	p = vmt_xdr_put_word(p, net->n_nics);
	for (n = 0; n < net->n_nics; n++) {
		nic = &net->n_nic[n];
		m = nic->n_mac;
		(void)snprintf(mac, sizeof(mac),
		    "%02x:%02x:%02x:%02x:%02x:%02x",
		    m[0], m[1], m[2], m[3], m[4], m[5]);
		p = vmt_xdr_put_opaque(p, mac, strlen(mac));
		p = vmt_xdr_put_word(p, MIN(nic->n_count, max));
		for (i = 0; i < MIN(nic->n_count, max); i++) {
			address = &net->n_address[nic->n_first + i];
			p = vmt_xdr_put_word(p,
			    address->a_length == sizeof(struct in_addr) ?
			    VMT_NIC_IPV4 : VMT_NIC_IPV6);
			p = vmt_xdr_put_opaque(p, address->a_bytes,
			    address->a_length);
			p = vmt_xdr_put_word(p, address->a_prefix);
			p = vmt_xdr_put_word(p, 0);	/* no origin */
			p = vmt_xdr_put_word(p, 1);	/* the status is */
			p = vmt_xdr_put_word(p, address->a_status);
		}
		for (i = 0; i < 4; i++)		/* no DNS, WINS, DHCP */
			p = vmt_xdr_put_word(p, 0);
	}
	p = vmt_xdr_put_word(p, 0);			/* routes */
	if (hostname[0] != '\0') {
		p = vmt_xdr_put_word(p, 1);		/* DNS: */
		p = vmt_xdr_put_word(p, 1);		/* the host name is */
		p = vmt_xdr_put_opaque(p, hostname,
		    MIN(strlen(hostname), VMT_NIC_HOSTNAME));
		p = vmt_xdr_put_word(p, 0);		/* no domain */
		p = vmt_xdr_put_word(p, 0);		/* no servers */
		p = vmt_xdr_put_word(p, 0);		/* no suffixes */
	} else
		p = vmt_xdr_put_word(p, 0);
	for (i = 0; i < 3; i++)			/* no WINS, DHCP, DHCPv6 */
		p = vmt_xdr_put_word(p, 0);
	return p - start;
}

static uint8_t *
vmt_xdr_put_word(uint8_t *p, uint32_t word)
{

	be32enc(p, word);
	return p + sizeof(word);
}

static uint8_t *
vmt_xdr_put_opaque(uint8_t *p, const void *data, size_t length)
{

	p = vmt_xdr_put_word(p, (uint32_t)length);
	memset(p, 0, roundup2(length, sizeof(uint32_t)));
	memcpy(p, data, length);
	return p + roundup2(length, sizeof(uint32_t));
}

/*
 * Collect the interfaces that are up, but not loopback ones nor those that the
 * administrator excludes, and their addresses; of these at most
 * VMT_ADDRESS_MAX.  Returns false if there is no memory.
 *
 * KERNEL_LOCK guards the lists of the network stack: without NET_MPSAFE, as
 * in GENERIC, ifa_remove() frees an address at once, whoever is in a read
 * section of pserialize(9).  Nothing may sleep, for that gives the lock up:
 * count what is there, allocate memory without the lock, then copy.
 */
static bool
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

static void
vmt_net_free(struct vmt_net *net)
{

	if (net->n_address == NULL)
		return;
	kmem_free(net->n_address, net->n_room * sizeof(*net->n_address));
	net->n_address = NULL;
}

/*
 * Copy what there is room for, without room nothing.  Returns how many
 * addresses there are.
 *
 * With NET_MPSAFE it is the read section that keeps removed entries.
 */
static u_int
vmt_net_walk(struct vmt_net *net)
{
	struct ifnet *ifp;
	enum vmt_net_rank rank;
	u_int total = 0;
	int s;

	net->n_nics = net->n_addresses = net->n_first = 0;
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
	KERNEL_UNLOCK_ONE(NULL);
	return total;
}

/* Copy an interface and its addresses.  Returns how many these are. */
static u_int
vmt_net_copy(struct vmt_net *net, const struct ifnet *ifp)
{
	const struct sockaddr_dl *sdl = ifp->if_sadl;
	struct vmt_address address;
	struct vmt_nic *nic, other;
	struct ifaddr *ifa;
	u_int total = 0;

	/* Others than Ethernet count for their addresses alone. */
	if (ifp->if_type == IFT_ETHER && sdl != NULL &&
	    sdl->sdl_alen == sizeof(nic->n_mac) && net->n_nics < VMT_NIC_MAX) {
		nic = &net->n_nic[net->n_nics++];
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
 * Which interfaces come first: there may be more than a message holds, taps
 * and bridges above all, and the first address is the guest's.
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
 * in the list stands for any rest.
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
	address->a_length = sizeof(sin->sin_addr);
	flags = ((const struct in_ifaddr *)ifa)->ia4_flags;
	address->a_status = (flags & IN_IFF_DUPLICATED) != 0 ?
	    VMT_NIC_DUPLICATE : (flags & IN_IFF_TENTATIVE) != 0 ?
	    VMT_NIC_TENTATIVE : (flags & IN_IFF_DETACHED) != 0 ?
	    VMT_NIC_INACCESSIBLE : VMT_NIC_PREFERRED;
	memcpy(address->a_bytes, &sin->sin_addr, sizeof(sin->sin_addr));
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
	address->a_length = sizeof(sin6->sin6_addr);
	flags = ((const struct in6_ifaddr *)ifa)->ia6_flags;
	address->a_status = (flags & IN6_IFF_DUPLICATED) != 0 ?
	    VMT_NIC_DUPLICATE : (flags & IN6_IFF_TENTATIVE) != 0 ?
	    VMT_NIC_TENTATIVE : (flags & IN6_IFF_DETACHED) != 0 ?
	    VMT_NIC_INACCESSIBLE : (flags & IN6_IFF_DEPRECATED) != 0 ?
	    VMT_NIC_DEPRECATED : VMT_NIC_UNKNOWN;
	memcpy(address->a_bytes, &sin6->sin6_addr, sizeof(sin6->sin6_addr));
	/* The kernel keeps the scope inside a link-local address. */
	if (IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr))
		address->a_bytes[2] = address->a_bytes[3] = 0;
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
 * The first address that others can reach us at: IPv4 if there is one, else
 * a global IPv6 address; an empty text if there is none.
 */
static void
vmt_net_format_primary(const struct vmt_net *net, char *text, size_t size)
{
	const struct vmt_address *best;
	struct in6_addr ip6;
	struct in_addr ip4;

	/* Of the interface that the administrator names, if it has one. */
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
 * Not 169.254/16; of IPv6 only 2000::/3, what is routed in the world; and none
 * that the kernel does not use yet, or no longer.
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

/*
 * Look at the file systems and report to the host what changed.  Returns
 * when to come back (uptime in ms).
 */
static int64_t
vmt_disk_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_report *r = &sc->sc_disks;
	struct vmt_disk *disks;
	struct statvfs *sb;
	char *text;
	size_t length;
	u_int count;
	int error;

	if (now < r->r_next)
		return r->r_next;
	r->r_next = now + VMT_DISK_PERIOD * 1000;
	if (r->r_form == VMT_DISK_FORMS)
		return r->r_next;		/* refused, all of them */

	/* Neither fits a kernel stack. */
	sb = kmem_alloc(sizeof(*sb), KM_SLEEP);
	disks = kmem_alloc(VMT_DISK_MAX * sizeof(*disks), KM_SLEEP);
	text = kmem_alloc(VMT_DISK_TEXT, KM_SLEEP);
	count = vmt_disk_collect(disks, sb);
	do {
		if (r->r_form == 0) {
			length = vmt_disk_encode_json(text, disks, count);
			error = vmt_report_send(sc, r, 0, text, length);
		} else {
			length = vmt_disk_encode_v0(text, disks, count);
			error = vmt_report_send(sc, r, VMT_KEY_DISKS_V0, text,
			    length);
		}
	} while (error == ENOTSUP && r->r_form < VMT_DISK_FORMS);
	if (error == ENOTSUP)
		vmt_log(sc, VMT_LOG_INFO_REFUSED, VMT_KEY_DISKS_V0);
	kmem_free(text, VMT_DISK_TEXT);
	kmem_free(disks, VMT_DISK_MAX * sizeof(*disks));
	kmem_free(sb, sizeof(*sb));
	return r->r_next;
}

/* Collect the file systems.  Returns how many. */
static u_int
vmt_disk_collect(struct vmt_disk *disks, struct statvfs *sb)
{
	mount_iterator_t *iterator;
	struct mount *mp;
	u_int count = 0;

	mountlist_iterator_init(&iterator);
	while ((mp = mountlist_iterator_trynext(iterator)) != NULL) {
		if (count == VMT_DISK_MAX)
			break;
		/* First what the kernel remembers, then, of a disk, anew. */
		if (dostatvfs(mp, sb, curlwp, MNT_NOWAIT, 0) != 0 ||
		    !vmt_is_disk(sb) ||
		    dostatvfs(mp, sb, curlwp, MNT_WAIT, 0) != 0)
			continue;
		strlcpy(disks[count].d_name, sb->f_mntonname,
		    sizeof(disks[count].d_name));
		strlcpy(disks[count].d_type, sb->f_fstypename,
		    sizeof(disks[count].d_type));
		disks[count].d_free = sb->f_bavail * sb->f_frsize;
		disks[count].d_size = sb->f_blocks * sb->f_frsize;
		count++;
	}
	mountlist_iterator_destroy(iterator);
	return count;
}

static bool
vmt_is_disk(const struct statvfs *sb)
{
	u_int i;

	if ((sb->f_flag & MNT_LOCAL) == 0 || sb->f_blocks == 0)
		return false;
	for (i = 0; i < VMT_DISK_TYPES; i++) {
		if (strcmp(sb->f_fstypename, vmt_disk_types[i]) == 0)
			return true;
	}
	return false;
}

/* What does not fit is left out. */
static size_t
vmt_disk_encode_json(char *text, const struct vmt_disk *disks, u_int count)
{
	const size_t size = VMT_DISK_TEXT;
	char name[4 * howmany(VMT_DISK_NAME, 3) + 1];
	size_t length;
	u_int i;
	int n;

	length = snprintf(text, size,
	    "{\n\"version\":\"" VMT_DISK_VERSION "\",\n\"disks\":[\n");
	for (i = 0; i < count; i++) {
		vmt_encode_base64(name, disks[i].d_name);
		n = snprintf(text + length, size - length,
		    "%s{\"name\":\"%s\",\"free\":\"%ju\",\"size\":\"%ju\","
		    "\"fstype\":\"%s\"}", i > 0 ? ",\n" : "", name,
		    (uintmax_t)disks[i].d_free, (uintmax_t)disks[i].d_size,
		    disks[i].d_type);
		/* Room for the end, too. */
		if (n < 0 || length + n + sizeof("\n]}") > size)
			break;
		length += n;
	}
	length += snprintf(text + length, size - length, "%s]}",
	    i > 0 ? "\n" : "");
	return length + 1;		/* the NUL counts */
}

static size_t
vmt_disk_encode_v0(char *text, const struct vmt_disk *disks, u_int count)
{
	struct vmt_disk_v0 v0;
	u_int i;

	text[0] = (char)count;
	for (i = 0; i < count; i++) {
		v0.v_free = htole64(disks[i].d_free);
		v0.v_size = htole64(disks[i].d_size);
		memset(v0.v_name, 0, sizeof(v0.v_name));
		strlcpy(v0.v_name, disks[i].d_name, sizeof(v0.v_name));
		memcpy(text + 1 + i * sizeof(v0), &v0, sizeof(v0));
	}
	return 1 + count * sizeof(v0);
}

/* RFC 4648; the text holds 4 characters for each 3 bytes and a NUL. */
static void
vmt_encode_base64(char *text, const char *data)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = (const uint8_t *)data;
	size_t left = strlen(data);
	uint32_t bits;

	for (; left > 0; p += 3, text += 4) {
		bits = (uint32_t)p[0] << 16;
		if (left > 1)
			bits |= (uint32_t)p[1] << 8;
		if (left > 2)
			bits |= p[2];
		text[0] = digits[bits >> 18];
		text[1] = digits[bits >> 12 & 63];
		text[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
		text[3] = left > 2 ? digits[bits & 63] : '=';
		left -= MIN(left, 3);
	}
	*text = '\0';
}
