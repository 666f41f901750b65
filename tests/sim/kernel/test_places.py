"""Call sites: messages name the place of the call, not the current place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.mutex import Mutexes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/mutex.h>

    int mutex_tryenter(kmutex_t *);

    kmutex_t lock;

    int
    make(void)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            return 0;
    }

    /* The compiler makes a jump of the last call: no line of the module is on the stack. */
    int
    take(void)
    {
            return mutex_tryenter(&lock);
    }

    int
    take_again(void)
    {
            return mutex_tryenter(&lock) + 2;
    }
"""


@pytest.mark.parametrize("machine", ["amd64", "aarch64"])  # i386 has arguments on the stack
def test_call_site_of_lock_taken_by_tail_call_is_known(
    load: Callable[..., Code], machine: str
) -> None:
    code = load(SOURCE, machine)
    code.call("make")
    assert code.call("take") == 1
    assert code.call("take_again") == 2
    (mutex,) = (each for each in code.kernel.subject(Mutexes).live.values() if each.made_at)
    place = code.kernel.location(mutex.taken_at)
    assert re.fullmatch(r"take \(tried\.c:\d+\) or code that it jumps to", str(place))
