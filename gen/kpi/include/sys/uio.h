/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Data transfers to or from a process (NetBSD sys/sys/uio.h, systm.h).
 */
#ifndef _KPI_SYS_UIO_H_
#define _KPI_SYS_UIO_H_

#include <sys/types.h>

enum uio_rw { UIO_READ, UIO_WRITE };

struct vmspace;

struct iovec {
	void	*iov_base;
	size_t	iov_len;
};

struct uio {
	struct iovec	*uio_iov;
	int		uio_iovcnt;
	off_t		uio_offset;
	size_t		uio_resid;
	enum uio_rw	uio_rw;
	struct vmspace	*uio_vmspace;
};

void	uio_setup_sysspace(struct uio *);
int	uiomove(void *, size_t, struct uio *);

#endif	/* !_KPI_SYS_UIO_H_ */
