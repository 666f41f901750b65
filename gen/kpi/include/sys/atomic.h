/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Atomic operations (NetBSD sys/sys/atomic.h). Loads and stores are plain
 * accesses; the rest are functions. No 64-bit ones: i386 would need a
 * helper that the kernel does not have.
 */
#ifndef _KPI_SYS_ATOMIC_H_
#define _KPI_SYS_ATOMIC_H_

#include <sys/types.h>

unsigned int atomic_cas_uint(volatile unsigned int *, unsigned int,
	    unsigned int);
void	atomic_inc_uint(volatile unsigned int *);
void	atomic_dec_uint(volatile unsigned int *);
unsigned int atomic_swap_uint(volatile unsigned int *, unsigned int);
void	membar_acquire(void);
void	membar_release(void);

#define	__KPI_ATOMIC_OK(p)						\
	_Static_assert(sizeof(*(p)) <= sizeof(void *), "too wide to be atomic")

#define	atomic_load_relaxed(p) ({					\
	const volatile __typeof__(*(p)) *__p = (p);			\
	__KPI_ATOMIC_OK(__p);						\
	*__p;								\
})
/* The processors here order a load before those that depend on it. */
#define	atomic_load_consume(p)	atomic_load_relaxed(p)
#define	atomic_load_acquire(p) ({					\
	__typeof__(*(p)) __v = atomic_load_relaxed(p);			\
	membar_acquire();						\
	__v;								\
})
#define	atomic_store_relaxed(p, v) ({					\
	volatile __typeof__(*(p)) *__p = (p);				\
	__KPI_ATOMIC_OK(__p);						\
	*__p = (v);							\
	(void)0;							\
})
#define	atomic_store_release(p, v) ({					\
	__typeof__(*(p)) __v = (v);					\
	membar_release();						\
	atomic_store_relaxed(p, __v);					\
})

#endif	/* !_KPI_SYS_ATOMIC_H_ */
