/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power switches of a driver (NetBSD sys/dev/sysmon/sysmonvar.h).
 */
#ifndef _KPI_DEV_SYSMON_SYSMONVAR_H_
#define _KPI_DEV_SYSMON_SYSMONVAR_H_

#include <sys/types.h>
#include <sys/queue.h>
#include <sys/power.h>

struct sysmon_pswitch {
	const char	*smpsw_name;
	int		smpsw_type;
	LIST_ENTRY(sysmon_pswitch) smpsw_list;
};

int	sysmon_pswitch_register(struct sysmon_pswitch *);
void	sysmon_pswitch_unregister(struct sysmon_pswitch *);
void	sysmon_pswitch_event(struct sysmon_pswitch *, int);

#endif	/* !_KPI_DEV_SYSMON_SYSMONVAR_H_ */
