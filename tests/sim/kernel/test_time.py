"""Time in every form that the kernel has, and ratecheck(9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.clock import SECOND, TICK
from vmtsim.kernel.timekeeping import TimeKeeping

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

    void getmicrotime(struct timeval *);

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
    too_many_microseconds(void)
    {
            small = (struct timeval){ .tv_sec = 0, .tv_usec = 1000000 };
            return 1 + tvtohz(&small);
    }

    /* Microseconds that getmicrotime is late. */
    int
    micro_late(void)
    {
            struct timeval now;

            getmicrotime(&small);
            microtime(&now);
            return (int)(US(now) - US(small));
    }

    int
    slew(int by)
    {
            small = (struct timeval){ .tv_sec = 0, .tv_usec = by };
            adjtime1(&small, &last, NULL);
            return (int)US(last);
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
def test_all_clocks_agree(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    for function in ("forms", "pass", "in_ticks", "rate", "set", "set_wrongly"):
        line = code.call(function)
        assert line == 0, f"{function}: line {line} of the C text"


def test_invalid_time_is_reported_without_panic(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("set_no_time") == 0
    assert code.violations()[0].startswith("timespec-range: tc_setclock by set_no_time")


def test_too_many_microseconds_for_timeval_panic(load: Callable[..., Code]) -> None:
    assert load(SOURCE).panic("too_many_microseconds").startswith("timeval-range: tvtohz by")


def test_coarse_times_are_of_last_tick_or_step(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    kernel, time = code.kernel, code.kernel.subject(TimeKeeping)
    kernel.run_for(3 * TICK + TICK // 2 - kernel.clock.now % TICK)
    assert TICK // 2 <= code.call("micro_late") * 1000 < TICK // 2 + 100_000
    time.step(time.realtime() + 5 * SECOND)
    assert code.call("micro_late") < 100


def slewed(time: TimeKeeping, before: int) -> int:
    """Return the gain of real time on uptime since it was ``before`` ahead."""
    return time.realtime() - time.uptime() - before


def test_slew_starts_and_ends_at_second_boundary(load: Callable[..., Code]) -> None:
    """A second's share is fixed in advance and applied, even if adjtime changes meanwhile."""
    code = load(SOURCE)
    kernel, time = code.kernel, code.kernel.subject(TimeKeeping)
    kernel.run_for(SECOND + SECOND // 4 - kernel.clock.now)
    before = time.realtime() - time.uptime()
    code.call("slew", 2000)
    kernel.run_for(SECOND // 2)
    assert slewed(time, before) == 0
    kernel.run_for(SECOND // 2)
    assert time.owed == 1_500_000
    assert 120_000 < slewed(time, before) < 130_000
    assert code.call("slew", 0) == 1500  # the remaining part, as it assumes
    kernel.run_for(2 * SECOND)
    # A second of real time that gains is a little shorter than one of uptime.
    assert 499_000 < slewed(time, before) <= 500_000
    assert kernel.memory.u32(kernel.symbols["time_adjusted"]) == 1


def test_forward_step_consumes_slew_of_its_seconds(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    time = code.kernel.subject(TimeKeeping)
    code.kernel.run_for(SECOND // 2)
    for seconds, left in ((3, 1500), (0, 3000), (201, 2000), (-10, 3000)):
        code.call("slew", 3000)
        time.step(time.realtime() + seconds * SECOND)
        assert time.owed == left * 1000, seconds


def test_replaced_slew_of_other_process_is_returned(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.kernel.subject(TimeKeeping).adjust(77_000_000)  # ntpd
    assert code.call("slew", 0) == 77_000


def test_adjtime_microseconds_are_truncated(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("slew", 3_000_000)
    assert code.kernel.subject(TimeKeeping).owed == 999_999_000
