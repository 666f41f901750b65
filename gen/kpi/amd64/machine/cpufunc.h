/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPU instructions (NetBSD sys/arch/x86/include/cpufunc.h).
 */
#ifndef _KPI_AMD64_MACHINE_CPUFUNC_H_
#define _KPI_AMD64_MACHINE_CPUFUNC_H_

#include <x86/cpufunc.h>

#endif	/* !_KPI_AMD64_MACHINE_CPUFUNC_H_ */
