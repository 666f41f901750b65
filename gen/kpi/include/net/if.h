/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interfaces and their addresses, as a reader sees them (NetBSD
 * sys/net/if.h). Only the members that have a name here may be used; the
 * offsets were measured in 10.99.2 and 10.99.12 and agree with the headers
 * that 10.1 and 11.0 install.
 */
#ifndef _KPI_NET_IF_H_
#define _KPI_NET_IF_H_

#include <sys/types.h>
#include <sys/pslist.h>
#include <sys/psref.h>
#include <sys/socket.h>

#define	IF_NAMESIZE	16
#define	IFNAMSIZ	IF_NAMESIZE

#define	IFF_UP		0x0001
#define	IFF_BROADCAST	0x0002
#define	IFF_LOOPBACK	0x0008
#define	IFF_POINTOPOINT	0x0010
#define	IFF_RUNNING	0x0040
#define	IFF_MULTICAST	0x8000

typedef unsigned short	if_index_t;

struct ifaddr;
struct sockaddr_dl;

/* Bytes that lie between two members, on 64-bit and on 32-bit machines. */
#ifdef _LP64
#define	__KPI_GAP(name, wide, narrow)	char name[wide]
#else
#define	__KPI_GAP(name, wide, narrow)	char name[narrow]
#endif

struct ifnet {
	void		*if_softc;
	__KPI_GAP(if_gap1, 32, 16);
	char		if_xname[IFNAMSIZ];
	int		if_pcount;
	void		*if_bpf;
	if_index_t	if_index;
	short		if_timer;
	unsigned short	if_flags;
	short		if_extflags;
	u_char		if_type;
	u_char		if_addrlen;
	u_char		if_hdrlen;
	__KPI_GAP(if_gap2, 261, 161);
	const struct sockaddr_dl *if_sadl;
	__KPI_GAP(if_gap3, 504, 268);
	struct pslist_entry if_pslist_entry;
	struct psref_target if_psref;
	struct pslist_head if_addr_pslist;
};

struct ifaddr {
	struct sockaddr	*ifa_addr;
	struct sockaddr	*ifa_dstaddr;
	struct sockaddr	*ifa_netmask;
	struct ifnet	*ifa_ifp;
	__KPI_GAP(ifa_gap1, 80, 52);
	struct pslist_entry ifa_pslist_entry;
	struct psref_target ifa_psref;
};
#define	ifa_broadaddr	ifa_dstaddr

extern struct pslist_head ifnet_pslist;

struct ifnet *if_get(const char *, struct psref *);
struct ifnet *if_get_byindex(u_int, struct psref *);
struct ifnet *if_byindex(u_int);
void	if_acquire(struct ifnet *, struct psref *);
void	if_put(const struct ifnet *, struct psref *);
#define	if_release	if_put
bool	if_held(struct ifnet *);
void	ifa_acquire(struct ifaddr *, struct psref *);
void	ifa_release(struct ifaddr *, struct psref *);

#define	IFNET_READER_FOREACH(ifp)					\
	PSLIST_READER_FOREACH((ifp), &ifnet_pslist, struct ifnet,	\
	    if_pslist_entry)
#define	IFADDR_READER_FOREACH(ifa, ifp)					\
	PSLIST_READER_FOREACH((ifa), &(ifp)->if_addr_pslist,		\
	    struct ifaddr, ifa_pslist_entry)

#endif	/* !_KPI_NET_IF_H_ */
