/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power switches (NetBSD sys/sys/power.h).
 */
#ifndef _KPI_SYS_POWER_H_
#define _KPI_SYS_POWER_H_

#define	PSWITCH_TYPE_POWER	0
#define	PSWITCH_TYPE_SLEEP	1
#define	PSWITCH_TYPE_LID	2
#define	PSWITCH_TYPE_RESET	3
#define	PSWITCH_TYPE_ACADAPTER	4
#define	PSWITCH_TYPE_HOTKEY	5
#define	PSWITCH_TYPE_RADIO	6

#define	PSWITCH_EVENT_PRESSED	0
#define	PSWITCH_EVENT_RELEASED	1

#endif	/* !_KPI_SYS_POWER_H_ */
