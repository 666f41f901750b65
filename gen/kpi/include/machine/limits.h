/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of the basic types, as the compiler knows them (NetBSD
 * sys/arch/amd64/include/limits.h and others).
 */
#ifndef _KPI_MACHINE_LIMITS_H_
#define _KPI_MACHINE_LIMITS_H_

#define	CHAR_BIT	8
#define	UCHAR_MAX	0xff
#define	SHRT_MAX	__SHRT_MAX__
#define	USHRT_MAX	0xffff
#define	INT_MAX		__INT_MAX__
#define	INT_MIN		(-__INT_MAX__ - 1)
#define	UINT_MAX	(__INT_MAX__ * 2U + 1U)
#define	LONG_MAX	__LONG_MAX__
#define	LONG_MIN	(-__LONG_MAX__ - 1L)
#define	ULONG_MAX	(__LONG_MAX__ * 2UL + 1UL)
#define	LLONG_MAX	__LONG_LONG_MAX__
#define	ULLONG_MAX	(__LONG_LONG_MAX__ * 2ULL + 1ULL)

#endif	/* !_KPI_MACHINE_LIMITS_H_ */
