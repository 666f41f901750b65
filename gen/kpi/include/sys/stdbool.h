/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bool (NetBSD sys/sys/stdbool.h).
 */
#ifndef _KPI_SYS_STDBOOL_H_
#define _KPI_SYS_STDBOOL_H_

#define	bool	_Bool
#define	true	1
#define	false	0

#endif	/* !_KPI_SYS_STDBOOL_H_ */
