/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files, and the functions of those that a device makes for each open
 * (NetBSD sys/sys/file.h). Of the types of data only the pointer is here.
 */
#ifndef _KPI_SYS_FILE_H_
#define _KPI_SYS_FILE_H_

#include <sys/types.h>
#include <sys/fcntl.h>
#include <sys/mutex.h>
#include <sys/queue.h>

struct file;
struct flock;
struct knote;
struct stat;
struct uio;
struct uvm_object;

struct fileops {
	const char	*fo_name;
	int		(*fo_read)(struct file *, off_t *, struct uio *,
			    kauth_cred_t, int);
	int		(*fo_write)(struct file *, off_t *, struct uio *,
			    kauth_cred_t, int);
	int		(*fo_ioctl)(struct file *, u_long, void *);
	int		(*fo_fcntl)(struct file *, u_int, void *);
	int		(*fo_poll)(struct file *, int);
	int		(*fo_stat)(struct file *, struct stat *);
	int		(*fo_close)(struct file *);
	int		(*fo_kqfilter)(struct file *, struct knote *);
	void		(*fo_restart)(struct file *);
	int		(*fo_mmap)(struct file *, off_t *, size_t, int, int *,
			    int *, struct uvm_object **, int *);
	int		(*fo_seek)(struct file *, off_t, int, off_t *, int);
	int		(*fo_advlock)(struct file *, void *, int,
			    struct flock *, int);
	int		(*fo_fpathconf)(struct file *, int, register_t *);
	int		(*fo_posix_fadvise)(struct file *, off_t, off_t, int);
	int		(*fo_truncate)(struct file *, off_t);
};

struct file {
	off_t			f_offset;
	kauth_cred_t		f_cred;
	const struct fileops	*f_ops;
	void			*f_data;
	LIST_ENTRY(file)	f_list;
	kmutex_t		f_lock;
	int			f_flag;
	u_int			f_marker;
	u_int			f_type;
	u_int			f_advice;
	u_int			f_count;
};

typedef struct file	file_t;

#define	FOF_UPDATE_OFFSET	0x0001

#endif	/* !_KPI_SYS_FILE_H_ */
