"""Event counters: the list that vmstat -e shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.evcnt import EventCounters

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/evcnt.h>
    #include <sys/kmem.h>

    extern struct evcnt *allevents[2];

    struct evcnt one, two;
    struct evcnt fixed = EVCNT_INITIALIZER(EVCNT_TYPE_TRAP, NULL, "try", "fixed");
    static struct evcnt *owned;
    static char *label;

    int
    attach(void)
    {

            evcnt_attach_dynamic(&one, EVCNT_TYPE_MISC, NULL, "try0", "first");  /* attached */
            evcnt_attach_dynamic(&two, EVCNT_TYPE_INTR, &one, "try0", "second");
            evcnt_attach_static(&fixed);
            return one.ev_grouplen * 100 + two.ev_namelen;
    }

    int
    count(void)
    {

            one.ev_count++;
            two.ev_count += 0x100000000ULL;
            return 0;
    }

    /* How many counters the list has, as a reader of the kernel's own list sees it. */
    int
    length(void)
    {
            struct evcnt *ev;
            int n = 0;

            for (ev = allevents[0]; ev != NULL; ev = ev->ev_list.tqe_next) {
                    if (*ev->ev_list.tqe_prev != ev)
                            return -1;
                    n++;
            }
            return n;
    }

    int
    detach(void)
    {

            evcnt_detach(&two);
            evcnt_detach(&one);
            evcnt_detach(&fixed);                    /* detached */
            return 0;
    }

    int
    free_attached(void)
    {

            owned = kmem_zalloc(sizeof(*owned), KM_SLEEP);
            evcnt_attach_dynamic(owned, EVCNT_TYPE_MISC, NULL, "try0", "owned");  /* owned */
            kmem_free(owned, sizeof(*owned));        /* freed */
            return 0;
    }

    int
    free_name(void)
    {

            label = kmem_zalloc(8, KM_SLEEP);
            label[0] = 'x';
            evcnt_attach_dynamic(&one, EVCNT_TYPE_MISC, NULL, "try0", label);  /* label */
            kmem_free(label, 8);
            return 0;
    }

    int
    wrong_type(void)
    {

            evcnt_attach_dynamic(&one, 7, NULL, "try0", "first");
            return 0;
    }
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_counters_are_read_as_by_vmstat(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    assert code.call("attach") == 406
    code.call("count")
    shown = [str(counter) for counter in code.kernel.subject(EventCounters).read()]
    assert shown == [
        "try0 first 1 misc",
        "try0 second 4294967296 intr",
        "try fixed 0 trap",
    ]
    assert code.call("length") == 3
    assert code.call("detach") == 0
    assert code.call("length") == 0
    assert code.unload() == []


def test_attaching_counter_twice_panics_with_both_lines(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("attach")
    text = code.panic("attach")
    assert text.startswith("evcnt-attached-twice: evcnt_attach_dynamic by attach")
    assert text.count(f"attach (tried.c:{line_of(SOURCE, '/* attached */')})") == 2


def test_detaching_unattached_counter_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("detach")
    assert text.startswith("evcnt-not-attached: evcnt_detach by detach")
    assert "two in data of module tried" in text


def test_freeing_memory_with_counter_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("free_attached")
    assert text.startswith("evcnt-freed-attached: kmem_free by free_attached")
    assert f"tried.c:{line_of(SOURCE, '/* freed */')}" in text
    assert f"tried.c:{line_of(SOURCE, '/* owned */')}" in text


def test_freed_name_is_reported_when_read(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("free_name")
    with pytest.raises(KernelPanic) as caught:
        code.kernel.subject(EventCounters).read()
    assert caught.value.rule == "evcnt-string-gone"
    text = caught.value.message
    assert "the name of the event counter at one in data of module tried" in text
    assert "freed object of 8 bytes" in text
    assert f"tried.c:{line_of(SOURCE, '/* label */')}" in text


def test_unknown_type_is_reported_without_panic(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("wrong_type")
    (violation,) = code.violations()
    assert violation.startswith("evcnt-type: evcnt_attach_dynamic")


def test_counters_left_at_unload_are_reported(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("attach")
    found = code.unload()
    assert len(found) == 3
    assert found[0].startswith(
        "evcnt-not-detached: module tried is unloaded, but the event counter 'first' attached by "
        f"attach (tried.c:{line_of(SOURCE, '/* attached */')})"
    )
    assert code.kernel.subject(EventCounters).read() == []


STATIC = """
    #include <sys/param.h>
    #include <sys/evcnt.h>

    static struct evcnt hits = EVCNT_INITIALIZER(EVCNT_TYPE_MISC, NULL, "tried", "hits");
    static struct evcnt misses = EVCNT_INITIALIZER(EVCNT_TYPE_MISC, NULL, "tried", "misses");
    EVCNT_ATTACH_STATIC(hits);
    EVCNT_ATTACH_STATIC(misses);

    int
    hit(void)
    {

            hits.ev_count++;
            return 0;
    }

    int
    detach(void)
    {

            evcnt_detach(&misses);
            return 0;
    }
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_static_counters_follow_module(load: Callable[..., Code], machine: str) -> None:
    code = load(STATIC, machine)
    code.call("hit")
    counters = code.kernel.subject(EventCounters)
    assert [str(counter) for counter in counters.read()] == [
        "tried hits 1 misc",
        "tried misses 0 misc",
    ]
    assert code.unload() == []
    assert counters.read() == []


def test_static_counter_detached_by_module_is_detached_twice(
    load: Callable[..., Code],
) -> None:
    code = load(STATIC)
    code.call("detach")
    with pytest.raises(KernelPanic, match="module_unload_evcnt") as caught:
        code.unload()
    assert caught.value.rule == "evcnt-not-attached"
