/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entropy from a driver (NetBSD sys/sys/rndsource.h): 23 words, or 36 of 32
 * bits, opaque.
 */
#ifndef _KPI_SYS_RNDSOURCE_H_
#define _KPI_SYS_RNDSOURCE_H_

#include <sys/types.h>

struct krndsource {
	long	_r_store[sizeof(long) == 8 ? 23 : 36];
};
typedef struct krndsource krndsource_t;

#define	RND_FLAG_HASCB		0x00000800
#define	RND_FLAG_COLLECT_TIME	0x00001000
#define	RND_FLAG_COLLECT_VALUE	0x00002000
#define	RND_FLAG_ESTIMATE_TIME	0x00004000
#define	RND_FLAG_ESTIMATE_VALUE	0x00008000
#define	RND_FLAG_DEFAULT						\
	(RND_FLAG_COLLECT_VALUE | RND_FLAG_COLLECT_TIME | RND_FLAG_ESTIMATE_TIME)

#define	RND_TYPE_UNKNOWN	0
#define	RND_TYPE_RNG		5
#define	RND_TYPE_ENV		7
#define	RND_TYPE_POWER		9

void	rndsource_setcb(struct krndsource *, void (*)(size_t, void *), void *);
void	rnd_attach_source(struct krndsource *, const char *, uint32_t,
	    uint32_t);
void	rnd_detach_source(struct krndsource *);
void	rnd_add_uint32(struct krndsource *, uint32_t);
void	rnd_add_data(struct krndsource *, const void *, uint32_t, uint32_t);

#endif	/* !_KPI_SYS_RNDSOURCE_H_ */
