/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NetBSD sys/sys/rnd.h has nothing for a driver; rnd_add_data is in
 * sys/rndsource.h.
 */
#ifndef _KPI_SYS_RND_H_
#define _KPI_SYS_RND_H_

#include <sys/types.h>

#endif	/* !_KPI_SYS_RND_H_ */
