/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPv4 addresses (NetBSD sys/netinet/in.h).
 */
#ifndef _KPI_NETINET_IN_H_
#define _KPI_NETINET_IN_H_

#include <sys/socket.h>
#include <sys/endian.h>
#include <netinet6/in6.h>

typedef uint32_t	in_addr_t;
typedef uint16_t	in_port_t;

#define	INET_ADDRSTRLEN	16

struct in_addr {
	in_addr_t	s_addr;
};

struct sockaddr_in {
	uint8_t		sin_len;
	sa_family_t	sin_family;
	in_port_t	sin_port;
	struct in_addr	sin_addr;
	int8_t		sin_zero[8];
};

/* In the kernel these are in network byte order. */
#define	INADDR_ANY		htonl((uint32_t)0x00000000)
#define	INADDR_LOOPBACK		htonl((uint32_t)0x7f000001)
#define	INADDR_BROADCAST	htonl((uint32_t)0xffffffff)

#define	IN_LOOPBACKNET		127	/* the first byte of 127/8 */

#define	satosin(sa)	((struct sockaddr_in *)(sa))
#define	satocsin(sa)	((const struct sockaddr_in *)(sa))

int	in_print(char *, size_t, const struct in_addr *);
void	in_len2mask(struct in_addr *, u_int);

#endif	/* !_KPI_NETINET_IN_H_ */
