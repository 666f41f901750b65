/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Error numbers (NetBSD sys/sys/errno.h; the names that a driver returns).
 */
#ifndef _KPI_SYS_ERRNO_H_
#define _KPI_SYS_ERRNO_H_

#define	EPERM		1
#define	ENOENT		2
#define	ESRCH		3
#define	EINTR		4
#define	EIO		5
#define	ENXIO		6
#define	E2BIG		7
#define	ENOEXEC		8
#define	EDEADLK		11
#define	ENOMEM		12
#define	EACCES		13
#define	EFAULT		14
#define	EBUSY		16
#define	EEXIST		17
#define	ENODEV		19
#define	EINVAL		22
#define	ENOTTY		25
#define	EFBIG		27
#define	ENOSPC		28
#define	ERANGE		34
#define	EAGAIN		35
#define	EWOULDBLOCK	EAGAIN
#define	EINPROGRESS	36
#define	EALREADY	37
#define	EMSGSIZE	40
#define	EPROTONOSUPPORT	43
#define	EOPNOTSUPP	45
#define	ENOBUFS		55
#define	ENOTCONN	57
#define	ETIMEDOUT	60
#define	ECONNREFUSED	61
#define	ENAMETOOLONG	63
#define	EPROGMISMATCH	75
#define	ENOSYS		78
#define	ENOMSG		83
#define	EOVERFLOW	84
#define	EILSEQ		85
#define	ENOTSUP		86
#define	EBADMSG		88
#define	EPROTO		96

#define	ERESTART	(-3)

#endif	/* !_KPI_SYS_ERRNO_H_ */
