/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small functions around kernel services whose results tests check.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kauth.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/proc.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/timevar.h>
#include <sys/uuid.h>

#include <lib/libkern/libkern.h>
#include <dev/sysmon/sysmonvar.h>

MODULE(MODULE_CLASS_DRIVER, services, "sysmon_power");

void	sysctl_unlock(void);
void	sysctl_relock(void);

static struct sysctllog *log_of_nodes;
static int	number = 7;
static char	name[32] = "name";
static bool	flag;
static int64_t	counter = 1LL << 40;
static int	calls;
static int	step = 1;
static char	option[16];
char		result[256];

int	formats(void);
int	copies(int);
int	copies_negative(void);
int	steps_clock(int);
int	sets_clock(int);
int	sets_far(int);
int	slews_clock(int, int);
int	rate(int);
int	press(int, int);
int	identity(void);
int	slow_for(int);

int
formats(void)
{
	int n;

	n = snprintf(result, sizeof(result),
	    "%d|%5d|%-5d|%05d|%+d|% d|%x|%#X|%o|%#o|%u|%c|%s|%.2s|%5s|%-5s|%%|%*d|%.*s"
	    "|%ld|%lu|%lld|%llx|%jd|%zu|%hd|%hhx|%p|%.3d|%s|%td",
	    -42, 42, 42, 42, 42, 42, 0xbeef, 0xbeef, 8, 8, 4000000000U, 'c',
	    "text", "text", "abc", "abc", 4, 7, 3, "abcdef",
	    -5L, 5UL, -6000000000LL, 0x123456789abcULL, (intmax_t)-7,
	    sizeof(int), (short)-3, (unsigned char)0xfe, (void *)0x1234, 5,
	    (char *)NULL, (ptrdiff_t)-9);
	return n;
}

int
copies(int size)
{

	memset(result, 'x', 32);
	return (int)strlcpy(result, "0123456789", (size_t)size);
}

int
copies_negative(void)
{

	return (int)strtoul("0x1fz", NULL, 0) + (int)strtoul(" 12", NULL, 10) +
	    (int)strtoul("017", NULL, 0) + strncmp("abc", "abd", 2) +
	    (strcmp("b", "a") > 0);
}

int
steps_clock(int seconds)
{
	struct timespec ts;

	nanotime(&ts);
	ts.tv_sec += seconds;
	return clock_settime1(NULL, CLOCK_REALTIME, &ts, false);
}

/* The same, if the caller has permission. */
int
sets_clock(int seconds)
{
	struct timespec ts;

	nanotime(&ts);
	ts.tv_sec += seconds;
	return clock_settime1(NULL, CLOCK_REALTIME, &ts, true);
}

int
sets_far(int years)
{
	struct timespec ts = { .tv_sec = (time_t)years * 365 * 86400 };

	return clock_settime1(NULL, CLOCK_REALTIME, &ts, false);
}

/* Requests a correction; returns the remaining one, in microseconds. */
int
slews_clock(int seconds, int microseconds)
{
	struct timeval delta, old;

	delta.tv_sec = seconds;
	delta.tv_usec = microseconds;
	adjtime1(&delta, &old, NULL);
	return (int)(old.tv_sec * 1000000 + old.tv_usec);
}

/* How many of n calls at one time pass the limit of 3 a second. */
int
rate(int n)
{
	static struct timeval last;
	static int current;
	int i, passed = 0;

	for (i = 0; i < n; i++)
		passed += ppsratecheck(&last, &current, 3);
	return passed;
}

static struct sysmon_pswitch button = { .smpsw_name = "services0" };

int
press(int type, int event)
{

	button.smpsw_type = type;
	(void)sysmon_pswitch_register(&button);
	sysmon_pswitch_event(&button, event);
	sysmon_pswitch_unregister(&button);
	return 0;
}

int
identity(void)
{
	static const uint8_t raw[16] =
	    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct uuid uuid;
	size_t n;

	n = (size_t)snprintf(result, sizeof(result), "%s %s %s %s %d ", ostype,
	    osrelease, machine_arch, hostname, hz);
	uuid_dec_be(raw, &uuid);
	return uuid_snprintf(result + n, sizeof(result) - n, &uuid);
}

static int
handler_any(SYSCTLFN_ARGS)
{
	struct sysctlnode node = *rnode;
	int error, value;

	value = number;
	node.sysctl_data = &value;
	error = sysctl_lookup(SYSCTLFN_CALL(&node));
	if (error != 0 || newp == NULL)
		return error;
	if (value < 0)
		return EINVAL;
	number = value;
	return 0;
}

/* A request node: the call that writes a value gets the answer. */
static int
handler_request(SYSCTLFN_ARGS)
{
	char text[32];
	size_t i;
	int error;

	error = kauth_authorize_system(kauth_cred_get(), KAUTH_SYSTEM_SYSCTL,
	    newp != NULL ? KAUTH_REQ_SYSTEM_SYSCTL_MODIFY :
	    KAUTH_REQ_SYSTEM_SYSCTL_PRVT, NULL, NULL, NULL);
	if (error != 0)
		return error;
	if (newp == NULL) {
		if (oldp == NULL)
			*oldlenp = 4096;
		else
			*oldlenp = 0;
		return 0;
	}
	if (newlen == 0 || newlen > sizeof(text))
		return EINVAL;
	if ((error = sysctl_copyin(l, newp, text, newlen)) != 0)
		return error;
	calls++;
	for (i = 0; i < newlen; i++)
		text[i] ^= text[i] >= 'a' && text[i] <= 'z' ? 0x20 : 0;
	if (oldp != NULL)
		error = sysctl_copyout(l, text, oldp, MIN(*oldlenp, newlen));
	if (error == 0)
		*oldlenp = newlen;
	return error;
}

static int
handler_slow(SYSCTLFN_ARGS)
{

	kpause("slow", false, step * hz, NULL);
	*oldlenp = 0;
	return 0;
}

/* Like the one above, but with the lock of the tree given up meanwhile. */
static int
handler_polite(SYSCTLFN_ARGS)
{

	sysctl_unlock();
	kpause("polite", false, step * hz, NULL);
	sysctl_relock();
	*oldlenp = 0;
	return 0;
}

int
slow_for(int seconds)
{

	step = seconds;
	return 0;
}

static void
nodes(void)
{
	const struct sysctlnode *top;

	(void)sysctl_createv(&log_of_nodes, 0, NULL, &top, CTLFLAG_READWRITE,
	    CTLTYPE_NODE, "services0", NULL, NULL, 0, NULL, 0, CTL_MACHDEP,
	    CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_INT, "any", NULL, handler_any, 0, &number, 0, CTL_CREATE,
	    CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READONLY,
	    CTLTYPE_INT, "fixed", NULL, NULL, 0, &number, 0, CTL_CREATE,
	    CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_STRING, "name", NULL, NULL, 0, name, sizeof(name),
	    CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_BOOL, "flag", NULL, NULL, 0, &flag, 0, CTL_CREATE,
	    CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READONLY,
	    CTLTYPE_QUAD, "counter", NULL, NULL, 0, &counter, 0, CTL_CREATE,
	    CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL,
	    CTLFLAG_READONLY | CTLFLAG_IMMEDIATE, CTLTYPE_INT, "constant", NULL,
	    NULL, 99, NULL, 0, CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_STRING, "request", NULL, handler_request, 0, NULL, 4096,
	    CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_STRING, "slow", NULL, handler_slow, 0, NULL, 16,
	    CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READWRITE,
	    CTLTYPE_STRING, "polite", NULL, handler_polite, 0, NULL, 16,
	    CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, NULL, &top,
	    CTLFLAG_READWRITE | CTLFLAG_PRIVATE, CTLTYPE_NODE, "private1",
	    NULL, NULL, 0, NULL, 0, CTL_MACHDEP, CTL_CREATE, CTL_EOL);
	(void)sysctl_createv(&log_of_nodes, 0, &top, NULL, CTLFLAG_READONLY,
	    CTLTYPE_INT, "inside", NULL, NULL, 0, &number, 0, CTL_CREATE,
	    CTL_EOL);
}

static int
services_modcmd(modcmd_t cmd, void *aux)
{
	const char *text = "none";
	int64_t big = -1;
	bool forced = false;

	switch (cmd) {
	case MODULE_CMD_INIT:
		if (aux != NULL) {
			(void)prop_dictionary_get_bool(aux, "force", &forced);
			(void)prop_dictionary_get_int64(aux, "big", &big);
			(void)prop_dictionary_get_string(aux, "text", &text);
		}
		(void)strlcpy(option, text, sizeof(option));
		(void)snprintf(result, sizeof(result), "%d %lld %s %d", forced,
		    (long long)big, option, aux != NULL);
		nodes();
		return 0;
	case MODULE_CMD_FINI:
		sysctl_teardown(&log_of_nodes);
		return 0;
	default:
		return ENOTTY;
	}
}
