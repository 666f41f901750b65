"""Lock order: a cycle is reported even without a deadlock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.mutex import Mutexes

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/condvar.h>
    #include <sys/kmem.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/rwlock.h>
    #include <sys/systm.h>

    struct unit {
            kmutex_t lock;
    };

    kmutex_t la, lb, lc;
    krwlock_t rw;
    kcondvar_t cv;
    struct unit *units;

    int
    make(void)
    {
            mutex_init(&la, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&lb, MUTEX_DEFAULT, IPL_NONE);
            mutex_init(&lc, MUTEX_DEFAULT, IPL_NONE);
            rw_init(&rw);
            cv_init(&cv, "order");
            units = kmem_zalloc(2 * sizeof(*units), KM_SLEEP);
            for (int i = 0; i < 2; i++)
                    mutex_init(&units[i].lock, MUTEX_DEFAULT, IPL_NONE);
            return 0;
    }

    int
    a_then_b(void)
    {
            mutex_enter(&la);       /* first a */
            mutex_enter(&lb);       /* then b */
            mutex_exit(&lb);
            mutex_exit(&la);
            return 0;
    }

    int
    b_then_a(void)
    {
            mutex_enter(&lb);       /* first b */
            mutex_enter(&la);       /* then a */
            mutex_exit(&la);
            mutex_exit(&lb);
            return 0;
    }

    int
    b_then_c(void)
    {
            mutex_enter(&lb);
            mutex_enter(&lc);
            mutex_exit(&lc);
            mutex_exit(&lb);
            return 0;
    }

    int
    c_then_a(void)
    {
            mutex_enter(&lc);
            mutex_enter(&la);
            mutex_exit(&la);
            mutex_exit(&lc);
            return 0;
    }

    int
    b_tries_a(void)
    {
            int got;

            mutex_enter(&lb);
            got = mutex_tryenter(&la);
            if (got)
                    mutex_exit(&la);
            mutex_exit(&lb);
            return got;
    }

    int
    b_then_big(void)
    {
            mutex_enter(&lb);
            KERNEL_LOCK(1, NULL);
            KERNEL_UNLOCK_ONE(NULL);
            mutex_exit(&lb);
            KERNEL_LOCK(1, NULL);
            mutex_enter(&lb);
            mutex_exit(&lb);
            KERNEL_UNLOCK_ONE(NULL);
            return 0;
    }

    int
    reads_then_a(void)
    {
            rw_enter(&rw, RW_READER);
            mutex_enter(&la);
            mutex_exit(&la);
            rw_exit(&rw);
            return 0;
    }

    int
    a_then_writes(void)
    {
            mutex_enter(&la);
            rw_enter(&rw, RW_WRITER);
            rw_exit(&rw);
            mutex_exit(&la);
            return 0;
    }

    int
    waits_with_another(void)
    {
            mutex_enter(&la);
            mutex_enter(&lb);
            cv_timedwait(&cv, &la, 1);
            mutex_exit(&lb);
            mutex_exit(&la);
            return 0;
    }

    int
    both_units(int first)
    {
            mutex_enter(&units[first].lock);
            mutex_enter(&units[!first].lock);
            mutex_exit(&units[!first].lock);
            mutex_exit(&units[first].lock);
            return 0;
    }
"""


def code(load: Callable[..., Code], *calls: str, machine: str = "amd64") -> list[str]:
    made = load(SOURCE, machine)
    made.call("make")
    for each in calls:
        made.call(each)
    return made.violations()


@pytest.mark.parametrize("machine", MACHINES)
def test_lock_order_inversion_is_reported_with_four_places(
    load: Callable[..., Code], machine: str
) -> None:
    (text,) = code(load, "a_then_b", "b_then_a", "a_then_b", "b_then_a", machine=machine)
    assert text.startswith("lock-order: b_then_a takes ")
    for mark in ("first a", "then b", "first b", "then a"):
        assert f"tried.c:{line_of(SOURCE, mark)}" in text


def test_cycle_of_three_locks_is_reported(load: Callable[..., Code]) -> None:
    assert code(load, "a_then_b", "b_then_c") == []
    (text,) = code(load, "a_then_b", "b_then_c", "c_then_a")
    assert text.count(" takes ") == 3


def test_reader_writer_locks_are_ordered(load: Callable[..., Code]) -> None:
    (text,) = code(load, "reads_then_a", "a_then_writes")
    assert "lock-order" in text


def test_mutex_retaken_after_wait_is_ordered(
    load: Callable[..., Code],
) -> None:
    """A wait for the first with the second held: a thread that takes them in order deadlocks."""
    (text,) = code(load, "waits_with_another")
    assert "lock-order" in text


def test_consistent_order_trylock_and_kernel_lock_form_no_cycle(load: Callable[..., Code]) -> None:
    assert code(load, "a_then_b", "b_then_c", "b_tries_a", "b_then_big", "a_then_b") == []


def test_locks_of_one_class_are_distinguished(load: Callable[..., Code]) -> None:
    made = load(SOURCE)
    made.call("make")
    made.call("both_units", 0)
    made.call("both_units", 0)
    assert made.violations() == []
    made.call("both_units", 1)
    (text,) = made.violations()
    assert "lock-order" in text


def test_locks_of_kernel_are_distinguished(load: Callable[..., Code]) -> None:
    """Mutexes.own() creates them, for example for a sensor's device, not module code."""
    made = load(SOURCE)
    made.call("make")
    mutexes = made.kernel.subject(Mutexes)
    for name in ("la", "lb"):
        mutexes.live[made.address(name)].made_at = 0
    made.call("c_then_a")
    made.call("b_then_c")
    assert made.violations() == []
    made.call("a_then_b")
    (text,) = made.violations()
    assert "a lock of the kernel's own" in text
