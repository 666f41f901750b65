/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt priority levels (NetBSD sys/arch/arm/include/intr.h, pic,
 * sys/arch/evbarm/include/intr.h).
 */
#ifndef _KPI_AARCH64_MACHINE_INTR_H_
#define _KPI_AARCH64_MACHINE_INTR_H_

#define	IPL_NONE	0
#define	IPL_SOFTCLOCK	1
#define	IPL_SOFTBIO	2
#define	IPL_SOFTNET	3
#define	IPL_SOFTSERIAL	4
#define	IPL_VM		5
#define	IPL_SCHED	6
#define	IPL_HIGH	7

int	_splraise(int);
void	splx(int);

#define	splsoftnet()	_splraise(IPL_SOFTNET)

#endif	/* !_KPI_AARCH64_MACHINE_INTR_H_ */
