"""machdep.vmt0.rpc: a command goes in by one system call, its reply comes out by another.

What sysctl(2) does with lengths and errors: NetBSD sys/kern/kern_sysctl.c (sys___sysctl).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.sysctl import Reply, Sysctl

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.lwp import Lwp

    from .rig import Rig

    Make = Callable[..., Rig]

EPERM, ENOENT, EIO, ENXIO, ENOMEM, EFAULT, EBUSY, EINVAL, EMSGSIZE, ETIMEDOUT = (
    1, 2, 5, 6, 12, 14, 16, 22, 40, 60,
)  # fmt: skip
# Bytes of a message either way (open-vm-tools lib/include/guest_msg_def.h), and what the manual
# says: commands at a time, and seconds that each is kept.
LARGEST = 65536
PENDING = 8
LIFETIME = 60
SECOND = 1_000_000_000
GET = b"info-get guestinfo.a"


def _given(machine: Rig, value: bytes = b"1234567") -> None:
    machine.host.guestinfo.variables["a"] = value


def _asked(machine: Rig) -> int:
    return len(machine.requests("info-get guestinfo.a"))


def _send(machine: Rig, command: bytes = GET) -> bytes:
    """Write a command; returns its number."""
    reply = machine.call("rpc.request", new=command + b"\0")
    assert reply.error == 0
    assert reply.data.endswith(b"\0")
    return reply.data[:-1]


def _ask(machine: Rig, number: bytes, room: int | None = 4096) -> Reply:
    return machine.call(f"rpc.reply.{number.decode()}", old=room)


def _collect(machine: Rig, number: bytes) -> bytes:
    """Ask for a reply; returns what follows the number."""
    reply = _ask(machine, number, LARGEST + 64)
    assert (reply.error, reply.length) == (0, len(reply.data))
    about, _, text = reply.data.partition(b" ")
    assert about == number
    return text


def _start(machine: Rig, command: bytes = GET) -> Lwp:
    """Start a process that sends a command and waits for the reply."""
    return machine.guest.start("sysctl", machine.guest.rpc(command))


def _slow(machine: Rig, ticks: int) -> None:
    """Let the next reply take so many ticks."""
    machine.host.faults.arm("slow-reply", times=ticks, protocol="rpci")


def _stuck(machine: Rig) -> None:
    """Hold the worker, in its look at the file systems."""
    machine.mounts.stick("/")
    machine.run(120)


def _free(machine: Rig) -> None:
    machine.mounts.stick("/", stuck=False)
    machine.run(2)


# One command.


def test_a_command_gets_a_number_and_the_number_a_reply(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    assert number.isdigit()
    machine.run(0.1)
    assert _collect(machine, number) == b"ok 1 1234567\0"
    assert _asked(machine) == 1
    machine.leave()


def test_a_reply_is_collected_once(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    machine.run(0.1)
    assert _collect(machine, number) == b"ok 1 1234567\0"
    assert _collect(machine, number) == b"unknown\0"
    assert machine.stats("abandoned") == 0
    machine.leave()


@pytest.mark.parametrize("end", [b"", b"\0"])
@pytest.mark.parametrize("size", [1, 4096, 4097, LARGEST - 1, LARGEST])
def test_commands_that_fit_reach_the_host_whole(rig: Make, size: int, end: bytes) -> None:
    """With a NUL behind them or without."""
    machine = rig()
    text = (b"log " + b"x" * LARGEST)[:size]
    assert machine.call("rpc.request", new=text + end).error == 0
    machine.run(0.5)
    assert machine.requests()[-1] == text
    for rule in machine.broken:
        assert rule.startswith("rpci-space")  # "l" is no command


@pytest.mark.parametrize(
    "command",
    [
        b"", b"\0", b"\0\0", b"\0log x\0", b"log a\0b", b"log a\0b\0", b"log a\0\0",
        b"x" * (LARGEST + 1), b"x" * (LARGEST + 1) + b"\0", b"x" * (LARGEST + 1000),
    ],
)  # fmt: skip
def test_a_command_with_a_nul_or_too_long_is_refused_and_not_cut(rig: Make, command: bytes) -> None:
    machine = rig()
    said = len(machine.requests())
    assert machine.call("rpc.request", new=command).error == EINVAL
    machine.run(1)
    assert len(machine.requests()) == said
    machine.leave()


@pytest.mark.parametrize("size", [0, 1, 16384, LARGEST - 2])
def test_a_reply_of_any_length_that_the_protocol_has_comes_through(rig: Make, size: int) -> None:
    machine = rig()
    _given(machine, b"v" * size)
    assert machine.rpc(GET).data == b"1 " + b"v" * size + b"\0"
    machine.leave()


def test_a_longer_reply_is_an_error_and_no_part_of_one(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * (LARGEST - 1))
    number = _send(machine)
    machine.run(1)
    assert _collect(machine, number) == b"error %d\0" % EMSGSIZE
    machine.leave()


def test_a_reply_with_a_nul_is_marked_and_whole(rig: Make) -> None:
    """sysctl(8) would print the part before the NUL (display_string)."""
    machine = rig()
    value = bytes(range(256))
    _given(machine, value)
    number = _send(machine)
    machine.run(0.1)
    assert _collect(machine, number) == b"binary 1 " + value + b"\0"
    machine.leave()


def test_what_the_host_refuses_is_a_reply_like_any_other(rig: Make) -> None:
    machine = rig()
    assert machine.rpc(b"frobnicate now").text == "0 Unknown command"
    assert machine.rpc(b"info-get guestinfo.none").text == "0 No value found"
    machine.leave()


def test_a_host_that_is_not_reached_is_an_error_with_its_number(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("no-reply", times=2)
    number = _send(machine)
    machine.run(1)
    assert _collect(machine, number) == b"error %d\0" % EIO
    assert _collect(machine, number) == b"unknown\0"
    machine.leave()


def test_a_command_goes_out_at_once_though_the_worker_sleeps(rig: Make) -> None:
    machine = rig()
    _given(machine)
    machine.run(10)
    since = machine.now
    _send(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    assert machine.now - since < SECOND // 50
    machine.leave()


@pytest.mark.parametrize("number", [b"0", b"1", b"2147483647"])
def test_a_number_that_was_not_given_is_unknown(rig: Make, number: bytes) -> None:
    machine = rig()
    assert _ask(machine, number).data == number + b" unknown\0"
    machine.leave()


@pytest.mark.parametrize(
    ("name", "error"),
    [("rpc.reply.1.1", EINVAL), ("rpc.request.1", EINVAL), ("rpc.reply.x", ENOENT),
     ("rpc.reply.-1", ENOENT), ("rpc.1", ENOENT)],
)  # fmt: skip
def test_what_is_no_number_of_a_command_is_refused(rig: Make, name: str, error: int) -> None:
    machine = rig()
    assert machine.call(name).error == error
    machine.leave()


def test_a_number_that_is_negative_for_sysctl_is_unknown(rig: Make) -> None:
    """sysctl(8) hands 4294967295 over as -1 (sysctlgetmibinfo)."""
    machine = rig()
    assert _ask(machine, b"4294967295").data == b"-1 unknown\0"
    machine.leave()


# Buffers.


def test_a_buffer_that_is_too_small_gets_nothing_and_the_reply_stays(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    machine.run(0.1)
    whole = number + b" ok 1 1234567\0"
    for room in (1, len(whole) - 1):
        reply = _ask(machine, number, room)
        assert (reply.error, reply.length) == (ENOMEM, len(whole))
        assert reply.data == b"\xa5" * room  # as it was
    reply = _ask(machine, number, None)  # asks for the length
    assert (reply.error, reply.length) == (0, len(whole))
    reply = _ask(machine, number, len(whole))
    assert (reply.error, reply.data) == (0, whole)
    machine.leave()


def test_without_room_for_the_number_the_command_is_not_sent(rig: Make) -> None:
    machine = rig()
    _given(machine)
    assert machine.call("rpc.request", old=1, new=GET).error == ENOMEM
    machine.run(1)
    assert _asked(machine) == 0
    # Who passes no buffer does not ask for the number.
    assert machine.call("rpc.request", old=None, new=GET).error == 0
    machine.run(1)
    assert _asked(machine) == 1
    machine.leave()


@pytest.mark.parametrize("function", ["sysctl_copyin", "sysctl_copyout"])
def test_a_buffer_that_is_not_there_is_efault_and_sends_nothing(rig: Make, function: str) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    injections[0].fail(function)
    assert machine.call("rpc.request", new=GET).error == EFAULT
    machine.run(1)
    assert _asked(machine) == 0
    assert machine.rpc(GET).data == b"1 1234567\0"
    machine.leave()


def test_a_reply_that_cannot_be_copied_out_is_efault_and_leaks_nothing(rig: Make) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    number = _send(machine)
    machine.run(1)
    injections[0].fail("sysctl_copyout")
    assert _ask(machine, number).error == EFAULT
    machine.leave()


def test_without_memory_the_command_is_not_sent(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    machine.kmem.refuse = lambda _size: True
    big = b"log " + b"x" * 3000
    assert machine.rpc(big).error == ENOMEM
    machine.kmem.refuse = lambda _size: False
    assert machine.rpc(big).error == 0
    machine.leave()


def test_without_memory_for_the_reply_there_is_an_error(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * 30000)
    machine.kmem.refuse = lambda size: size > 4096
    number = _send(machine)
    machine.run(1)
    machine.kmem.refuse = lambda _size: False
    assert _collect(machine, number).startswith(b"error ")
    machine.leave()


# Rights, and who only looks.


def test_a_user_may_neither_send_nor_collect_nor_read(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    machine.run(0.1)
    for name in ("rpc.request", "rpc.reply", f"rpc.reply.{number.decode()}"):
        for room in (4096, None):
            for new in (GET, None):
                assert machine.call(name, old=room, new=new, uid=1000).error == EPERM
    assert _asked(machine) == 1
    assert _collect(machine, number) == b"ok 1 1234567\0"
    machine.leave()


@pytest.mark.parametrize("name", ["rpc.request", "rpc.reply"])
def test_a_plain_read_gives_an_empty_string(rig: Make, name: str) -> None:
    machine = rig()
    for room in (1, 4096):
        reply = machine.call(name, old=room)
        assert (reply.error, reply.data) == (0, b"\0")
    reply = machine.call(name, old=None)
    assert (reply.error, reply.length) == (0, 1)
    machine.leave()


def test_a_reply_is_read_and_not_written(rig: Make) -> None:
    machine = rig()
    for name in ("rpc.reply", "rpc.reply.1"):
        assert machine.call(name, new=b"1\0").error == EPERM
    machine.leave()


def test_sysctl_a_collects_nothing(rig: Make) -> None:
    machine = rig()
    _given(machine)
    numbers = [_send(machine), _send(machine)]
    machine.do("look")
    machine.run(0.5)
    machine.do("look")
    assert [_collect(machine, number) for number in numbers] == [b"ok 1 1234567\0"] * 2
    machine.leave()


@pytest.mark.parametrize("name", ["rpc", "rpc.request.x"])
def test_above_and_below_the_nodes_there_is_nothing_to_send_by(rig: Make, name: str) -> None:
    machine = rig()
    assert machine.call(name, new=GET).error != 0
    machine.run(1)
    assert _asked(machine) == 0
    machine.leave()


# Nobody waits for the host.


def test_no_other_sysctl_waits_for_a_slow_host(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _slow(machine, 8)
    number = _send(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    since = machine.now
    machine.read("clock_sync.period")
    assert _collect(machine, number) == b"pending\0"
    assert machine.now - since < SECOND // 1000
    machine.run(1)
    assert _collect(machine, number) == b"ok 1 1234567\0"
    machine.leave()


def test_no_other_sysctl_waits_for_a_worker_that_is_held_up(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    since = machine.now
    number = _send(machine)
    machine.read("clock_sync.period")
    assert _collect(machine, number) == b"pending\0"
    assert machine.now - since < SECOND // 1000
    _free(machine)
    assert _collect(machine, number) == b"ok 1 1234567\0"
    machine.leave()


# Several at a time.


def test_each_of_many_callers_gets_the_reply_to_its_own_command(rig: Make) -> None:
    machine = rig()
    for n in range(PENDING):
        machine.host.guestinfo.variables[f"v{n}"] = b"value %d" % n
    _stuck(machine)
    numbers = [_send(machine, b"info-get guestinfo.v%d" % n) for n in range(PENDING)]
    assert len(set(numbers)) == PENDING
    assert machine.call("rpc.request", new=GET).error == EBUSY
    _free(machine)
    for n in reversed(range(PENDING)):
        assert _collect(machine, numbers[n]) == b"ok 1 value %d\0" % n
    assert machine.requests("info-get guestinfo.v") == [
        b"info-get guestinfo.v%d" % n for n in range(PENDING)
    ]
    machine.leave()


def test_many_processes_at_once_all_come_to_their_end(rig: Make) -> None:
    machine = rig()
    for n in range(PENDING):
        machine.host.guestinfo.variables[f"v{n}"] = b"value %d" % n
    callers = [_start(machine, b"info-get guestinfo.v%d" % n) for n in range(PENDING)]
    assert machine.until(lambda: all(each.state == "gone" for each in callers))
    assert [each.result.data for each in callers] == [b"1 value %d\0" % n for n in range(PENDING)]
    machine.leave()


def test_a_reply_to_the_command_of_another_would_be_seen(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rule that campaigns hold the driver to."""
    machine = rig()
    call = Sysctl.call

    def swapped(self: Sysctl, path: str, **how: Any) -> Model:
        reply = yield from call(self, path, **how)
        if ".rpc.reply." in path:
            reply = replace(reply, data=b"4" + reply.data)
        return reply

    monkeypatch.setattr(Sysctl, "call", swapped)
    machine.rpc(b"log hello")
    assert any(rule.startswith("reply-of-another: ") for rule in machine.broken)


# What nobody collects.


def test_a_reply_that_nobody_collects_is_dropped_and_counted(rig: Make) -> None:
    machine = rig()
    _given(machine)
    numbers = [_send(machine) for _ in range(PENDING)]
    machine.run(LIFETIME - 1)
    assert machine.stats("abandoned") == 0
    assert _collect(machine, numbers[0]) == b"ok 1 1234567\0"
    machine.run(2)
    assert machine.stats("abandoned") == PENDING - 1
    assert _collect(machine, numbers[1]) == b"unknown\0"
    assert machine.rpc(GET).data == b"1 1234567\0"
    machine.leave()


def test_a_command_that_was_not_sent_in_time_never_is(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    numbers = [_send(machine) for _ in range(PENDING)]
    machine.run(LIFETIME + 1)
    # The worker cannot, so whoever comes does it.
    assert _collect(machine, numbers[0]) == b"unknown\0"
    assert machine.stats("abandoned") == PENDING
    late = _send(machine)
    _free(machine)
    assert _asked(machine) == 1
    assert _collect(machine, late) == b"ok 1 1234567\0"
    machine.leave()


def test_one_whose_time_ends_while_the_host_has_it_is_dropped_after(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    number = _send(machine)
    machine.run(LIFETIME - 0.05)
    _slow(machine, 9)
    machine.mounts.stick("/", stuck=False)
    assert machine.until(lambda: _asked(machine) == 1)
    machine.run(0.06)
    assert _collect(machine, number) == b"pending\0"
    machine.run(1)
    assert _collect(machine, number) == b"unknown\0"
    assert machine.stats("abandoned") == 1
    machine.leave()


# Detach.


def test_a_detach_drops_what_is_not_sent(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    number = _send(machine)
    process = machine.start("detach", "vmt0")
    machine.run(0.2)
    # The nodes are gone already, though the worker is not.
    assert _ask(machine, number).error == ENOENT
    machine.mounts.stick("/", stuck=False)
    assert machine.until(lambda: process.state == "gone")
    assert process.result == 0
    assert _asked(machine) == 0
    machine.leave()


def test_a_detach_with_replies_that_nobody_collected_leaks_nothing(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * 30000)
    for _ in range(PENDING):
        _send(machine)
    machine.run(1)
    assert machine.do("detach", "vmt0") == 0
    machine.leave()


def test_a_detach_in_the_middle_of_a_command_waits_for_the_host_alone(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _slow(machine, 8)
    caller = _start(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    process = machine.start("detach", "vmt0")
    assert machine.until(lambda: caller.state == process.state == "gone")
    assert caller.result.error in {ENOENT, ENXIO}
    assert process.result == 0
    machine.leave()


def test_a_number_of_the_driver_that_was_detached_is_unknown_to_the_next(rig: Make) -> None:
    machine = rig()
    _given(machine)
    old = [_send(machine) for _ in range(3)]
    assert machine.do("detach", "vmt0") == 0
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    new = [_send(machine) for _ in range(3)]
    assert not set(old) & set(new)
    machine.run(1)
    assert [_collect(machine, number) for number in old] == [b"unknown\0"] * 3
    machine.leave()


def test_callers_while_the_driver_comes_and_goes_get_an_errno_and_no_rubbish(rig: Make) -> None:
    machine = rig()
    _given(machine)
    seen: set[int] = set()
    for turn in range(12):
        callers = [_start(machine) for _ in range(3)]
        machine.kernel.run(lambda: False, machine.now + turn * 2_000_000)
        process = machine.start("detach", "vmt0")
        callers += [_start(machine) for _ in range(2)]
        everybody = [*callers, process]
        assert machine.until(lambda everybody=everybody: all(p.state == "gone" for p in everybody))
        assert machine.do("rescan", "cpu0") == 0
        for caller in callers:
            assert isinstance(caller.result, Reply)
            seen.add(caller.result.error)
            if not caller.result.error:
                assert caller.result.data == b"1 1234567\0"
    assert 0 in seen
    assert seen <= {0, ENOENT, ENXIO, ETIMEDOUT}
    machine.leave()


def test_a_handler_that_meets_a_dying_driver_says_so(rig: Make) -> None:
    """A process that waits for the lock of the tree while the driver goes down."""
    machine = rig()
    sysctl = machine.kernel.subject(Sysctl)
    errors = set()
    for late in range(0, 60_000, 3_000):
        process = machine.start("detach", "vmt0")
        machine.kernel.run(lambda: False, machine.now + late)
        caller = machine.guest.start("sysctl", sysctl.call("machdep.vmt0.rpc.reply.1"))
        both = (process, caller)
        assert machine.until(lambda both=both: all(each.state == "gone" for each in both))
        errors.add(caller.result.error)
        assert machine.do("rescan", "cpu0") == 0
    assert errors <= {0, ENOENT, ENXIO}
    assert ENOENT in errors
    machine.leave()
