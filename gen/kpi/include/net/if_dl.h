/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Link-level addresses (NetBSD sys/net/if_dl.h).
 */
#ifndef _KPI_NET_IF_DL_H_
#define _KPI_NET_IF_DL_H_

#include <sys/socket.h>

struct dl_addr {
	uint8_t	dl_type;
	uint8_t	dl_nlen;
	uint8_t	dl_alen;
	uint8_t	dl_slen;
	char	dl_data[24];
};

struct sockaddr_dl {
	uint8_t		sdl_len;
	sa_family_t	sdl_family;
	uint16_t	sdl_index;
	struct dl_addr	sdl_addr;
};
#define	sdl_type	sdl_addr.dl_type
#define	sdl_nlen	sdl_addr.dl_nlen
#define	sdl_alen	sdl_addr.dl_alen
#define	sdl_slen	sdl_addr.dl_slen
#define	sdl_data	sdl_addr.dl_data

#define	CLLADDR(sdl)	((const char *)((sdl)->sdl_data + (sdl)->sdl_nlen))
#define	satocsdl(sa)	((const struct sockaddr_dl *)(sa))

#endif	/* !_KPI_NET_IF_DL_H_ */
