"""Pages of physical memory: allocation, its order, and every misuse of page lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.core.frame import GuestFault
from vmtsim.kernel.memory import PAGE
from vmtsim.kernel.pages import PAGES, Pages

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/systm.h>

    #include <uvm/uvm_extern.h>
    #include <uvm/uvm_page.h>

    static struct pglist kept = TAILQ_HEAD_INITIALIZER(kept);
    static struct pglist fresh = TAILQ_HEAD_INITIALIZER(fresh);

    int
    get(int number, int segments, int wait)
    {
            int error;

            error = uvm_pglistalloc((psize_t)number * 4096, 0, ~(paddr_t)0, 4096, 0, &fresh,
                segments, wait);
            if (error == 0)
                    TAILQ_CONCAT(&kept, &fresh, pageq.queue);
            return error;
    }

    int
    get_aligned(int alignment, int boundary)
    {
            return uvm_pglistalloc(4096 * 4, 0, ~(paddr_t)0, alignment, boundary, &kept, 1, 0);
    }

    int
    get_below(int high)
    {
            return uvm_pglistalloc(4096, 0, high, 4096, 0, &fresh, 1, 0);
    }

    int
    count(void)
    {
            struct vm_page *page;
            int number = 0;

            TAILQ_FOREACH(page, &kept, pageq.queue)
                    number++;
            return number;
    }

    int
    frame(int nth)
    {
            struct vm_page *page = TAILQ_FIRST(&kept);

            while (nth-- > 0)
                    page = TAILQ_NEXT(page, pageq.queue);
            return (int)(VM_PAGE_TO_PHYS(page) / 4096);
    }

    int
    put(void)
    {
            uvm_pglistfree(&kept);
            return 0;
    }

    int
    put_one(void)
    {
            struct pglist one = TAILQ_HEAD_INITIALIZER(one);
            struct vm_page *page = TAILQ_FIRST(&kept);

            TAILQ_REMOVE(&kept, page, pageq.queue);
            TAILQ_INSERT_TAIL(&one, page, pageq.queue);
            uvm_pglistfree(&one);
            return TAILQ_EMPTY(&one) ? 0 : 1;
    }

    int
    put_twice(void)
    {
            struct vm_page *page = TAILQ_FIRST(&kept);

            uvm_pglistfree(&kept);
            TAILQ_INSERT_TAIL(&kept, page, pageq.queue);
            uvm_pglistfree(&kept);
            return 0;
    }

    int
    asks_a_free_one(void)
    {
            struct vm_page *page = TAILQ_FIRST(&kept);

            uvm_pglistfree(&kept);
            return (int)VM_PAGE_TO_PHYS(page);
    }

    int
    available(void)
    {
            return uvm_availmem(false);
    }

    int
    counters(int which)
    {
            return which == 0 ? uvmexp.npages : which == 1 ? uvmexp.freemin : uvmexp.freetarg;
    }

    int
    physical(void)
    {
            static int *words;
            paddr_t at;

            if (words == NULL)
                    words = kmem_zalloc(4096, KM_SLEEP);
            words[3] = 77;
            if (!pmap_extract(pmap_kernel(), (vaddr_t)&words[3], &at))
                    return -1;
            return (int)at;
    }

    int
    unmapped(void)
    {
            paddr_t at;

            return pmap_extract(pmap_kernel(), 4096, &at);
    }
"""
MACHINES = ("amd64", "i386")
ENOMEM, EINVAL = 12, 22


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    loaded: Code = load(SOURCE, request.param)
    return loaded


def test_pages_are_unique_and_returned(code: Code) -> None:
    assert code.call("get", 5, 5, 0) == 0
    assert code.call("get", 3, 3, 1) == 0
    assert code.call("count") == 8
    frames = [code.call("frame", nth) for nth in range(8)]
    assert len(set(frames)) == 8
    assert code.call("available") == PAGES - 8
    assert code.call("put_one") == 0
    assert code.call("count") == 7
    code.call("put")
    assert code.call("available") == PAGES
    assert code.unload() == []


def test_next_search_starts_after_last_page(code: Code) -> None:
    code.call("get", 1, 1, 0)
    first = code.call("frame", 0)
    code.call("put")
    code.call("get", 1, 1, 0)
    assert code.call("frame", 0) == first + 1
    code.call("put")


def test_segment_limit_gives_contiguous_run(code: Code) -> None:
    assert code.call("get_aligned", 16 * PAGE, 16 * PAGE) == 0
    frames = [code.call("frame", nth) for nth in range(4)]
    assert frames[0] % 16 == 0
    assert frames == list(range(frames[0], frames[0] + 4))
    code.call("put")


def test_impossible_requests_are_refused(code: Code) -> None:
    assert code.call("get_aligned", PAGE, PAGE) == EINVAL  # a boundary smaller than the size
    assert code.call("get_below", PAGE) == EINVAL
    assert code.call("get", PAGES + 1, PAGES + 1, 0) == ENOMEM
    assert code.call("available") == PAGES


def test_last_pages_are_reserved_for_kernel(code: Code) -> None:
    code.kernel.subject(Pages).press(7)
    assert code.call("available") == 7
    assert code.call("get", 1, 1, 0) == 0
    assert code.call("get", 1, 1, 0) == ENOMEM
    code.kernel.subject(Pages).press(None)
    code.call("put")


def test_counters_match_kernel_of_this_size(code: Code) -> None:
    """Half a percent of memory, 128 KB to 1 MB on one processor; a third more (uvmpd_tune)."""
    assert [code.call("counters", which) for which in range(3)] == [PAGES, 256, 256 * 4 // 3]


def test_host_sees_requested_memory_size(code: Code) -> None:
    pages = code.kernel.subject(Pages)
    at = code.call("physical")
    assert at == code.call("physical")
    assert at % PAGE == 12
    assert pages.read(at, 4) == (77).to_bytes(4, "little")
    pages.write(at, b"\1\0\0\0")
    assert pages.read(at, 4) == b"\1\0\0\0"
    with pytest.raises(GuestFault):
        pages.read(at + PAGE, 4)
    assert code.call("unmapped") == 0


@pytest.mark.parametrize(
    ("calls", "rule"),
    [
        ([("get_aligned", 3 * PAGE, 0)], "pglist-arguments"),
        ([("get_aligned", PAGE, 3 * PAGE)], "pglist-arguments"),
        ([("get", 2, 2, 0), ("put_twice",)], "pglist-unknown"),
        ([("get", 2, 2, 0), ("asks_a_free_one",)], "pglist-unknown"),
    ],
)
def test_rule_violation_panics(load: Any, calls: list[Any], rule: str) -> None:
    code = load(SOURCE)
    for call in calls[:-1]:
        code.call(*call)
    assert code.panic(*calls[-1]).startswith(rule + ":")


def test_pages_on_reused_list_are_lost(load: Any) -> None:
    code = load(SOURCE)
    code.call("get_aligned", PAGE, 0)
    code.call("get_aligned", PAGE, 0)
    code.call("put")
    left = code.unload()
    assert any(each.startswith("pglist-lost: ") for each in left)
    assert any(each.startswith("pages-left: ") and "but 4 pages" in each for each in left)


def test_waiting_thread_gets_freed_pages(load: Any) -> None:
    code = load(SOURCE)
    code.kernel.subject(Pages).press(3)
    timers = code.kernel.scheduler
    timers.outside_next = lambda: 5_000_000_000
    timers.outside_advance = lambda: code.kernel.subject(Pages).press(None)
    assert code.call("get", 1, 1, 1) == 0
    code.call("put")
    assert code.unload() == []
