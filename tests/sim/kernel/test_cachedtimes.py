"""Variables of the kernel that its headers read without a call, and addresses as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/proc.h>

    extern volatile time_t time__uptime, time__second;
    char    *intoa(uint32_t);

    char *shown;

    int
    uptime(void)
    {
            return (int)time__uptime;
    }

    int
    second(void)
    {
            return (int)time__second;
    }

    int
    pauses(void)
    {
            return kpause("uptime", false, 250, NULL);
    }

    int
    address(void)
    {
            shown = intoa(0x0a0200c0);
            return shown[0] == '1' && shown[9] == '0';
    }
"""


def test_time_uptime_is_maintained(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    first, real = code.call("uptime"), code.call("second")
    assert first == code.kernel.clock.now // 10**9 + 1
    code.call("pauses")
    assert code.call("uptime") - first in {2, 3}
    assert code.call("second") - real in {2, 3}


def test_ipv4_address_is_printed_with_dots(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    assert code.call("address") == 1
    text = code.kernel.memory.pointer(code.address("shown"))
    assert code.kernel.memory.string(text) == "192.0.2.10"
