"""Data races, accesses that are no race, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.common.located import LocatedErrors
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.races import Races
from vmtsim.run.known import KnownRaces

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/atomic.h>
    #include <sys/kmem.h>
    #include <sys/kthread.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>
    #include <sys/rwlock.h>
    #include <sys/systm.h>
    #include <sys/workqueue.h>

    int     getticks(void);

    struct point {
            int     p_x;
            char    p_low, p_high;
            struct {
                    uint32_t in_a, in_b;
            }       p_inner;
            char    p_text[16];
    };

    struct point *point;
    kmutex_t lock;
    krwlock_t rw;
    struct workqueue *wq;
    struct work work;
    unsigned int flags, global;
    lwp_t *made;

    int
    make(void)
    {
            point = kmem_zalloc(sizeof(*point), KM_SLEEP);
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            rw_init(&rw);
            return 0;
    }

    int
    writes_a(void)
    {
            point->p_inner.in_a = 1;        /* written here */
            return 0;
    }

    int
    reads_a(void)
    {
            mutex_enter(&lock);
            global = point->p_inner.in_a;   /* read here */
            mutex_exit(&lock);
            return 0;
    }

    int
    writes_low(void)
    {
            point->p_low = 1;
            return 0;
    }

    int
    writes_high(void)
    {
            point->p_high = 1;
            return 0;
    }

    int
    sets(void)
    {
            atomic_or_uint(&flags, 2);
            return 0;
    }

    int
    looks(void)
    {
            return (int)atomic_load_relaxed(&flags);
    }

    int
    clears(void)
    {
            flags = 0;
            return 0;
    }

    int
    copies(void)
    {
            strlcpy(point->p_text, "text", sizeof(point->p_text));
            return 0;
    }

    int
    reads_text(void)
    {
            return point->p_text[3] == 'y';
    }

    int
    reads_shared(void)
    {
            int x;

            rw_enter(&rw, RW_READER);
            x = point->p_x;
            rw_exit(&rw);
            return x;
    }

    int
    writes_shared(void)
    {
            rw_enter(&rw, RW_WRITER);
            point->p_x++;
            rw_exit(&rw);
            return 0;
    }

    int
    writes_as_reader(void)
    {
            rw_enter(&rw, RW_READER);
            point->p_x++;
            rw_exit(&rw);
            return 0;
    }

    static void
    thread(void *arg)
    {
            point->p_x++;
            kthread_exit(0);
    }

    int
    creates_and_joins(void)
    {
            point->p_x = 1;
            kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL, thread, NULL,
                &made, "joined");
            kthread_join(made);
            return point->p_x;
    }

    static void
    works(struct work *wk, void *arg)
    {
            point->p_x++;
    }

    int
    enqueues(void)
    {
            point->p_x = 1;
            workqueue_create(&wq, "works", works, NULL, PRI_NONE, IPL_NONE, WQ_MPSAFE);
            workqueue_enqueue(wq, &work, NULL);
            workqueue_wait(wq, &work);
            point->p_x++;
            workqueue_destroy(wq);
            return point->p_x;
    }

    int
    frees(void)
    {
            kmem_free(point, sizeof(*point));
            return 0;
    }
"""


def beside(
    load: Callable[..., Code], *names: str, machine: str = "amd64", seed: int = 1
) -> list[str]:
    """Run functions concurrently and return the reports."""
    code = load(SOURCE, machine, seed=seed, cpus=2, races=True)
    code.call("make")
    code.finish(*(code.start(name) for name in names))
    return code.violations()


@pytest.mark.parametrize("machine", MACHINES)
def test_report_names_field_places_threads_cpus_and_locks(
    load: Callable[..., Code], machine: str
) -> None:
    (text,) = beside(load, "writes_a", "reads_a", machine=machine)
    assert text.startswith("data-race: point.p_inner.in_a, 4 bytes at offset ")
    written, read = (line_of(SOURCE, mark) for mark in ("written here", "read here"))
    assert f"writes_a (tried.c:{written}) writes it in writes_a on cpu" in text
    assert f"reads_a (tried.c:{read}) reads it in reads_a on cpu" in text
    assert "with no lock held" in text
    assert "with the lock at lock in data of module tried held" in text


def test_adjacent_fields_do_not_race(load: Callable[..., Code]) -> None:
    assert beside(load, "writes_low", "writes_high") == []


@pytest.mark.parametrize("machine", MACHINES)
def test_atomic_accesses_do_not_race(load: Callable[..., Code], machine: str) -> None:
    assert beside(load, "sets", "looks", "sets", machine=machine) == []
    (text,) = beside(load, "looks", "clears", machine=machine)
    assert "reads it atomically" in text


def test_kernel_function_accesses_to_arguments_count(load: Callable[..., Code]) -> None:
    (text,) = beside(load, "copies", "reads_text")
    assert "strlcpy called by copies" in text


def test_rwlock_orders_readers_against_writers_only(load: Callable[..., Code]) -> None:
    assert beside(load, "reads_shared", "writes_shared", "reads_shared", "writes_shared") == []
    assert beside(load, "writes_as_reader", "writes_as_reader") != []


@pytest.mark.parametrize("name", ["creates_and_joins", "enqueues"])
def test_thread_creation_and_wait_order_accesses(load: Callable[..., Code], name: str) -> None:
    for seed in range(1, 6):
        assert beside(load, name, seed=seed) == []


def test_free_concurrent_with_use_is_a_race(load: Callable[..., Code]) -> None:
    found = set()
    for seed in range(1, 9):
        try:
            text = " ".join(beside(load, "writes_low", "frees", seed=seed))
        except KernelPanic as panic:
            text = panic.rule
        found.add(text if text == "use-after-free" else "kmem_free called by frees" in text)
    assert found == {True, "use-after-free"}


def orders(load: Callable[..., Code], *names: str, seed: int) -> set[str]:
    code = load(SOURCE, seed=seed, cpus=2, races=True)
    code.call("make")
    before = set(code.kernel.subject(Races).orders)
    code.finish(*(code.start(name) for name in names))
    return code.kernel.subject(Races).orders - before


def test_both_access_orders_occur_and_are_counted(load: Callable[..., Code]) -> None:
    """A writer and a reader, in either order; the same code gives the same names."""
    seen = [orders(load, "writes_a", "reads_a", seed=seed) for seed in range(1, 9)]
    both = set().union(*seen)
    assert all("@tried+" in order for order in both)
    # Only ``make`` writes the data that the reader reads first.
    (read_first,) = {order for order in both if order.endswith(":w")}
    reader, writer = read_first.split()
    written_first = f"{writer} {reader}"
    assert written_first in both
    assert any(read_first in each and written_first not in each for each in seen)
    assert any(written_first in each and read_first not in each for each in seen)


def test_adjacent_fields_show_no_order(load: Callable[..., Code]) -> None:
    """Only that both read the pointer that was written before."""
    assert all(each.endswith(":r") for each in orders(load, "writes_low", "writes_high", seed=1))


def refused(tmp_path: Path, text: str) -> str:
    file = tmp_path / "known.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LocatedErrors) as caught:
        KnownRaces(file)
    return str(caught.value)


def test_listed_race_needs_reason_and_test(tmp_path: Path) -> None:
    both = refused(tmp_path, "races:\n  - field: a.b\n  - field: a.c\n    benign: it is\n")
    assert "known.yaml:2" in both
    assert "expected one of benign and guarded_by" in both
    assert "the test that runs both orders" in both
    twice = "races:\n  - {field: a.b, guarded_by: x}\n  - {field: a.b, guarded_by: x}\n"
    assert "in the list already" in refused(tmp_path, twice)


MOUNTS = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/mount.h>
    #include <sys/proc.h>
    #include <sys/statvfs.h>
    #include <sys/vfs_syscalls.h>

    struct statvfs *shared;

    static int
    ask(struct statvfs *sb, int flags)
    {
            mount_iterator_t *iterator;
            struct mount *mp;
            int error;

            mountlist_iterator_init(&iterator);
            mp = mountlist_iterator_next(iterator);
            error = dostatvfs(mp, sb, curlwp, flags, 1);
            mountlist_iterator_destroy(iterator);
            return error;
    }

    static int
    own(int flags)
    {
            struct statvfs *sb = kmem_alloc(sizeof(*sb), KM_SLEEP);
            int error;

            error = ask(sb, flags);
            kmem_free(sb, sizeof(*sb));
            return error;
    }

    int make(void) { shared = kmem_alloc(sizeof(*shared), KM_SLEEP); return 0; }
    int refresh(void) { return own(MNT_WAIT); }
    int look(void) { return own(MNT_NOWAIT); }
    int look_there(void) { return ask(shared, MNT_NOWAIT); }
"""


def _ask(load: Callable[..., Code], *names: str) -> list[str]:
    broken: list[str] = []
    for seed in range(1, 9):
        code = load(MOUNTS, seed=seed, cpus=2, races=True)
        code.call("make")
        code.finish(*(code.start(name) for name in names))
        broken += [each.message for each in code.kernel.violations]
    return broken


def test_kernel_functions_may_race_on_object_of_the_kernel(load: Callable[..., Code]) -> None:
    """dostatvfs() copies the figures of a mount without a lock (sys/kern/vfs_syscalls.c 1.570)."""
    assert _ask(load, "refresh", "look") == []


def test_kernel_functions_race_on_memory_of_the_module(load: Callable[..., Code]) -> None:
    (first, *_) = _ask(load, "look_there", "look_there")
    assert "dostatvfs called by" in first
