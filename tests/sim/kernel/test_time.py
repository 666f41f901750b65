"""What time it is, in every form that the kernel has for it, and what may be said how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import MACHINES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kernel.h>
    #include <sys/proc.h>
    #include <sys/systm.h>
    #include <sys/timevar.h>

    void    getnanoboottime(struct timespec *);
    int     getticks(void);
    int     tvtohz(const struct timeval *);
    void    tc_setclock(const struct timespec *);
    void    resettodr(void);

    #define CHECK(what) do { if (!(what)) return __LINE__; } while (0)
    #define US(t) ((t).tv_sec * 1000000LL + (t).tv_usec)
    #define NS(t) ((t).tv_sec * 1000000000LL + (t).tv_nsec)
    #define NEAR(a, b, most) ((b) - (a) >= 0 && (b) - (a) <= (most))
    #define TICK 10000000LL

    struct timespec real, up, coarse, boot;
    struct timeval small, last;

    int
    forms(void)
    {
            nanotime(&real);
            getnanotime(&coarse);
            CHECK(NEAR(NS(coarse), NS(real) + 100000, TICK + 200000));
            CHECK(coarse.tv_nsec % TICK == 0);
            microtime(&small);
            CHECK(NEAR(NS(real) / 1000, US(small), 1000));
            nanouptime(&up);
            getnanouptime(&coarse);
            CHECK(NEAR(NS(coarse), NS(up) + 100000, TICK + 200000));
            microuptime(&small);
            CHECK(NEAR(NS(up) / 1000, US(small), 1000));
            getnanoboottime(&boot);
            CHECK(NEAR(NS(boot) + NS(up), NS(real) + 1000000, 2000000));
            return 0;
    }

    int
    pass(void)
    {
            int before = getticks();

            kpause("pass", false, 30, NULL);
            CHECK(getticks() - before >= 30 && getticks() - before <= 32);
            return 0;
    }

    int
    in_ticks(void)
    {
            small = (struct timeval){ .tv_sec = 2, .tv_usec = 0 };
            CHECK(tvtohz(&small) == 2 * hz + 1);
            small = (struct timeval){ .tv_sec = 0, .tv_usec = 1 };
            CHECK(tvtohz(&small) == 2);
            small = (struct timeval){ .tv_sec = -1, .tv_usec = 0 };
            CHECK(tvtohz(&small) == 0);
            return 0;
    }

    int
    rate(void)
    {
            struct timeval second = { .tv_sec = 1 };

            CHECK(ratecheck(&last, &second) == 1);
            CHECK(ratecheck(&last, &second) == 0);
            kpause("rate", false, hz / 2, NULL);
            CHECK(ratecheck(&last, &second) == 0);
            kpause("rate", false, hz / 2 + 1, NULL);
            CHECK(ratecheck(&last, &second) == 1);
            return 0;
    }

    int
    set(void)
    {
            real = (struct timespec){ .tv_sec = 1600000000, .tv_nsec = 5 };
            tc_setclock(&real);
            resettodr();
            nanotime(&up);
            CHECK(NEAR(NS(real), NS(up), 1000000));
            return 0;
    }

    int
    set_wrongly(void)
    {
            CHECK(clock_settime1(NULL, CLOCK_MONOTONIC, &real, false) == EINVAL);
            real.tv_sec = -5;
            CHECK(clock_settime1(NULL, CLOCK_REALTIME, &real, false) == EINVAL);
            real = (struct timespec){ .tv_sec = 5, .tv_nsec = 1000000000 };
            CHECK(clock_settime1(NULL, CLOCK_REALTIME, &real, false) == EINVAL);
            return 0;
    }

    int
    set_no_time(void)
    {
            real = (struct timespec){ .tv_sec = 5, .tv_nsec = -1 };
            tc_setclock(&real);
            return 0;
    }
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_all_clocks_tell_the_same_time(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    for function in ("forms", "pass", "in_ticks", "rate", "set", "set_wrongly"):
        line = code.call(function)
        assert line == 0, f"{function}: line {line} of the C text"


def test_what_is_no_time_cannot_be_set(load: Callable[..., Code]) -> None:
    assert load(SOURCE).panic("set_no_time").startswith("timespec-range: tc_setclock by")
