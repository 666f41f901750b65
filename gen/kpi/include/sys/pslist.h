/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists that are read without a lock (NetBSD sys/sys/pslist.h), the
 * reader's side: valid between pserialize_read_enter and _exit.
 */
#ifndef _KPI_SYS_PSLIST_H_
#define _KPI_SYS_PSLIST_H_

#include <sys/types.h>
#include <sys/atomic.h>

struct pslist_entry {
	struct pslist_entry **ple_prevp;
	struct pslist_entry *ple_next;
};

struct pslist_head {
	struct pslist_entry *plh_first;
};

/* The structure that holds an entry, or NULL at the end of the list. */
static __inline __unused void *
__kpi_pslist_container(struct pslist_entry *entry, size_t offset)
{

	if (entry == NULL)
		return NULL;
	return (char *)entry - offset;
}

/* The loads happen in functions, as in NetBSD: the same use of the stack. */
static __inline __unused void *
__kpi_pslist_first(const struct pslist_head *head, size_t offset)
{

	return __kpi_pslist_container(atomic_load_consume(&head->plh_first),
	    offset);
}

static __inline __unused void *
__kpi_pslist_next(const struct pslist_entry *entry, size_t offset)
{

	return __kpi_pslist_container(atomic_load_consume(&entry->ple_next),
	    offset);
}

#define	PSLIST_READER_FIRST(head, type, field)				\
	((type *)__kpi_pslist_first((head), offsetof(type, field)))
#define	PSLIST_READER_NEXT(elm, type, field)				\
	((type *)__kpi_pslist_next(&(elm)->field, offsetof(type, field)))
#define	PSLIST_READER_FOREACH(elm, head, type, field)			\
	for ((elm) = PSLIST_READER_FIRST((head), type, field);		\
	    (elm) != NULL;						\
	    (elm) = PSLIST_READER_NEXT((elm), type, field))

#endif	/* !_KPI_SYS_PSLIST_H_ */
