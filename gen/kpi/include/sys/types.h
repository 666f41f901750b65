/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Basic types (NetBSD sys/sys/types.h, ansi.h of each machine).
 */
#ifndef _KPI_SYS_TYPES_H_
#define _KPI_SYS_TYPES_H_

#include <sys/cdefs.h>
#include <sys/stdint.h>
#include <sys/stdbool.h>
#include <sys/null.h>

typedef unsigned char		u_char;
typedef unsigned short		u_short;
typedef unsigned int		u_int;
typedef unsigned long		u_long;
typedef uint8_t			u_int8_t;
typedef uint16_t		u_int16_t;
typedef uint32_t		u_int32_t;
typedef uint64_t		u_int64_t;
typedef int64_t			quad_t;
typedef uint64_t		u_quad_t;

typedef __SIZE_TYPE__		size_t;
typedef __PTRDIFF_TYPE__	ptrdiff_t;
#ifdef _LP64
typedef long			ssize_t;
#else
typedef int			ssize_t;
#endif
typedef ssize_t			register_t;

typedef int64_t			time_t;		/* 64 bits on every machine */
typedef int			suseconds_t;
typedef int			clockid_t;
typedef int			pri_t;
typedef int32_t			pid_t;
typedef uint32_t		uid_t;
typedef uint32_t		gid_t;
typedef uint64_t		dev_t;
typedef uint64_t		ino_t;
typedef uint32_t		mode_t;
typedef uint32_t		nlink_t;
typedef int64_t			blkcnt_t;
typedef int32_t			blksize_t;
typedef int64_t			daddr_t;
typedef int64_t			off_t;
typedef uint64_t		fsblkcnt_t;
typedef uint64_t		fsfilcnt_t;

typedef int32_t			devmajor_t;
typedef int32_t			devminor_t;
typedef unsigned long		paddr_t;	/* 32 bits on i386 without PAE */
typedef unsigned long		psize_t;
typedef unsigned long		vaddr_t;

#define	NODEV		((dev_t)-1)
#define	NODEVMAJOR	(-1)
/* 12 bits of the major number lie between 12 and 8 bits of the minor. */
#define	major(x)	((devmajor_t)(((uint32_t)(x) >> 8) & 0xfff))
#define	minor(x)							\
	((devminor_t)(((uint32_t)(x) >> 12 & 0xfff00) | ((x) & 0xff)))
#define	makedev(x, y)							\
	((dev_t)(((dev_t)(x) << 8 & 0xfff00) |				\
	    ((dev_t)(y) << 12 & 0xfff00000) | ((y) & 0xff)))

/* Structures that are only pointed to. */
struct cpu_info;
struct kauth_cred;
struct lwp;
struct proc;
typedef struct kauth_cred	*kauth_cred_t;
typedef struct lwp		lwp_t;
typedef struct proc		proc_t;

#define	offsetof(type, member)	__builtin_offsetof(type, member)

#endif	/* !_KPI_SYS_TYPES_H_ */
