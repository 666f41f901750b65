"""libkern: strings and numbers as in C, and misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

# Each function returns 0, or the line of the error.
SOURCE = r"""
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <lib/libkern/libkern.h>

    #undef memcmp
    #undef strcmp
    #undef strlen
    #define TEN "0123456789"
    #define LONG TEN TEN TEN TEN TEN TEN TEN
    #define CHECK(what) do { if (!(what)) return __LINE__; } while (0)

    char *strcpy(char *, const char *);
    char *strncpy(char *, const char *, size_t);
    char *strcat(char *, const char *);
    size_t strspn(const char *, const char *);
    size_t strcspn(const char *, const char *);
    char *strpbrk(const char *, const char *);
    char *strsep(char **, const char *);
    void *memmem(const void *, size_t, const void *, size_t);
    int consttime_memequal(const void *, const void *, size_t);
    void *explicit_memset(void *, int, size_t);
    unsigned long long strtoull(const char *, char **, int);
    long long strtoll(const char *, char **, int);

    char room[32], text[] = "one two,three";
    volatile int zero;
    volatile long long dividend = -7, divisor = 2;

    int
    memory(void)
    {
        CHECK(memcmp("abc", "abd", 2) == 0);
        CHECK(memcmp("abc", "abd", 3) < 0);
        CHECK(memcmp("abe", "abd", 3) > 0);
        CHECK(memcmp("a", "b", zero) == 0);
        CHECK(consttime_memequal("abc", "abc", 3) == 1);
        CHECK(consttime_memequal("abc", "abd", 3) == 0);
        CHECK(memchr(text, 't', 4) == NULL);
        CHECK(memchr(text, 't', 5) == text + 4);
        CHECK(memchr(text, 'o', zero) == NULL);
        CHECK(memmem(text, 13, "two", 3) == text + 4);
        CHECK(memmem(text, 6, "two", 3) == NULL);
        CHECK(memmem(text, 6, "", zero) == text);
        CHECK(memmem(text, zero, "o", 1) == NULL);
        explicit_memset(room, 'x', 3);
        CHECK(memcmp(room, "xxx", 4) == 0);
        memcpy(room, "abcdef", 7);
        memmove(room + 1, room, 5);
        CHECK(strcmp(room, "aabcde") == 0);
        return 0;
    }

    int
    compare(void)
    {
        CHECK(strcmp("ab", "ab") == 0);
        CHECK(strcmp("ab", "abc") < 0);
        CHECK(strcmp("abc", "ab") > 0);
        CHECK(strcmp("", "") == 0);
        CHECK(strcmp("\xff", "a") > 0);
        CHECK(strcmp("a\0b", "a\0c") == 0);
        CHECK(strcmp(LONG "x", LONG "x") == 0);
        CHECK(strcmp(LONG "x", LONG "y") < 0);
        CHECK(strcmp(LONG "", LONG "y") < 0);
        CHECK(strncmp(LONG "x", LONG "y", sizeof(LONG) - 1) == 0);
        CHECK(strncmp(LONG "x", LONG "y", sizeof(LONG)) < 0);
        CHECK(strncmp("abc", "abd", 2) == 0);
        CHECK(strncmp("abc", "abd", 3) < 0);
        CHECK(strncmp("ab", "abc", 3) < 0);
        CHECK(strcasecmp("NetBSD", "netbsd") == 0);
        CHECK(strcasecmp("a", "B") < 0);
        CHECK(strncasecmp("NETx", "nety", 3) == 0);
        CHECK(strncasecmp("NETx", "nety", 4) < 0);
        return 0;
    }

    int
    write(void)
    {
        CHECK(strlcpy(room, "abcdef", 4) == 6);
        CHECK(strcmp(room, "abc") == 0);
        CHECK(strlcpy(room, "other", zero) == 5);
        CHECK(strcmp(room, "abc") == 0);
        CHECK(strlcat(room, "def", 6) == 6);
        CHECK(strcmp(room, "abcde") == 0);
        CHECK(strlcat(room, "x", 3) == 4);
        CHECK(strcmp(room, "abcde") == 0);
        CHECK(strcpy(room, "abcd") == room);
        CHECK(strncpy(room, "xy", 3) == room);
        CHECK(memcmp(room, "xy\0d", 5) == 0);
        CHECK(strncpy(room, "uvw", 2) == room);
        CHECK(strcmp(room, "uv") == 0);
        CHECK(strcat(room, "w") == room);
        CHECK(strcmp(room, "uvw") == 0);
        CHECK(strnlen(room, 2) == 2);
        CHECK(strnlen(room, 9) == 3);
        return 0;
    }

    int
    search(void)
    {
        char *rest = room;

        CHECK(strchr(text, 't') == text + 4);
        CHECK(strchr(text, 'x') == NULL);
        CHECK(strchr(text, '\0') == text + 13);
        CHECK(strrchr(text, 't') == text + 8);
        CHECK(strrchr(text, 'x') == NULL);
        CHECK(strstr(text, "two") == text + 4);
        CHECK(strstr(text, "four") == NULL);
        CHECK(strspn(text, "eno") == 3);
        CHECK(strcspn(text, ", ") == 3);
        CHECK(strcspn(text, "xyz") == 13);
        CHECK(strpbrk(text, ",") == text + 7);
        CHECK(strpbrk(text, "xyz") == NULL);
        strcpy(room, "a,,b");
        CHECK(strsep(&rest, ",") == room && rest == room + 2);
        CHECK(strcmp(room, "a") == 0);
        CHECK(strsep(&rest, ",") == room + 2 && rest == room + 3);
        CHECK(strsep(&rest, ",") == room + 3 && rest == NULL);
        CHECK(strsep(&rest, ",") == NULL);
        return 0;
    }

    int
    numbers(void)
    {
        const char *digits = " -012x";
        char *end;

        CHECK(strtoul("0x1Fg", &end, 0) == 31 && *end == 'g');
        CHECK(strtoul("0xg", &end, 16) == 0 && *end == '0');
        CHECK(strtoul("017", NULL, 0) == 15);
        CHECK(strtoul("+19", NULL, 0) == 19);
        CHECK(strtoul(digits, &end, 10) == (unsigned long)-12 && *end == 'x');
        CHECK(strtoul("none", &end, 10) == 0 && *end == 'n');
        CHECK(strtoul("99999999999999999999999", &end, 10) == ~0UL && *end == '9');
        CHECK(strtoul("-99999999999999999999999", &end, 10) == ~0UL && *end == '-');
        CHECK(strtoul("7", &end, 36) == 7 && *end == '\0');
        CHECK(strtoull("18446744073709551615", NULL, 10) == ~0ULL);
        CHECK(strtoull("18446744073709551616", NULL, 10) == ~0ULL);
        CHECK(strtoull("-1", NULL, 10) == ~0ULL);
        CHECK(strtoll("-42", NULL, 10) == -42);
        CHECK(strtoll("9223372036854775808", &end, 10) == 9223372036854775807LL);
        CHECK(*end == '9');
        CHECK(strtoll("-9223372036854775808", &end, 10) == -9223372036854775807LL - 1);
        CHECK(*end == '\0');
        CHECK(strtoll("-9223372036854775809", NULL, 10) == -9223372036854775807LL - 1);
        CHECK(popcount32(0xf1) == 5);
        return 0;
    }

    int
    division(void)
    {
        CHECK(dividend / divisor == -3);
        CHECK(dividend % divisor == -1);
        CHECK((unsigned long long)dividend / (unsigned long long)divisor
            == 0x7ffffffffffffffcULL);
        CHECK((unsigned long long)dividend % (unsigned long long)divisor == 1);
        return 0;
    }

    int
    by_zero(void)
    {
        divisor = 0;
        return (int)(dividend / divisor);
    }

    int
    wrong_base(void)
    {
        volatile int base = 37;

        return (int)strtoul("1", NULL, base);
    }

    /* The field has no NUL, and ends its page. */
    int
    no_further(void)
    {
        char *field = kmem_alloc(8, KM_SLEEP);
        int differs;

        memcpy(field, "abcdefgh", 8);
        differs = strcmp(field, "abx") < 0 && strncmp("abx", field, 64) > 0
            && strcasecmp(field, "ABX") < 0;
        kmem_free(field, 8);
        return differs;
    }

    int
    overlap(void)
    {
        memcpy(room + 1, room, 5 + (size_t)zero);
        return 0;
    }
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_strings_and_numbers_match_c(load: Callable[..., Code], machine: str) -> None:
    code = load(SOURCE, machine)
    for function in ("memory", "compare", "write", "search", "numbers", "division"):
        line = code.call(function)
        assert line == 0, f"{function}: line {line} of the C text"
    assert code.violations() == []


def test_64_bit_division_by_zero_traps_on_i386(load: Callable[..., Code]) -> None:
    message = load(SOURCE, "i386").panic("by_zero")
    assert message.startswith("trap: division by zero in by_zero")


def test_overlapping_memcpy_is_reported(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("overlap")
    (violation,) = code.violations()
    assert violation.startswith("memcpy-overlap: memcpy of 5 bytes between overlapping areas")
    assert f"tried.c:{line_of(SOURCE, 'memcpy(room + 1, room, 5 +')}" in violation


def test_invalid_base_panics(load: Callable[..., Code]) -> None:
    assert load(SOURCE).panic("wrong_base").startswith("strtol-base: ")


def test_comparison_ends_at_first_difference(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("no_further") == 1
    assert code.violations() == []
