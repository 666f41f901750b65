/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power switches, sensors and watchdogs of a driver (NetBSD sys/dev/sysmon/sysmonvar.h).
 */
#ifndef _KPI_DEV_SYSMON_SYSMONVAR_H_
#define _KPI_DEV_SYSMON_SYSMONVAR_H_

#include <sys/types.h>
#include <sys/callout.h>
#include <sys/condvar.h>
#include <sys/envsys.h>
#include <sys/mutex.h>
#include <sys/power.h>
#include <sys/queue.h>
#include <sys/rndsource.h>
#include <sys/wdog.h>

struct sysmon_pswitch {
	const char	*smpsw_name;
	int		smpsw_type;
	LIST_ENTRY(sysmon_pswitch) smpsw_list;
};

int	sysmon_pswitch_register(struct sysmon_pswitch *);
void	sysmon_pswitch_unregister(struct sysmon_pswitch *);
void	sysmon_pswitch_event(struct sysmon_pswitch *, int);

typedef union {
	int32_t		sel_limit_list[4];
	struct {
		int32_t	critmax;
		int32_t	warnmax;
		int32_t	warnmin;
		int32_t	critmin;
	} sel_limits;
} sysmon_envsys_lim_t;
#define	sel_critmax	sel_limits.critmax
#define	sel_warnmax	sel_limits.warnmax
#define	sel_warnmin	sel_limits.warnmin
#define	sel_critmin	sel_limits.critmin

struct envsys_data {
	TAILQ_ENTRY(envsys_data) sensors_head;
	uint32_t	sensor;
	uint32_t	units;
	uint32_t	state;
	uint32_t	flags;
	uint32_t	rpms;
	int32_t		rfact;
	int32_t		value_cur;
	int32_t		value_prev;
	int32_t		value_max;
	int32_t		value_min;
	int32_t		private;
	sysmon_envsys_lim_t limits;
	uint32_t	upropset;
	krndsource_t	rnd_src;
	char		desc[ENVSYS_DESCLEN];
};
typedef struct envsys_data envsys_data_t;

#define	ENVSYS_FPERCENT		0x00000001
#define	ENVSYS_FVALID_MAX	0x00000002
#define	ENVSYS_FVALID_MIN	0x00000004
#define	ENVSYS_FMONCRITICAL	0x00000020
#define	ENVSYS_FMONLIMITS	0x00000040
#define	ENVSYS_FMONSTCHANGED	0x00000400
#define	ENVSYS_FMONNOTSUPP	0x00000800
#define	ENVSYS_FHAS_ENTROPY	0x00002000

#define	PROP_CRITMAX		0x0001
#define	PROP_CRITMIN		0x0002
#define	PROP_WARNMAX		0x0004
#define	PROP_WARNMIN		0x0008
#define	PROP_DRIVER_LIMITS	0x8000

#define	SME_DISABLE_REFRESH	0x00000002
#define	SME_INIT_REFRESH	0x00000008

struct workqueue;
struct sme_event;

/* sysmon_envsys_create(9) returns it; a driver sets members with a comment. */
struct sysmon_envsys {
	const char	*sme_name;	/* the device's name */
	u_int		sme_nsensors;
	u_int		sme_fsensor;
	int		sme_class;
	int		sme_flags;	/* SME_* */
	void		*sme_cookie;	/* the driver's own */
	void		(*sme_refresh)(struct sysmon_envsys *, envsys_data_t *);
	void		(*sme_set_limits)(struct sysmon_envsys *,
			    envsys_data_t *, sysmon_envsys_lim_t *, uint32_t *);
	void		(*sme_get_limits)(struct sysmon_envsys *,
			    envsys_data_t *, sysmon_envsys_lim_t *, uint32_t *);
	struct workqueue *sme_wq;
	struct callout	sme_callout;
	int		sme_callout_state;
	uint64_t	sme_events_timeout;
	LIST_ENTRY(sysmon_envsys) sme_list;
	LIST_HEAD(, sme_event) sme_events_list;
	TAILQ_HEAD(, envsys_data) sme_sensors_list;
	int		sme_busy;
	kmutex_t	sme_mtx;
	kmutex_t	sme_work_mtx;
	kcondvar_t	sme_condvar;
};

struct sysmon_envsys *sysmon_envsys_create(void);
void	sysmon_envsys_destroy(struct sysmon_envsys *);
int	sysmon_envsys_register(struct sysmon_envsys *);
void	sysmon_envsys_unregister(struct sysmon_envsys *);
int	sysmon_envsys_sensor_attach(struct sysmon_envsys *, envsys_data_t *);
int	sysmon_envsys_sensor_detach(struct sysmon_envsys *, envsys_data_t *);
void	sysmon_envsys_sensor_event(struct sysmon_envsys *, envsys_data_t *,
	    int);
int	sysmon_envsys_update_limits(struct sysmon_envsys *, envsys_data_t *);

struct sysmon_wdog {
	const char	*smw_name;	/* the device's name */
	LIST_ENTRY(sysmon_wdog) smw_list;
	void		*smw_cookie;	/* the driver's own */
	int		(*smw_setmode)(struct sysmon_wdog *);
	int		(*smw_tickle)(struct sysmon_wdog *);
	u_int		smw_period;	/* in seconds */
	int		smw_mode;	/* WDOG_MODE_* */
	u_int		smw_refcnt;
	pid_t		smw_tickler;
};

int	sysmon_wdog_register(struct sysmon_wdog *);
int	sysmon_wdog_unregister(struct sysmon_wdog *);

#endif	/* !_KPI_DEV_SYSMON_SYSMONVAR_H_ */
