/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Socket addresses (NetBSD sys/sys/socket.h).
 */
#ifndef _KPI_SYS_SOCKET_H_
#define _KPI_SYS_SOCKET_H_

#include <sys/types.h>

typedef uint8_t		sa_family_t;

#define	AF_INET		2
#define	AF_LINK		18
#define	AF_INET6	24

struct sockaddr {
	uint8_t		sa_len;
	sa_family_t	sa_family;
	char		sa_data[14];
};

#endif	/* !_KPI_SYS_SOCKET_H_ */
