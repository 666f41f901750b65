/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power management (NetBSD sys/sys/pmf.h).
 */
#ifndef _KPI_SYS_PMF_H_
#define _KPI_SYS_PMF_H_

#include <sys/types.h>
#include <sys/device_if.h>

struct pmf_qual;
typedef struct pmf_qual	pmf_qual_t;

typedef enum {
	PMFE_DISPLAY_ON, PMFE_DISPLAY_REDUCED, PMFE_DISPLAY_STANDBY,
	PMFE_DISPLAY_SUSPEND, PMFE_DISPLAY_OFF
} pmf_generic_event_t;

bool	pmf_device_register1(device_t,
	    bool (*)(device_t, const pmf_qual_t *),
	    bool (*)(device_t, const pmf_qual_t *),
	    bool (*)(device_t, int));
void	pmf_device_deregister(device_t);

#define	pmf_device_register(dev, suspend, resume)			\
	pmf_device_register1((dev), (suspend), (resume), NULL)

#endif	/* !_KPI_SYS_PMF_H_ */
