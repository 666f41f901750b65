/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Modules: the test links the driver for some addresses and hands the images
 * over as the initial RAM disk.  Loading copies one to fresh pages there.
 */

#include <sys/module.h>

#include "guest.h"
#include "vmtvar.h"

#define POOL		0x2000000UL	/* memory for modules: from 32 MB on */
#define WRITABLE	0x002UL
#define NO_EXECUTE	(1UL << 63)

/* As tests/sim/gdb/guestkit.py writes it. */
struct region {
	uint64_t	r_base, r_offset, r_size;
};
struct image {
	struct region	i_text, i_data, i_rodata;
	uint64_t	i_modcmd, i_time, i_open, i_send, i_receive, i_close;
};
struct disk {
	uint64_t	d_magic, d_images, d_missing, d_names;
	char		d_driver[16];
	struct image	d_image[];
};
#define DISK_MAGIC	0x314b534944544d56UL
#define NAME_SIZE	64

/* What QEMU passes to a PVH guest (Xen's start_info.h). */
struct start {
	uint32_t	magic, version, flags, modules;
	uint64_t	module_list, command_line, rsdp;
};

extern uint64_t start_info, module_directory[];
extern char missing_stubs[];
void	missing(uint64_t);

static const struct disk *disk;
static const struct image *loaded;
static uint64_t pool = POOL;

bool
module_loaded(void)
{

	return loaded != NULL;
}

static uint64_t
page(void)
{
	const uint64_t address = pool;

	pool += 4096;
	memset((void *)address, 0, 4096);
	return address;
}

/* Map, or with no pages unmap, one region. */
static void
map(const struct region *region, uint64_t flags, bool present)
{
	uint64_t address, *directory, *table, offset, to;

	for (offset = 0; offset < region->r_size; offset += 4096) {
		address = region->r_base + offset;
		directory = &module_directory[address >> 21 & 511];
		if (*directory == 0)
			*directory = page() | 3;
		table = (uint64_t *)(*directory & 0x000ffffffffff000UL);
		to = 0;
		if (present) {
			to = page();
			memcpy((void *)to, (const char *)disk +
			    region->r_offset + offset,
			    MIN(4096, region->r_size - offset));
			to |= 1 | flags;
		}
		table[address >> 12 & 511] = to;
	}
	__asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3"
	    : : : "rax", "memory");
}

/* The name of the driver. */
const char *
module_name(void)
{

	return disk->d_driver;
}

/* The kernel's command line. */
const char *
module_words(void)
{

	return (const void *)((const struct start *)start_info)->command_line;
}

void
module_begin(void)
{
	const struct start *start = (const void *)start_info;
	const uint64_t *list = (const void *)start->module_list;
	const char *words = module_words();

	if (start->modules == 0)
		panic("no modules given");
	disk = (const void *)list[0];
	if (disk->d_magic != DISK_MAGIC)
		panic("no modules in what was given");
	if (words != NULL && strncmp(words, "load=", 5) == 0)
		module_load(words[5] - '0');
}

void
module_load(u_int which)
{
	int error;

	if (loaded != NULL || which >= disk->d_images) {
		printf("modload: no\n");
		return;
	}
	loaded = &disk->d_image[which];
	map(&loaded->i_text, 0, true);
	map(&loaded->i_data, WRITABLE | NO_EXECUTE, true);
	map(&loaded->i_rodata, NO_EXECUTE, true);
	printf("%-20s %-10s %-8s %-4s %-4s %-16s %-7s %s\n", "NAME", "CLASS",
	    "SOURCE", "FLAG", "REFS", "ADDRESS", "SIZE", "REQUIRES");
	printf("%-20s %-10s %-8s %-4s %-4d %-16lx %-7lu %s\n", disk->d_driver, "driver",
	    "filesys", "-", 0, loaded->i_text.r_base, loaded->i_text.r_size,
	    "sysmon_power");
	error = (*(int (*)(modcmd_t, void *))loaded->i_modcmd)(
	    MODULE_CMD_INIT, &loaded);
	printf("modload: %d\n", error);
}

void
module_unload(void)
{
	int error;

	if (loaded == NULL)
		return;
	error = (*(int (*)(modcmd_t, void *))loaded->i_modcmd)(
	    MODULE_CMD_FINI, NULL);
	if (error == 0) {
		map(&loaded->i_text, 0, false);
		map(&loaded->i_data, 0, false);
		map(&loaded->i_rodata, 0, false);
		loaded = NULL;
	}
	printf("modunload: %d\n", error);
}

/*
 * Talk to the host from this vCPU too: commands on a channel of its own, and
 * the time, as fast as possible.
 */
void
module_busy(u_int times)
{
	/* As the driver declares them: a stale call here does not compile. */
	__typeof__(vmt_channel_open) *open = (void *)loaded->i_open;
	__typeof__(vmt_channel_send) *send = (void *)loaded->i_send;
	__typeof__(vmt_channel_receive) *receive = (void *)loaded->i_receive;
	__typeof__(vmt_channel_close) *close = (void *)loaded->i_close;
	__typeof__(vmt_get_time_full) *get_time = (void *)loaded->i_time;
	static struct evcnt counters[VMT_COUNTERS];
	struct vmt_channel channel = { .ch_counters = counters,
	    .ch_protocol = 0x49435052 };
	struct vmt_buffer reply = { .b_data = NULL };
	uint64_t before, seconds, start;
	uint32_t lag, microseconds;
	char text[32];
	size_t length;
	u_int good = 0, i, timely = 0;

	before = 0;
	start = uptime_ns();
	if (open == NULL) {
		printf("busy: the driver has no channel\n");
		return;
	}
	if ((*open)(&channel) != 0) {
		printf("busy: no channel\n");
		return;
	}
	for (i = 0; i < times; i++) {
		length = snprintf(text, sizeof(text), "log busy %u", i);
		if ((*send)(&channel, text, length) == 0 &&
		    (*receive)(&channel, &reply, &length) == 0 &&
		    length == 2 && strcmp((char *)reply.b_data, "1 ") == 0)
			good++;
		if ((*get_time)(&seconds, &microseconds, &lag) &&
		    seconds * 1000000 + microseconds >= before)
			timely++;
		before = seconds * 1000000 + microseconds;
	}
	(*close)(&channel);
	printf("busy: %u of %u commands, %u times in order, %lu us\n", good,
	    times, timely, (uptime_ns() - start) / 1000);
}

void
module_rpc(const char *command)
{
	static char reply[16384];
	int error;

	error = write_rpc(command, reply, sizeof(reply));
	printf("rpc: %d \"%s\"\n", error, error == 0 ? reply : "");
}

/* The driver calls something that this guest does not have. */
void
missing(uint64_t index)
{

	printf("guest: the driver calls %s, which is not here\n",
	    (const char *)disk + disk->d_names + index * NAME_SIZE);
}
