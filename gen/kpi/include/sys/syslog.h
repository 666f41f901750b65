/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging (NetBSD sys/sys/syslog.h).
 */
#ifndef _KPI_SYS_SYSLOG_H_
#define _KPI_SYS_SYSLOG_H_

#include <sys/cdefs.h>

#define	LOG_EMERG	0
#define	LOG_ALERT	1
#define	LOG_CRIT	2
#define	LOG_ERR		3
#define	LOG_WARNING	4
#define	LOG_NOTICE	5
#define	LOG_INFO	6
#define	LOG_DEBUG	7

void	log(int, const char *, ...) __printflike(2, 3);

#endif	/* !_KPI_SYS_SYSLOG_H_ */
