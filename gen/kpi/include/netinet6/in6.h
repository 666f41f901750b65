/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPv6 addresses (NetBSD sys/netinet6/in6.h). Inside the kernel a
 * link-local address holds its interface's number in bytes 2 and 3.
 */
#ifndef _KPI_NETINET6_IN6_H_
#define _KPI_NETINET6_IN6_H_

#include <sys/socket.h>

#define	INET6_ADDRSTRLEN	46

struct in6_addr {
	union {
		uint8_t		__u6_addr8[16];
		uint16_t	__u6_addr16[8];
		uint32_t	__u6_addr32[4];
	} __u6_addr;
};
#define	s6_addr		__u6_addr.__u6_addr8
#define	s6_addr8	__u6_addr.__u6_addr8
#define	s6_addr16	__u6_addr.__u6_addr16
#define	s6_addr32	__u6_addr.__u6_addr32

struct sockaddr_in6 {
	uint8_t		sin6_len;
	sa_family_t	sin6_family;
	uint16_t	sin6_port;
	uint32_t	sin6_flowinfo;
	struct in6_addr	sin6_addr;
	uint32_t	sin6_scope_id;
};

#define	IN6_IS_ADDR_UNSPECIFIED(a)					\
	((a)->s6_addr32[0] == 0 && (a)->s6_addr32[1] == 0 &&		\
	    (a)->s6_addr32[2] == 0 && (a)->s6_addr32[3] == 0)
#define	IN6_IS_ADDR_LOOPBACK(a)						\
	((a)->s6_addr32[0] == 0 && (a)->s6_addr32[1] == 0 &&		\
	    (a)->s6_addr32[2] == 0 && (a)->s6_addr32[3] == 0x01000000)
#define	IN6_IS_ADDR_LINKLOCAL(a)					\
	((a)->s6_addr[0] == 0xfe && ((a)->s6_addr[1] & 0xc0) == 0x80)
#define	IN6_IS_ADDR_MULTICAST(a)	((a)->s6_addr[0] == 0xff)

#define	satosin6(sa)	((struct sockaddr_in6 *)(sa))
#define	satocsin6(sa)	((const struct sockaddr_in6 *)(sa))

int	in6_print(char *, size_t, const struct in6_addr *);
int	in6_clearscope(struct in6_addr *);

#endif	/* !_KPI_NETINET6_IN6_H_ */
