"""rwlock(9): order of acquisition, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/rwlock.h>
    #include <sys/systm.h>

    krwlock_t lock, never;
    kmutex_t spin;
    krwlock_t *object;
    int order, turns;

    int
    make(void)
    {
            rw_init(&lock);
            mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
            return 0;
    }

    int
    unmake(void)
    {
            rw_destroy(&lock);
            mutex_destroy(&spin);
            return 0;
    }

    /* Holds the lock for some ticks, and notes when its turn came. */
    int
    hold(int op, int ticks, int mark)
    {
            rw_enter(&lock, op);
            order = order * 10 + mark;
            kpause("hold", false, ticks, NULL);
            rw_exit(&lock);
            return ++turns;
    }

    int
    later(int op, int ticks, int mark)
    {
            kpause("later", false, mark, NULL);
            return hold(op, ticks, mark);
    }

    int
    try(int op)
    {
            if (!rw_tryenter(&lock, op))
                    return 0;
            rw_exit(&lock);
            return 1;
    }

    int
    states(void)
    {
            int states = rw_lock_held(&lock);

            rw_enter(&lock, RW_READER);
            states = states * 10 + rw_read_held(&lock);
            states = states * 10 + rw_write_held(&lock);
            states = states * 10 + (rw_lock_op(&lock) == RW_READER);
            states = states * 10 + rw_tryupgrade(&lock);
            states = states * 10 + rw_write_held(&lock);
            states = states * 10 + (rw_lock_op(&lock) == RW_WRITER);
            rw_downgrade(&lock);
            states = states * 10 + rw_read_held(&lock);
            rw_exit(&lock);
            return states * 10 + rw_lock_held(&lock);
    }

    int
    upgrade_with_company(void)
    {
            int done;

            rw_enter(&lock, RW_READER);
            rw_enter(&lock, RW_READER);
            done = rw_tryupgrade(&lock);
            rw_exit(&lock);
            rw_exit(&lock);
            return done;
    }

    int
    downgrade_after(int ticks)
    {
            rw_enter(&lock, RW_WRITER);
            order = order * 10 + 7;
            kpause("write", false, ticks, NULL);
            rw_downgrade(&lock);
            kpause("read", false, 30, NULL);
            order = order * 10 + 8;
            rw_exit(&lock);
            return 0;
    }

    int
    enter_twice(int first, int second)
    {
            rw_enter(&lock, first);
            rw_enter(&lock, second);                /* the second */
            return 0;
    }

    int
    read_again_later(void)
    {
            rw_enter(&lock, RW_READER);
            kpause("first", false, 10, NULL);
            rw_enter(&lock, RW_READER);
            return 0;
    }

    int
    make_again(void)
    {
            rw_init(&lock);
            return 0;
    }

    int
    enter_never(void)
    {
            rw_enter(&never, RW_READER);
            return 0;
    }

    int
    exit_unheld(void)
    {
            rw_exit(&lock);
            return 0;
    }

    int
    upgrade_writer(void)
    {
            rw_enter(&lock, RW_WRITER);
            return rw_tryupgrade(&lock);
    }

    int
    downgrade_reader(void)
    {
            rw_enter(&lock, RW_READER);
            rw_downgrade(&lock);
            return 0;
    }

    int
    destroy_held(int op)
    {
            rw_enter(&lock, op);                    /* kept */
            rw_destroy(&lock);
            return 0;
    }

    int
    enter_with_spin(void)
    {
            mutex_enter(&spin);
            rw_enter(&lock, RW_READER);
            return 0;
    }

    int
    free_with_lock(void)
    {
            object = kmem_zalloc(sizeof(*object), KM_SLEEP);
            rw_init(object);
            kmem_free(object, sizeof(*object));
            return 0;
    }
"""
READER, WRITER = 0, 1


@pytest.fixture
def code(load: Callable[..., Code]) -> Code:
    made = load(SOURCE)
    made.call("make")
    return made


@pytest.mark.parametrize("machine", MACHINES)
def test_rw_lock_state_queries_of_holder(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    code.call("make")
    assert code.call("states") == 10111110  # 010111110 with the zero in front
    code.call("unmake")
    assert code.unload() == []


def test_readers_share_and_writer_is_exclusive(code: Code) -> None:
    reader = code.start("hold", READER, 50, 1)
    code.kernel.run_for(10_000_000)
    assert [code.call("try", op) for op in (READER, WRITER)] == [1, 0]
    code.finish(reader)
    writer = code.start("hold", WRITER, 50, 2)
    code.kernel.run_for(10_000_000)
    assert [code.call("try", op) for op in (READER, WRITER)] == [0, 0]
    code.finish(writer)
    assert code.number("turns") == 2


def test_reader_yields_to_waiting_writer(code: Code) -> None:
    """Reader 1 holds; writer 2 waits; reader 3 comes last and must not pass it."""
    first = code.start("hold", READER, 50, 1)
    rest = [code.start("later", WRITER, 20, 2), code.start("later", READER, 20, 3)]
    code.finish(first, *rest)
    assert code.number("order") == 123


def test_readers_precede_next_writer(code: Code) -> None:
    first = code.start("hold", WRITER, 50, 1)
    rest = [
        code.start("later", WRITER, 20, 2),
        code.start("later", READER, 20, 3),
        code.start("later", READER, 20, 4),
    ]
    code.finish(first, *rest)
    assert str(code.number("order")) in {"1342", "1432"}


def test_downgrade_admits_readers(code: Code) -> None:
    writer = code.start("downgrade_after", 20)
    reader = code.start("later", READER, 5, 3)
    code.finish(writer, reader)
    assert code.number("order") == 738


def test_upgrade_needs_single_reader(load: Callable[..., Code]) -> None:
    code = load(SOURCE, checks=frozenset())  # without LOCKDEBUG a thread may read twice
    code.call("make")
    assert code.call("upgrade_with_company") == 0


@pytest.mark.parametrize(("first", "second"), [(READER, WRITER), (WRITER, READER)])
def test_recursive_lock_is_reported_with_both_places(code: Code, first: int, second: int) -> None:
    message = code.panic("enter_twice", first, second)
    assert message.startswith("rwlock-double-enter: rw_enter by enter_twice")
    line = line_of(SOURCE, "/* the second */")
    assert f"(tried.c:{line})" in message
    assert f"taken by enter_twice (tried.c:{line - 1})" in message


def test_recursive_read_panics_with_lockdebug(code: Code) -> None:
    message = code.panic("upgrade_with_company")
    assert message.startswith("rwlock-recursive-read: rw_enter by upgrade_with_company")


def test_recursive_read_deadlocks_with_waiting_writer(load: Callable[..., Code]) -> None:
    code = load(SOURCE, checks=frozenset())
    code.call("make")
    code.start("later", WRITER, 1, 5)
    message = code.panic("read_again_later")
    assert message.startswith("rwlock-double-enter: rw_enter by read_again_later")


@pytest.mark.parametrize(
    ("function", "rule", "words"),
    [
        ("make_again", "rwlock-already-initialised", "by make (tried.c:"),
        ("enter_never", "rwlock-uninitialised", "never in"),
        ("exit_unheld", "rwlock-not-held", "is not held"),
        ("upgrade_writer", "rwlock-not-held", "held for writing by upgrade_writer"),
        ("downgrade_reader", "rwlock-not-held", "held for reading by downgrade_reader"),
        ("enter_with_spin", "sleep-with-spin-mutex", "rw_enter called by enter_with_spin"),
        ("free_with_lock", "free-with-rwlock", "kmem_free by free_with_lock"),
    ],
)
def test_misuse_panics(code: Code, function: str, rule: str, words: str) -> None:
    message = code.panic(function)
    assert message.startswith(f"{rule}: ")
    assert words in message


@pytest.mark.parametrize(("op", "how"), [(READER, "reading"), (WRITER, "writing")])
def test_held_lock_cannot_be_destroyed(code: Code, op: int, how: str) -> None:
    message = code.panic("destroy_held", op)
    assert message.startswith("rwlock-destroy-held: ")
    assert f"held for {how} by destroy_held, taken by destroy_held" in message
    assert f"(tried.c:{line_of(SOURCE, '/* kept */')})" in message


def test_undestroyed_lock_is_reported_at_unload(code: Code) -> None:
    left = code.unload()
    assert any(text.startswith("rwlock-not-destroyed: ") for text in left)
    assert any("the rwlock initialised by make (tried.c:" in text for text in left)
