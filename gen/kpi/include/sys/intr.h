/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt levels and soft interrupts (NetBSD sys/sys/intr.h).
 */
#ifndef _KPI_SYS_INTR_H_
#define _KPI_SYS_INTR_H_

#include <sys/types.h>
#include <machine/intr.h>

#define	SOFTINT_BIO	0x0000
#define	SOFTINT_CLOCK	0x0001
#define	SOFTINT_SERIAL	0x0002
#define	SOFTINT_NET	0x0003
#define	SOFTINT_MPSAFE	0x0100

void	*softint_establish(u_int, void (*)(void *), void *);
void	softint_disestablish(void *);
void	softint_schedule(void *);	/* with preemption disabled */

#endif	/* !_KPI_SYS_INTR_H_ */
