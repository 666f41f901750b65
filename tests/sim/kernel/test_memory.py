"""kmem(9): alignment, allowed contexts, and a machine without free memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import MACHINES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/intr.h>
    #include <sys/kmem.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>
    #include <sys/systm.h>

    void    *kmem_intr_alloc(size_t, km_flag_t);
    void    kmem_intr_free(void *, size_t);
    char    *kmem_strdupsize(const char *, size_t *, km_flag_t);
    void    kmem_strfree(char *);
    void    kpreempt_disable(void);
    void    kpreempt_enable(void);
    char    *strncpy(char *, const char *, size_t);

    char *text;
    void *volatile kept;
    volatile size_t huge = (size_t)1 << (sizeof(void *) * 8 - 2);

    int
    alignment(int size)
    {
            void *p = kmem_alloc(size, KM_SLEEP);
            int rest = (uintptr_t)p & 63;

            kmem_free(p, size);
            return rest;
    }

    int
    overrun(int behind)
    {
            char *p = kmem_zalloc(13, KM_SLEEP);

            p[13 + behind] = 1;
            kmem_free(p, 13);
            return 0;
    }

    int
    intr_alloc(int size, int flags)
    {
            return kmem_intr_alloc(size, flags) == NULL;
    }

    static void
    frees_text(void *arg)
    {
            kmem_strfree(text);
    }

    int
    strfree_in_softint(void)
    {
            void *soft = softint_establish(SOFTINT_CLOCK | SOFTINT_MPSAFE, frees_text, NULL);

            text = kmem_strdupsize("text", NULL, KM_SLEEP);
            kpreempt_disable();
            softint_schedule(soft);
            kpreempt_enable();
            return 0;
    }

    int
    in_read_section(void)
    {
            int s = pserialize_read_enter();
            void *p = kmem_alloc(8, KM_NOSLEEP);

            if (p != NULL)
                    kmem_free(p, 8);
            pserialize_read_exit(s);
            return p != NULL;
    }

    int
    huge_now(void)
    {
            return kmem_alloc(huge, KM_NOSLEEP) == NULL
                && kmem_zalloc(huge, KM_NOSLEEP) == NULL;
    }

    int
    huge_sleep(void)
    {
            kept = kmem_alloc(huge, KM_SLEEP);
            return 0;
    }

    int
    leak(void)
    {
            int n = 0;

            while ((kept = kmem_alloc(65536, KM_NOSLEEP)) != NULL)
                    n++;
            return n;
    }

    static int
    deeper(int kilobytes, volatile char *above)
    {
            volatile char room[1000];

            room[0] = kilobytes;
            above[0]++;
            return kilobytes == 0 ? 0 : deeper(kilobytes - 1, room) + (room[0] > 0);
    }

    int
    deep(int kilobytes)
    {
            volatile char above = 0;

            return deeper(kilobytes, &above);
    }

    int
    huge_set(void)
    {
            char *p = kmem_zalloc(16, KM_SLEEP);

            memset(p, 1, huge);
            return 0;
    }

    int
    huge_string(void)
    {
            char *p = kmem_zalloc(16, KM_SLEEP);

            strncpy(p, "text", huge);
            return 0;
    }

    int
    huge_copy(void)
    {
            char *p = kmem_zalloc(16, KM_SLEEP), *q = kmem_zalloc(16, KM_SLEEP);

            memmove(p, q, huge);
            return 0;
    }

    int
    huge_compare(void)
    {
            char *p = kmem_zalloc(16, KM_SLEEP), *q = kmem_zalloc(16, KM_SLEEP);

            return memcmp(p, q, huge);
    }
"""
_KM_SLEEP = 1


@pytest.mark.parametrize("machine", MACHINES)
def test_objects_are_aligned_like_kmem(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    assert [code.call("alignment", size) % 8 for size in (1, 7, 8, 13, 100)] == [0] * 5
    assert [code.call("alignment", size) for size in (64, 128, 4096)] == [0] * 3


@pytest.mark.parametrize("behind", [0, 2])
def test_one_byte_overrun_is_detected_only_at_free(load: Callable[..., Code], behind: int) -> None:
    message = load(SOURCE).panic("overrun", behind)
    assert message.startswith("out-of-bounds: kmem_free by overrun")
    assert f"byte {behind} after the object of 13 bytes" in message


def test_overrun_beyond_padding_faults(load: Callable[..., Code]) -> None:
    assert load(SOURCE).panic("overrun", 3).startswith("out-of-bounds: page fault: write")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("intr_alloc", 0, _KM_SLEEP), "kmem-size: kmem_intr_alloc of 0 bytes"),
        (("intr_alloc", 8, 0), "kmem-flags: kmem_intr_alloc by intr_alloc"),
        (("strfree_in_softint",), "softint-context: kmem_strfree"),
        (("huge_set",), "out-of-bounds: page fault: a kernel function's write"),
        (("huge_string",), "out-of-bounds: page fault: a kernel function's write"),
        (("huge_copy",), "out-of-bounds: page fault: a kernel function's read"),
        (("huge_compare",), "out-of-bounds: page fault: a kernel function's read"),
    ],
)
def test_fatal_misuse_panics(
    load: Callable[..., Code], call: tuple[str, int], message: str
) -> None:
    assert load(SOURCE).panic(*call).startswith(message)


def test_read_section_allows_non_sleeping_allocation(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("in_read_section") == 1
    assert code.violations() == []


@pytest.mark.parametrize("machine", MACHINES)
def test_allocation_without_sleep_returns_null(load: Callable[..., Code], machine: str) -> None:
    assert load(SOURCE, machine).call("huge_now") == 1


def test_leak_ends_at_machine_memory(load: Callable[..., Code]) -> None:
    memory = 16 << 20
    code = load(SOURCE, memory=memory)
    most = memory // (65536 + 4096)
    assert most - 10 < code.call("leak") <= most


def test_thread_waiting_for_memory_is_reported(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    lwp = code.start("huge_sleep")
    assert not code.kernel.run(lambda: bool(lwp.state == "gone"), 20 * 10**9)
    assert lwp.state == "asleep"
    (violation,) = code.violations()
    assert violation.startswith("memory-exhausted: kmem_alloc of ")
    assert "by huge_sleep" in violation


@pytest.mark.parametrize(
    ("machine", "fits", "too_deep"),
    [("amd64", 9, 13), ("i386", 8, 12), ("aarch64", 27, 33)],
)
def test_stack_size_matches_machine(
    load: Callable[..., Code], machine: str, fits: int, too_deep: int
) -> None:
    """The stack in KiB of frames, with the part for the kernel's own functions."""
    assert load(SOURCE, machine).call("deep", fits) == fits
    assert load(SOURCE, machine).panic("deep", too_deep).startswith("stack-overflow: ")
