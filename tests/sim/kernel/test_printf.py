"""The kernel's printf handles odd formats as sys/kern/subr_prf.c does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Unmodelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = r"""
    #include <sys/param.h>
    #include <sys/device.h>
    #include <sys/systm.h>

    void    aprint_naive(const char *, ...);
    void    aprint_debug(const char *, ...);

    char text[64];
    const char *volatile formats[] = {
        "%hhx", "%hhd", "100%", "%5y|", "%-5%|", "%05s|", "%03c|", "%l", "%5%|",
    };

    int
    number(int which, int value)
    {
            return snprintf(text, sizeof(text), formats[which], value);
    }

    int
    string(int which)
    {
            return snprintf(text, sizeof(text), formats[which], "ab");
    }

    int
    wide(void)
    {
            return snprintf(text, sizeof(text), "%*d", 0x7fffffff, 1);
    }

    int
    unseen(void)
    {
            aprint_naive("%s", (const char *)8);
            aprint_debug("%s", (const char *)8);
            return 0;
    }
"""


@pytest.mark.parametrize(
    ("which", "value", "shown"),
    [
        (0, -1, "ffff"),
        (1, 300, "300"),
        (2, 0, "100"),
        (3, 0, "    y|"),
        (4, 0, "%    |"),
        (6, ord("c"), "00c|"),
        (7, 0, ""),
        (8, 0, "    %|"),
    ],
)
def test_odd_formats_are_printed_as_by_kernel(
    load: Callable[..., Code], which: int, value: int, shown: str
) -> None:
    code = load(SOURCE)
    assert code.call("number", which, value) == len(shown)
    assert code.text("text") == shown


def test_zero_flag_pads_strings(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("string", 5) == 6
    assert code.text("text") == "000ab|"


def test_excessive_width_is_refused_by_name(load: Callable[..., Code]) -> None:
    with pytest.raises(Unmodelled, match="a width of 2147483647"):
        load(SOURCE).call("wide")


def test_unprinted_arguments_are_not_read(load: Callable[..., Code]) -> None:
    assert load(SOURCE).call("unseen") == 0
