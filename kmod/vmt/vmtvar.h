/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * Structures and functions that the files of the driver share.
 *
 * One thread, the worker, makes all calls to the host.  All other threads
 * (sysctl handlers, detach, the shutdown hook) leave a request under
 * sc_lock and wake the worker up.
 *
 * The mark beside a member is its lock:
 *
 *	(i)	set before the worker starts, constant until it is gone
 *	(l)	sc_lock
 *	(a)	sc_lock to write it, and atomic_load_relaxed(9) without it
 *	(w)	used by the worker alone; by attach and detach only while there
 *		is no worker
 *	(c)	written by the worker alone, read by sysctl(9) without a lock:
 *		a counter, or one store of a pointer to a constant text
 *
 * sc_lock is an adaptive mutex.  It is never held across a call to the host
 * or to sysmon_pswitch(9).
 */

#ifndef _DEV_VMT_VMTVAR_H_
#define	_DEV_VMT_VMTVAR_H_

#include <sys/condvar.h>
#include <sys/device.h>
#include <sys/evcnt.h>
#include <sys/mutex.h>
#include <sys/sysctl.h>

#include <dev/sysmon/sysmonvar.h>

/*
 * The linkage of what the files share.  vmt_module.c compiles them as one unit
 * and makes every function, table and declaration of a table static, because a
 * module must not define a global symbol.  In a kernel each file is compiled
 * by itself, and these are global.
 */
#ifndef VMT_LOCAL
#define	VMT_LOCAL
#define	VMT_LOCAL_TABLE
#define	VMT_LOCAL_DATA	extern
#endif

/* The variables that a value of the guest information may name. */
#define	VMT_GUEST_HOSTNAME	hostname
#define	VMT_GUEST_OSTYPE	ostype
#define	VMT_GUEST_OSRELEASE	osrelease
#define	VMT_GUEST_MACHINE	machine
#define	VMT_GUEST_MACHINE_ARCH	machine_arch
#define	VMT_GUEST_UPTIME	((uintmax_t)vmt_uptime() / 10)
#define	VMT_GUEST_SHORT_NAME	VMT_SHORT_NAME
#if defined(__aarch64__)
#define	VMT_GUEST_ARCHITECTURE	"Arm"
#else
#define	VMT_GUEST_ARCHITECTURE	"X86"
#endif
#if defined(_LP64)
#define	VMT_GUEST_BITS		"64"
#else
#define	VMT_GUEST_BITS		"32"
#endif

struct lwp;
struct vmt_message;
struct vmt_softc;

#include "vmtreg.h"

/*
 * A trap is found in the module by the name of its function: the compiler
 * must not put it into its callers, change its arguments or copy it.
 */
#ifdef __clang__
#define	VMT_TRAP_FUNCTION	__noinline __used
#else
#define	VMT_TRAP_FUNCTION	__noinline __used __attribute__((__noclone__))
#endif

/* The registers of a backdoor call, in the host's order. */
struct vmt_frame {
	unsigned long	ax;
	unsigned long	bx;
	unsigned long	cx;
	unsigned long	dx;
	unsigned long	si;
	unsigned long	di;
	unsigned long	bp;
};

/* Memory for a message; grows on demand. */
struct vmt_buffer {
	uint8_t		*b_data;
	size_t		b_size;		/* allocated */
};

/*
 * A message channel.  ch_open is a separate flag, because 0 is a legal number
 * for a channel and for a cookie.
 */
struct vmt_channel {
	struct evcnt	*ch_counters;	/* (i) sc_counters */
	uint32_t	ch_protocol;	/* (i) */
	bool		ch_open;	/* (w) */
	uint16_t	ch_id;		/* (w) */
	uint32_t	ch_cookie_high;	/* (w) */
	uint32_t	ch_cookie_low;	/* (w) */
};

/* Which errors are stepped; the others are slewed. */
enum vmt_clock_steps {
	VMT_CLOCK_FORWARD,	/* forward, beyond the limit */
	VMT_CLOCK_EITHER,	/* in either direction, beyond the limit */
	VMT_CLOCK_BACK		/* and any that is ahead of the host */
};

/*
 * The clock: the settings of the administrator and of the host, and the
 * results.
 */
struct vmt_clock {
	int		c_period;	/* (a) seconds, 0 = hands off */
	int		c_follow_host;	/* (a) the host's settings decide */
	int		c_now;		/* (l) synchronise at once */

	u_int		c_setting[VMT_SETTINGS]; /* (c) the host's */

	bool		c_startup;	/* (w) the host's option was applied */
	bool		c_started;	/* (w) synchronised since enabled */
	bool		c_looked;	/* (w) synchronised since attach */
	bool		c_slew_logged;	/* (w) logged: the slew takes long */
	u_int		c_unset;	/* (w) checks of an unset clock */
	bool		c_slewing;	/* (w) an adjtime(2) in progress */
	bool		c_complained;	/* (w) logged: the host has no time */
	bool		c_no_lag;	/* (w) the host does not report a lag */
	int64_t		c_last;		/* (w) uptime in ms */
	const char	*c_state;	/* (c) */

	int64_t		c_offset;	/* (l) host minus guest, us */
	int64_t		c_steps;	/* (c) */
	int64_t		c_slews;	/* (c) */
};

/*
 * An RPCI command of the administrator.  While r_state is VMT_REQUEST_ACTIVE
 * the worker alone uses the rest, without the lock.
 */
struct vmt_request {
	enum {
		VMT_REQUEST_IDLE,	/* free */
		VMT_REQUEST_QUEUED,	/* for the worker */
		VMT_REQUEST_ACTIVE,	/* the worker has it */
		VMT_REQUEST_DONE	/* the reply is there */
	}		r_state;	/* (l) */
	int		r_number;	/* (l) */
	int64_t		r_end;		/* (l) uptime in ms; dropped then */
	struct vmt_buffer r_buffer;	/* (l) the command, then the reply */
	size_t		r_length;	/* (l) of the command, then the reply */
};

#define	VMT_ADDRESS_TEXT	48	/* INET6_ADDRSTRLEN is 46 */

/* An address, without the scope that the kernel embeds in it. */
struct vmt_address {
	uint8_t		a_length;	/* 4 or 16 */
	uint8_t		a_prefix;
	uint8_t		a_status;	/* VMT_NIC_PREFERRED ... */
	uint8_t		a_bytes[16];
};

/* The administrator's settings of interfaces. */
struct vmt_choice {
	char		c_primary[VMT_SYSCTL_PRIMARY_SIZE];
	char		c_exclude[VMT_SYSCTL_EXCLUDE_SIZE];
	char		c_dns[VMT_SYSCTL_DNS_SIZE];
};

/* An Ethernet interface that is up; its addresses are in vmt_net. */
struct vmt_nic {
	const void	*n_ifp;		/* only to be compared */
	uint8_t		n_mac[6];
	u_int		n_first;
	u_int		n_count;
};

/* A default route. */
struct vmt_route {
	int		r_family;	/* AF_INET or AF_INET6 */
	u_int		r_nic;		/* an index of n_nic */
	struct vmt_address r_hop;	/* a_length is 0 for none */
};

struct vmt_net {
	const struct vmt_choice *n_choice;
	u_int		n_first;	/* addresses of the primary one */
	u_int		n_nics;
	u_int		n_addresses;
	u_int		n_room;		/* for addresses */
	u_int		n_routes;
	struct vmt_nic	n_nic[VMT_NIC_MAX];
	struct vmt_route n_route[VMT_ROUTE_MAX];
	struct vmt_address *n_address;
};

/* The administrator's settings of quiesced snapshots. */
struct vmt_quiesce {
	char		c_freeze[VMT_SYSCTL_FREEZE_SIZE];
	int		c_scripts;	/* seconds to wait for them */
	int		c_require_scripts;
};

/*
 * A quiesced snapshot.  The thread reads b_freezes, b_directory and b_limit,
 * which stay as they are until it is joined.
 */
struct vmt_backup {
	enum {
		VMT_BACKUP_IDLE,
		VMT_BACKUP_BEGIN,	/* requested */
		VMT_BACKUP_SCRIPTS,	/* they run for freeze */
		VMT_BACKUP_SYNC,	/* everything is being written out */
		VMT_BACKUP_WAIT,	/* the host takes its snapshot */
		VMT_BACKUP_DONE,	/* the host has its snapshot */
		VMT_BACKUP_ABORT,	/* the host has aborted */
		VMT_BACKUP_THAW		/* scripts run for thaw */
	}		b_state;	/* (w) */
	bool		b_file_systems;	/* (w) sync file systems */
	bool		b_freezes;	/* (w) and suspend b_directory */
	bool		b_was_reset;	/* (w) the channel, since the start */
	bool		b_silent;	/* (w) the host does not know of it */
	bool		b_thaw_owed;	/* (w) freeze was raised */
	int64_t		b_scripts;	/* (w) ms to wait for them, or 0 */
	int64_t		b_scripts_end;	/* (w) uptime in ms */
	int64_t		b_thaw_again;	/* (w) uptime in ms */
	int64_t		b_limit;	/* (w) uptime in ms */
	int64_t		b_next;		/* (w) keep-alive */
	char		b_directory[VMT_SYSCTL_FREEZE_SIZE]; /* (w) */
	struct lwp	*b_thread;	/* (w) writes, and holds b_directory */
	bool		b_ready;	/* (l) written, and suspended */
	bool		b_ended;	/* (l) the thread holds nothing */
	bool		b_expired;	/* (l) it resumed at its limit */
	bool		b_canceled;	/* (l) it has to resume */
	int		b_error;	/* (l) why it could not suspend */
	int		b_number;	/* (l) of the event */
	enum vmt_switch	b_event;	/* (l) that scripts run for */
	int		b_answer;	/* (l) 0, or 1 done, -1 failed */
};

/* An item of guest information, with the value that the host has. */
struct vmt_info_state {
	int64_t		i_next;		/* (w) uptime in ms */
	bool		i_sent;		/* (w) the host has i_value */
	bool		i_refused;	/* (w) until the next reset */
	char		*i_value;	/* (w) */
};

/*
 * A report that goes out when it changes.  Hosts know one of several forms of
 * it; the driver uses the first that the host accepts until the next reset.
 */
struct vmt_report {
	int64_t		r_next;		/* (w) uptime in ms */
	u_int		r_form;		/* (w) */
	size_t		r_length;	/* (w) of r_sent, 0 for nothing */
	struct vmt_buffer r_sent;	/* (w) what the host has */
};

/* The last sample of the memory, and how often there is one. */
struct vmt_memory {
	int		c_period;	/* (a) seconds, 0 = none */
	bool		c_refused;	/* (w) until the next reset */
	bool		c_sampled;	/* (w) since then */
	int64_t		c_last;		/* (w) uptime in ms */
	uint32_t	c_count[VMT_MEMORY_STATS]; /* (w) of rates */
};

struct vmt_softc {
	device_t	sc_dev;		/* (i) */
	char		sc_uuid[VMT_SYSCTL_UUID_SIZE]; /* (i) */

	kmutex_t	sc_lock;
	kcondvar_t	sc_work;	/* (l) something for the worker */
	kcondvar_t	sc_done;	/* (l) the worker is gone, or raises */
	kcondvar_t	sc_thaw;	/* (l) b_canceled */
	struct lwp	*sc_worker;	/* (l) itself, as soon as it runs */
	bool		sc_dying;	/* (a) */
	bool		sc_shutdown;	/* (l) the kernel itself shuts down */
	bool		sc_running;	/* (l) the worker */
	bool		sc_raising;	/* (l) in sysmon_pswitch_event(9) */
	bool		sc_replaced;	/* (l) by the shutdown hook */
	bool		sc_kicked;	/* (l) check again before sleeping */

	/* The progress of attach, for its undoing; attach and detach only. */
	bool		sc_have_locks;
	bool		sc_have_pmf;
	struct sysctllog *sc_sysctllog;
	struct lwp	*sc_thread;
	u_int		sc_switches;	/* registered ones */

	int		sc_request_number; /* (l) the last one given */
	struct vmt_request sc_request[VMT_REQUESTS];

	struct sysmon_pswitch sc_switch[VMT_SWITCHES]; /* (i) */

	struct vmt_channel sc_tclo;
	struct vmt_channel sc_rpci;
	struct vmt_buffer sc_message;	/* (w) from the host */
	struct vmt_buffer sc_command;	/* (w) to the host */
	struct vmt_buffer sc_reply;	/* (w) to sc_command */

	char		sc_answer[128];	/* (w) to the last message */
	size_t		sc_answer_length; /* (w) */
	enum vmt_switch	sc_event;	/* (w) raised when the answer is out */
	bool		sc_introduced;	/* (w) in the host's log */
	bool		sc_announced;	/* (w) as a server of shared folders */
	/*
	 * Uptime in ms: read once in each turn of the worker, and again after
	 * anything that may have taken a while.
	 */
	int64_t		sc_now;		/* (w) */

	bool		sc_registered;	/* (w) the host has the capabilities */
	bool		sc_was_reset;	/* (w) the present channel */
	bool		sc_loss_logged;	/* (w) */
	bool		sc_contention_logged; /* (w) */
	u_int		sc_tries;	/* (w) to open, for the back-off */
	u_int		sc_contentions;	/* (w) losses in quick succession */
	u_int		sc_refusals;	/* (w) messages not taken, in a row */
	u_int		sc_poll_step;	/* (w) */
	int64_t		sc_opened;	/* (w) uptime in ms */
	int64_t		sc_next_open;	/* (w) */
	int64_t		sc_next_register; /* (w) */
	int64_t		sc_next_poll;	/* (w) */
	int64_t		sc_last_message; /* (w) */

	/*
	 * Guest information begins (uptime in ms) with Capabilities_Register,
	 * or a while after the reset where the host does not ask.
	 */
	int64_t		sc_info_from;	/* (w) */
	struct vmt_info_state sc_info[VMT_INFOS];

	bool		sc_detailed;	/* (w) the host has the long form */
	bool		sc_detailed_refused; /* (w) */
	int64_t		sc_detailed_next; /* (w) */

	struct vmt_buffer sc_nic;	/* (w) the message being made */
	struct vmt_report sc_nics;
	struct vmt_choice sc_choice;	/* (l) */
	struct vmt_choice sc_chosen;	/* (w) sc_choice at the last check */
	bool		sc_broadcast;	/* (w) the host asks for guestinfo.ip */
	char		sc_primary[VMT_ADDRESS_TEXT]; /* (w) the host has it */
	struct vmt_report sc_disks;
	struct vmt_memory sc_memory;

	struct lwp	*sc_stirrer;	/* (w) thread that stirs the pool */
	bool		sc_stir;	/* (l) it has to stir once more */
	bool		sc_stirring;	/* (l) it has not ended */

	struct vmt_quiesce sc_quiesce;	/* (l) */
	struct vmt_backup sc_backup;
	struct vmt_clock sc_clock;
	struct evcnt	sc_counters[VMT_COUNTERS]; /* (c), abandoned (l) */
};

/* The arguments of a message of the host. */
enum vmt_arguments {
	VMT_ARG_NONE,		/* nothing */
	VMT_ARG_IGNORED,	/* any text, not examined */
	VMT_ARG_FLAG,		/* 0 or 1 */
	VMT_ARG_OPTION,		/* a name and a value */
	VMT_ARG_TEXT,		/* anything */
	VMT_ARG_DATA		/* anything, binary */
};

struct vmt_message {
	bool		m_flag;
	char		*m_name;
	char		*m_text;
	size_t		m_length;	/* of m_text */
};

struct vmt_command {
	const char	*c_name;
	enum vmt_arguments c_arguments;
	enum vmt_count	c_count;	/* VMT_COUNTERS for none */
	enum vmt_log	c_log;
	enum vmt_switch	c_switch;
	u_int		c_state;	/* 0: the host expects no status */
	/* Returns an error text, or NULL. */
	const char	*(*c_action)(struct vmt_softc *,
			    const struct vmt_message *);
	const char	*c_reply;
};

/* A command to the host that goes out with the capabilities. */
struct vmt_notice {
	const char	*n_name;
	const char	*n_text;
};

/* What Set_Option sets. */
enum vmt_value {
	VMT_VALUE_FLAG,		/* 0 or 1 */
	VMT_VALUE_SWITCH,	/* 0 is off, anything else on */
	VMT_VALUE_SECONDS,
	VMT_VALUE_PERCENT,	/* 1 to 100, anything else means 50 */
	VMT_VALUE_IGNORED	/* known, and without effect here */
};

struct vmt_option {
	const char	*o_name;
	enum vmt_value	o_type;
	enum vmt_setting o_setting;	/* where it is kept, if at all */
	/* Called before that; returns an error number. */
	int		(*o_action)(struct vmt_softc *, u_int);
};

struct vmt_switch_type {
	int		s_type;
	int		s_event;
};

struct vmt_text {
	int		t_level;	/* of syslog(3) */
	bool		t_console;	/* on the console, too */
	bool		t_host;		/* in the host's log, too */
	const char	*t_format;
};

struct vmt_info_item {
	u_int		i_key;
	u_int		i_period;	/* seconds between checks */
	u_int		i_limit;	/* bytes without NUL */
	bool		i_always;	/* send it even if unchanged */
	bool		i_plain;	/* part of the detailed form */
};

struct vmt_nic_method {
	u_int		m_key;
	u_int		m_addresses;	/* of each interface */
};

struct vmt_memory_stat {
	uint8_t		s_id;
	uint8_t		s_type;
	uint16_t	s_unit;
	bool		s_rate;		/* of a counter */
};

struct vmt_counter {
	const char	*c_name;
	const char	*c_description;
};

/*
 * A node below machdep.vmt0.  The value is behind a handler, or at an offset
 * in the softc.
 */
struct vmt_node {
	const char	*n_name;
	int		n_type;
	int		n_flags;
	u_int		n_depth;	/* 0: below the root of the tree */
	size_t		n_size;
	int		(*n_handler)(SYSCTLFN_PROTO);
	int		n_min;		/* of a number that can be set */
	int		n_max;
	size_t		n_offset;
	const char	*n_description;
};

/* vmt_tables.c */
VMT_LOCAL_DATA const struct vmt_command vmt_commands[VMT_COMMANDS];
VMT_LOCAL_DATA const struct vmt_notice vmt_notices[VMT_NOTICES];
VMT_LOCAL_DATA const struct vmt_option vmt_options[VMT_OPTIONS];
VMT_LOCAL_DATA const char * const vmt_settings[VMT_SETTINGS];
/* How long to wait (ms) after a message, after the next try, and so on. */
VMT_LOCAL_DATA const int vmt_poll_steps[VMT_POLL_STEPS];
VMT_LOCAL_DATA const struct vmt_switch_type vmt_switches[VMT_SWITCHES];
VMT_LOCAL_DATA const struct vmt_text vmt_texts[VMT_LOGS];
VMT_LOCAL_DATA const struct vmt_info_item vmt_info_items[VMT_INFOS];
VMT_LOCAL_DATA const struct vmt_nic_method vmt_nic_methods[VMT_NIC_METHODS];
VMT_LOCAL_DATA const uint8_t vmt_nic_vendors[VMT_NIC_VENDORS][3];
VMT_LOCAL_DATA const struct vmt_memory_stat vmt_stats[VMT_MEMORY_STATS];
VMT_LOCAL_DATA const char * const vmt_disk_types[VMT_DISK_TYPES];
VMT_LOCAL_DATA const struct vmt_counter vmt_counters[VMT_COUNTERS];
VMT_LOCAL_DATA const struct vmt_node vmt_nodes[VMT_NODES];

/* vmt.c */
VMT_LOCAL void	vmt_attach(device_t, device_t, void *);
VMT_LOCAL int	vmt_detach(device_t, int);

VMT_LOCAL void	vmt_wake_worker(struct vmt_softc *);
VMT_LOCAL void	vmt_raise_event(struct vmt_softc *);
VMT_LOCAL void	vmt_raise(struct vmt_softc *, enum vmt_switch);
VMT_LOCAL void	vmt_log(struct vmt_softc *, enum vmt_log, ...);
VMT_LOCAL void	vmt_update_now(struct vmt_softc *);
VMT_LOCAL int64_t vmt_uptime(void);

/* vmt_x86.c, vmt_aarch64.c */
VMT_LOCAL bool	vmt_machine_match(const void *);
VMT_LOCAL bool	vmt_machine_is_vmware(void);
VMT_LOCAL void	vmt_trap_low(struct vmt_frame *) VMT_TRAP_FUNCTION;
VMT_LOCAL void	vmt_trap_in(struct vmt_frame *) VMT_TRAP_FUNCTION;
VMT_LOCAL void	vmt_trap_out(struct vmt_frame *) VMT_TRAP_FUNCTION;

/* vmt_rpc.c */
VMT_LOCAL bool	vmt_backdoor_probe(void);
VMT_LOCAL void	vmt_backdoor_command(struct vmt_frame *, uint32_t);
VMT_LOCAL bool	vmt_channel_probe(void);
VMT_LOCAL int	vmt_channel_open(struct vmt_channel *);
VMT_LOCAL void	vmt_channel_close(struct vmt_channel *);
VMT_LOCAL int	vmt_channel_send(struct vmt_channel *, const void *, size_t);
VMT_LOCAL int	vmt_channel_receive(struct vmt_channel *, struct vmt_buffer *,
		    size_t *);
VMT_LOCAL int	vmt_buffer_reserve(struct vmt_buffer *, size_t);
VMT_LOCAL void	vmt_buffer_shrink(struct vmt_buffer *);
VMT_LOCAL void	vmt_buffer_free(struct vmt_buffer *);
VMT_LOCAL int	vmt_rpc_call(struct vmt_softc *, size_t, size_t *);
VMT_LOCAL int	vmt_rpc_send(struct vmt_softc *, bool, const void *, size_t,
		    const char *, ...) __printflike(5, 6);
VMT_LOCAL void	vmt_rpc_release(struct vmt_softc *);

/* vmt_tclo.c */
VMT_LOCAL int64_t vmt_tclo_run(struct vmt_softc *, int64_t);
VMT_LOCAL void	vmt_tclo_stop(struct vmt_softc *);

/* vmt_info.c */
VMT_LOCAL void	vmt_info_forget(struct vmt_softc *);
VMT_LOCAL int64_t vmt_info_run(struct vmt_softc *, int64_t);
VMT_LOCAL int	vmt_info_send(struct vmt_softc *, enum vmt_info);
VMT_LOCAL void	vmt_info_free(struct vmt_softc *);
VMT_LOCAL int	vmt_report_send(struct vmt_softc *, struct vmt_report *, u_int,
		    const void *, size_t);
VMT_LOCAL void	vmt_report_forget(struct vmt_report *);

/* vmt_nic.c */
VMT_LOCAL int64_t vmt_nic_run(struct vmt_softc *, int64_t);
VMT_LOCAL int	vmt_nic_broadcast(struct vmt_softc *);
VMT_LOCAL bool	vmt_dns_valid(const char *);

/* vmt_memory.c */
VMT_LOCAL int64_t vmt_memory_run(struct vmt_softc *, int64_t);
VMT_LOCAL void	vmt_memory_forget(struct vmt_memory *);

/* vmt_net.c */
VMT_LOCAL bool	vmt_net_collect(const struct vmt_softc *, struct vmt_net *);
VMT_LOCAL void	vmt_net_free(struct vmt_net *);
VMT_LOCAL void	vmt_net_format_primary(const struct vmt_net *, char *, size_t);

/* vmt_backup.c */
VMT_LOCAL void	vmt_backup_init(struct vmt_softc *);
VMT_LOCAL void	vmt_backup_reset(struct vmt_softc *);
VMT_LOCAL void	vmt_backup_interrupt(struct vmt_softc *);
VMT_LOCAL void	vmt_backup_stop(struct vmt_softc *);
VMT_LOCAL int64_t vmt_backup_run(struct vmt_softc *, int64_t);
VMT_LOCAL bool	vmt_backup_holds(struct vmt_softc *);

/* vmt_freeze.c */
VMT_LOCAL bool	vmt_freeze_start(struct vmt_softc *);
VMT_LOCAL bool	vmt_freeze_ready(struct vmt_softc *, int *);
VMT_LOCAL bool	vmt_freeze_runs(struct vmt_softc *);
VMT_LOCAL bool	vmt_freeze_expired(struct vmt_softc *);
VMT_LOCAL void	vmt_freeze_release(struct vmt_softc *);
VMT_LOCAL bool	vmt_freeze_join(struct vmt_softc *, bool);

/* vmt_clock.c */
VMT_LOCAL void	vmt_clock_init(struct vmt_clock *);
VMT_LOCAL int64_t vmt_clock_run(struct vmt_softc *, int64_t);
VMT_LOCAL int	vmt_clock_sync(struct vmt_softc *, enum vmt_clock_steps);
VMT_LOCAL void	vmt_entropy_stir(struct vmt_softc *);
VMT_LOCAL void	vmt_entropy_join(struct vmt_softc *);
VMT_LOCAL void	vmt_clock_forget(struct vmt_softc *);
VMT_LOCAL void	vmt_clock_stop(struct vmt_softc *);

/* vmt_sysctl.c */
VMT_LOCAL int	vmt_sysctl_create(struct vmt_softc *);
VMT_LOCAL int64_t vmt_request_run(struct vmt_softc *, int64_t);
VMT_LOCAL void	vmt_request_free(struct vmt_softc *);
VMT_LOCAL void	vmt_counters_attach(struct vmt_softc *);
VMT_LOCAL void	vmt_counters_detach(struct vmt_softc *);

#endif /* !_DEV_VMT_VMTVAR_H_ */
