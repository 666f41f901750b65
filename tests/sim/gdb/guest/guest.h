/* SPDX-License-Identifier: BSD-2-Clause */
/* Declarations that the files of the test guest share. */
#ifndef _GUEST_H_
#define _GUEST_H_

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/device.h>
#include <sys/sysctl.h>

/* One thread of the driver; it belongs to one vCPU and yields by itself. */
struct lwp {
	uint64_t	*l_stack;	/* its saved stack */
	uint64_t	*l_back;	/* its vCPU's stack */
	void		(*l_function)(void *);
	void		*l_argument;
	volatile int	l_state;	/* THREAD_* */
	u_int		l_cpu;
};
#define THREAD_NONE	0
#define THREAD_ALIVE	1
#define THREAD_GONE	2

/* guest.c: the machine */
extern volatile u_int cpus;
extern struct lwp worker, idle[2];
u_int	this_cpu(void);
void	give_way(void);
uint64_t uptime_ns(void);
void	console(const char *, size_t);
void	stop_machine(void) __dead;
void	switch_stack(uint64_t **, uint64_t *);
extern char thread_entry[];

/* module.c: what modload(8) and the administrator do */
const char *module_name(void);
const char *module_words(void);
void	module_begin(void);
void	module_load(u_int);
void	module_unload(void);
void	module_rescan(void);
void	module_busy(u_int);
void	module_rpc(const char *);
bool	module_loaded(void);

/* shell.c: a NetBSD's words on the serial line */
void	shell_begin(const char *);
void	shell_line(const char *);
bool	shell_active(void);
bool	shell_reports(void);

/* devices.c: autoconf(9), power, sysctl(9) */
extern volatile int power_event;	/* 0, 'h'alt or 'r'eboot */
extern device_t the_device;
void	rescan(void);
int	detach_device(void);
struct node {
	const char	*n_name;
	int		n_type;
	void		*n_data;
	sysctlfn	n_handler;
};
extern struct node nodes[];
extern u_int node_count;
bool	shutdown_hook(void);
int	write_rpc(const char *, char *, size_t);
int	use_node(const struct node *, void *, size_t *, const void *, size_t);

static inline void
outb(uint16_t port, uint8_t value)
{

	__asm volatile("outb %0, %1" : : "a" (value), "Nd" (port));
}

static inline void
outw(uint16_t port, uint16_t value)
{

	__asm volatile("outw %0, %1" : : "a" (value), "Nd" (port));
}

static inline uint8_t
inb(uint16_t port)
{
	uint8_t value;

	__asm volatile("inb %1, %0" : "=a" (value) : "Nd" (port));
	return value;
}

#endif /* !_GUEST_H_ */
