/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Variable arguments (NetBSD sys/sys/stdarg.h).
 */
#ifndef _KPI_SYS_STDARG_H_
#define _KPI_SYS_STDARG_H_

typedef __builtin_va_list	va_list;

#define	va_start(ap, last)	__builtin_va_start((ap), (last))
#define	va_arg			__builtin_va_arg
#define	va_end(ap)		__builtin_va_end(ap)
#define	va_copy(to, from)	__builtin_va_copy((to), (from))

#endif	/* !_KPI_SYS_STDARG_H_ */
