"""The zoo: one class of defect each.  PLANTED compiles the defect in.

Every animal has ``make``, two functions that run beside each other, and ``gone``.
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

    struct animal {
            kmutex_t        a_lock;
            kmutex_t        a_other;
            uint64_t        a_wide;
            int             a_count;
            int             a_length;
            int             a_slot[8];
            void            *a_next;
            callout_t       a_callout;
    };

    struct animal *it;
    int seen;

    int
    make(void)
    {
            it = kmem_zalloc(sizeof(*it), KM_SLEEP);
            mutex_init(&it->a_lock, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            mutex_init(&it->a_other, MUTEX_DEFAULT, IPL_SOFTCLOCK);
            callout_init(&it->a_callout, CALLOUT_MPSAFE);
            return 0;
    }
"""


@dataclass(frozen=True)
class Animal:
    """``rules`` are what may be reported, ``within`` in how many seeds at most."""

    name: str
    code: str
    rules: frozenset[str]
    within: int = 5
    machine: str = "amd64"

    def source(self, *, planted: bool) -> str:
        """Return the module's C text."""
        return ("\n    #define PLANTED\n" if planted else "\n") + _HEAD + self.code


_RACE = frozenset({"data-race"})

ANIMALS = (
    Animal(
        "lost update",
        """
    int
    first(void)
    {
    #ifndef PLANTED
            mutex_enter(&it->a_lock);
    #endif
            it->a_count++;
    #ifndef PLANTED
            mutex_exit(&it->a_lock);
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
    Animal(
        "torn 64 bits",
        """
    int
    first(void)
    {
            mutex_enter(&it->a_lock);
            it->a_wide += 0x100000001;
            mutex_exit(&it->a_lock);
            return 0;
    }

    int
    second(void)
    {
            uint64_t value;

    #ifndef PLANTED
            mutex_enter(&it->a_lock);
    #endif
            value = it->a_wide;
    #ifndef PLANTED
            mutex_exit(&it->a_lock);
    #endif
            return (value >> 32) != (value & 0xffffffff);
    }
""",
        _RACE,
        machine="i386",
    ),
    Animal(
        "double fetch",
        """
    int
    first(void)
    {
            mutex_enter(&it->a_lock);
            it->a_length = 64 - it->a_length;
            mutex_exit(&it->a_lock);
            return 0;
    }

    int
    second(void)
    {
            int length;

            mutex_enter(&it->a_lock);
            length = it->a_length;
            mutex_exit(&it->a_lock);
    #ifdef PLANTED
            length = MIN(length, it->a_length);
    #endif
            return length < 0;
    }
""",
        _RACE,
    ),
    Animal(
        "callout against detach",
        """
    static void
    ticked(void *arg)
    {
            struct animal *a = arg;

            mutex_enter(&a->a_lock);
            a->a_count++;
            mutex_exit(&a->a_lock);
            for (int i = 0; i < 10; i++)
                    (void)getticks();
            a->a_length++;
    }

    int
    first(void)
    {
            callout_reset(&it->a_callout, 1, ticked, it);
            kpause("tick", false, 1, NULL);
    #ifdef PLANTED
            callout_stop(&it->a_callout);
    #else
            callout_halt(&it->a_callout, NULL);
    #endif
            it->a_length = 0;
            return 0;
    }

    int
    second(void)
    {
            kpause("tick", false, 1, NULL);
            mutex_enter(&it->a_lock);
            it->a_count--;
            mutex_exit(&it->a_lock);
            return 0;
    }
""",
        _RACE,
        within=20,
    ),
    Animal(
        "softint against thread",
        """
    static void
    handler(void *arg)
    {
    #ifndef PLANTED
            mutex_enter(&it->a_lock);
    #endif
            it->a_count++;
    #ifndef PLANTED
            mutex_exit(&it->a_lock);
    #endif
    }

    int
    first(void)
    {
            void *soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE, handler, NULL);

            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
            mutex_enter(&it->a_lock);
            it->a_count++;
            mutex_exit(&it->a_lock);
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
    Animal(
        "lock order",
        """
    int
    first(void)
    {
            mutex_enter(&it->a_lock);
            mutex_enter(&it->a_other);
            it->a_count++;
            it->a_length--;
            mutex_exit(&it->a_other);
            mutex_exit(&it->a_lock);
            mutex_enter(&it->a_lock);
            it->a_count--;
            mutex_exit(&it->a_lock);
            return 0;
    }

    int
    second(void)
    {
    #ifdef PLANTED
            mutex_enter(&it->a_other);
            mutex_enter(&it->a_lock);
    #else
            mutex_enter(&it->a_lock);
            mutex_enter(&it->a_other);
    #endif
            it->a_count++;
            it->a_length--;
            mutex_exit(&it->a_lock);
            mutex_exit(&it->a_other);
            mutex_enter(&it->a_other);
            it->a_length++;
            mutex_exit(&it->a_other);
            return 0;
    }
""",
        frozenset({"lock-order"}),
    ),
    Animal(
        "missing release",
        """
    int
    first(void)
    {
            it->a_count = 7;
    #ifdef PLANTED
            atomic_store_relaxed(&it->a_next, it);
    #else
            atomic_store_release(&it->a_next, it);
    #endif
            return 0;
    }

    int
    second(void)
    {
            struct animal *next;

            for (int i = 0; i < 200; i++) {
                    next = atomic_load_acquire(&it->a_next);
                    if (next != NULL)
                            return next->a_count != 7;
                    (void)getticks();
            }
            return 0;
    }
""",
        _RACE,
    ),
    Animal(
        "kernel lock as the only guard",
        """
    static void
    handler(void *arg)
    {
    #ifndef PLANTED
            mutex_enter(&it->a_lock);
    #endif
            it->a_count++;
    #ifndef PLANTED
            mutex_exit(&it->a_lock);
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
            mutex_enter(&it->a_lock);
    #endif
            it->a_count++;
    #ifndef PLANTED
            mutex_exit(&it->a_lock);
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
    Animal(
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
                    it->a_slot[cpu & 7]++;
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
