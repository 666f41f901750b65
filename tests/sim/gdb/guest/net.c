/* SPDX-License-Identifier: BSD-2-Clause */
/* One Ethernet interface with one address, for code that walks the lists. */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/pserialize.h>
#include <sys/socket.h>

#include <net/if.h>
#include <net/if_dl.h>
#include <net/if_types.h>

#include <netinet/in.h>

#include "guest.h"

static struct sockaddr_in address = {
	.sin_len = sizeof(address), .sin_family = AF_INET,
	.sin_addr = { 0x0a0200c0 }		/* 192.0.2.10 */
};
static struct sockaddr_in netmask = {
	.sin_len = sizeof(netmask), .sin_family = AF_INET,
	.sin_addr = { 0x00ffffff }
};
static struct ifnet interface;
static struct ifaddr entry = {
	.ifa_addr = (struct sockaddr *)&address,
	.ifa_netmask = (struct sockaddr *)&netmask,
	.ifa_ifp = &interface
};
static struct ifnet interface = {
	.if_xname = "wm0", .if_index = 1, .if_flags = IFF_UP | IFF_RUNNING,
	.if_type = IFT_ETHER,
	.if_addr_pslist = { &entry.ifa_pslist_entry }
};
struct pslist_head ifnet_pslist = { &interface.if_pslist_entry };

int
pserialize_read_enter(void)
{

	return 0;
}

void
pserialize_read_exit(int s)
{
}

int
in_print(char *text, size_t size, const struct in_addr *ip)
{
	const uint8_t *b = (const void *)ip;

	return snprintf(text, size, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
}

unsigned int
popcount32(uint32_t value)
{
	unsigned int n;

	for (n = 0; value != 0; n++)
		value &= value - 1;
	return n;
}
