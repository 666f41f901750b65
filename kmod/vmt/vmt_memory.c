/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Statistics of the memory, from which the host draws its charts.
 *
 * A rate needs two samples: the first after a reset has none.  There is no
 * floating point in the kernel: the host drops the fraction of a rate, so each
 * is an integer whose double is made of its bits.
 *
 * All of this runs in the worker, without sc_lock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/atomic.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include <uvm/uvm_extern.h>

#include "vmtvar.h"

#define	VMT_DOUBLE_FRACTION	52	/* bits of an IEEE 754 double */
#define	VMT_DOUBLE_BIAS		1023

/* A mask, and at most a name space, id, type, unit and value. */
#define	VMT_MEMORY_STAT_MAX	(4 + (2 + 1) + (2 + 1) + (2 + 2) + (2 + 8))

/* All words are little-endian. */
struct vmt_memory_message {
	uint32_t	m_version;
	uint32_t	m_flags;
	uint64_t	m_total;	/* KiB */
	uint64_t	m_unused[12];
	uint8_t		m_stats[2 + sizeof(VMT_MEMORY_NAMESPACE) +
			    VMT_MEMORY_STATS * VMT_MEMORY_STAT_MAX];
};

static void	vmt_memory_collect(uint64_t *);
static uint64_t	vmt_memory_needed(uint64_t, uint64_t, uint64_t);
static size_t	vmt_memory_encode(struct vmt_memory_message *,
		    struct vmt_memory *, const uint64_t *, int64_t);
static uint8_t	*vmt_memory_put(uint8_t *, uint64_t);
static uint64_t	vmt_memory_double(uint64_t);

/* Start to send them. */
void
vmt_memory_forget(struct vmt_memory *memory)
{

	memory->c_refused = false;
	memory->c_sampled = false;
}

/* Send a sample when one is due.  Returns when the next is (uptime in ms). */
int64_t
vmt_memory_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_memory *memory = &sc->sc_memory;
	const int period = atomic_load_relaxed(&memory->c_period);
	struct vmt_memory_message *message;
	uint64_t value[VMT_MEMORY_STATS];
	size_t length;
	int64_t next;

	if (period == 0) {
		memory->c_sampled = false;
		return INT64_MAX;
	}
	if (memory->c_refused)
		return INT64_MAX;
	next = memory->c_last + (int64_t)period * 1000;
	if (memory->c_sampled && now < next)
		return next;

	message = kmem_zalloc(sizeof(*message), KM_SLEEP);
	vmt_memory_collect(value);
	length = vmt_memory_encode(message, memory, value, now);
	if (vmt_rpc_set_guest_info_binary(sc, VMT_KEY_MEMORY, message,
	    length) == ENOTSUP) {
		memory->c_refused = true;
		vmt_log(sc, VMT_LOG_INFO_REFUSED, VMT_KEY_MEMORY);
	}
	kmem_free(message, sizeof(*message));
	memory->c_last = now;
	memory->c_sampled = true;
	return now + (int64_t)period * 1000;
}

/* Sizes in KiB, and the counters of rates as they are. */
static void
vmt_memory_collect(uint64_t *value)
{
	uint64_t page;

	/* Some members are sums over all processors: bring them up to date. */
	uvm_update_uvmexp();
	page = uvmexp.pagesize / 1024;
	value[VMT_MEMORY_USABLE] = page * uvmexp.npages;
	value[VMT_MEMORY_FREE] = page * uvmexp.free;
	value[VMT_MEMORY_SWAP_FREE] =
	    page * MAX(uvmexp.swpgavail - uvmexp.swpginuse, 0);
	value[VMT_MEMORY_PAGE_IN] = (u_int)uvmexp.pageins;
	value[VMT_MEMORY_PAGE_OUT] = (u_int)uvmexp.pgswapout;
	value[VMT_MEMORY_CONTEXT_SWITCH] = (u_int)uvmexp.swtch;
	value[VMT_MEMORY_PAGE_SIZE] = uvmexp.pagesize;
	value[VMT_MEMORY_RESERVED] =
	    value[VMT_MEMORY_USABLE] / VMT_MEMORY_RESERVE;
	value[VMT_MEMORY_NEEDED] = vmt_memory_needed(page,
	    value[VMT_MEMORY_USABLE], value[VMT_MEMORY_RESERVED]);
}

/*
 * How much memory the guest needs (KiB): all but the reserve and what programs
 * can get without swap.  They can get the free pages above freemin, at which
 * the page daemon wakes up, and pages of files, of which as many as freemin
 * stay, but at most half.
 */
static uint64_t
vmt_memory_needed(uint64_t page, uint64_t usable, uint64_t reserve)
{
	int64_t available, files, low;

	/* Sums over running processors may be below 0 for a moment. */
	files = MAX((int)(uvmexp.filepages + uvmexp.execpages), 0);
	low = uvmexp.freemin;
	available = uvmexp.free - low + files - MIN(files / 2, low);
	available = MIN(MAX(available, 0), uvmexp.npages);
	/* The host must not count on the reserve. */
	available = MAX((int64_t)page * available - (int64_t)reserve, 0);
	return usable - (uint64_t)available;
}

static size_t
vmt_memory_encode(struct vmt_memory_message *message,
    struct vmt_memory *memory, const uint64_t *value, int64_t now)
{
	const int64_t elapsed = MAX(now - memory->c_last, 1);	/* ms */
	const struct vmt_memory_stat *stat;
	uint8_t *p = message->m_stats;
	uint64_t number;
	uint8_t has;
	u_int i;

	message->m_version = htole32(VMT_MEMORY_VERSION);
	message->m_flags = htole32(VMT_MEMORY_TOTAL);
	message->m_total = htole64(value[VMT_MEMORY_USABLE]);
	for (i = 0; i < VMT_MEMORY_STATS; i++) {
		stat = &vmt_stats[i];
		number = value[i];
		has = VMT_MEMORY_HAS_ID | VMT_MEMORY_HAS_TYPE |
		    VMT_MEMORY_HAS_UNIT;
		/* A name space applies to later statistics, too. */
		if (i == 0)
			has |= VMT_MEMORY_HAS_NAMESPACE;
		if (!stat->s_rate || memory->c_sampled)
			has |= VMT_MEMORY_HAS_VALUE;
		if (stat->s_rate) {
			/* The counter has 32 bits and begins again at 0. */
			number = vmt_memory_double((uint64_t)(uint32_t)
			    (value[i] - memory->c_count[i]) * 1000 / elapsed);
			memory->c_count[i] = (uint32_t)value[i];
		}

		*p++ = has;
		*p++ = 0;
		*p++ = 0;
		*p++ = 0;
		if ((has & VMT_MEMORY_HAS_NAMESPACE) != 0) {
			*p++ = sizeof(VMT_MEMORY_NAMESPACE);
			*p++ = 0;
			memcpy(p, VMT_MEMORY_NAMESPACE,
			    sizeof(VMT_MEMORY_NAMESPACE));
			p += sizeof(VMT_MEMORY_NAMESPACE);
		}
		p = vmt_memory_put(p, stat->s_id);
		p = vmt_memory_put(p, stat->s_type);
		p = vmt_memory_put(p, stat->s_unit);
		if ((has & VMT_MEMORY_HAS_VALUE) != 0)
			p = vmt_memory_put(p, number);
	}
	return p - (uint8_t *)message;
}

/* The size in bytes, then the number in 0, 1, 2, 4 or 8. */
static uint8_t *
vmt_memory_put(uint8_t *p, uint64_t number)
{
	u_int size = 0;

	while (size < 8 && number >> (8 * size) != 0)
		size = MAX(2 * size, 1);
	*p++ = (uint8_t)size;
	*p++ = 0;
	for (; size > 0; size--, number >>= 8)
		*p++ = number & 0xff;
	return p;
}

/* The bits of a double; for a number below 2^53. */
static uint64_t
vmt_memory_double(uint64_t number)
{
	const uint64_t one = (uint64_t)1 << VMT_DOUBLE_FRACTION;
	uint64_t exponent = VMT_DOUBLE_BIAS + VMT_DOUBLE_FRACTION;

	if (number == 0)
		return 0;
	for (; number < one; number <<= 1)
		exponent--;
	return exponent << VMT_DOUBLE_FRACTION | (number & (one - 1));
}
