"""Kernel services return the same results as the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.api import Block, Call
from vmtsim.kernel.errors import Halted
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.sysctl import Reply, Sysctl
from vmtsim.kernel.sysmon import SysmonPower
from vmtsim.kernel.timekeeping import TimeKeeping

from .modkit import MACHINES, Machine, built

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model

EPERM, ENOENT, ENOMEM, EINVAL = 1, 2, 12, 22
SECOND = 1_000_000_000
POWER, SLEEP, LID, RESET, AC = range(5)
PRESSED, RELEASED = 0, 1

FORMATS = (
    "-42|   42|42   |00042|+42| 42|beef|0XBEEF|10|010|4000000000|c|text|te|  abc|abc  |%"
    "|   7|abc|-5|5|-6000000000|123456789abc|-7|4|-3|fe|0x1234|005|(null)|-9"
)


def _machine(machine: str = "amd64") -> Machine:
    made = Machine(built("services", machine), machine)
    assert made.do("load") == 0
    return made


def _result(machine: Machine) -> str:
    return machine.kernel.memory.string(machine.address("result"))


def _sysctl(machine: Machine, name: str, *, uid: int = 0, **how: object) -> Reply:
    call = machine.kernel.subject(Sysctl).call(f"machdep.services0.{name}", **how)  # type: ignore[arg-type]
    reply = machine.guest.wait("sysctl", call, uid=uid)
    assert isinstance(reply, Reply)
    return reply


def _int(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


@pytest.mark.parametrize("machine", MACHINES)
def test_printf_supports_every_kernel_format(machine: str) -> None:
    made = _machine(machine)
    length = made.call("formats")
    assert _result(made) == FORMATS
    assert length == len(FORMATS)


@pytest.mark.parametrize(("size", "text"), [(0, "x" * 32), (1, ""), (4, "012"), (20, "0123456789")])
def test_strlcpy_terminates_and_returns_source_length(size: int, text: str) -> None:
    machine = _machine()
    assert machine.call("copies", size) == 10
    assert _result(machine)[: max(len(text), 1)] == (text or "")


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_and_comparisons_of_libkern(machine: str) -> None:
    assert _machine(machine).call("copies_negative") == 0x1F + 12 + 0o17 + 0 + 1


@pytest.mark.parametrize("machine", MACHINES)
def test_kernel_identifies_itself(machine: str) -> None:
    made = _machine(machine)
    made.call("identity")
    arch = {"amd64": "x86_64", "i386": "i386", "aarch64": "aarch64"}[machine]
    uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert _result(made) == f"NetBSD 11.0 {arch} guest.example 100 {uuid}"


# modload's options


def test_init_without_options_gets_no_dictionary() -> None:
    assert _result(_machine()) == "0 -1 none 0"


def test_init_gets_modload_options() -> None:
    machine = Machine(built("services"))
    options = {"force": True, "big": -(1 << 40), "text": "hello"}
    load = machine.kernel.subject(Modules).load(machine.module, properties=options)
    assert machine.guest.wait("modload", load) == 0
    assert _result(machine) == "1 -1099511627776 hello 1"


# sysctl


@pytest.mark.parametrize("machine", MACHINES)
def test_nodes_of_all_types_are_read(machine: str) -> None:
    made = _machine(machine)
    values = {
        name: made.guest.wait("sysctl", made.guest.read(f"machdep.services0.{name}"))
        for name in ("any", "fixed", "name", "flag", "counter", "constant", "nothing")
    }
    assert values == {
        "any": 7, "fixed": 7, "name": "name", "flag": 0, "counter": 1 << 40, "constant": 99,
        "nothing": None,
    }  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_handler_checks_written_value(machine: str) -> None:
    made = _machine(machine)
    reply = _sysctl(made, "any", new=_int(11))
    assert (reply.error, reply.number) == (0, 7)
    assert _sysctl(made, "any").number == 11
    assert _sysctl(made, "any", new=_int(-1)).error == EINVAL
    assert _sysctl(made, "any", new=b"\1").error == EINVAL
    assert _sysctl(made, "any", new=_int(5), uid=1000).error == EPERM
    assert _sysctl(made, "any", uid=1000).number == 11
    assert made.broken() == []


def test_read_only_node_cannot_be_written() -> None:
    assert _sysctl(_machine(), "fixed", new=_int(1)).error == EPERM


def test_bool_is_zero_or_one() -> None:
    machine = _machine()
    assert _sysctl(machine, "flag", new=b"\2").error == EINVAL
    assert _sysctl(machine, "flag", new=b"\1").error == 0
    assert _sysctl(machine, "flag").data == b"\1"


def test_string_is_bounded_by_node_size() -> None:
    machine = _machine()
    assert _sysctl(machine, "name", new=b"x" * 31 + b"\0").error == 0
    assert _sysctl(machine, "name").text == "x" * 31
    assert _sysctl(machine, "name", new=b"x" * 32 + b"\0").error == EINVAL


def test_short_old_buffer_is_enomem_but_write_happened() -> None:
    machine = _machine()
    reply = _sysctl(machine, "name", old=2, new=b"other\0")
    assert (reply.error, reply.length) == (ENOMEM, 5)
    assert _sysctl(machine, "name").text == "other"


@pytest.mark.parametrize(
    ("how", "error", "length", "data"),
    [
        ({"old": 4096, "new": b"abc\0"}, 0, 4, b"ABC\0"),
        ({"old": 4, "new": b"abc\0"}, 0, 4, b"ABC\0"),
        ({"old": 3, "new": b"abc\0"}, ENOMEM, 4, b"ABC"),
        ({"old": None, "new": b"abc\0"}, 0, 4, b""),
        ({"old": None}, 0, 4096, b""),
        ({"old": 4096, "new": b"x" * 40}, EINVAL, 4096, None),
    ],
)
def test_request_node_answers_in_same_call(
    how: dict[str, object], error: int, length: int, data: bytes | None
) -> None:
    machine = _machine()
    reply = _sysctl(machine, "request", **how)
    assert (reply.error, reply.length) == (error, length)
    if data is not None:
        assert reply.data == data


def test_request_node_requires_root() -> None:
    machine = _machine()
    assert _sysctl(machine, "request", new=b"abc\0", uid=1000).error == EPERM
    assert _sysctl(machine, "request", uid=1000).error == EPERM


def test_private_node_hides_its_subtree() -> None:
    machine = _machine()
    sysctl = machine.kernel.subject(Sysctl)
    read = sysctl.call("machdep.private1.inside")
    assert machine.guest.wait("sysctl", read, uid=1000).error == EPERM
    read = sysctl.call("machdep.private1.inside")
    assert machine.guest.wait("sysctl", read).number == 7


def test_slow_handler_blocks_whole_tree() -> None:
    machine = _machine()
    machine.call("slow_for", 1)
    slow = machine.guest.start("slow", machine.kernel.subject(Sysctl).call(
        "machdep.services0.slow", new=b"go\0"))  # fmt: skip
    machine.kernel.run_for(10_000_000)
    before = machine.kernel.clock.now
    assert _sysctl(machine, "fixed").number == 7
    assert machine.kernel.clock.now - before > 900_000_000
    assert slow.state == "gone"
    assert "sysctl-handler-blocks" not in machine.broken()
    assert "sysctl-handler-sleeps" in machine.broken()


def test_handler_releasing_lock_blocks_nothing() -> None:
    """As sysctl_doeproc() and others do (NetBSD sys/kern/kern_proc.c, init_sysctl.c)."""
    machine = _machine()
    machine.call("slow_for", 8)
    polite = machine.guest.start("polite", machine.kernel.subject(Sysctl).call(
        "machdep.services0.polite"))  # fmt: skip
    machine.kernel.run_for(10_000_000)
    before = machine.kernel.clock.now
    assert _sysctl(machine, "fixed").number == 7
    assert machine.kernel.clock.now - before < 10_000_000
    machine.kernel.run_for(9_000_000_000)
    assert polite.state == "gone"
    assert machine.broken() == []


def test_long_blocking_handler_is_reported() -> None:
    machine = _machine()
    machine.call("slow_for", 8)
    _sysctl(machine, "slow", new=b"go\0")
    assert "sysctl-handler-blocks" in machine.broken()


def test_nodes_are_removed_with_module() -> None:
    machine = _machine()
    assert machine.do("unload", "services") == 0
    assert _sysctl(machine, "any").error == ENOENT
    assert machine.broken() == []


# clocks


@pytest.mark.parametrize("machine", MACHINES)
def test_step_moves_real_time_not_uptime(machine: str) -> None:
    made = _machine(machine)
    time = made.kernel.subject(TimeKeeping)
    before, up = time.realtime(), time.uptime()
    assert made.call("steps_clock", 1000) == 0
    assert 1000 * SECOND <= time.realtime() - before < 1001 * SECOND
    assert time.uptime() - up < SECOND
    assert made.call("steps_clock", -500) == 0
    assert 500 * SECOND <= time.realtime() - before < 501 * SECOND


def test_implausible_time_is_refused() -> None:
    machine = _machine()
    assert machine.call("sets_far", 2000) == 0
    assert machine.call("sets_far", -1) == EINVAL
    assert machine.call("sets_far", 2200) == EINVAL


def test_securelevel_prevents_stepping_back_if_kauth_is_consulted() -> None:
    machine = _machine()
    kernel = machine.kernel
    for level, answer in ((-1, 0), (1, 0), (2, EPERM)):
        kernel.memory.put_u32(kernel.symbols["securelevel"], level)
        assert machine.call("sets_clock", 100) == 0
        assert machine.call("sets_clock", -50) == answer
    # Actions of the kernel itself need no authorization.
    before = kernel.subject(TimeKeeping).realtime()
    assert machine.call("steps_clock", -50) == 0
    assert kernel.subject(TimeKeeping).realtime() < before


def test_setting_time_requires_root() -> None:
    machine = _machine()
    address = machine.address("sets_clock")

    def main() -> Model:
        return (yield Call(address, (100,)))

    assert machine.guest.wait("date", main(), uid=1000) == EPERM
    assert machine.guest.wait("date", main()) == 0


@pytest.mark.parametrize(
    ("correction", "after", "moved_us"),
    [(2_000, 1, 500), (2_000, 2, 1_000), (2_000, 10, 2_000), (-2_000, 3, -1_500)],
)
def test_small_corrections_slew_at_500_us_per_second(
    correction: int, after: int, moved_us: int
) -> None:
    machine = _machine()
    seconds, micro = divmod(correction, 1_000_000)
    time = machine.kernel.subject(TimeKeeping)
    assert machine.call("slews_clock", seconds, micro) == 0
    # A slew begins at the turn of a second (kern_ntptime.c, ntp_update_second).
    machine.kernel.run_for(SECOND - time.realtime() % SECOND)
    before, up = time.realtime(), time.uptime()
    machine.kernel.run_for(after * SECOND)
    moved = (time.realtime() - before) - (time.uptime() - up)
    assert moved == pytest.approx(moved_us * 1000, abs=1000)


def test_large_corrections_slew_at_5_ms_per_second() -> None:
    machine = _machine()
    machine.call("slews_clock", 2, 0)
    machine.kernel.run_for(10 * SECOND)
    assert machine.call("slews_clock", 0, 0) == pytest.approx(1_950_000, abs=20)


def test_remaining_slew_is_returned() -> None:
    machine = _machine()
    machine.call("slews_clock", 0, 2000)
    assert machine.call("slews_clock", 0, 0) == pytest.approx(2000, abs=1)


def test_ratecheck_limits_events_per_second() -> None:
    machine = _machine()
    machine.kernel.run_for(SECOND)
    assert machine.call("rate", 10) == 3
    assert machine.call("rate", 10) == 0
    machine.kernel.run_for(SECOND)
    assert machine.call("rate", 2) == 2


# power switches


def test_daemon_gets_event_with_four_words() -> None:
    machine = _machine()
    machine.guest.set_powerd(on=True)
    machine.call("press", POWER, PRESSED)
    machine.call("press", SLEEP, RELEASED)
    machine.kernel.run_for(SECOND)
    assert machine.kernel.subject(SysmonPower).events == [
        {
            "driver-name": "services0",
            "power-type": "pswitch",
            "powerd-event-name": "pressed",
            "powerd-script-name": "power_button",
        },
        {
            "driver-name": "services0",
            "power-type": "pswitch",
            "powerd-event-name": "released",
            "powerd-script-name": "sleep_button",
        },
    ]


@pytest.mark.parametrize(
    ("switch", "how", "words"),
    [
        (POWER, "power off", "services0: power button pressed, shutting down!"),
        (RESET, "reboot", "services0: reset button pressed, rebooting!"),
    ],
)
def test_without_daemon_kernel_acts_itself(switch: int, how: str, words: str) -> None:
    machine = _machine()
    with pytest.raises(Halted) as caught:
        machine.call("press", switch, PRESSED)
    assert caught.value.how == how
    assert machine.console[-2:] == [words, "syncing disks... done"]


def test_without_daemon_sleep_button_is_only_logged() -> None:
    machine = _machine()
    machine.call("press", SLEEP, PRESSED)
    assert machine.console[-1] == "services0: sleep button pressed."
    machine.call("press", SLEEP, RELEASED)
    assert machine.console[-1] == "services0: sleep button pressed."


def test_full_queue_falls_back_to_kernel() -> None:
    machine = _machine()
    assert machine.kernel.subject(SysmonPower).open() == 0
    for _ in range(32):
        machine.call("press", SLEEP, RELEASED)
    with pytest.raises(Halted):
        machine.call("press", POWER, PRESSED)


def test_dead_daemon_loses_its_events() -> None:
    machine = _machine()
    power = machine.kernel.subject(SysmonPower)
    power.open()
    machine.call("press", SLEEP, RELEASED)
    power.close()
    assert machine.console[-1] == "WARNING: 1 power event lost by exiting daemon"


def test_next_daemon_gets_unread_events() -> None:
    """The count is reset, the list of dictionaries is not: an old shutdown comes again."""
    machine = _machine()
    power = machine.kernel.subject(SysmonPower)
    power.open()
    machine.call("press", POWER, PRESSED)
    power.close()
    power.open()
    assert not power.waiting
    machine.call("press", SLEEP, RELEASED)
    assert power.take()["powerd-script-name"] == "power_button"
    assert not power.waiting


def test_event_without_memory_is_lost_silently() -> None:
    machine = _machine()
    power = machine.kernel.subject(SysmonPower)
    power.open()
    machine.kernel.subject(Kmem).refuse = lambda _size: True
    before = machine.console
    machine.call("press", POWER, PRESSED)
    assert not power.waiting
    assert machine.console == before


def test_kernel_messages_for_lid_and_ac_adapter() -> None:
    machine = _machine()
    for switch, event in ((LID, PRESSED), (LID, RELEASED), (AC, PRESSED), (AC, RELEASED)):
        machine.call("press", switch, event)
    assert machine.console[-4:] == [
        "services0: lid closed.",
        "services0: lid opened.",
        "services0: AC adapter online.",
        "services0: AC adapter offline.",
    ]
    power = machine.kernel.subject(SysmonPower)
    power.open()
    for _ in range(33):
        machine.call("press", LID, PRESSED)
    assert machine.console[-2:] == [
        "sysmon_power_daemon_task: WARNING: state change event 0 lost; queue full",
        "services0: lid closed.",
    ]


# going down


def test_shutdown_waits_for_suspended_file_system() -> None:
    machine = _machine()
    mounts = machine.kernel.subject(Mounts)
    root = mounts.find("/")

    def freeze() -> Model:
        yield from mounts.suspend(root)
        yield Block(deadline=machine.kernel.clock.now + 60 * SECOND, what="frozen")
        mounts.resume(root)

    machine.kernel.spawn("freeze", "kthread", freeze())
    down = machine.guest.start("shutdown", machine.guest.shutdown())
    machine.kernel.run_for(30 * SECOND)
    assert down.what == "fstchg"
    with pytest.raises(Halted):
        machine.kernel.run_for(60 * SECOND)
    assert mounts.mounted == []
    assert machine.kernel.clock.now > 60 * SECOND


def test_shutdown_wakes_interruptible_sleepers_with_0() -> None:
    machine = _machine()

    def sleep() -> Model:
        return (yield Block(WaitQueue("forever"), what="forever", signal=True))

    sleeper = machine.guest.start("sleep", sleep())
    machine.kernel.run_for(SECOND)
    with pytest.raises(Halted):
        machine.guest.wait("shutdown", machine.guest.shutdown())
    assert (sleeper.state, sleeper.result) == ("gone", True)
