/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Describes kernel functions to static analyzers, in their own terms.
 */
#include <sys/types.h>
#include <sys/kmem.h>

#ifdef __clang__
#define	ALLOCATES	__attribute__((ownership_returns(malloc)))
#define	FREES		__attribute__((ownership_takes(malloc, 1)))
/* The lock checker knows the locks of XNU, which return nothing either. */
#define	mutex_enter	lck_mtx_lock
#define	mutex_exit	lck_mtx_unlock
#else
#define	ALLOCATES	__attribute__((malloc, malloc(kmem_free, 1)))
#define	FREES
#endif

void	kmem_free(void *, size_t) FREES;
void	*annotated_wait(size_t) ALLOCATES __attribute__((returns_nonnull));
void	*annotated_try(size_t) ALLOCATES;

#define	kmem_alloc(size, flags)						\
	((flags) == KM_SLEEP ? annotated_wait(size) : annotated_try(size))
#define	kmem_zalloc	kmem_alloc
