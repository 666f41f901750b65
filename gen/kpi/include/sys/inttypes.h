/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Formats of integers of a given size (NetBSD sys/sys/inttypes.h,
 * machine/int_fmtio.h).
 */
#ifndef _KPI_SYS_INTTYPES_H_
#define _KPI_SYS_INTTYPES_H_

#include <sys/stdint.h>

#define	PRId8	"hhd"
#define	PRIu8	"hhu"
#define	PRIx8	"hhx"
#define	PRId16	"hd"
#define	PRIu16	"hu"
#define	PRIx16	"hx"
#define	PRId32	"d"
#define	PRIu32	"u"
#define	PRIx32	"x"
#ifdef _LP64
#define	PRId64	"ld"
#define	PRIu64	"lu"
#define	PRIx64	"lx"
#else
#define	PRId64	"lld"
#define	PRIu64	"llu"
#define	PRIx64	"llx"
#endif

#endif	/* !_KPI_SYS_INTTYPES_H_ */
