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
void	atomic_add_int(volatile unsigned int *, int);
unsigned int atomic_add_int_nv(volatile unsigned int *, int);
void	atomic_and_uint(volatile unsigned int *, unsigned int);
void	atomic_or_uint(volatile unsigned int *, unsigned int);
unsigned int atomic_inc_uint_nv(volatile unsigned int *);
unsigned int atomic_dec_uint_nv(volatile unsigned int *);
void	atomic_add_long(volatile unsigned long *, long);
void	atomic_inc_ulong(volatile unsigned long *);
unsigned long atomic_inc_ulong_nv(volatile unsigned long *);
unsigned long atomic_cas_ulong(volatile unsigned long *, unsigned long,
	    unsigned long);
void	*atomic_swap_ptr(volatile void *, void *);
void	*atomic_cas_ptr(volatile void *, void *, void *);
void	membar_acquire(void);
void	membar_release(void);
void	membar_consumer(void);
void	membar_producer(void);
void	membar_sync(void);

#define	__KPI_ATOMIC_OK(p)						\
	_Static_assert(sizeof(*(p)) <= sizeof(void *), "too wide to be atomic")

/*
 * The value goes through a variable that is as volatile as what was read, as
 * in NetBSD: compilers make the same code of both.
 */
#define	__KPI_ATOMIC_LOAD(p, barrier) ({				\
	const volatile __typeof__(*(p)) *__al_ptr = (p);		\
	__KPI_ATOMIC_OK(__al_ptr);					\
	__typeof__(*__al_ptr) __v = *__al_ptr;				\
	barrier;							\
	__v;								\
})
#define	atomic_load_relaxed(p)	__KPI_ATOMIC_LOAD(p, (void)0)
/* The processors here order a load before those that depend on it. */
#define	atomic_load_consume(p)	__KPI_ATOMIC_LOAD(p, (void)0)
#define	atomic_load_acquire(p)	__KPI_ATOMIC_LOAD(p, membar_acquire())
#define	atomic_store_relaxed(p, v) ({					\
	volatile __typeof__(*(p)) *__as_ptr = (p);			\
	__KPI_ATOMIC_OK(__as_ptr);					\
	*__as_ptr = (v);						\
	(void)0;							\
})
#define	atomic_store_release(p, v) ({					\
	__typeof__(*(p)) __v = (v);					\
	membar_release();						\
	atomic_store_relaxed(p, __v);					\
})

#endif	/* !_KPI_SYS_ATOMIC_H_ */
