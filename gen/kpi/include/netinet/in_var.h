/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPv4 addresses of interfaces (NetBSD sys/netinet/in_var.h).
 */
#ifndef _KPI_NETINET_IN_VAR_H_
#define _KPI_NETINET_IN_VAR_H_

#include <sys/queue.h>
#include <net/if.h>
#include <netinet/in.h>

#define	IN_IFF_TENTATIVE	0x01
#define	IN_IFF_DUPLICATED	0x02
#define	IN_IFF_DETACHED		0x04
#define	IN_IFF_TRYTENTATIVE	0x08

struct in_ifaddr {
	struct ifaddr	ia_ifa;
	uint32_t	ia_net;
	uint32_t	ia_netmask;
	uint32_t	ia_subnet;
	uint32_t	ia_subnetmask;
	struct in_addr	ia_netbroadcast;
	LIST_ENTRY(in_ifaddr) ia_hash;
	TAILQ_ENTRY(in_ifaddr) ia_list;
	struct sockaddr_in ia_addr;
	struct sockaddr_in ia_dstaddr;
	struct sockaddr_in ia_sockmask;
	void		*ia_multiaddrs;
	void		*ia_allhosts;
	uint16_t	ia_idsalt;
	int		ia4_flags;
};

#define	ifatoia(ifa)	((struct in_ifaddr *)(ifa))

#endif	/* !_KPI_NETINET_IN_VAR_H_ */
