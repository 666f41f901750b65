/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPv6 addresses of interfaces (NetBSD sys/netinet6/in6_var.h).
 */
#ifndef _KPI_NETINET6_IN6_VAR_H_
#define _KPI_NETINET6_IN6_VAR_H_

#include <net/if.h>
#include <netinet6/in6.h>

#define	IN6_IFF_ANYCAST		0x01
#define	IN6_IFF_TENTATIVE	0x02
#define	IN6_IFF_DUPLICATED	0x04
#define	IN6_IFF_DETACHED	0x08
#define	IN6_IFF_DEPRECATED	0x10
#define	IN6_IFF_NOTREADY	(IN6_IFF_TENTATIVE | IN6_IFF_DUPLICATED)

struct in6_ifaddr {
	struct ifaddr	ia_ifa;
	struct sockaddr_in6 ia_addr;
	struct sockaddr_in6 ia_net;
	struct sockaddr_in6 ia_dstaddr;
	struct sockaddr_in6 ia_prefixmask;
	uint32_t	ia_plen;
	struct in6_ifaddr *ia_next;
	void		*_ia6_multiaddrs;
	int		ia6_flags;
};

#define	ifatoia6(ifa)	((struct in6_ifaddr *)(ifa))

int	in6_mask2len(struct in6_addr *, u_char *);
void	in6_prefixlen2mask(struct in6_addr *, int);

#endif	/* !_KPI_NETINET6_IN6_VAR_H_ */
