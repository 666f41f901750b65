/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offsetof and size_t (NetBSD sys/sys/stddef.h).
 */
#ifndef _KPI_SYS_STDDEF_H_
#define _KPI_SYS_STDDEF_H_

#include <sys/types.h>

#endif	/* !_KPI_SYS_STDDEF_H_ */
