/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Printing, the big lock and other basic functions (NetBSD
 * sys/sys/systm.h).
 */
#ifndef _KPI_SYS_SYSTM_H_
#define _KPI_SYS_SYSTM_H_

#include <sys/types.h>
#include <sys/stdarg.h>
#include <sys/device_if.h>
#include <lib/libkern/libkern.h>

extern const char machine[];
extern const char machine_arch[];
extern const char osrelease[];
extern const char ostype[];
extern const char version[];
extern const char *panicstr;

void	panic(const char *, ...) __dead __printflike(1, 2);
void	printf(const char *, ...) __printflike(1, 2);
int	snprintf(char *, size_t, const char *, ...) __printflike(3, 4);
int	vsnprintf(char *, size_t, const char *, va_list) __printflike(3, 0);

void	aprint_normal(const char *, ...) __printflike(1, 2);
void	aprint_error(const char *, ...) __printflike(1, 2);
void	aprint_naive(const char *, ...) __printflike(1, 2);
void	aprint_verbose(const char *, ...) __printflike(1, 2);
void	aprint_debug(const char *, ...) __printflike(1, 2);
void	aprint_normal_dev(device_t, const char *, ...) __printflike(2, 3);
void	aprint_error_dev(device_t, const char *, ...) __printflike(2, 3);
void	aprint_naive_dev(device_t, const char *, ...) __printflike(2, 3);
void	aprint_verbose_dev(device_t, const char *, ...) __printflike(2, 3);
void	aprint_debug_dev(device_t, const char *, ...) __printflike(2, 3);
void	device_printf(device_t, const char *, ...) __printflike(2, 3);

void	resettodr(void);

/* A module always takes the multiprocessor form of the big lock. */
void	_kernel_lock(int);
void	_kernel_unlock(int, int *);

#define	KERNEL_LOCK(count, lwp)	do {					\
	if ((count) != 0)						\
		_kernel_lock((count));					\
} while (0)
#define	KERNEL_UNLOCK(all, lwp, p)	_kernel_unlock((all), (p))
#define	KERNEL_UNLOCK_ONE(lwp)		KERNEL_UNLOCK(1, (lwp), NULL)

#endif	/* !_KPI_SYS_SYSTM_H_ */
