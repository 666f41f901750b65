/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive serialization, the reader's side (NetBSD sys/sys/pserialize.h).
 */
#ifndef _KPI_SYS_PSERIALIZE_H_
#define _KPI_SYS_PSERIALIZE_H_

int	pserialize_read_enter(void);
void	pserialize_read_exit(int);

#endif	/* !_KPI_SYS_PSERIALIZE_H_ */
