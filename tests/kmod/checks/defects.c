/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One defect a function.  The comment on a line says what each analyzer has
 * to find there.
 */
#include <sys/param.h>
#include <sys/kmem.h>
#include <sys/mutex.h>
#include <sys/systm.h>

int	vmtk_null(const int *);
int	vmtk_leak(size_t);
int	vmtk_hasty(size_t);
void	vmtk_twice(size_t);
int	vmtk_after(size_t);
int	vmtk_unset(int);
int	vmtk_beyond(int);
void	vmtk_locked(kmutex_t *);
void	vmtk_unlocked(kmutex_t *);

int
vmtk_null(const int *p)
{

	if (p == NULL)
		return *p;	/* zig core.NullDereference, gcc analyzer-null-dereference */
	return 0;
}

int
vmtk_leak(size_t size)
{
	char *p = kmem_zalloc(size, KM_SLEEP);

	if (size > 8)		/* gcc analyzer-malloc-leak */
		return 1;	/* zig unix.Malloc */
	kmem_free(p, size);
	return 0;
}

int
vmtk_hasty(size_t size)
{
	char *p = kmem_alloc(size, KM_NOSLEEP);
	int c;

	c = *p;			/* gcc analyzer-possible-null-dereference */
	kmem_free(p, size);
	return c;
}

void
vmtk_twice(size_t size)
{
	char *p = kmem_alloc(size, KM_SLEEP);

	kmem_free(p, size);
	kmem_free(p, size);	/* zig unix.Malloc, gcc analyzer-double-free */
}

int
vmtk_after(size_t size)
{
	char *p = kmem_zalloc(size, KM_SLEEP);

	kmem_free(p, size);
	return *p;		/* zig unix.Malloc, gcc analyzer-use-after-free */
}

int
vmtk_unset(int set)
{
	int value;

	if (set)
		value = 1;
	return value;		/* zig core.uninitialized.UndefReturn */
}

int
vmtk_beyond(int value)
{
	int list[4] = { 0 };

	list[value & 3] = 1;
	list[4] = value;	/* zig security.ArrayBound */
	return list[0];
}

void
vmtk_locked(kmutex_t *lock)
{

	mutex_enter(lock);
	mutex_enter(lock);	/* zig alpha.unix.PthreadLock */
	mutex_exit(lock);
}

void
vmtk_unlocked(kmutex_t *lock)
{

	mutex_enter(lock);
	mutex_exit(lock);
	mutex_exit(lock);	/* zig alpha.unix.PthreadLock */
}
