/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sysctl(9) (NetBSD sys/sys/sysctl.h).
 */
#ifndef _KPI_SYS_SYSCTL_H_
#define _KPI_SYS_SYSCTL_H_

#include <sys/param.h>
#include <sys/lwp.h>

#define	SYSCTL_NAMELEN	32

#define	CTLTYPE_NODE	1
#define	CTLTYPE_INT	2
#define	CTLTYPE_STRING	3
#define	CTLTYPE_QUAD	4
#define	CTLTYPE_STRUCT	5
#define	CTLTYPE_BOOL	6

#define	CTLFLAG_READONLY	0x00000000
#define	CTLFLAG_READWRITE	0x00000070
#define	CTLFLAG_ANYWRITE	0x00000080
#define	CTLFLAG_PRIVATE		0x00000100
#define	CTLFLAG_PERMANENT	0x00000200
#define	CTLFLAG_OWNDATA		0x00000400
#define	CTLFLAG_IMMEDIATE	0x00000800
#define	CTLFLAG_HEX		0x00001000
#define	CTLFLAG_HIDDEN		0x00008000
#define	CTLFLAG_UNSIGNED	0x00080000

#define	CTL_EOL		(-1)
#define	CTL_CREATE	(-3)

#define	CTL_KERN	1
#define	CTL_HW		6
#define	CTL_MACHDEP	7

#ifdef SYSCTL_INCLUDE_DESCR
#define	SYSCTL_DESCR(s)	s
#else
#define	SYSCTL_DESCR(s)	NULL
#endif

struct sysctllog;
struct sysctlnode;

#define	SYSCTLFN_PROTO	const int *, u_int, void *, size_t *,		\
	const void *, size_t, const int *, struct lwp *,		\
	const struct sysctlnode *
#define	SYSCTLFN_ARGS	const int *name, u_int namelen, void *oldp,	\
	size_t *oldlenp, const void *newp, size_t newlen,		\
	const int *oname, struct lwp *l, const struct sysctlnode *rnode
#define	SYSCTLFN_CALL(node)	name, namelen, oldp, oldlenp, newp, newlen, \
	oname, l, node

typedef int (*sysctlfn)(SYSCTLFN_PROTO);

/* A pointer or size takes eight bytes on every machine. */
#define	__KPI_WIDE(type)	union { uint64_t wide; type value; }

struct sysctlnode {
	uint32_t	sysctl_flags;
	int32_t		sysctl_num;
	char		sysctl_name[SYSCTL_NAMELEN];
	uint32_t	sysctl_ver;
	uint32_t	__rsvd;
	union {
		struct {
			uint32_t	suc_csize;
			uint32_t	suc_clen;
			__KPI_WIDE(struct sysctlnode *) suc_child;
		} scu_child;
		struct {
			__KPI_WIDE(void *)	sud_data;
			__KPI_WIDE(size_t)	sud_offset;
		} scu_data;
		int32_t		scu_alias;
		int32_t		scu_idata;
		u_quad_t	scu_qdata;
		bool		scu_bdata;
	} sysctl_un;
	__KPI_WIDE(size_t)	_sysctl_size;
	__KPI_WIDE(sysctlfn)	_sysctl_func;
	__KPI_WIDE(struct sysctlnode *) _sysctl_parent;
	__KPI_WIDE(const char *) _sysctl_desc;
};
#define	sysctl_size	_sysctl_size.value
#define	sysctl_func	_sysctl_func.value
#define	sysctl_parent	_sysctl_parent.value
#define	sysctl_desc	_sysctl_desc.value
#define	sysctl_data	sysctl_un.scu_data.sud_data.value
#define	sysctl_idata	sysctl_un.scu_idata
#define	sysctl_qdata	sysctl_un.scu_qdata
#define	sysctl_bdata	sysctl_un.scu_bdata

int	sysctl_createv(struct sysctllog **, int, const struct sysctlnode **,
	    const struct sysctlnode **, int, int, const char *, const char *,
	    sysctlfn, u_quad_t, void *, size_t, ...);
void	sysctl_teardown(struct sysctllog **);
int	sysctl_lookup(SYSCTLFN_PROTO);
int	sysctl_copyin(struct lwp *, const void *, void *, size_t);
int	sysctl_copyout(struct lwp *, const void *, void *, size_t);

/*
 * As in NetBSD the type must be one literal CTLTYPE_*, and the data a pointer
 * to what it names.
 */
static __inline __unused void *
__kpi_data_CTLTYPE_NODE(struct sysctlnode *p)
{

	return p;
}

static __inline __unused void *
__kpi_data_CTLTYPE_INT(int *p)
{

	return p;
}

static __inline __unused void *
__kpi_data_CTLTYPE_STRING(char *p)
{

	return p;
}

static __inline __unused void *
__kpi_data_CTLTYPE_QUAD(int64_t *p)
{

	return p;
}

static __inline __unused void *
__kpi_data_CTLTYPE_STRUCT(void *p)
{

	return p;
}

static __inline __unused void *
__kpi_data_CTLTYPE_BOOL(bool *p)
{

	return p;
}

#define	sysctl_createv(log, cflags, root, child, flags, type, name, descr, \
    func, qv, data, ...)						\
	sysctl_createv(log, cflags, root, child, flags, type, name, descr, \
	    func, qv, __kpi_data_ ## type(data), __VA_ARGS__)

#endif	/* !_KPI_SYS_SYSCTL_H_ */
