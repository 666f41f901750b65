"""uvmexp: members that are always current, and members that are current only on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.memcounters import MemoryCounters
from vmtsim.kernel.pages import PAGES, Pages

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/systm.h>

    #include <uvm/uvm_extern.h>

    int
    update(void)
    {
            uvm_update_uvmexp();
            return 0;
    }

    int
    member(int which)
    {
            switch (which) {
            case 0: return uvmexp.free;
            case 1: return uvmexp.filepages;
            case 2: return uvmexp.execpages;
            case 3: return uvmexp.swtch;
            case 4: return uvmexp.pageins;
            case 5: return uvmexp.swpages;
            case 6: return uvmexp.swpgavail;
            case 7: return uvmexp.swpginuse;
            case 8: return uvmexp.pgswapout;
            default: return -1;
            }
    }
"""
SUMS = {"filepages": 1, "execpages": 2, "swtch": 3, "pageins": 4}
AT_ONCE = {"swpages": 5, "swpgavail": 6, "swpginuse": 7, "pgswapout": 8}


@pytest.fixture(params=("amd64", "i386"))
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    loaded: Code = load(SOURCE, request.param)
    return loaded


@pytest.mark.parametrize("member", SUMS)
def test_sums_over_cpus_are_current_only_on_request(code: Code, member: str) -> None:
    counters = code.kernel.subject(MemoryCounters)
    counters.set(member, 7)
    counters.add(member, 5)
    assert code.call("member", SUMS[member]) == 0
    code.call("update")
    assert code.call("member", SUMS[member]) == 12


@pytest.mark.parametrize("member", AT_ONCE)
def test_counters_written_in_place_are_current(code: Code, member: str) -> None:
    counters = code.kernel.subject(MemoryCounters)
    counters.set(member, 7)
    counters.add(member, 5)
    assert code.call("member", AT_ONCE[member]) == 12


def test_free_page_count_is_of_last_update(code: Code) -> None:
    code.kernel.subject(Pages).press(100)
    assert code.call("member", 0) == PAGES
    code.call("update")
    assert code.call("member", 0) == 100


@pytest.mark.parametrize("member", ["swtch", "pgswapout"])
def test_counter_wraps_to_0(code: Code, member: str) -> None:
    counters = code.kernel.subject(MemoryCounters)
    counters.set(member, 0xFFFFFFFF)
    counters.add(member, 3)
    code.call("update")
    assert code.call("member", (SUMS | AT_ONCE)[member]) == 2
