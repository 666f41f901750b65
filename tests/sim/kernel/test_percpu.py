"""percpu(9) and sources of rnd(9): their results, and every misuse of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.entropy import Entropy

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/percpu.h>
    #include <sys/rndsource.h>
    #include <sys/systm.h>

    struct counts { int first, last; };
    struct cpu_info *cpu_lookup(u_int);
    static percpu_t *counts;
    static struct counts never;
    static krndsource_t source, *allocated;
    int asked, ended;

    int
    make(void)
    {
            counts = percpu_alloc(sizeof(struct counts));
            return counts == NULL;
    }

    static void
    begin(void *piece, void *cookie, struct cpu_info *ci)
    {
            ((struct counts *)piece)->last = *(int *)cookie;
    }

    static void
    end(void *piece, void *cookie, struct cpu_info *ci)
    {
            ended += ((struct counts *)piece)->last;
    }

    int
    make_with(int last)
    {
            static int given;

            given = last;
            counts = percpu_create(sizeof(struct counts), begin, end, &given);
            return 0;
    }

    int
    count(void)
    {
            struct counts *mine = percpu_getref(counts);

            mine->first++;
            percpu_putref(counts);
            return 0;
    }

    static void
    add(void *piece, void *sum, struct cpu_info *ci)
    {
            *(int *)sum += ((struct counts *)piece)->first + ((struct counts *)piece)->last;
    }

    int
    sum(void)
    {
            int found = 0;

            percpu_foreach(counts, add, &found);
            return found;
    }

    int
    keeps(void)
    {
            percpu_getref(counts);
            return 0;
    }

    int
    puts(void)
    {
            percpu_putref(counts);
            return 0;
    }

    int
    drop(int size)
    {
            percpu_free(counts, size);
            return 0;
    }

    int
    looks_again(void)
    {
            struct counts *mine = percpu_getref(counts);

            percpu_putref(counts);
            percpu_free(counts, sizeof(struct counts));
            return mine->first;
    }

    int
    of_no_processor(void)
    {
            return percpu_getptr_remote(counts, NULL) != NULL;
    }

    int
    of_another(u_int which)
    {
            return ((struct counts *)percpu_getptr_remote(counts, cpu_lookup(which)))->first;
    }

    int
    unknown(void)
    {
            return percpu_getref((percpu_t *)&never) != NULL;
    }

    static void
    get(size_t size, void *arg)
    {
            char bytes[8] = "entropy";

            asked += (int)size;
            rnd_add_data(arg, bytes, sizeof(bytes), 16);
    }

    int
    attach(int callback)
    {
            if (callback == 1)
                    rndsource_setcb(&source, get, &source);
            rnd_attach_source(&source, callback == 3 ? "" : "test0", RND_TYPE_RNG,
                RND_FLAG_DEFAULT | (callback == 1 || callback == 2 ? RND_FLAG_HASCB : 0));
            return 0;
    }

    int
    value(void)
    {
            rnd_add_uint32(&source, 7);
            return 0;
    }

    int
    detach(void)
    {
            rnd_detach_source(&source);
            return 0;
    }

    int
    frees(void)
    {
            allocated = kmem_zalloc(sizeof(*allocated), KM_SLEEP);
            rnd_attach_source(allocated, "heap0", RND_TYPE_UNKNOWN, RND_FLAG_DEFAULT);
            kmem_free(allocated, sizeof(*allocated));
            return 0;
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def test_percpu_memory_is_zeroed_kept_and_freed(code: Code) -> None:
    assert code.call("make") == 0
    assert code.call("count") == code.call("count") == 0
    assert code.call("sum") == 2
    code.call("drop", 8)
    assert code.unload() == []


@pytest.mark.parametrize("machine", MACHINES)
def test_each_processor_has_its_own_memory(load: Any, machine: str) -> None:
    """A thread that moves between two counts in two pieces; each is built, summed and ended."""
    code = load(SOURCE, machine, cpus=3)
    code.call("make_with", 40)
    counted = 0
    while not (code.call("of_another", 0) and code.call("of_another", 2)):
        code.finish(*(code.start("count") for _thread in range(3)))
        counted += 3
        assert counted < 300
    pieces = [code.call("of_another", which) for which in range(3)]
    assert sum(pieces) == counted
    assert code.call("sum") == counted + 3 * 40
    code.call("drop", 8)
    assert code.number("ended") == 3 * 40
    assert code.unload() == []


def test_constructor_and_destructor_get_percpu_memory(code: Code) -> None:
    code.call("make_with", 40)
    code.call("count")
    assert code.call("sum") == 41
    code.call("drop", 8)
    assert code.number("ended") == 40


@pytest.mark.parametrize(
    ("calls", "rule"),
    [
        (["unknown"], "percpu-unknown"),
        (["of_no_processor"], "percpu-cpu"),
        ([("drop", 4)], "percpu-size"),
        (["puts"], "preemption-not-disabled"),
        (["looks_again"], "use-after-free"),
        (["value"], "rnd-source-unknown"),
        ([("attach", 0), ("attach", 0)], "rnd-source-twice"),
        ([("attach", 2)], "rnd-source-name"),
        ([("attach", 3)], "rnd-source-name"),
        ([("attach", 0), "detach", "detach"], "rnd-source-unknown"),
        (["frees"], "rnd-source-freed"),
    ],
)
def test_rule_violation_panics(load: Any, calls: list[Any], rule: str) -> None:
    code = load(SOURCE)
    code.call("make")
    words = [(each,) if isinstance(each, str) else each for each in calls]
    for call in words[:-1]:
        code.call(*call)
    assert code.panic(*words[-1]).startswith(rule + ":")


def test_percpu_getref_disables_preemption(load: Any) -> None:
    code = load(SOURCE)
    code.call("make")
    assert code.panic("keeps").startswith("preemption-left:")


def test_leftovers_are_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("make")
    code.call("attach", 0)
    left = code.unload()
    assert any(
        each.startswith("percpu-left: module tried is unloaded, but the percpu") for each in left
    )
    assert any(each.startswith("rnd-source-left: ") and "'test0'" in each for each in left)


def test_entropy_source_is_queried_on_attach(code: Code) -> None:
    code.call("attach", 1)
    assert code.number("asked") == 32
    code.call("value")
    assert code.kernel.subject(Entropy).added == [(8, 16), (4, 0)]
    code.call("detach")
    assert code.unload() == []
