"""Read sections: allowed operations inside, and the reports of violations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .guestcode import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/kthread.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>

    int
    balanced(void)
    {
            int outer = pserialize_read_enter();
            int inner = pserialize_read_enter();

            pserialize_read_exit(inner);
            pserialize_read_exit(outer);
            return pserialize_in_read_section();
    }

    int
    sleeps(void)
    {
            int s = pserialize_read_enter();        /* entered here */

            kpause("zzz", false, 1, NULL);          /* slept here */
            pserialize_read_exit(s);
            return 0;
    }

    int
    allocates(int flags)
    {
            int s = pserialize_read_enter();
            void *p = kmem_alloc(16, flags);        /* allocated here */

            pserialize_read_exit(s);
            kmem_free(p, 16);
            return 0;
    }

    int
    frees(void)
    {
            void *p = kmem_alloc(16, KM_SLEEP);
            int s = pserialize_read_enter();

            kmem_free(p, 16);
            pserialize_read_exit(s);
            return 0;
    }

    int
    leaves_twice(void)
    {
            int s = pserialize_read_enter();

            pserialize_read_exit(s);
            pserialize_read_exit(s);                /* second exit */
            return 0;
    }

    int
    swaps_cookies(void)
    {
            int outer = pserialize_read_enter();
            int inner = pserialize_read_enter();    /* inner section */

            pserialize_read_exit(outer);
            pserialize_read_exit(inner);
            return 0;
    }

    int
    never_leaves(void)
    {
            (void)pserialize_read_enter();          /* never left */
            return 0;
    }

    int
    performs_while_reading(void *psz)
    {
            pserialize_t p = pserialize_create();
            int s = pserialize_read_enter();

            pserialize_perform(p);
            pserialize_read_exit(s);
            return 0;
    }

    int
    makes_one(int destroy)
    {
            pserialize_t p = pserialize_create();   /* made here */

            pserialize_perform(p);
            if (destroy)
                    pserialize_destroy(p);
            return 0;
    }
"""


def test_sections_nest_and_end(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("balanced") == 0
    assert code.unload() == []


def test_sleeping_in_section_is_reported_with_both_lines(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("sleeps")
    assert text.startswith("switch-in-pserialize: kpause called inside a pserialize read section")
    assert f"entered by sleeps (tried.c:{line_of(SOURCE, '/* entered here */')})" in text
    assert f"by sleeps (tried.c:{line_of(SOURCE, '/* slept here */')})" in text


def test_sleeping_allocation_in_section_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("allocates", 1)
    assert text.startswith("sleep-in-pserialize: kmem_alloc")
    assert f"tried.c:{line_of(SOURCE, '/* allocated here */')}" in text


def test_non_sleeping_allocation_and_free_are_allowed(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    assert code.call("allocates", 2) == 0
    assert code.call("frees") == 0
    assert code.violations() == []


def test_leaving_section_twice_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("leaves_twice")
    assert text.startswith("pserialize-not-entered: pserialize_read_exit by leaves_twice")
    assert f"tried.c:{line_of(SOURCE, '/* second exit */')}" in text


def test_leaving_with_outer_value_is_reported_without_panic(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("swaps_cookies") == 0
    text = code.violations()[0]
    assert text.startswith("pserialize-cookie: ")
    assert f"swaps_cookies (tried.c:{line_of(SOURCE, '/* inner section */')})" in text


def test_thread_ending_in_section_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("never_leaves")
    assert text.startswith("pserialize-left: thread never_leaves ended inside")
    assert f"tried.c:{line_of(SOURCE, '/* never left */')}" in text


def test_pserialize_perform_in_section_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("performs_while_reading", 0)
    assert text.startswith("sleep-in-pserialize: pserialize_perform")


def test_undestroyed_pserialize_is_reported_at_unload(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("makes_one", 1) == 0
    assert code.call("makes_one", 0) == 0
    (text,) = code.unload()
    assert text.startswith("pserialize-not-destroyed: module tried is unloaded")
    assert f"makes_one (tried.c:{line_of(SOURCE, '/* made here */')})" in text
