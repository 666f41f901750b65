/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compiler notation (NetBSD sys/sys/cdefs.h and cdefs_elf.h).
 */
#ifndef _KPI_SYS_CDEFS_H_
#define _KPI_SYS_CDEFS_H_

/* As in NetBSD: with two underscores, macros in arguments are not expanded. */
#define	__CONCAT(x, y)	x ## y
#define	___CONCAT(x, y)	__CONCAT(x, y)
#define	__STRING(x)	#x
#define	___STRING(x)	__STRING(x)

#define	__dead		__attribute__((__noreturn__))
#define	__packed	__attribute__((__packed__))
#define	__aligned(x)	__attribute__((__aligned__(x)))
#define	__section(x)	__attribute__((__section__(x)))
#define	__noinline	__attribute__((__noinline__))
#define	__always_inline	__attribute__((__always_inline__))
#define	__used		__attribute__((__used__))
#define	__unused	__attribute__((__unused__))
#define	__fallthrough	__attribute__((__fallthrough__))
#define	__printflike(format, first)	\
	__attribute__((__format__(__printf__, format, first)))

#define	__predict_true(e)	__builtin_expect((e) ? 1 : 0, 1)
#define	__predict_false(e)	__builtin_expect((e) ? 1 : 0, 0)

#define	__arraycount(a)	(sizeof(a) / sizeof((a)[0]))
#define	__UNCONST(p)	((void *)(unsigned long)(const void *)(p))
#define	__USE(v)	((void)(v))
#define	__BIT(n)	((__UINTMAX_TYPE__)1 << (n))
#define	__BITS(m, n)	((__BIT((m) + 1) - 1) ^ (__BIT(n) - 1))

/* A variable that only assertions read. */
#ifdef DIAGNOSTIC
#define	__diagused
#else
#define	__diagused	__unused
#endif

#define	__KERNEL_RCSID(n, s)	struct __kpi_no_rcsid_ ## n
#define	__FBSDID(s)		struct __kpi_no_fbsdid

/*
 * A link set is an array of pointers in a section of its own.  The loader
 * finds it by the section's name.
 */
#define	__link_set_entry(set, sym)					\
	static void const * const __CONCAT(__link_set_ ## set ## _sym_, sym) \
	    __section("link_set_" #set) __used = (const void *)&sym
#define	__link_set_add_rodata(set, sym)	__link_set_entry(set, sym)
#define	__link_set_add_data(set, sym)	__link_set_entry(set, sym)
#define	__link_set_add_text(set, sym)	__link_set_entry(set, sym)

#endif	/* !_KPI_SYS_CDEFS_H_ */
