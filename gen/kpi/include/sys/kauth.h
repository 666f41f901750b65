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
	KAUTH_SYSTEM_TIME = 14,
	KAUTH_SYSTEM_MODULE = 15
};

enum kauth_system_req {
	KAUTH_REQ_SYSTEM_SYSCTL_MODIFY = 15,
	KAUTH_REQ_SYSTEM_SYSCTL_PRVT = 16,
	KAUTH_REQ_SYSTEM_TIME_SYSTEM = 20
};

enum {
	KAUTH_PROCESS_SIGNAL = 15
};

enum {
	KAUTH_DEVICE_RAWIO_SPEC = 4,
	KAUTH_DEVICE_RAWIO_PASSTHRU = 5,
	KAUTH_DEVICE_RND_ADDDATA_ESTIMATE = 8,
	KAUTH_DEVICE_GPIO_PINSET = 13,
	KAUTH_DEVICE_NVMM_CTL = 19
};

enum kauth_device_req {
	KAUTH_REQ_DEVICE_RAWIO_SPEC_READ = 1,
	KAUTH_REQ_DEVICE_RAWIO_SPEC_WRITE = 2,
	KAUTH_REQ_DEVICE_RAWIO_SPEC_RW = 3
};

#define	KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_READCONF	0x00000004
#define	KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_WRITECONF	0x00000008

#define	KAUTH_VNODE_READ_DATA	(1ULL << 0)
#define	KAUTH_VNODE_WRITE_DATA	(1ULL << 1)
#define	KAUTH_VNODE_EXECUTE	(1ULL << 2)
#define	KAUTH_VNODE_IS_EXEC	(1ULL << 29)
#define	KAUTH_VNODE_ACCESS	(1ULL << 31)
#define	KAUTH_VNODE_REMOTEFS	(-1)

#define	KAUTH_RESULT_ALLOW	0
#define	KAUTH_RESULT_DENY	1
#define	KAUTH_RESULT_DEFER	2

#define	KAUTH_SCOPE_GENERIC	"org.netbsd.kauth.generic"
#define	KAUTH_SCOPE_SYSTEM	"org.netbsd.kauth.system"
#define	KAUTH_SCOPE_PROCESS	"org.netbsd.kauth.process"
#define	KAUTH_SCOPE_DEVICE	"org.netbsd.kauth.device"
#define	KAUTH_SCOPE_VNODE	"org.netbsd.kauth.vnode"

struct proc;
struct tty;
struct vnode;

typedef struct kauth_scope	*kauth_scope_t;
typedef struct kauth_listener	*kauth_listener_t;
typedef int (*kauth_scope_callback_t)(kauth_cred_t, kauth_action_t, void *,
	    void *, void *, void *, void *);

kauth_scope_t kauth_register_scope(const char *, kauth_scope_callback_t,
	    void *);
void	kauth_deregister_scope(kauth_scope_t);
kauth_listener_t kauth_listen_scope(const char *, kauth_scope_callback_t,
	    void *);
void	kauth_unlisten_scope(kauth_listener_t);
int	kauth_authorize_action(kauth_scope_t, kauth_cred_t, kauth_action_t,
	    void *, void *, void *, void *);

kauth_cred_t kauth_cred_get(void);
uid_t	kauth_cred_geteuid(kauth_cred_t);
int	kauth_authorize_system(kauth_cred_t, kauth_action_t,
	    enum kauth_system_req, void *, void *, void *);
int	kauth_authorize_process(kauth_cred_t, kauth_action_t, struct proc *,
	    void *, void *, void *);
int	kauth_authorize_device(kauth_cred_t, kauth_action_t,
	    void *, void *, void *, void *);
int	kauth_authorize_device_tty(kauth_cred_t, kauth_action_t, struct tty *);
int	kauth_authorize_device_spec(kauth_cred_t, enum kauth_device_req,
	    struct vnode *);
int	kauth_authorize_device_passthru(kauth_cred_t, dev_t, u_long, void *);
int	kauth_authorize_vnode(kauth_cred_t, kauth_action_t, struct vnode *,
	    struct vnode *, int);

#endif	/* !_KPI_SYS_KAUTH_H_ */
