/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asks kernel functions and prints what they answer, one line each: "P NAME ANSWER".
 * kernel-10.99.12-amd64.txt is what a real NetBSD/amd64 10.99.12 kernel printed for this module.
 * The module's command then fails, so that nothing stays loaded.
 *
 * WHOLE_TREE is defined where the headers are those of a NetBSD tree.  Without them two lines are
 * omitted, which look into struct lwp, and what the project's own headers lack is declared here.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/module.h>
#include <sys/kmem.h>
#include <sys/mutex.h>
#include <sys/rwlock.h>
#include <sys/condvar.h>
#include <sys/callout.h>
#include <sys/kthread.h>
#include <sys/proc.h>
#include <sys/sysctl.h>
#include <sys/uuid.h>
#include <sys/time.h>
#include <sys/workqueue.h>
#include <sys/atomic.h>
#include <sys/evcnt.h>
#include <sys/device.h>
#include <sys/kauth.h>
#include <sys/intr.h>
#include <lib/libkern/libkern.h>

#ifndef WHOLE_TREE
bool	callout_active(callout_t *);
bool	callout_expired(callout_t *);
bool	callout_invoking(callout_t *);
void	callout_ack(callout_t *);
int	consttime_memequal(const void *, const void *, size_t);
bool	device_is_active(device_t);
uid_t	kauth_cred_geteuid(kauth_cred_t);
uid_t	kauth_cred_getuid(kauth_cred_t);
char	*kmem_strdupsize(const char *, size_t *, km_flag_t);
void	kmem_strfree(char *);
unsigned popcount64(uint64_t);
size_t	strcspn(const char *, const char *);
size_t	strspn(const char *, const char *);
long long strtoll(const char *, char **, int);
unsigned long long strtoull(const char *, char **, int);
int	tvtohz(const struct timeval *);
#endif

MODULE(MODULE_CLASS_MISC, probe, NULL);
#define P(l, f, ...) printf("P " l " " f "\n", __VA_ARGS__)
static callout_t c; static int fired; static kmutex_t m; static kcondvar_t cv; static krwlock_t rw;
static void fire(void *a) { fired++; }
static int exitcode; static void thr(void *a) { kpause("thr", false, 3, NULL); kthread_exit(*(int*)a); }
static void thr2(void *a) { kpause("thr2", false, 10, NULL); mutex_enter(&m); cv_broadcast(&cv); mutex_exit(&m); kthread_exit(0); }
static int wq_n; static struct work wk; static void wqf(struct work *w, void *a) { wq_n++; }
static struct evcnt ev = EVCNT_INITIALIZER(EVCNT_TYPE_MISC, NULL, "probe", "count"); 
static int sint; static void sih(void *a) { sint++; }
static int
probe_modcmd(modcmd_t cmd, void *arg)
{
	if (cmd != MODULE_CMD_INIT) return cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
	char b[64], d[8]; char *e; int r; struct timeval tv; struct timespec ts, t2;
	/* snprintf */
	r = snprintf(b, sizeof b, "%5d|%-5d|%05d|%+d|% d", 42, 42, 42, 42, 42); P("fmt1", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%#x|%#o|%X|%p", 255, 8, 0xabc, (void *)0x10); P("fmt2", "%d [%s]", r, b);
	r = snprintf(b, 5, "%s", "abcdefgh"); P("fmt3", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%.3s|%10.2s|%-10s|", "abcdef", "xyz", "q"); P("fmt4", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%*d|%-*d|%.*s", 6, 1, 6, 2, 2, "hello"); P("fmt5", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%jd|%zu|%lld|%hhd|%hd", (intmax_t)-1, (size_t)7, -5LL, 300, 70000); P("fmt6", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%c%c%%|%s", 'a', 0, "z"); P("fmt7", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%s", (char *)NULL); P("fmt8", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%#lx|%lu|%ld|%i|%u", 0UL, ~0UL, -1L, -1, -1); P("fmt9", "%d [%s]", r, b);
	r = snprintf(NULL, 0, "%d", 12345); P("fmt10", "%d", r);
	r = snprintf(b, sizeof b, "%.5d|%8.5d|%.0d|%x", 42, 42, 0, -1); P("fmt11", "%d [%s]", r, b);
	r = snprintf(b, sizeof b, "%#08x|%-8x|%08lx", 0x1f, 0x1f, 0x1fUL); P("fmt12", "%d [%s]", r, b);
	/* strings */
	P("strlcpy", "%zu [%s]", strlcpy(d, "longer than it", sizeof d), d); 
	strlcpy(d, "ab", sizeof d); P("strlcat", "%zu [%s]", strlcat(d, "cdefghij", sizeof d), d);
	P("strcmp", "%d %d %d", strcmp("a", "b") < 0, strcmp("b", "a") > 0, strcmp("\x80", "a") > 0);
	P("strcmpv", "%d %d", strcmp("a", "c"), memcmp("a", "c", 1)); P("strncasecmp", "%d", strncasecmp("ABC", "abd", 2)); P("strcasecmp", "%d", strcasecmp("ABC", "abe"));
	P("strtoul", "%lu %lu %lu", strtoul("0x1f", &e, 0), strtoul("077", NULL, 0), strtoul("-1", NULL, 10)); P("strtoul2", "%lu [%s]", strtoul(" 12ab", &e, 10), e);
	P("strtoll", "%lld %lld", strtoll("-9223372036854775809", NULL, 10), strtoll("99999999999999999999", NULL, 10)); P("strtoul3", "%lu [%s]", strtoul("0x", &e, 16), e); P("strtoul4", "%lu [%s]", strtoul("zz", &e, 36), e); P("strtoull", "%llu", strtoull("18446744073709551616", NULL, 10));
	P("strnlen", "%zu", strnlen("abcdef", 3)); P("strspn", "%zu %zu", strspn("aabbc", "ab"), strcspn("aabbc", "c")); P("popcount", "%u %u", popcount32(0xff0f), popcount64(~0ULL));
	P("ctme", "%d %d", consttime_memequal("abc", "abc", 3), consttime_memequal("abc", "abd", 3));
	/* callout */
	callout_init(&c, CALLOUT_MPSAFE); callout_setfunc(&c, fire, NULL);
	P("co0", "%d %d %d %d", callout_pending(&c), callout_active(&c), callout_expired(&c), callout_invoking(&c));
	P("co-stop-idle", "%d", callout_stop(&c)); P("co-halt-idle", "%d", callout_halt(&c, NULL));
	callout_schedule(&c, 2); P("co1", "%d %d %d", callout_pending(&c), callout_active(&c), callout_expired(&c)); P("co-stop-pending", "%d", callout_stop(&c)); P("co2", "%d %d %d", callout_pending(&c), callout_active(&c), callout_expired(&c));
	callout_schedule(&c, 2); kpause("probe", false, 10, NULL); P("co3", "fired %d %d %d %d", fired, callout_pending(&c), callout_active(&c), callout_expired(&c)); P("co-stop-fired", "%d", callout_stop(&c)); P("co4", "%d %d", callout_active(&c), callout_expired(&c));
	callout_schedule(&c, 2); kpause("probe", false, 10, NULL); P("co-halt-fired", "%d", callout_halt(&c, NULL)); P("co5", "%d %d", callout_active(&c), callout_expired(&c));
	callout_schedule(&c, 2); kpause("probe", false, 10, NULL); callout_ack(&c); P("co-ack", "%d %d", callout_expired(&c), callout_stop(&c));
	callout_schedule(&c, 0); kpause("probe", false, 10, NULL); P("co-zero", "%d", fired);  callout_halt(&c, NULL); callout_destroy(&c);
	/* condvar, kpause */
	mutex_init(&m, MUTEX_DEFAULT, IPL_NONE); cv_init(&cv, "probe"); mutex_enter(&m);
	P("cvt", "%d", cv_timedwait(&cv, &m, 2)); P("cvts", "%d", cv_timedwait_sig(&cv, &m, 2)); P("cvhw", "%d", cv_has_waiters(&cv)); 
	lwp_t *l; kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, thr2, NULL, NULL, "thr2"); P("cvwoken", "%d", cv_timedwait(&cv, &m, 500)); mutex_exit(&m); cv_destroy(&cv);
	P("kpause", "%d", kpause("probe", false, 2, NULL)); P("kpause-sig", "%d", kpause("probe", true, 2, NULL));
	P("mtx", "%d %d", mutex_owned(&m), mutex_tryenter(&m)); P("mtx2", "%d", mutex_owned(&m)); mutex_exit(&m); mutex_destroy(&m);
	/* kthread */
	exitcode = 7; r = kthread_create(PRI_NONE, KTHREAD_MPSAFE|KTHREAD_MUSTJOIN, NULL, thr, &exitcode, &l, "thr%d", 5); 
#ifdef WHOLE_TREE
	P("kthread", "%d %s", r, l->l_name);
#endif
	P("join", "%d", kthread_join(l));
	/* rwlock */
	rw_init(&rw); rw_enter(&rw, RW_READER); P("rw1", "%d %d %d %d", rw_read_held(&rw), rw_write_held(&rw), rw_lock_held(&rw), rw_tryupgrade(&rw)); P("rw2", "%d %d %d op %d", rw_read_held(&rw) != 0, rw_write_held(&rw) != 0, rw_tryenter(&rw, RW_READER), rw_lock_op(&rw)); rw_downgrade(&rw); P("rw3", "%d", rw_tryenter(&rw, RW_WRITER)); rw_exit(&rw); P("rw4", "%d %d", rw_lock_held(&rw), rw_read_held(&rw)); rw_destroy(&rw);
	/* time */
	tv.tv_sec = 0; tv.tv_usec = 1; P("tvtohz1", "%d", tvtohz(&tv)); tv.tv_usec = 10000; P("tvtohz2", "%d", tvtohz(&tv)); tv.tv_sec = 1; tv.tv_usec = 0; P("tvtohz3", "%d", tvtohz(&tv)); tv.tv_sec = -1; P("tvtohz4", "%d", tvtohz(&tv)); tv.tv_sec = 1LL << 40; P("tvtohz5", "%d", tvtohz(&tv)); tv.tv_sec=0; tv.tv_usec=0; P("tvtohz0", "%d", tvtohz(&tv));
	P("mstohz", "%d %d %d hz %d", mstohz(1), mstohz(10), mstohz(1000), hz);
	getnanouptime(&ts); nanouptime(&t2); P("upt", "%d", timespeccmp(&ts, &t2, <=)); nanotime(&ts); P("nt", "%d", ts.tv_sec > 1500000000);
	struct timeval last = {0,0}, mi = {1,0}; int pps = 0; P("ratecheck", "%d %d", ratecheck(&last, &mi), ratecheck(&last, &mi)); memset(&last, 0, sizeof last); int a1=ppsratecheck(&last,&pps,2), a2=ppsratecheck(&last,&pps,2), a3=ppsratecheck(&last,&pps,2); P("pps", "%d %d %d", a1, a2, a3);
	/* sysctl */
	struct sysctllog *lg = NULL; const struct sysctlnode *n, *n2; static int v = 3; static char s[8] = "hi";
	P("sc1", "%d", sysctl_createv(&lg, 0, NULL, &n, 0, CTLTYPE_NODE, "probe", NULL, NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL));
	P("sc2", "%d", sysctl_createv(&lg, 0, &n, &n2, CTLFLAG_READWRITE, CTLTYPE_INT, "v", NULL, NULL, 0, &v, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-dup", "%d", sysctl_createv(&lg, 0, &n, &n2, CTLFLAG_READWRITE, CTLTYPE_INT, "v", NULL, NULL, 0, &v, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-dup2", "%d", sysctl_createv(&lg, 0, &n, NULL, CTLFLAG_READWRITE, CTLTYPE_STRING, "v", NULL, NULL, 0, s, sizeof s, CTL_CREATE, CTL_EOL)); 
	P("sc-nodup", "%d", sysctl_createv(&lg, 0, NULL, &n, 0, CTLTYPE_NODE, "probe", NULL, NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL));
	P("sc-badname", "%d", sysctl_createv(&lg, 0, &n, NULL, 0, CTLTYPE_INT, "1bad", NULL, NULL, 0, &v, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-badname2", "%d", sysctl_createv(&lg, 0, &n, NULL, 0, CTLTYPE_INT, "a-b", NULL, NULL, 0, &v, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-long", "%d", sysctl_createv(&lg, 0, &n, NULL, 0, CTLTYPE_INT, "a23456789012345678901234567890123", NULL, NULL, 0, &v, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-nodata", "%d", sysctl_createv(&lg, 0, &n, NULL, 0, CTLTYPE_INT, "nodata", NULL, NULL, 0, NULL, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-noparent", "%d", sysctl_createv(&lg, 0, NULL, NULL, 0, CTLTYPE_INT, "x", NULL, NULL, 0, &v, 0, CTL_HW, 99999, CTL_CREATE, CTL_EOL)); 
	P("sc-strsize0", "%d", sysctl_createv(&lg, 0, &n, NULL, 0, CTLTYPE_STRING, "s0", NULL, NULL, 0, s, 0, CTL_CREATE, CTL_EOL)); 
	P("sc-imm", "%d", sysctl_createv(&lg, 0, &n, NULL, CTLFLAG_IMMEDIATE, CTLTYPE_INT, "imm", NULL, NULL, 17, NULL, 0, CTL_CREATE, CTL_EOL)); 
	sysctl_teardown(&lg); P("sc-td", "%d", lg == NULL);
	/* workqueue, softint, evcnt */
	struct workqueue *wq; P("wq", "%d", workqueue_create(&wq, "probewq", wqf, NULL, PRI_NONE, IPL_NONE, WQ_MPSAFE)); workqueue_enqueue(wq, &wk, NULL); workqueue_wait(wq, &wk); P("wqn", "%d", wq_n); workqueue_destroy(wq);
	void *si = softint_establish(SOFTINT_CLOCK|SOFTINT_MPSAFE, sih, NULL); kpreempt_disable(); softint_schedule(si); softint_schedule(si); kpreempt_enable(); kpause("p", false, 2, NULL); P("si", "%d", sint); softint_disestablish(si);
	evcnt_attach_static(&ev); ev.ev_count++; evcnt_detach(&ev);
	/* kmem */
	void *p = kmem_zalloc(100, KM_SLEEP); P("kz", "%d", ((char*)p)[99]); kmem_free(p, 100); size_t len; char *ds = kmem_strdupsize("hello", &len, KM_SLEEP); P("dup", "%zu %s", len, ds); kmem_strfree(ds);
	/* uuid */
	struct uuid u; uint8_t ub[16] = {0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}; uuid_dec_le(ub, &u); r = uuid_snprintf(b, sizeof b, &u); P("uuid", "%d %s", r, b); uuid_dec_be(ub, &u); uuid_snprintf(b, sizeof b, &u); P("uuidbe", "%s", b);
	/* kauth, cred, cpu */
	P("kauth", "%u %u", kauth_cred_geteuid(kauth_cred_get()), kauth_cred_getuid(kauth_cred_get())); 
#ifdef WHOLE_TREE
	P("lwp", "%s %d", curlwp->l_name ? curlwp->l_name : "-", (int)curlwp->l_proc->p_pid > 0);
#endif
	P("dfbx", "%d", device_find_by_xname("cpu0") != NULL); P("dfbx2", "%d", device_find_by_xname("nosuch0") != NULL); P("xname", "%s", device_xname(device_find_by_xname("cpu0"))); P("unit", "%d %d", device_unit(device_find_by_xname("cpu0")), device_is_active(device_find_by_xname("cpu0"))); P("parent", "%s", device_xname(device_parent(device_find_by_xname("cpu0"))));
	unsigned x = 5; P("atomic", "%u %u %u %u", atomic_inc_uint_nv(&x), atomic_add_int_nv(&x, -2), atomic_cas_uint(&x, 4, 9), atomic_swap_uint(&x, 1)); P("atomic2", "%u", x); P("casfail", "%u %u", atomic_cas_uint(&x, 7, 8), x);
	P("ret", "%s", "end");
	return EINVAL;
}
