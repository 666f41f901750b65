/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive references (NetBSD sys/sys/psref.h).
 */
#ifndef _KPI_SYS_PSREF_H_
#define _KPI_SYS_PSREF_H_

#include <sys/types.h>

struct cpu_info;
struct psref_class;

struct psref_target {
	struct psref_class *prt_class;
	bool		prt_draining;
};

/* One reference; only for a thread that stays on its CPU. */
struct psref {
	struct psref	*psref_next;
	void		*psref_debug;
	const struct psref_target *psref_target;
	struct lwp	*psref_lwp;
	struct cpu_info	*psref_cpu;
};

struct psref_class *psref_class_create(const char *, int);
void	psref_class_destroy(struct psref_class *);
void	psref_target_init(struct psref_target *, struct psref_class *);
void	psref_target_destroy(struct psref_target *, struct psref_class *);
void	psref_acquire(struct psref *, const struct psref_target *,
	    struct psref_class *);
void	psref_release(struct psref *, const struct psref_target *,
	    struct psref_class *);
void	psref_copy(struct psref *, const struct psref *,
	    struct psref_class *);
bool	psref_held(const struct psref_target *, struct psref_class *);

#endif	/* !_KPI_SYS_PSREF_H_ */
