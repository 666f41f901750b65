/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Module glue (NetBSD sys/sys/module.h).
 */
#ifndef _KPI_SYS_MODULE_H_
#define _KPI_SYS_MODULE_H_

#include <sys/types.h>
#include <sys/param.h>
#include <sys/kernel.h>
#include <sys/mutex.h>
#include <prop/proplib.h>

#define	MAXMODNAME	32		/* with the NUL */

typedef enum modclass {
	MODULE_CLASS_ANY, MODULE_CLASS_MISC, MODULE_CLASS_VFS,
	MODULE_CLASS_DRIVER, MODULE_CLASS_EXEC, MODULE_CLASS_SECMODEL,
	MODULE_CLASS_BUFQ, MODULE_CLASS_MAX
} modclass_t;

typedef enum modcmd {
	MODULE_CMD_INIT, MODULE_CMD_FINI, MODULE_CMD_STAT,
	MODULE_CMD_AUTOUNLOAD
} modcmd_t;

typedef struct modinfo {
	u_int		mi_version;
	modclass_t	mi_class;
	int		(*mi_modcmd)(modcmd_t, void *);
	const char	*mi_name;
	const char	*mi_required;
} const modinfo_t;

#define	MODULE(class, name, required)					\
static int __CONCAT(name, _modcmd)(modcmd_t, void *);			\
static const modinfo_t __CONCAT(name, _modinfo) = {			\
	.mi_version	= __NetBSD_Version__,				\
	.mi_class	= (class),					\
	.mi_modcmd	= __CONCAT(name, _modcmd),			\
	.mi_name	= __STRING(name),				\
	.mi_required	= (required),					\
};									\
__link_set_add_rodata(modules, __CONCAT(name, _modinfo))

#endif	/* !_KPI_SYS_MODULE_H_ */
