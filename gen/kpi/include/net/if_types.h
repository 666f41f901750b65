/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interface types (NetBSD sys/net/if_types.h).
 */
#ifndef _KPI_NET_IF_TYPES_H_
#define _KPI_NET_IF_TYPES_H_

#define	IFT_OTHER	0x1
#define	IFT_ETHER	0x6
#define	IFT_PPP		0x17
#define	IFT_LOOP	0x18
#define	IFT_IEEE80211	0x47
#define	IFT_TUNNEL	0x83
#define	IFT_L2VLAN	0x87
#define	IFT_BRIDGE	0xd1

#endif	/* !_KPI_NET_IF_TYPES_H_ */
