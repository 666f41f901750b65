/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Interfaces, as the driver reports them to the host: MAC address, addresses
 * with prefix and status, default routes, host name and name servers.  The
 * message is XDR (RFC 4506): big-endian words, strings padded to words.
 *
 * The kernel has no name servers: a program writes them to net.dns.
 *
 * All of this runs in the worker, without sc_lock; except vmt_dns_valid(),
 * which has no state, in a sysctl(9) handler.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/socket.h>
#include <sys/systm.h>

#include <netinet/in.h>
#include <netinet6/in6.h>

#include "vmtvar.h"

#define	VMT_MAC_SIZE	18		/* "xx:xx:xx:xx:xx:xx" */

/* Maximum bytes of a message without its addresses, and of an address. */
#define	VMT_NIC_FIXED							\
	(VMT_NIC_MAX * 64 + VMT_ROUTE_MAX * 68 + MAXHOSTNAMELEN +	\
	    VMT_DNS_SERVERS * 24 + VMT_DNS_SUFFIXES * 8 +		\
	    VMT_SYSCTL_DNS_SIZE + 128)
#define	VMT_NIC_ENTRY	40

enum vmt_dns_key {
	VMT_DNS_SERVER,
	VMT_DNS_DOMAIN,
	VMT_DNS_SUFFIX,
	VMT_DNS_KEYS
};

/*
 * A word of net.dns: after "nameserver" come addresses, after "domain" one
 * name, after "search" names.
 */
struct vmt_dns_word {
	enum vmt_dns_key w_key;
	const char	*w_text;
	size_t		w_length;
};

static bool	vmt_nic_read_choice(struct vmt_softc *);
static void	vmt_nic_send(struct vmt_softc *, const struct vmt_net *);
static int	vmt_nic_send_primary(struct vmt_softc *, const struct vmt_net *,
		    bool);
static size_t	vmt_nic_encode(uint8_t *, const struct vmt_net *, u_int);
static uint8_t	*vmt_nic_put_route(uint8_t *, const struct vmt_route *);
static uint8_t	*vmt_nic_put_dns(uint8_t *, const char *);
static uint8_t	*vmt_dns_put(uint8_t *, const char *, enum vmt_dns_key,
		    const u_int *);
static bool	vmt_dns_count(const char *, u_int *);
static bool	vmt_dns_next(struct vmt_dns_word *);
static bool	vmt_parse_address(const struct vmt_dns_word *,
		    struct vmt_address *);
static bool	vmt_parse_ipv4(const char *, const char *, uint8_t *);
static bool	vmt_parse_ipv6(const char *, const char *, uint8_t *);
static int	vmt_digit(char);
static uint8_t	*vmt_xdr_put_address(uint8_t *, const struct vmt_address *);
static uint8_t	*vmt_xdr_put_word(uint8_t *, uint32_t);
static uint8_t	*vmt_xdr_put_opaque(uint8_t *, const void *, size_t);

/*
 * Check the interfaces and report changes to the host.  Returns the next
 * deadline (uptime in ms).
 */
int64_t
vmt_nic_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_report *r = &sc->sc_nics;
	struct vmt_net net;

	if (!vmt_nic_read_choice(sc) && now < r->r_next)
		return r->r_next;
	r->r_next = now + VMT_NIC_PERIOD * 1000;
	if (!vmt_net_collect(sc, &net))
		return r->r_next;
	vmt_update_now(sc);
	(void)vmt_nic_send_primary(sc, &net, false);
	if (r->r_form < VMT_NIC_METHODS)
		vmt_nic_send(sc, &net);
	vmt_net_free(&net);
	return r->r_next;
}

/* Copy the administrator's settings.  Returns whether they changed. */
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

/* Send the interfaces in the first form that the host accepts. */
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

/* The host requests the primary address: send it even if it has it. */
int
vmt_nic_broadcast(struct vmt_softc *sc)
{
	struct vmt_net net;
	int error;

	if (vmt_nic_read_choice(sc))
		sc->sc_nics.r_next = 0;
	if (!vmt_net_collect(sc, &net))
		return 0;	/* in the next check */
	error = vmt_nic_send_primary(sc, &net, true);
	vmt_net_free(&net);
	return error;
}

/*
 * Keep guestinfo.ip up to date where the host requests it.  When the address
 * is gone, send an empty value.  Do not repeat a refused value before the
 * address changes or the host requests it.
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
			p = vmt_xdr_put_address(p, address);
			p = vmt_xdr_put_word(p, address->a_prefix);
			p = vmt_xdr_put_word(p, 0);	/* no origin */
			p = vmt_xdr_put_word(p, 1);	/* the status is */
			p = vmt_xdr_put_word(p, address->a_status);
		}
		for (i = 0; i < 4; i++)		/* no DNS, WINS, DHCP */
			p = vmt_xdr_put_word(p, 0);
	}
	p = vmt_xdr_put_word(p, net->n_routes);
	for (i = 0; i < net->n_routes; i++)
		p = vmt_nic_put_route(p, &net->n_route[i]);
	p = vmt_nic_put_dns(p, net->n_choice->c_dns);
	for (i = 0; i < 3; i++)			/* no WINS, DHCP, DHCPv6 */
		p = vmt_xdr_put_word(p, 0);
	return p - start;
}

/* A default route: its destination is any address, a prefix of 0 bits. */
static uint8_t *
vmt_nic_put_route(uint8_t *p, const struct vmt_route *route)
{
	static const struct vmt_address everywhere[] = {
		{ .a_length = sizeof(struct in_addr) },
		{ .a_length = sizeof(struct in6_addr) }
	};
	const bool remote = route->r_hop.a_length != 0;

	p = vmt_xdr_put_address(p,
	    &everywhere[route->r_family == AF_INET ? 0 : 1]);
	p = vmt_xdr_put_word(p, 0);
	p = vmt_xdr_put_word(p, remote);	/* the next hop follows */
	if (remote)
		p = vmt_xdr_put_address(p, &route->r_hop);
	p = vmt_xdr_put_word(p, route->r_nic);
	p = vmt_xdr_put_word(p, remote ? VMT_NIC_REMOTE : VMT_NIC_LOCAL);
	return vmt_xdr_put_word(p, VMT_NIC_METRIC);
}

/* The host name, and the administrator's setting of name servers. */
static uint8_t *
vmt_nic_put_dns(uint8_t *p, const char *text)
{
	const bool named = hostname[0] != '\0';
	u_int counts[VMT_DNS_KEYS];

	/* Invalid text was refused when it was set. */
	if (!vmt_dns_count(text, counts) || (!named && text[0] == '\0'))
		return vmt_xdr_put_word(p, 0);
	p = vmt_xdr_put_word(p, 1);
	p = vmt_xdr_put_word(p, named);
	if (named)
		p = vmt_xdr_put_opaque(p, hostname,
		    MIN(strlen(hostname), VMT_NIC_HOSTNAME));
	p = vmt_dns_put(p, text, VMT_DNS_DOMAIN, counts);
	p = vmt_dns_put(p, text, VMT_DNS_SERVER, counts);
	return vmt_dns_put(p, text, VMT_DNS_SUFFIX, counts);
}

/* The number of entries (for the domain: the XDR flag), and the entries. */
static uint8_t *
vmt_dns_put(uint8_t *p, const char *text, enum vmt_dns_key key,
    const u_int *counts)
{
	struct vmt_dns_word word = { VMT_DNS_KEYS, text, 0 };
	struct vmt_address address;

	p = vmt_xdr_put_word(p, counts[key]);
	while (vmt_dns_next(&word)) {
		if (word.w_key != key)
			continue;
		if (key != VMT_DNS_SERVER)
			p = vmt_xdr_put_opaque(p, word.w_text, word.w_length);
		else if (vmt_parse_address(&word, &address))
			p = vmt_xdr_put_address(p, &address);
	}
	return p;
}

/* Is it a text for net.dns that fits a message? */
bool
vmt_dns_valid(const char *text)
{
	u_int counts[VMT_DNS_KEYS];

	return vmt_dns_count(text, counts);
}

static bool
vmt_dns_count(const char *text, u_int *counts)
{
	static const u_int most[] = {
		[VMT_DNS_SERVER] = VMT_DNS_SERVERS,
		[VMT_DNS_DOMAIN] = 1,
		[VMT_DNS_SUFFIX] = VMT_DNS_SUFFIXES
	};
	struct vmt_dns_word word = { VMT_DNS_KEYS, text, 0 };
	struct vmt_address address;

	memset(counts, 0, VMT_DNS_KEYS * sizeof(*counts));
	while (vmt_dns_next(&word)) {
		if (word.w_key == VMT_DNS_KEYS ||
		    ++counts[word.w_key] > most[word.w_key])
			return false;
		if (word.w_key == VMT_DNS_SERVER ?
		    !vmt_parse_address(&word, &address) :
		    word.w_length > VMT_NIC_HOSTNAME)
			return false;
	}
	return true;
}

/*
 * Find the next word of net.dns that is not a key.  The key before it gives
 * its meaning; VMT_DNS_KEYS means that it is invalid.
 */
static bool
vmt_dns_next(struct vmt_dns_word *word)
{
	static const char * const keys[] = {
		[VMT_DNS_SERVER] = "nameserver",
		[VMT_DNS_DOMAIN] = "domain",
		[VMT_DNS_SUFFIX] = "search"
	};
	const char *p = word->w_text + word->w_length;
	size_t length;
	u_int i;

	for (;; p += length) {
		while (*p == ' ')
			p++;
		if (*p == '\0')
			return false;
		for (length = 0; p[length] > ' ' && p[length] <= '~'; length++)
			continue;
		for (i = 0; i < VMT_DNS_KEYS; i++) {
			if (strlen(keys[i]) == length &&
			    memcmp(keys[i], p, length) == 0)
				break;
		}
		if (i == VMT_DNS_KEYS)
			break;
		word->w_key = i;
	}
	if (length == 0)	/* a character that is invalid in names */
		word->w_key = VMT_DNS_KEYS;
	word->w_text = p;
	word->w_length = length;
	return true;
}

/* An address in the form of inet_pton(3), which the kernel does not have. */
static bool
vmt_parse_address(const struct vmt_dns_word *word, struct vmt_address *address)
{
	const char *p = word->w_text, *end = p + word->w_length;

	address->a_length = sizeof(struct in_addr);
	if (vmt_parse_ipv4(p, end, address->a_bytes))
		return true;
	address->a_length = sizeof(struct in6_addr);
	return vmt_parse_ipv6(p, end, address->a_bytes);
}

static bool
vmt_parse_ipv4(const char *p, const char *end, uint8_t *bytes)
{
	u_int i, value;
	const char *start;

	for (i = 0; i < sizeof(struct in_addr); i++) {
		if (i > 0 && (p == end || *p++ != '.'))
			return false;
		start = p;
		for (value = 0; p < end && *p >= '0' && *p <= '9'; p++) {
			value = value * 10 + (u_int)(*p - '0');
			if (value > 255 || (p > start && *start == '0'))
				return false;
		}
		if (p == start)
			return false;
		bytes[i] = (uint8_t)value;
	}
	return p == end;
}

/* "::" stands for one group of zeros or more, and is there at most once. */
static bool
vmt_parse_ipv6(const char *p, const char *end, uint8_t *bytes)
{
	const size_t size = sizeof(struct in6_addr);
	const size_t none = size + 1;
	size_t gap = none, n = 0;
	u_int digits, value;
	const char *start;

	if (end - p >= 2 && p[0] == ':' && p[1] == ':') {
		gap = 0;
		p += 2;
	}
	while (p < end) {
		start = p;
		value = 0;
		for (digits = 0; p < end && vmt_digit(*p) >= 0; p++) {
			value = value << 4 | (u_int)vmt_digit(*p);
			if (++digits > 4)
				return false;
		}
		if (p < end && *p == '.') {
			/* The last two groups may be written as in IPv4. */
			if (n + sizeof(struct in_addr) > size ||
			    !vmt_parse_ipv4(start, end, bytes + n))
				return false;
			n += sizeof(struct in_addr);
			break;
		}
		if (digits == 0 || n == size)
			return false;
		be16enc(bytes + n, (uint16_t)value);
		n += sizeof(uint16_t);
		if (p == end)
			break;
		if (*p++ != ':' || p == end)
			return false;
		if (*p == ':') {
			if (gap != none)
				return false;
			gap = n;
			p++;
		}
	}
	if (gap == none || n == size)
		return gap == none && n == size;
	memmove(bytes + size - (n - gap), bytes + gap, n - gap);
	memset(bytes + gap, 0, size - n);
	return true;
}

/* The value of a hexadecimal digit, or -1. */
static int
vmt_digit(char c)
{

	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t *
vmt_xdr_put_address(uint8_t *p, const struct vmt_address *address)
{

	p = vmt_xdr_put_word(p, address->a_length == sizeof(struct in_addr) ?
	    VMT_NIC_IPV4 : VMT_NIC_IPV6);
	return vmt_xdr_put_opaque(p, address->a_bytes, address->a_length);
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
