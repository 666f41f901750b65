/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work queues (NetBSD sys/sys/workqueue.h).
 */
#ifndef _KPI_SYS_WORKQUEUE_H_
#define _KPI_SYS_WORKQUEUE_H_

#include <sys/types.h>

struct work {
	void	*wk_dummy;
};
struct workqueue;

#define	WQ_MPSAFE	0x01
#define	WQ_PERCPU	0x02

int	workqueue_create(struct workqueue **, const char *,
	    void (*)(struct work *, void *), void *, pri_t, int, int);
void	workqueue_destroy(struct workqueue *);
void	workqueue_enqueue(struct workqueue *, struct work *, struct cpu_info *);
void	workqueue_wait(struct workqueue *, struct work *);

#endif	/* !_KPI_SYS_WORKQUEUE_H_ */
