/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * autoconf(9) for a leaf driver (NetBSD sys/sys/device.h). The kernel
 * writes to cfattach, cfdata and cfdriver: none of them may be const.
 */
#ifndef _KPI_SYS_DEVICE_H_
#define _KPI_SYS_DEVICE_H_

#include <sys/types.h>
#include <sys/device_if.h>
#include <sys/pmf.h>
#include <sys/queue.h>
#include <sys/stdbool.h>

typedef enum devclass {
	DV_DULL, DV_CPU, DV_DISK, DV_IFNET, DV_TAPE,
	DV_TTY, DV_AUDIODEV, DV_DISPLAYDEV, DV_BUS, DV_VIRTUAL
} devclass_t;

typedef enum devact {
	DVACT_DEACTIVATE
} devact_t;

typedef struct cfdata	*cfdata_t;
typedef struct cfdriver	*cfdriver_t;
typedef struct cfattach	*cfattach_t;

/* The parents of an attachment: any device with the interface attribute. */
struct cfparent {
	const char	*cfp_iattr;
	const char	*cfp_parent;
	int		cfp_unit;
};

struct cfdata {
	const char	*cf_name;
	const char	*cf_atname;
	unsigned int	cf_unit:24;
	unsigned char	cf_fstate;
	int		*cf_loc;
	int		cf_flags;
	const struct cfparent *cf_pspec;
};
#define	FSTATE_NOTFOUND		0
#define	FSTATE_FOUND		1
#define	FSTATE_STAR		2
#define	FSTATE_DSTAR		3
#define	FSTATE_DNOTFOUND	4

struct cfattach {
	const char	*ca_name;
	LIST_ENTRY(cfattach) ca_list;
	size_t		ca_devsize;
	int		ca_flags;
	int		(*ca_match)(device_t, cfdata_t, void *);
	void		(*ca_attach)(device_t, device_t, void *);
	int		(*ca_detach)(device_t, int);
	int		(*ca_activate)(device_t, devact_t);
	int		(*ca_rescan)(device_t, const char *, const int *);
	void		(*ca_childdetached)(device_t, device_t);
};
LIST_HEAD(cfattachlist, cfattach);

#define	DVF_PRIV_ALLOC		0x0002	/* the softc is allocated apart */
#define	DVF_DETACH_SHUTDOWN	0x0080

#define	CFATTACH_DECL3_NEW(name, size, match, attach, detach, activate,	\
    rescan, childdetached, flags)					\
struct cfattach __CONCAT(name, _ca) = {					\
	.ca_name		= ___STRING(name),			\
	.ca_devsize		= size,					\
	.ca_flags		= (flags) | DVF_PRIV_ALLOC,		\
	.ca_match		= match,				\
	.ca_attach		= attach,				\
	.ca_detach		= detach,				\
	.ca_activate		= activate,				\
	.ca_rescan		= rescan,				\
	.ca_childdetached	= childdetached,			\
}
#define	CFATTACH_DECL2_NEW(name, size, match, attach, detach, activate,	\
    rescan, childdetached)						\
	CFATTACH_DECL3_NEW(name, size, match, attach, detach, activate,	\
	    rescan, childdetached, 0)
#define	CFATTACH_DECL_NEW(name, size, match, attach, detach, activate)	\
	CFATTACH_DECL2_NEW(name, size, match, attach, detach, activate,	\
	    NULL, NULL)

struct cfattachinit {
	const char		*cfai_name;
	struct cfattach * const	*cfai_list;
};

struct cflocdesc {
	const char	*cld_name;
	const char	*cld_defaultstr;
	int		cld_default;
};

/* An interface attribute, as config(1) writes it. */
struct cfiattrdata {
	const char		*ci_name;
	int			ci_loclen;
	const struct cflocdesc	ci_locdesc[];
};

struct cfdriver {
	LIST_ENTRY(cfdriver)	cd_list;
	struct cfattachlist	cd_attach;
	device_t		*cd_devs;
	const char		*cd_name;
	enum devclass		cd_class;
	int			cd_ndevs;
	const struct cfiattrdata * const *cd_attrs;
};

#define	CFDRIVER_DECL(name, class, attrs)				\
struct cfdriver __CONCAT(name, _cd) = {					\
	.cd_name	= ___STRING(name),				\
	.cd_class	= class,					\
	.cd_attrs	= attrs,					\
}

#define	DETACH_FORCE	0x01
#define	DETACH_QUIET	0x02
#define	DETACH_SHUTDOWN	0x04
#define	DETACH_POWEROFF	0x08

#define	DVUNIT_ANY	(-1)

/* The text that a print function requests from autoconf(9) after its own. */
#define	QUIET	0
#define	UNCONF	1
#define	UNSUPP	2

typedef int (*cfprint_t)(void *, const char *);
typedef int (*cfsubmatch_t)(device_t, cfdata_t, const int *, void *);
typedef int (*cfsearch_t)(device_t, cfdata_t, const int *, void *);

struct device_impl_handle {
	const void	*impl;
	union {
		void		*pointer;
		uintptr_t	uintptr;
	};
};

struct cfargs {
	uintptr_t	cfargs_version;
	cfsubmatch_t	submatch;
	cfsearch_t	search;
	const char	*iattr;
	const int	*locators;
	struct device_impl_handle devhandle;
};
#define	CFARGS_VERSION	1
#define	CFARGS_NONE	NULL
#define	CFARGS(...)							\
	&((const struct cfargs){					\
		.cfargs_version = CFARGS_VERSION,			\
		__VA_ARGS__						\
	})

int	config_init_component(struct cfdriver * const *,
	    const struct cfattachinit *, struct cfdata *);
int	config_fini_component(struct cfdriver * const *,
	    const struct cfattachinit *, struct cfdata *);
struct cfdriver *config_cfdriver_lookup(const char *);
int	config_cfdriver_attach(struct cfdriver *);
int	config_cfdriver_detach(struct cfdriver *);
int	config_cfattach_attach(const char *, struct cfattach *);
int	config_cfattach_detach(const char *, struct cfattach *);
int	config_cfdata_attach(cfdata_t, int);
int	config_cfdata_detach(cfdata_t);
device_t config_attach_pseudo(cfdata_t);
int	config_detach(device_t, int);
int	config_stdsubmatch(device_t, cfdata_t, const int *, void *);
int	config_match(device_t, cfdata_t, void *);
int	config_probe(device_t, cfdata_t, void *);
cfdata_t config_search(device_t, void *, const struct cfargs *);
device_t config_attach(device_t, cfdata_t, void *, cfprint_t,
	    const struct cfargs *);
device_t config_found(device_t, void *, cfprint_t, const struct cfargs *);
int	config_detach_children(device_t, int);
void	config_interrupts(device_t, void (*)(device_t));
void	config_mountroot(device_t, void (*)(device_t));

device_t device_find_by_xname(const char *);
device_t device_find_by_driver_unit(const char *, int);
device_t device_parent(device_t);
void	*device_private(device_t);
const char *device_xname(device_t);
int	device_unit(device_t);
bool	device_is_a(device_t, const char *);

#endif	/* !_KPI_SYS_DEVICE_H_ */
