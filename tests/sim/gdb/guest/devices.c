/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's functions as the driver knows them: the device, its power
 * switches, its nodes, and functions that do nothing.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/device.h>
#include <sys/entropy.h>
#include <sys/errno.h>
#include <sys/evcnt.h>
#include <sys/kauth.h>
#include <sys/kmem.h>
#include <sys/mount.h>
#include <sys/mutex.h>
#include <sys/pmf.h>
#include <sys/rndsource.h>
#include <sys/sysctl.h>
#include <sys/uuid.h>

#include <dev/sysmon/sysmonvar.h>

#include <prop/proplib.h>

#include <x86/cpuvar.h>

#include "guest.h"

struct device {
	char		d_name[16];
	void		*d_private;
	struct cfattach	*d_attach;
};

volatile int power_event;
device_t the_device;
static const struct cfattachinit *attachments;
static struct cfdata *configuration;
static bool (*hook)(device_t, int);
static struct sysctlnode rpc_node;
static sysctlfn request_handler, reply_handler;

/* autoconf(9) for one device. */

device_t
device_find_by_xname(const char *name)
{

	return the_device;
}

const char *
device_xname(device_t device)
{

	return device->d_name;
}

void *
device_private(device_t device)
{

	return device->d_private;
}

struct cfdriver *
config_cfdriver_lookup(const char *name)
{

	return NULL;
}

int
config_cfattach_attach(const char *driver, struct cfattach *ca)
{

	return ESRCH;
}

int
config_cfattach_detach(const char *driver, struct cfattach *ca)
{

	return ESRCH;
}

void
rescan(void)
{
	static struct device device;
	static const char *const features[] = { "vm", "padlock" };
	struct cpufeature_attach_args args = { .ci = curcpu() };
	struct cfattach *ca = attachments[0].cfai_list[0];
	bool found = false;

	if (the_device != NULL)
		return;
	for (u_int i = 0; i < __arraycount(features) && !found; i++) {
		args.name = features[i];
		found = (*ca->ca_match)(NULL, configuration, &args) != 0;
	}
	if (!found)
		return;
	snprintf(device.d_name, sizeof(device.d_name), "%s0", module_name());
	device.d_private = kmem_zalloc(ca->ca_devsize, KM_SLEEP);
	device.d_attach = ca;
	the_device = &device;
	printf("%s at cpu0", device.d_name);
	(*ca->ca_attach)(NULL, the_device, &args);
}

int
config_init_component(struct cfdriver * const *drivers,
    const struct cfattachinit *given, struct cfdata *cf)
{

	attachments = given;
	configuration = cf;
	rescan();
	return 0;
}

int
config_fini_component(struct cfdriver * const *drivers,
    const struct cfattachinit *given, struct cfdata *cf)
{

	return the_device == NULL ? 0 : detach_device();
}

/* drvctl -d */
int
detach_device(void)
{
	device_t device = the_device;
	int error;

	error = (*device->d_attach->ca_detach)(device, 0);
	if (error != 0)
		return error;
	kmem_free(device->d_private, device->d_attach->ca_devsize);
	the_device = NULL;
	printf("%s: detached\n", device->d_name);
	return 0;
}

void
config_mountroot(device_t device, void (*function)(device_t))
{

	(*function)(device);
}

bool
pmf_device_register1(device_t device, bool (*suspend)(device_t, const pmf_qual_t *),
    bool (*resume)(device_t, const pmf_qual_t *), bool (*down)(device_t, int))
{

	hook = down;
	return true;
}

void
pmf_device_deregister(device_t device)
{

	hook = NULL;
}

bool
shutdown_hook(void)
{

	return hook == NULL || (*hook)(the_device, 0);
}

bool
prop_dictionary_get_bool(prop_dictionary_t dictionary, const char *name,
    bool *value)
{

	/* modload -b force=true */
	*value = true;
	return true;
}

/* Power switches, with a powerd(8) that carries out each event. */

int
sysmon_pswitch_register(struct sysmon_pswitch *s)
{

	return 0;
}

void
sysmon_pswitch_unregister(struct sysmon_pswitch *s)
{
}

void
sysmon_pswitch_event(struct sysmon_pswitch *s, int event)
{
	const char *name = s->smpsw_type == PSWITCH_TYPE_POWER ?
	    "power_button" : s->smpsw_type == PSWITCH_TYPE_RESET ?
	    "reset_button" : "sleep_button";

	if (shell_reports()) {
		/* As sim/vmtsim/accept/reporter.sh, and nothing is done. */
		printf("vmt-accept: powerd %s %s %s\n", name,
		    event == PSWITCH_EVENT_PRESSED ? "pressed" : "released",
		    s->smpsw_name);
		return;
	}
	printf("powerd: %s %s of %s\n", name,
	    event == PSWITCH_EVENT_PRESSED ? "pressed" : "released",
	    s->smpsw_name);
	if (event == PSWITCH_EVENT_PRESSED && s->smpsw_type != PSWITCH_TYPE_SLEEP)
		power_event = s->smpsw_type == PSWITCH_TYPE_POWER ? 'h' : 'r';
}

/* sysctl(9): one level of names, the last of each path. */

struct node nodes[64];
u_int node_count;

#undef sysctl_createv
int
sysctl_createv(struct sysctllog **logp, int flags,
    const struct sysctlnode **parent, const struct sysctlnode **node,
    int nodeflags, int type, const char *name, const char *description,
    sysctlfn handler, u_quad_t number, void *data, size_t size, ...)
{

	if (node != NULL)
		*node = &rpc_node;
	*logp = (struct sysctllog *)&rpc_node;
	if (data != NULL && node_count < 64)
		nodes[node_count++] = (struct node){ name, type, data, handler };
	if (strcmp(name, "request") == 0 || strcmp(name, "reply") == 0) {
		if (name[2] == 'q')
			request_handler = handler;
		else
			reply_handler = handler;
		rpc_node.sysctl_data = data;
	}
	return 0;
}

void
sysctl_teardown(struct sysctllog **logp)
{

	request_handler = reply_handler = NULL;
	node_count = 0;
	*logp = NULL;
}

int
sysctl_lookup(SYSCTLFN_ARGS)
{
	const int type = rnode->sysctl_flags & 0xf;
	const size_t size = type == CTLTYPE_INT ? sizeof(int) :
	    type == CTLTYPE_QUAD ? sizeof(uint64_t) :
	    strlen(rnode->sysctl_data) + 1;

	if (oldp != NULL) {
		if (*oldlenp < size)
			return ENOMEM;
		memcpy(oldp, rnode->sysctl_data, size);
		*oldlenp = size;
	}
	if (newp != NULL)
		memcpy(rnode->sysctl_data, newp, newlen);
	return 0;
}

/* Read or write a node, through its handler if it has one. */
int
use_node(const struct node *node, void *old, size_t *oldlen, const void *new,
    size_t newlen)
{
	struct sysctlnode sn = { .sysctl_flags = node->n_type };

	sn.sysctl_data = node->n_data;
	strlcpy(sn.sysctl_name, node->n_name, sizeof(sn.sysctl_name));
	return (*(node->n_handler == NULL ? sysctl_lookup : node->n_handler))(
	    NULL, 0, old, oldlen, new, newlen, NULL, curlwp, &sn);
}

int
sysctl_copyin(struct lwp *l, const void *from, void *to, size_t size)
{

	memcpy(to, from, size);
	return 0;
}

int
sysctl_copyout(struct lwp *l, const void *from, void *to, size_t size)
{

	memcpy(to, from, size);
	return 0;
}

/*
 * Send a command through the driver's nodes and wait for its reply, which
 * begins with the number: two calls, as sysctl(8) would make them.
 */
int
write_rpc(const char *command, char *reply, size_t size)
{
	static kmutex_t lock;
	static kcondvar_t cv;
	static bool made;
	char number[16], pending[32];
	size_t length = sizeof(number);
	int error, name[1], tries;

	if (request_handler == NULL || reply_handler == NULL)
		return ENOENT;
	if (!made) {
		mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
		cv_init(&cv, "rpc");
		made = true;
	}
	error = (*request_handler)(NULL, 0, number, &length, command,
	    strlen(command) + 1, NULL, curlwp, &rpc_node);
	if (error != 0)
		return error;
	for (name[0] = 0, length = 0; number[length] != '\0'; length++)
		name[0] = name[0] * 10 + number[length] - '0';
	snprintf(pending, sizeof(pending), "%s pending", number);
	for (tries = 0; tries < 500; tries++) {
		length = size;
		error = (*reply_handler)(name, 1, reply, &length, NULL, 0, NULL,
		    curlwp, &rpc_node);
		if (error != 0 || strcmp(reply, pending) != 0)
			return error;
		mutex_enter(&lock);
		(void)cv_timedwait(&cv, &lock, 1);
		mutex_exit(&lock);
	}
	return ETIMEDOUT;
}

kauth_cred_t
kauth_cred_get(void)
{

	return NULL;
}

int
kauth_authorize_system(kauth_cred_t cred, kauth_action_t action,
    enum kauth_system_req request, void *a, void *b, void *c)
{

	return 0;
}

/* No file system is mounted. */

void
mountlist_iterator_init(mount_iterator_t **iterator)
{

	*iterator = NULL;
}

struct mount *
mountlist_iterator_trynext(mount_iterator_t *iterator)
{

	return NULL;
}

void
mountlist_iterator_destroy(mount_iterator_t *iterator)
{
}

/* The other functions do nothing. */

void
uuid_dec_be(const void *from, struct uuid *to)
{

	memcpy(to, from, sizeof(*to));
}

int
uuid_snprintf(char *to, size_t size, const struct uuid *uuid)
{
	const uint8_t *b = (const void *)uuid;

	return snprintf(to, size, "%02x%02x%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
	    b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
	    b[15]);
}

void
rnd_add_data(struct krndsource *source, const void *data, uint32_t size,
    uint32_t bits)
{
}

int
entropy_consolidate(void)
{

	return 0;
}

void
evcnt_attach_dynamic(struct evcnt *ev, int type, const struct evcnt *parent,
    const char *group, const char *name)
{
}

void
evcnt_detach(struct evcnt *ev)
{
}
