/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Routes, as code that walks the table sees them (NetBSD sys/net/route.h,
 * radix.h). Only the members that have a name here may be used; the offsets
 * were measured in 10.99.12 and agree with the headers that 10.1 and 11.0
 * install.
 */
#ifndef _KPI_NET_ROUTE_H_
#define _KPI_NET_ROUTE_H_

#include <sys/types.h>
#include <sys/socket.h>
#include <net/if.h>

#define	RTF_UP		0x1
#define	RTF_GATEWAY	0x2
#define	RTF_HOST	0x4
#define	RTF_REJECT	0x8
#define	RTF_STATIC	0x800
#define	RTF_BLACKHOLE	0x1000

struct radix_node {
	void		*rn_mklist;
	struct radix_node *rn_p;
	short		rn_b;
	char		rn_bmask;
	u_char		rn_flags;
	union {
		struct {
			const char	*rn_Key;
			const char	*rn_Mask;
			struct radix_node *rn_Dupedkey;
		} rn_leaf;
	} rn_u;
};
#define	rn_key		rn_u.rn_leaf.rn_Key
#define	rn_mask		rn_u.rn_leaf.rn_Mask

struct rtentry {
	struct radix_node rt_nodes[2];
#define	rt_mask(r)	((const struct sockaddr *)((r)->rt_nodes->rn_mask))
	struct sockaddr	*rt_gateway;
	int		rt_flags;
	int		rt_refcnt;
	uint64_t	rt_use;
	struct ifnet	*rt_ifp;
	struct ifaddr	*rt_ifa;
	__KPI_GAP(rt_gap1, 120, 100);
	struct sockaddr	*_rt_key;
	struct sockaddr	*rt_tag;
};

static __inline const struct sockaddr *
rt_getkey(const struct rtentry *rt)
{
	return rt->_rt_key;
}

/*
 * Without NET_MPSAFE it takes no lock: the caller has KERNEL_LOCK, at
 * splsoftnet(). With NET_MPSAFE it takes one that sleeps.
 */
int	rt_walktree(sa_family_t, int (*)(struct rtentry *, void *), void *);

#endif	/* !_KPI_NET_ROUTE_H_ */
