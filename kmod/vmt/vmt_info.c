/*
 * SPDX-License-Identifier: BSD-2-Clause
 */

/*
 * The information that the guest reports about itself.
 *
 * Names, release, uptime: each item keeps the value that the host has, and the
 * driver sends it when it differs.  It resends a refused item only after the
 * next reset; it resends an item that did not reach the host with the next
 * check.
 *
 * File systems: only local ones, because a server that does not answer would
 * block the worker, and of the types with data on a disk.  A suspended file
 * system is omitted until the next check.
 *
 * Hosts know one of several forms of interfaces (see vmt_nic.c) and of file
 * systems; the driver uses the first that the host accepts until the next
 * reset.
 *
 * All of this runs in the worker, without sc_lock.
 */

#include <sys/cdefs.h>
__KERNEL_RCSID(0, "$NetBSD$");

#include <sys/param.h>
#include <sys/endian.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/lwp.h>
#include <sys/mount.h>
#include <sys/proc.h>
#include <sys/statvfs.h>
#include <sys/systm.h>
#include <sys/vfs_syscalls.h>

#include "vmtvar.h"

#define	VMT_DETAILED_RETRY	60000	/* ms */
#define	VMT_YOUNG_MS		15000

#define	VMT_DISK_NAME	100		/* bytes of a mount point with NUL */
#define	VMT_DISK_FORMS	2		/* JSON, and an older structure */

/* The detailed description of the system; see open-vm-tools' hostinfo.h. */
struct vmt_detailed {
	uint32_t	d_version;	/* little-endian */
	char		d_short[VMT_DETAILED_SHORT];
	char		d_full[VMT_DETAILED_FULL];
	char		d_pairs[512] __aligned(4);
};

struct vmt_disk {
	char		d_name[VMT_DISK_NAME];
	char		d_type[_VFS_NAMELEN];
	uint64_t	d_free;		/* bytes */
	uint64_t	d_size;
};

/* The older form. */
struct vmt_disk_v0 {
	uint64_t	v_free;
	uint64_t	v_size;
	char		v_name[VMT_DISK_NAME];
} __packed;

static void	vmt_info_send_detailed(struct vmt_softc *, int64_t);
static int64_t	vmt_disk_run(struct vmt_softc *, int64_t);
static u_int	vmt_disk_collect(struct vmt_disk *, struct statvfs *);
static bool	vmt_is_disk(const struct statvfs *);
static size_t	vmt_disk_encode_json(char *, const struct vmt_disk *, u_int);
static size_t	vmt_disk_encode_v0(char *, const struct vmt_disk *, u_int);
static void	vmt_encode_base64(char *, const char *);

/* Forget the host's values: send everything again. */
void
vmt_info_forget(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_INFOS; i++) {
		sc->sc_info[i].i_sent = false;
		sc->sc_info[i].i_refused = false;
		sc->sc_info[i].i_next = 0;
	}
	sc->sc_detailed = sc->sc_detailed_refused = false;
	sc->sc_detailed_next = 0;
	vmt_report_forget(&sc->sc_nics);
	vmt_report_forget(&sc->sc_disks);
	vmt_memory_forget(&sc->sc_memory);
	sc->sc_primary[0] = '\0';
}

/*
 * Check what is due and send what changed.  Returns the next deadline (uptime
 * in ms).
 */
int64_t
vmt_info_run(struct vmt_softc *sc, int64_t now)
{
	int64_t next = INT64_MAX;
	u_int i;

	if (!sc->sc_detailed && !sc->sc_detailed_refused) {
		if (now >= sc->sc_detailed_next)
			vmt_info_send_detailed(sc, now);
		if (!sc->sc_detailed)
			next = sc->sc_detailed_next;
	}
	for (i = 0; i < VMT_INFOS; i++) {
		if (sc->sc_info[i].i_next <= now)
			(void)vmt_info_send(sc, i);
		next = MIN(next, sc->sc_info[i].i_next);
	}
	next = MIN(next, vmt_disk_run(sc, now));
	next = MIN(next, vmt_memory_run(sc, now));
	return MIN(next, vmt_nic_run(sc, now));
}

/*
 * Check one item and send it if the host does not have it.  The next check
 * comes no later than when the guest has been up for twice as long: the host
 * detects a soft reset by an uptime below the last one.
 */
int
vmt_info_send(struct vmt_softc *sc, enum vmt_info which)
{
	const struct vmt_info_item *item = &vmt_info_items[which];
	char value[VMT_VALUE_MAX + 1], *known;
	int error;

	sc->sc_info[which].i_next = sc->sc_now +
	    MIN((int64_t)item->i_period * 1000,
	    MAX(sc->sc_now, VMT_YOUNG_MS));
	if (sc->sc_info[which].i_refused)
		return ENOTSUP;
	if (item->i_plain && !sc->sc_detailed_refused)
		return 0;
	(void)vmt_format(which, value, item->i_limit + 1);
	if (value[0] == '\0')
		return 0;	/* not set yet */
	known = sc->sc_info[which].i_value;
	if (!item->i_always && sc->sc_info[which].i_sent &&
	    known != NULL && strcmp(known, value) == 0)
		return 0;

	error = vmt_rpc_set_guest_info(sc, item->i_key, value);
	sc->sc_info[which].i_sent = error == 0;
	if (error == ENOTSUP) {
		sc->sc_info[which].i_refused = true;
		vmt_log(sc, VMT_LOG_INFO_REFUSED, item->i_key);
	}
	if (error == 0 && !item->i_always) {
		if (known == NULL)
			known = kmem_alloc(item->i_limit + 1, KM_SLEEP);
		strlcpy(known, value, item->i_limit + 1);
		sc->sc_info[which].i_value = known;
	}
	return error;
}

static void
vmt_info_send_detailed(struct vmt_softc *sc, int64_t now)
{
	struct vmt_detailed *d;
	int error;

	d = kmem_zalloc(sizeof(*d), KM_SLEEP);
	d->d_version = htole32(VMT_DETAILED_VERSION);
	(void)vmt_format(VMT_INFO_OS_NAME, d->d_short, sizeof(d->d_short));
	(void)vmt_format(VMT_INFO_OS_NAME_FULL, d->d_full, sizeof(d->d_full));
	(void)vmt_format(VMT_FORMAT_PAIRS, d->d_pairs, sizeof(d->d_pairs));
	error = vmt_rpc_set_guest_info_binary(sc, VMT_KEY_DETAILED, d,
	    offsetof(struct vmt_detailed, d_pairs) + strlen(d->d_pairs) + 1);
	kmem_free(d, sizeof(*d));
	sc->sc_detailed = error == 0;
	/* The driver then also sends the names. */
	sc->sc_detailed_refused = error == ENOTSUP || error == EPROTO;
	sc->sc_detailed_next = now + VMT_DETAILED_RETRY;
}

void
vmt_info_free(struct vmt_softc *sc)
{
	u_int i;

	for (i = 0; i < VMT_INFOS; i++) {
		if (sc->sc_info[i].i_value == NULL)
			continue;
		kmem_free(sc->sc_info[i].i_value,
		    vmt_info_items[i].i_limit + 1);
		sc->sc_info[i].i_value = NULL;
	}
	vmt_report_forget(&sc->sc_nics);
	vmt_report_forget(&sc->sc_disks);
	vmt_buffer_free(&sc->sc_nic);
}

/*
 * Send the report under a key, or as the file systems where key is 0, unless
 * the host has it.  After ENOTSUP the next form is due.
 */
int
vmt_report_send(struct vmt_softc *sc, struct vmt_report *r, u_int key,
    const void *data, size_t length)
{
	int error;

	if (length == r->r_length &&
	    memcmp(data, r->r_sent.b_data, length) == 0)
		return 0;
	if (key != 0)
		error = vmt_rpc_set_guest_info_binary(sc, key, data, length);
	else
		error = vmt_rpc_set_disk_info(sc, data, length);
	/* After a failure the host may have a part of it. */
	r->r_length = 0;
	/* Without memory for a copy it is sent again next time. */
	if (error == 0 && vmt_buffer_reserve(&r->r_sent, length) == 0) {
		memcpy(r->r_sent.b_data, data, length);
		r->r_length = length;
	}
	if (error == ENOTSUP)
		r->r_form++;
	return error;
}

/* Send it again, and try the best form first. */
void
vmt_report_forget(struct vmt_report *r)
{

	vmt_buffer_free(&r->r_sent);
	memset(r, 0, sizeof(*r));
}

/*
 * Check the file systems and report changes to the host.  Returns the next
 * deadline (uptime in ms).
 */
static int64_t
vmt_disk_run(struct vmt_softc *sc, int64_t now)
{
	struct vmt_report *r = &sc->sc_disks;
	struct vmt_disk *disks;
	struct statvfs *sb;
	char *text;
	size_t length;
	u_int count;
	int error;

	if (now < r->r_next)
		return r->r_next;
	r->r_next = now + VMT_DISK_PERIOD * 1000;
	if (r->r_form == VMT_DISK_FORMS)
		return r->r_next;		/* refused, all of them */

	/* Both are too large for a kernel stack. */
	sb = kmem_alloc(sizeof(*sb), KM_SLEEP);
	disks = kmem_alloc(VMT_DISK_MAX * sizeof(*disks), KM_SLEEP);
	text = kmem_alloc(VMT_DISK_TEXT, KM_SLEEP);
	count = vmt_disk_collect(disks, sb);
	vmt_update_now(sc);
	do {
		if (r->r_form == 0) {
			length = vmt_disk_encode_json(text, disks, count);
			error = vmt_report_send(sc, r, 0, text, length);
		} else {
			length = vmt_disk_encode_v0(text, disks, count);
			error = vmt_report_send(sc, r, VMT_KEY_DISKS_V0, text,
			    length);
		}
	} while (error == ENOTSUP && r->r_form < VMT_DISK_FORMS);
	if (error == ENOTSUP)
		vmt_log(sc, VMT_LOG_INFO_REFUSED, VMT_KEY_DISKS_V0);
	kmem_free(text, VMT_DISK_TEXT);
	kmem_free(disks, VMT_DISK_MAX * sizeof(*disks));
	kmem_free(sb, sizeof(*sb));
	return r->r_next;
}

/* Collect the file systems.  Returns how many. */
static u_int
vmt_disk_collect(struct vmt_disk *disks, struct statvfs *sb)
{
	mount_iterator_t *iterator;
	struct mount *mp;
	u_int count = 0;

	mountlist_iterator_init(&iterator);
	while ((mp = mountlist_iterator_trynext(iterator)) != NULL) {
		if (count == VMT_DISK_MAX)
			break;
		/* First the cached values, then, for a disk, fresh ones. */
		if (dostatvfs(mp, sb, curlwp, MNT_NOWAIT, 0) != 0 ||
		    !vmt_is_disk(sb) ||
		    dostatvfs(mp, sb, curlwp, MNT_WAIT, 0) != 0)
			continue;
		strlcpy(disks[count].d_name, sb->f_mntonname,
		    sizeof(disks[count].d_name));
		strlcpy(disks[count].d_type, sb->f_fstypename,
		    sizeof(disks[count].d_type));
		disks[count].d_free = sb->f_bavail * sb->f_frsize;
		disks[count].d_size = sb->f_blocks * sb->f_frsize;
		count++;
	}
	mountlist_iterator_destroy(iterator);
	return count;
}

static bool
vmt_is_disk(const struct statvfs *sb)
{
	u_int i;

	if ((sb->f_flag & MNT_LOCAL) == 0 || sb->f_blocks == 0)
		return false;
	for (i = 0; i < VMT_DISK_TYPES; i++) {
		if (strcmp(sb->f_fstypename, vmt_disk_types[i]) == 0)
			return true;
	}
	return false;
}

/* An entry that does not fit is omitted. */
static size_t
vmt_disk_encode_json(char *text, const struct vmt_disk *disks, u_int count)
{
	const size_t size = VMT_DISK_TEXT;
	char name[4 * howmany(VMT_DISK_NAME, 3) + 1];
	size_t length;
	u_int i;
	int n;

	length = snprintf(text, size,
	    "{\n\"version\":\"" VMT_DISK_VERSION "\",\n\"disks\":[\n");
	for (i = 0; i < count; i++) {
		vmt_encode_base64(name, disks[i].d_name);
		n = snprintf(text + length, size - length,
		    "%s{\"name\":\"%s\",\"free\":\"%ju\",\"size\":\"%ju\","
		    "\"fstype\":\"%s\"}", i > 0 ? ",\n" : "", name,
		    (uintmax_t)disks[i].d_free, (uintmax_t)disks[i].d_size,
		    disks[i].d_type);
		/* Room for the end, too. */
		if (n < 0 || length + n + sizeof("\n]}") > size)
			break;
		length += n;
	}
	length += snprintf(text + length, size - length, "%s]}",
	    i > 0 ? "\n" : "");
	return length + 1;		/* the NUL counts */
}

static size_t
vmt_disk_encode_v0(char *text, const struct vmt_disk *disks, u_int count)
{
	struct vmt_disk_v0 v0;
	u_int i;

	text[0] = (char)count;
	for (i = 0; i < count; i++) {
		v0.v_free = htole64(disks[i].d_free);
		v0.v_size = htole64(disks[i].d_size);
		memset(v0.v_name, 0, sizeof(v0.v_name));
		strlcpy(v0.v_name, disks[i].d_name, sizeof(v0.v_name));
		memcpy(text + 1 + i * sizeof(v0), &v0, sizeof(v0));
	}
	return 1 + count * sizeof(v0);
}

/* RFC 4648; the text holds 4 characters for each 3 bytes and a NUL. */
static void
vmt_encode_base64(char *text, const char *data)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = (const uint8_t *)data;
	size_t left = strlen(data);
	uint32_t bits;

	for (; left > 0; p += 3, text += 4) {
		bits = (uint32_t)p[0] << 16;
		if (left > 1)
			bits |= (uint32_t)p[1] << 8;
		if (left > 2)
			bits |= p[2];
		text[0] = digits[bits >> 18];
		text[1] = digits[bits >> 12 & 63];
		text[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
		text[3] = left > 2 ? digits[bits & 63] : '=';
		left -= MIN(left, 3);
	}
	*text = '\0';
}
