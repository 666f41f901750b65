/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The declarations that the driver's files share.  Only the worker calls the
 * host and uses the pages.
 *
 *	(i)	set before the worker starts, constant until it is gone
 *	(l)	sc_lock
 *	(w)	used by the worker alone
 *	(c)	written by the worker alone, with sc_lock; read with it
 */

#ifndef _DEV_VMMEMCTL_VMMEMCTLVAR_H_
#define	_DEV_VMMEMCTL_VMMEMCTLVAR_H_

#include <sys/types.h>
#include <sys/condvar.h>
#include <sys/device.h>
#include <sys/evcnt.h>
#include <sys/mutex.h>
#include <sys/sysctl.h>

#include <uvm/uvm_extern.h>
#include <uvm/uvm_page.h>

/*
 * The linkage of what the files share.  vmmemctl_module.c compiles them as one
 * unit in which everything is static.
 */
#ifndef VMMEMCTL_LOCAL
#define	VMMEMCTL_LOCAL
#define	VMMEMCTL_LOCAL_TABLE
#define	VMMEMCTL_LOCAL_DATA	extern
#endif

struct vmmemctl_softc;

#include "vmmemctlreg.h"

/* Registers of a call. */
struct vmmemctl_frame {
	uint32_t	ax;	/* magic; the status */
	uint32_t	bx;	/* an argument; the target */
	uint32_t	cx;	/* command; capabilities */
	uint32_t	dx;	/* port */
	uint32_t	si;	/* a second argument */
};

struct vmmemctl_text {
	int		t_level;
	bool		t_console;
	const char	*t_format;
};

struct vmmemctl_counter {
	const char	*c_name;
	const char	*c_description;
};

struct vmmemctl_node {
	const char	*n_name;
	int		n_type;
	int		n_flags;
	u_int		n_depth;
	bool		n_counters;	/* its children are the counters */
	size_t		n_size;
	sysctlfn	n_handler;
	int		n_min, n_max;
	size_t		n_offset;
	const char	*n_description;
};

struct vmmemctl_softc {
	device_t	sc_dev;			/* (i) */
	kmutex_t	sc_lock;
	kcondvar_t	sc_work;		/* the worker sleeps on it */
	struct lwp	*sc_thread;		/* (i) */
	struct sysctllog *sc_sysctllog;		/* (i) */
	bool		sc_have_locks;		/* (i) */
	bool		sc_have_pmf;		/* (i) */
	bool		sc_dying;		/* (l) */
	bool		sc_running;		/* (l) */

	uint64_t	sc_target;		/* (c) pages */
	uint64_t	sc_size;		/* (c) pages */
	int		sc_floor;		/* (l) megabytes */
	const char	*sc_state;		/* (l) a constant text */

	struct pglist	sc_pages;		/* (w) the host has them */
	uint64_t	*sc_batch;		/* (i) entries of a batch */
	paddr_t		sc_batch_at;		/* (i) */
	uint32_t	sc_can;			/* (w) capabilities */
	u_int		sc_rate;		/* (w) pages a poll */
	u_int		sc_rest;		/* (w) polls to the next try */
	bool		sc_started;		/* (w) */

	struct evcnt	sc_counters[VMMEMCTL_COUNTERS];	/* (c) */
};

VMMEMCTL_LOCAL_DATA const struct vmmemctl_text vmmemctl_texts[VMMEMCTL_LOGS];
VMMEMCTL_LOCAL_DATA const struct vmmemctl_counter
    vmmemctl_counters[VMMEMCTL_COUNTERS];
VMMEMCTL_LOCAL_DATA const struct vmmemctl_node vmmemctl_nodes[VMMEMCTL_NODES];

VMMEMCTL_LOCAL void	vmmemctl_attach(device_t, device_t, void *);
VMMEMCTL_LOCAL int	vmmemctl_detach(device_t, int);
VMMEMCTL_LOCAL bool	vmmemctl_probe(void);
VMMEMCTL_LOCAL int	vmmemctl_sysctl_create(struct vmmemctl_softc *);
VMMEMCTL_LOCAL bool	vmmemctl_machine_match(const void *);
VMMEMCTL_LOCAL bool	vmmemctl_machine_is_vmware(void);
VMMEMCTL_LOCAL void	vmmemctl_trap(struct vmmemctl_frame *);

#endif /* !_DEV_VMMEMCTL_VMMEMCTLVAR_H_ */
