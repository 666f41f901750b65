/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Empty: drivers need nothing of it.  The file exists because the
 * driver includes it on every machine (NetBSD sys/arch/aarch64/include).
 */
#ifndef _KPI_AARCH64_MACHINE_CPUFUNC_H_
#define _KPI_AARCH64_MACHINE_CPUFUNC_H_

#include <sys/types.h>

#endif	/* !_KPI_AARCH64_MACHINE_CPUFUNC_H_ */
