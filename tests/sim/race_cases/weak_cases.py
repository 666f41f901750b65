"""Defects that show only if a processor delays its stores: without a race detector.

Each has ``make``, ``first`` and ``second``, which run concurrently, and ``check``: a result
other than 0 cannot occur with any order of whole stores.  A seed runs them ROUNDS times on one
machine: its start costs as much as ten rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.sim.kernel.guestcode import Code

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 20
_HEAD = """
    #include <sys/param.h>
    #include <sys/atomic.h>
    #include <sys/kmem.h>
    #include <sys/systm.h>

    int     getticks(void);
    void    membar_sync(void);

    struct pair {
            int             p_one;
            int             p_other;
            struct pair     *p_next;
            int             p_seen[2];
    };

    struct pair *it;

    /* Calls that order nothing: another processor may continue, and the stores are delayed. */
    static void
    later(void)
    {
            for (int i = 0; i < 10; i++)
                    (void)getticks();
    }

    int
    make(void)
    {
            it = kmem_zalloc(sizeof(*it), KM_SLEEP);
            it->p_seen[0] = it->p_seen[1] = -1;
            return 0;
    }
"""


@dataclass(frozen=True)
class Weak:
    """``machines`` are those that let it happen, ``within`` in how many seeds it does."""

    name: str
    code: str
    machines: tuple[str, ...]
    within: int = 5

    def source(self, *, planted: bool) -> str:
        """Return the module's C text."""
        return ("\n    #define PLANTED\n" if planted else "\n") + _HEAD + self.code


WEAK = (
    Weak(
        "missing release",
        """
    int
    first(void)
    {
            it->p_one = 7;
    #ifdef PLANTED
            atomic_store_relaxed(&it->p_next, it);
    #else
            atomic_store_release(&it->p_next, it);
    #endif
            later();
            return 0;
    }

    int
    second(void)
    {
            struct pair *next;

            for (int i = 0; i < 50; i++) {
                    next = atomic_load_acquire(&it->p_next);
                    if (next != NULL) {
                            it->p_seen[0] = next->p_one;
                            break;
                    }
                    (void)getticks();
            }
            return 0;
    }

    int
    check(void)
    {
            return it->p_seen[0] == 0;
    }
""",
        ("aarch64",),
    ),
    Weak(
        "no full barrier",
        """
    static int
    meets(int *own, int *other, int *seen)
    {
            atomic_store_relaxed(own, 1);
    #ifdef PLANTED
            membar_release();
    #else
            membar_sync();
    #endif
            *seen = atomic_load_relaxed(other);
            later();
            return 0;
    }

    int
    first(void)
    {
            return meets(&it->p_one, &it->p_other, &it->p_seen[0]);
    }

    int
    second(void)
    {
            return meets(&it->p_other, &it->p_one, &it->p_seen[1]);
    }

    int
    check(void)
    {
            return it->p_seen[0] == 0 && it->p_seen[1] == 0;
    }
""",
        ("amd64", "i386", "aarch64"),
    ),
)


def wrong(path: Path, machine: str, seed: int, *, store_buffers: bool = True) -> bool:
    """Run both functions concurrently, ROUNDS times; whether an impossible result occurred."""
    code = Code(path, machine, seed, cpus=2, store_buffers=store_buffers)
    for _ in range(ROUNDS):
        code.call("make")
        code.finish(code.start("first"), code.start("second"))
        if code.call("check"):
            return True
    return False
