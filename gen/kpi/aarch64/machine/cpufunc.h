/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nothing that a driver of this class needs; the name exists because the
 * driver includes it on every machine (NetBSD sys/arch/aarch64/include).
 */
#ifndef _KPI_AARCH64_MACHINE_CPUFUNC_H_
#define _KPI_AARCH64_MACHINE_CPUFUNC_H_

#include <sys/types.h>

#endif	/* !_KPI_AARCH64_MACHINE_CPUFUNC_H_ */
