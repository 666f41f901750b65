"""Race cases: one class of defect each.  PLANTED compiles the defect in.

Every case has ``make``, two functions that run concurrently, and ``gone``.
"""

from __future__ import annotations

from dataclasses import dataclass

_HEAD = """
    #include <sys/param.h>
    #include <sys/atomic.h>
    #include <sys/callout.h>
    #include <sys/intr.h>
    #include <sys/kmem.h>
    #include <sys/lwp.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/systm.h>
    #include <machine/cpu.h>

    int     getticks(void);
    void    kpreempt_disable(void);
    void    kpreempt_enable(void);

    struct shared {
            kmutex_t        c_lock;
            kmutex_t        c_other;
            uint64_t        a_wide;
            int             c_count;
            int             c_length;
            int             c_slot[8];
            void            *c_next;
            callout_t       c_callout;
    };

    struct shared *it;
    int seen;

    int
    make(void)
    {
            it = kmem_zalloc(sizeof(*it), KM_SLEEP);
            mutex_init(&it->c_lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            mutex_init(&it->c_other, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            callout_init(&it->c_callout, CALLOUT_MPSAFE);
            return 0;
    }
"""


@dataclass(frozen=True)
class Case:
    """``rules`` are the allowed findings, ``within`` the maximum of seeds that find it."""

    name: str
    code: str
    rules: frozenset[str]
    within: int = 5
    machine: str = "amd64"

    def source(self, *, planted: bool) -> str:
        """Return the module's C text."""
        return ("\n    #define PLANTED\n" if planted else "\n") + _HEAD + self.code


_RACE = frozenset({"data-race"})

CASES = (
    Case(
        "lost update",
        """
    int
    first(void)
    {
    #ifndef PLANTED
            mutex_enter(&it->c_lock);
    #endif
            it->c_count++;
    #ifndef PLANTED
            mutex_exit(&it->c_lock);
    #endif
            return 0;
    }

    int
    second(void)
    {
            return first();
    }
""",
        _RACE,
    ),
    Case(
        "torn 64 bits",
        """
    int
    first(void)
    {
            mutex_enter(&it->c_lock);
            it->a_wide += 0x100000001;
            mutex_exit(&it->c_lock);
            return 0;
    }

    int
    second(void)
    {
            uint64_t value;

    #ifndef PLANTED
            mutex_enter(&it->c_lock);
    #endif
            value = it->a_wide;
    #ifndef PLANTED
            mutex_exit(&it->c_lock);
    #endif
            return (value >> 32) != (value & 0xffffffff);
    }
""",
        _RACE,
        machine="i386",
    ),
    Case(
        "double fetch",
        """
    int
    first(void)
    {
            mutex_enter(&it->c_lock);
            it->c_length = 64 - it->c_length;
            mutex_exit(&it->c_lock);
            return 0;
    }

    int
    second(void)
    {
            int length;

            mutex_enter(&it->c_lock);
            length = it->c_length;
            mutex_exit(&it->c_lock);
    #ifdef PLANTED
            length = MIN(length, it->c_length);
    #endif
            return length < 0;
    }
""",
        _RACE,
    ),
    Case(
        "callout against detach",
        """
    static void
    ticked(void *arg)
    {
            struct shared *a = arg;

            mutex_enter(&a->c_lock);
            a->c_count++;
            mutex_exit(&a->c_lock);
            for (int i = 0; i < 10; i++)
                    (void)getticks();
            a->c_length++;
    }

    int
    first(void)
    {
            callout_reset(&it->c_callout, 1, ticked, it);
            kpause("tick", false, 1, NULL);
    #ifdef PLANTED
            callout_stop(&it->c_callout);
    #else
            callout_halt(&it->c_callout, NULL);
    #endif
            it->c_length = 0;
            return 0;
    }

    int
    second(void)
    {
            kpause("tick", false, 1, NULL);
            mutex_enter(&it->c_lock);
            it->c_count--;
            mutex_exit(&it->c_lock);
            return 0;
    }
""",
        _RACE,
        within=20,
    ),
    Case(
        "softint against thread",
        """
    static void
    handler(void *arg)
    {
    #ifndef PLANTED
            mutex_enter(&it->c_lock);
    #endif
            it->c_count++;
    #ifndef PLANTED
            mutex_exit(&it->c_lock);
    #endif
    }

    int
    first(void)
    {
            void *soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE, handler, NULL);

            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
            mutex_enter(&it->c_lock);
            it->c_count++;
            mutex_exit(&it->c_lock);
            kpause("soft", false, 2, NULL);
            softint_disestablish(soft);
            return 0;
    }

    int
    second(void)
    {
            return 0;
    }
""",
        _RACE,
    ),
    Case(
        "lock order",
        """
    int
    first(void)
    {
            mutex_enter(&it->c_lock);
            mutex_enter(&it->c_other);
            it->c_count++;
            it->c_length--;
            mutex_exit(&it->c_other);
            mutex_exit(&it->c_lock);
            mutex_enter(&it->c_lock);
            it->c_count--;
            mutex_exit(&it->c_lock);
            return 0;
    }

    int
    second(void)
    {
    #ifdef PLANTED
            mutex_enter(&it->c_other);
            mutex_enter(&it->c_lock);
    #else
            mutex_enter(&it->c_lock);
            mutex_enter(&it->c_other);
    #endif
            it->c_count++;
            it->c_length--;
            mutex_exit(&it->c_lock);
            mutex_exit(&it->c_other);
            mutex_enter(&it->c_other);
            it->c_length++;
            mutex_exit(&it->c_other);
            return 0;
    }
""",
        frozenset({"lock-order"}),
    ),
    Case(
        "missing release",
        """
    int
    first(void)
    {
            it->c_count = 7;
    #ifdef PLANTED
            atomic_store_relaxed(&it->c_next, it);
    #else
            atomic_store_release(&it->c_next, it);
    #endif
            return 0;
    }

    int
    second(void)
    {
            struct shared *next;

            for (int i = 0; i < 200; i++) {
                    next = atomic_load_acquire(&it->c_next);
                    if (next != NULL)
                            return next->c_count != 7;
                    (void)getticks();
            }
            return 0;
    }
""",
        _RACE,
    ),
    Case(
        "kernel lock as the only guard",
        """
    static void
    handler(void *arg)
    {
    #ifndef PLANTED
            mutex_enter(&it->c_lock);
    #endif
            it->c_count++;
    #ifndef PLANTED
            mutex_exit(&it->c_lock);
    #endif
    }

    int
    first(void)
    {
            void *soft = softint_establish(SOFTINT_CLOCK, handler, NULL);

            KERNEL_LOCK(1, NULL);
            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
    #ifndef PLANTED
            mutex_enter(&it->c_lock);
    #endif
            it->c_count++;
    #ifndef PLANTED
            mutex_exit(&it->c_lock);
    #endif
            KERNEL_UNLOCK_ONE(NULL);
            kpause("soft", false, 2, NULL);
            softint_disestablish(soft);
            return 0;
    }

    int
    second(void)
    {
            return 0;
    }
""",
        _RACE,
    ),
    Case(
        "per-CPU data over a switch",
        """
    int
    first(void)
    {
            unsigned int cpu;

            for (int i = 0; i < 30; i++) {
    #ifndef PLANTED
                    kpreempt_disable();
    #endif
                    cpu = *(unsigned int *)curcpu();
                    (void)getticks();
                    it->c_slot[cpu & 7]++;
    #ifndef PLANTED
                    kpreempt_enable();
    #endif
            }
            return 0;
    }

    int
    second(void)
    {
            return first();
    }
""",
        _RACE,
        within=10,
    ),
)
