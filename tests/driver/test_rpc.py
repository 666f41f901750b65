"""machdep.vmt0.rpc: one command and its reply in one system call.

The table of what such a node gives back was observed on NetBSD 10.99.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.sysctl import Reply, Sysctl

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.scheduler import Lwp

    from .rig import Rig

    Make = Callable[..., Rig]

EPERM, ENOENT, EINTR, EIO, ENXIO, ENOMEM, EFAULT, EBUSY, EINVAL, EWOULDBLOCK = (
    1, 2, 4, 5, 6, 12, 14, 16, 22, 35,
)  # fmt: skip
REPLY_MAX = 16384
REQUEST_MAX = 4096
SECOND = 1_000_000_000
GET = b"info-get guestinfo.a\0"


def _given(machine: Rig, value: bytes = b"1234567") -> None:
    """With the '1 ' before it and the NUL behind it, the reply has len(value) + 3 bytes."""
    machine.host.guestinfo.variables["a"] = value


def _asked(machine: Rig) -> int:
    return len(machine.requests("info-get guestinfo.a"))


def _start(machine: Rig, new: bytes = GET, uid: int = 0) -> Lwp:
    call = machine.kernel.subject(Sysctl).call("machdep.vmt0.rpc", new=new)
    return machine.guest.start("sysctl", call, uid=uid)


def _slow(machine: Rig, ticks: int) -> None:
    """Let the next reply take so many ticks."""
    machine.host.faults.arm("slow-reply", times=ticks, protocol="rpci")


def test_a_command_is_sent_and_its_reply_comes_back_with_its_nul(rig: Make) -> None:
    machine = rig()
    _given(machine)
    reply = machine.call("rpc", new=GET)
    assert (reply.error, reply.data, reply.length) == (0, b"1 1234567\0", 10)
    machine.leave()


@pytest.mark.parametrize("room", [10, 9, 5, 1])
def test_a_buffer_that_is_too_small_gets_what_fits_but_the_command_was_sent(
    rig: Make, room: int
) -> None:
    machine = rig()
    _given(machine)
    reply = machine.call("rpc", old=room, new=GET)
    assert reply.error == (0 if room == 10 else ENOMEM)
    assert reply.length == 10
    assert reply.data == b"1 1234567\0"[:room]
    assert _asked(machine) == 1
    machine.leave()


@pytest.mark.parametrize("old", [0, None])
def test_without_a_buffer_the_command_is_sent_all_the_same(rig: Make, old: int | None) -> None:
    machine = rig()
    _given(machine)
    reply = machine.call("rpc", old=old, new=GET)
    assert (reply.error, reply.length) == (0, 10)
    assert _asked(machine) == 1
    machine.leave()


def test_the_size_is_told_to_who_only_asks_for_it(rig: Make) -> None:
    machine = rig()
    reply = machine.call("rpc", old=None)
    assert (reply.error, reply.length) == (0, REPLY_MAX)
    machine.leave()


@pytest.mark.parametrize("room", [1, 4096])
def test_a_plain_read_gives_an_empty_string(rig: Make, room: int) -> None:
    machine = rig()
    said = len(machine.requests())
    reply = machine.call("rpc", old=room)
    assert (reply.error, reply.data) == (0, b"\0")
    assert len(machine.requests()) == said
    machine.leave()


@pytest.mark.parametrize("size", [0, REQUEST_MAX + 1, REQUEST_MAX + 1000])
def test_commands_that_do_not_fit_are_refused(rig: Make, size: int) -> None:
    machine = rig()
    said = len(machine.requests())
    assert machine.call("rpc", new=b"x" * size).error == EINVAL
    assert machine.call("rpc", new=b"\0" * min(size, 5)).error == EINVAL
    assert len(machine.requests()) == said
    machine.leave()


@pytest.mark.parametrize("size", [1, 2, 4095, 4096])
def test_commands_that_fit_reach_the_host_whole(rig: Make, size: int) -> None:
    machine = rig()
    # With its NUL or without: the command is the text.
    for end in (b"", b"\0"):
        text = (b"log " + b"x" * REQUEST_MAX)[: size - len(end)]
        if not text:
            continue
        assert machine.call("rpc", new=text + end).error == 0
        assert machine.requests()[-1] == text
    for rule in machine.broken:
        assert rule.startswith("rpci-space")  # "l" and "lo" are no commands


def test_a_user_may_neither_send_nor_read(rig: Make) -> None:
    machine = rig()
    _given(machine)
    for old, new in ((4096, GET), (4096, None), (None, None), (None, GET)):
        assert machine.call("rpc", old=old, new=new, uid=1000).error == EPERM
    assert _asked(machine) == 0
    assert machine.call("rpc", new=GET).error == 0
    machine.leave()


def test_what_the_host_refuses_is_a_reply_like_any_other(rig: Make) -> None:
    machine = rig()
    assert machine.call("rpc", new=b"frobnicate now\0").text == "0 Unknown command"
    assert machine.call("rpc", new=b"info-get guestinfo.none\0").text == "0 No value found"
    machine.leave()


def test_two_callers_are_served_one_after_the_other(rig: Make) -> None:
    machine = rig()
    _given(machine)
    callers = [_start(machine) for _ in range(5)]
    assert machine.until(lambda: all(each.state == "gone" for each in callers))
    assert [each.result.data for each in callers] == [b"1 1234567\0"] * 5
    machine.leave()


def test_a_command_goes_out_at_once_though_the_worker_sleeps(rig: Make) -> None:
    machine = rig()
    _given(machine)
    machine.run(10)
    since = machine.now
    machine.call("rpc", new=GET)
    assert machine.now - since < SECOND // 50
    machine.leave()


def test_a_reply_that_takes_too_long_is_not_waited_for(rig: Make) -> None:
    """The tree's lock is held meanwhile: a second and a half, then the caller goes."""
    machine = rig()
    _given(machine)
    machine.host.faults.arm("no-reply", times=0)
    machine.mounts.stick("/")  # holds the worker, in its look at the file systems
    machine.run(120)
    since = machine.now
    reply = machine.call("rpc", new=GET)
    assert reply.error == EWOULDBLOCK
    assert 1.4 * SECOND <= machine.now - since <= 1.7 * SECOND
    # Not begun: nobody will notice, and it is never sent.
    assert machine.call("rpc", new=GET).error == EWOULDBLOCK
    machine.mounts.stick("/", stuck=False)
    machine.run(2)
    assert _asked(machine) == 0
    assert machine.call("rpc", new=GET).data == b"1 1234567\0"
    machine.leave()


def test_one_that_was_begun_is_cleared_by_the_worker_itself(rig: Make) -> None:
    """The caller is interrupted while the host still works; the next one finds it busy, then
    free."""
    machine = rig()
    _given(machine)
    _slow(machine, 8)
    caller = _start(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    machine.run(0.02)
    machine.kernel.scheduler.interrupt(caller)
    assert machine.until(lambda: caller.state == "gone")
    assert caller.result.error == EINTR
    assert machine.call("rpc", new=GET).error == EBUSY
    machine.run(1)
    assert machine.call("rpc", new=GET).data == b"1 1234567\0"
    machine.leave()


def test_one_that_was_not_begun_is_taken_back_by_a_signal(rig: Make) -> None:
    machine = rig()
    _given(machine)
    machine.mounts.stick("/")
    machine.run(120)
    caller = _start(machine)
    machine.run(0.1)
    machine.kernel.scheduler.interrupt(caller)
    assert machine.until(lambda: caller.state == "gone")
    assert caller.result.error == EINTR
    machine.mounts.stick("/", stuck=False)
    machine.run(5)
    assert _asked(machine) == 0
    machine.leave()


def test_a_command_that_was_begun_is_never_restarted(rig: Make) -> None:
    """ERESTART would make the system call, and with it the command, happen twice."""
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    injections[0].fail("cv_timedwait_sig", result=-3)
    assert machine.call("rpc", new=GET).error in {0, EINTR}
    machine.run(1)
    assert _asked(machine) <= 1
    machine.leave()


def test_a_detach_sends_waiting_callers_away_at_once(rig: Make) -> None:
    machine = rig()
    _given(machine)
    machine.mounts.stick("/")
    machine.run(120)
    caller = _start(machine)
    machine.run(0.2)
    since = machine.now
    process = machine.start("detach", "vmt0")
    assert machine.until(lambda: caller.state == "gone")
    assert caller.result.error == ENXIO
    assert machine.now - since < SECOND // 10
    machine.mounts.stick("/", stuck=False)
    assert machine.until(lambda: process.state == "gone")
    assert process.result == 0
    assert _asked(machine) == 0
    assert machine.call("rpc", new=GET).error == ENOENT
    machine.leave()


def test_a_detach_in_the_middle_of_a_command_gives_enxio_too(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _slow(machine, 8)
    caller = _start(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    process = machine.start("detach", "vmt0")
    assert machine.until(lambda: caller.state == process.state == "gone")
    assert caller.result.error == ENXIO
    assert process.result == 0
    machine.leave()


def test_callers_while_the_driver_comes_and_goes_get_an_errno_and_no_rubbish(rig: Make) -> None:
    machine = rig()
    _given(machine)
    seen: set[int] = set()
    for turn in range(12):
        callers = [_start(machine) for _ in range(3)]
        machine.kernel.run(lambda: False, machine.now + turn * 40_000)
        process = machine.start("detach", "vmt0")
        callers += [_start(machine) for _ in range(2)]
        everybody = [*callers, process]
        assert machine.until(lambda everybody=everybody: all(p.state == "gone" for p in everybody))
        for caller in callers:
            assert isinstance(caller.result, Reply)
            seen.add(caller.result.error)
            if not caller.result.error:
                assert caller.result.data == b"1 1234567\0"
        assert machine.do("rescan", "cpu0") == 0
    assert 0 in seen
    assert seen <= {0, ENOENT, ENXIO, EBUSY}
    machine.leave()


@pytest.mark.parametrize("size", [REPLY_MAX - 3, REPLY_MAX - 2, 40000])
def test_replies_beyond_the_bound_are_an_error_and_no_part_of_one(rig: Make, size: int) -> None:
    machine = rig()
    _given(machine, b"v" * size)
    reply = machine.call("rpc", old=65536, new=GET)
    if size + 2 < REPLY_MAX:
        assert (reply.error, len(reply.data)) == (0, size + 3)
    else:
        assert reply.error == 40  # EMSGSIZE
    machine.leave()


def test_binary_replies_come_through(rig: Make) -> None:
    machine = rig()
    value = bytes(range(256))
    _given(machine, value)
    assert machine.call("rpc", new=GET).data == b"1 " + value + b"\0"
    machine.leave()


@pytest.mark.parametrize("function", ["sysctl_copyin", "sysctl_copyout"])
def test_a_buffer_that_is_not_there_is_efault_and_leaks_nothing(rig: Make, function: str) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    for new in (GET, None):
        if new is None and function == "sysctl_copyin":
            continue
        injections[0].fail(function)
        assert machine.call("rpc", new=new).error == EFAULT
    assert _asked(machine) == (1 if function == "sysctl_copyout" else 0)
    machine.leave()


def test_without_memory_the_command_is_not_sent(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    machine.kmem.refuse = lambda _size: True
    big = b"log " + b"x" * 3000
    assert machine.call("rpc", new=big).error == ENOMEM
    machine.kmem.refuse = lambda _size: False
    assert machine.call("rpc", new=big).error == 0
    machine.leave()


def test_a_name_below_the_node_is_no_node(rig: Make) -> None:
    machine = rig()
    assert machine.call("rpc.x", new=GET).error == ENOENT
    machine.leave()
