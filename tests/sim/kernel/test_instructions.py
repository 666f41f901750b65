"""Instructions outside kernel functions: served from a table, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Spinning, Unmodelled
from vmtsim.kernel.instructions import CNTFRQ, TSC_HZ

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

X86 = """
    #include <sys/param.h>
    #include <sys/proc.h>
    #include <sys/systm.h>

    int     rdmsr_safe(u_int, uint64_t *);

    uint32_t low, high;
    uint64_t wide;

    int
    tsc(void)
    {
            __asm volatile("rdtsc" : "=a"(low), "=d"(high));
            return 0;
    }

    int
    tscp(void)
    {
            uint32_t cpu;

            __asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(cpu));
            return cpu;
    }

    /* The ticks of 10 ms, or what a loop that looks at the counter until then counts. */
    int
    ticks(void)
    {
            uint32_t first;

            tsc();
            first = low;
            kpause("tsc", false, 1, NULL);
            tsc();
            return low - first;
    }

    int
    spins(void)
    {
            uint32_t first;
            int n = 0;

            tsc();
            for (first = low; low - first < 240000; n++)
                    tsc();
            return n;
    }

    int
    random32(void)
    {
            uint32_t value;
            unsigned char good;

            __asm volatile("rdrand %0; setc %1" : "=r"(value), "=qm"(good));
            low = value;
            return good;
    }

    int
    seeded(void)
    {
            uint32_t value;
            unsigned char good;

            __asm volatile("rdseed %0; setc %1" : "=r"(value), "=qm"(good));
            low = value;
            return good;
    }

    int
    reads(uint32_t msr)
    {
            __asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
            return low;
    }

    int
    writes(uint32_t msr, uint32_t value)
    {
            __asm volatile("wrmsr" :: "a"(value), "d"(0), "c"(msr));
            return reads(msr);
    }

    int
    safe(uint32_t msr)
    {
            return rdmsr_safe(msr, &wide);
    }

    int
    control(void)
    {
            unsigned long cr0;

            __asm volatile("mov %%cr0, %0" : "=r"(cr0));
            return (int)(cr0 >> 31 & 1);
    }

    int
    sets_control(void)
    {
            __asm volatile("mov %0, %%cr0" :: "r"(0L));
            return 0;
    }

    int
    loads_table(void)
    {
            static char table[16];

            __asm volatile("lgdt %0" :: "m"(table));
            return 0;
    }

    int
    sleeps_masked(void)
    {
            __asm volatile("cli");
            kpause("masked", false, 1, NULL);
            __asm volatile("sti");
            return 0;
    }

    int
    returns_masked(void)
    {
            __asm volatile("cli");
            return 0;
    }

    int
    briefly_masked(void)
    {
            __asm volatile("cli");
            low++;
            __asm volatile("sti");
            return 0;
    }

    int
    backwards(void)
    {
            __asm volatile("std");
            return 0;
    }

    int
    halts(void)
    {
            __asm volatile("hlt");
            return 0;
    }

    int
    halts_masked(void)
    {
            __asm volatile("cli; hlt");
            return 0;
    }

    int
    leaf(uint32_t number)
    {
            uint32_t a = number, b, c = 0, d;

            __asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
            return a;
    }
"""
ARM = """
    #include <sys/param.h>
    #include <sys/proc.h>

    int
    counter(void)
    {
            uint64_t first, second;

            __asm volatile("mrs %0, cntvct_el0" : "=r"(first));
            kpause("count", false, 1, NULL);
            __asm volatile("mrs %0, cntvct_el0" : "=r"(second));
            return (int)(second - first);
    }

    int
    frequency(void)
    {
            uint64_t value;

            __asm volatile("mrs %0, cntfrq_el0" : "=r"(value));
            return (int)value;
    }

    int
    identity(void)
    {
            uint64_t value;

            __asm volatile("mrs %0, midr_el1" : "=r"(value));
            return (int)value;
    }

    int
    translation(void)
    {
            __asm volatile("msr ttbr0_el1, xzr");
            return 0;
    }

    int
    waits(void)
    {
            __asm volatile("wfi");
            return 0;
    }

    int
    sleeps_masked(void)
    {
            __asm volatile("msr daifset, #2");
            kpause("masked", false, 1, NULL);
            __asm volatile("msr daifclr, #2");
            return 0;
    }
"""
_TICK = 10_000_000


def _value(code: Code) -> int:
    memory = code.kernel.memory
    return memory.u32(code.address("low")) | memory.u32(code.address("high")) << 32


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_tsc_is_virtual_time(load: Callable[..., Code], machine: str) -> None:
    code = load(X86, machine)
    code.call("tsc")
    assert 0 < _value(code) <= code.kernel.clock.now * TSC_HZ // 10**9
    assert 0 < code.call("ticks") <= 2 * TSC_HZ * _TICK // 10**9
    assert code.call("tscp") == 0
    assert 1000 < code.call("spins") < 10_000


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_same_seed_gives_same_random_numbers(load: Callable[..., Code], machine: str) -> None:
    def numbers(seed: int) -> list[int]:
        code = load(X86, machine, seed=seed)
        found = []
        for _ in range(3):
            assert code.call("random32") == 1
            found.append(code.number("low"))
        return found

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)
    assert len(set(numbers(1))) == 3


def test_rdseed_fails_sometimes(load: Callable[..., Code]) -> None:
    code = load(X86)
    assert {code.call("seeded") for _ in range(64)} == {0, 1}


def test_missing_register_panics(load: Callable[..., Code]) -> None:
    message = load(X86).panic("reads", 0x12345678)
    assert message.startswith("trap: general protection fault: rdmsr of 0x12345678")
    assert "reads" in message
    assert load(X86).panic("writes", 0x12345678, 1).startswith("trap: general protection fault")
    assert load(X86).call("safe", 0x12345678) == 14


def test_registers_and_cpuid_leaves_follow_scenario(load: Callable[..., Code]) -> None:
    code = load(X86, msrs={"0x19c": 0x8834}, cpuid={6: (0x77, 0, 0, 0)})
    assert code.call("reads", 0x19C) == 0x8834
    assert code.call("writes", 0x19C, 5) == 5
    assert code.call("leaf", 6) == 0x77
    assert code.call("reads", 0x1B) == 0xFEE00900 - (1 << 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("writes", 0xC0000080, 0), "writes .* executes wrmsr to 0xc0000080"),
        (("sets_control",), "sets_control .* executes mov cr0, "),
        (("loads_table",), "loads_table .* executes lgdt "),
    ],
)
def test_instructions_that_reconfigure_processor_are_refused(
    load: Callable[..., Code], call: tuple[str, int], message: str
) -> None:
    with pytest.raises(Unmodelled, match=message):
        load(X86).call(*call)


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_control_register_is_read_from_table(load: Callable[..., Code], machine: str) -> None:
    assert load(X86, machine).call("control") == 1


def test_disabled_interrupts_and_direction_flag_are_detected(load: Callable[..., Code]) -> None:
    code = load(X86)
    assert code.call("briefly_masked") == 0
    assert code.violations() == []
    for function, rule, words in (
        ("sleeps_masked", "interrupts-off", "sleeps in a call by sleeps_masked"),
        ("returns_masked", "interrupts-off", "returns from returns_masked"),
        ("backwards", "direction-flag", "returns from backwards"),
    ):
        code.call(function)
        (violation,) = code.violations()
        assert violation.startswith(f"{rule}: ")
        assert words in violation


def test_hlt_waits_for_next_interrupt(load: Callable[..., Code]) -> None:
    code = load(X86)
    before = code.kernel.clock.ticks
    code.call("halts")
    assert code.kernel.clock.ticks == before + 1
    with pytest.raises(Spinning, match="waits for an interrupt with interrupts off"):
        code.call("halts_masked")


def test_aarch64_registers_are_served(load: Callable[..., Code]) -> None:
    code = load(ARM, "aarch64", msrs={"midr_el1": 0x413FD0C1})
    assert 0 < code.call("counter") <= 2 * CNTFRQ * _TICK // 10**9
    assert code.call("frequency") == CNTFRQ
    assert code.call("identity") == 0x413FD0C1
    before = code.kernel.clock.ticks
    code.call("waits")
    assert code.kernel.clock.ticks == before + 1
    code.call("sleeps_masked")
    (violation,) = code.violations()
    assert violation.startswith("interrupts-off: ")
    with pytest.raises(Unmodelled, match=r"translation .* executes msr ttbr0_el1, xzr"):
        code.call("translation")
