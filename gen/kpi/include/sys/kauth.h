/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Authorization (NetBSD sys/sys/kauth.h). Numbers are counted in the
 * enumerations there; they are the same in 10.99.2 and 10.99.12.
 */
#ifndef _KPI_SYS_KAUTH_H_
#define _KPI_SYS_KAUTH_H_

#include <sys/types.h>

typedef uint64_t	kauth_action_t;

enum {
	KAUTH_SYSTEM_SYSCTL = 13,
	KAUTH_SYSTEM_TIME = 14
};

enum kauth_system_req {
	KAUTH_REQ_SYSTEM_SYSCTL_MODIFY = 15,
	KAUTH_REQ_SYSTEM_SYSCTL_PRVT = 16
};

kauth_cred_t kauth_cred_get(void);
int	kauth_authorize_system(kauth_cred_t, kauth_action_t,
	    enum kauth_system_req, void *, void *, void *);

#endif	/* !_KPI_SYS_KAUTH_H_ */
