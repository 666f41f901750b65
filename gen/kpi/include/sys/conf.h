/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device switches (NetBSD sys/sys/conf.h). config(1) includes this in every
 * ioconf.c (NetBSD usr.bin/config/mkioconf.c); a driver without device nodes
 * uses nothing of it, so nothing is here.
 */
#ifndef _KPI_SYS_CONF_H_
#define _KPI_SYS_CONF_H_

#include <sys/types.h>

#endif	/* !_KPI_SYS_CONF_H_ */
