/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One defect a function.  The comment on a line says what each analyzer has
 * to find there.
 */
#include <sys/param.h>
#include <sys/kmem.h>
#include <sys/mutex.h>
#include <sys/systm.h>

int	vmt_null(const int *);
int	vmt_leak(size_t);
int	vmt_hasty(size_t);
void	vmt_twice(size_t);
int	vmt_after(size_t);
int	vmt_unset(int);
int	vmt_beyond(int);
void	vmt_locked(kmutex_t *);
void	vmt_unlocked(kmutex_t *);

int
vmt_null(const int *p)
{

	if (p == NULL)
		return *p;	/* zig core.NullDereference, gcc analyzer-null-dereference */
	return 0;
}

int
vmt_leak(size_t size)
{
	char *p = kmem_zalloc(size, KM_SLEEP);

	if (size > 8)		/* gcc analyzer-malloc-leak */
		return 1;	/* zig unix.Malloc */
	kmem_free(p, size);
	return 0;
}

int
vmt_hasty(size_t size)
{
	char *p = kmem_alloc(size, KM_NOSLEEP);
	int c;

	c = *p;			/* gcc analyzer-possible-null-dereference */
	kmem_free(p, size);
	return c;
}

void
vmt_twice(size_t size)
{
	char *p = kmem_alloc(size, KM_SLEEP);

	kmem_free(p, size);
	kmem_free(p, size);	/* zig unix.Malloc, gcc analyzer-double-free */
}

int
vmt_after(size_t size)
{
	char *p = kmem_zalloc(size, KM_SLEEP);

	kmem_free(p, size);
	return *p;		/* zig unix.Malloc, gcc analyzer-use-after-free */
}

int
vmt_unset(int set)
{
	int value;

	if (set)
		value = 1;
	return value;		/* zig core.uninitialized.UndefReturn */
}

int
vmt_beyond(int value)
{
	int list[4] = { 0 };

	list[value & 3] = 1;
	list[4] = value;	/* zig security.ArrayBound */
	return list[0];
}

void
vmt_locked(kmutex_t *lock)
{

	mutex_enter(lock);
	mutex_enter(lock);	/* zig alpha.unix.PthreadLock */
	mutex_exit(lock);
}

void
vmt_unlocked(kmutex_t *lock)
{

	mutex_enter(lock);
	mutex_exit(lock);
	mutex_exit(lock);	/* zig alpha.unix.PthreadLock */
}
