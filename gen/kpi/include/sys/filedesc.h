/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * File descriptors (NetBSD sys/sys/filedesc.h): for a device's open that
 * creates a file of its own, and for members of that file's fileops.
 */
#ifndef _KPI_SYS_FILEDESC_H_
#define _KPI_SYS_FILEDESC_H_

#include <sys/file.h>

struct proc;

int	fd_allocfile(struct file **, int *);
int	fd_clone(struct file *, unsigned, int, const struct fileops *, void *);
void	fd_abort(struct proc *, struct file *, unsigned);

int	fbadop_read(struct file *, off_t *, struct uio *, kauth_cred_t, int);
int	fbadop_write(struct file *, off_t *, struct uio *, kauth_cred_t, int);
int	fbadop_ioctl(struct file *, u_long, void *);
int	fbadop_stat(struct file *, struct stat *);
int	fbadop_close(struct file *);
int	fnullop_fcntl(struct file *, u_int, void *);
int	fnullop_poll(struct file *, int);
int	fnullop_kqfilter(struct file *, struct knote *);
void	fnullop_restart(struct file *);

#endif	/* !_KPI_SYS_FILEDESC_H_ */
