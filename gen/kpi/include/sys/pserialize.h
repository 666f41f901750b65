/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive serialization (NetBSD sys/sys/pserialize.h).
 */
#ifndef _KPI_SYS_PSERIALIZE_H_
#define _KPI_SYS_PSERIALIZE_H_

#include <sys/types.h>

typedef struct pserialize	*pserialize_t;

int	pserialize_read_enter(void);
void	pserialize_read_exit(int);
bool	pserialize_in_read_section(void);
bool	pserialize_not_in_read_section(void);

pserialize_t pserialize_create(void);
void	pserialize_destroy(pserialize_t);
void	pserialize_perform(pserialize_t);

#endif	/* !_KPI_SYS_PSERIALIZE_H_ */
