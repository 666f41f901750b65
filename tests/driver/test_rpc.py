"""machdep.vmt0.rpc: one system call writes a command, another one reads its reply.

Lengths and errors of sysctl(2): NetBSD sys/kern/kern_sysctl.c (sys___sysctl).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.dataclass import replace
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
# Bytes of a message either way (open-vm-tools lib/include/guest_msg_def.h), and the manual's
# limits: commands at a time, and seconds that each is kept.
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
    """Request a reply; return the text after the number."""
    reply = _ask(machine, number, LARGEST + 64)
    assert (reply.error, reply.length) == (0, len(reply.data))
    about, _, text = reply.data.partition(b" ")
    assert about == number
    return text


def _start(machine: Rig, command: bytes = GET) -> Lwp:
    """Start a process that sends a command and waits for the reply."""
    return machine.guest.start("sysctl", machine.guest.rpc(command))


def _slow(machine: Rig, ticks: int) -> None:
    """Let the next reply take this many ticks."""
    machine.host.faults.arm("slow-reply", times=ticks, protocol="rpci")


def _stuck(machine: Rig) -> None:
    """Block the worker while it checks the file systems."""
    machine.mounts.hang("/")
    machine.run(120)


def _free(machine: Rig) -> None:
    machine.mounts.hang("/", stuck=False)
    machine.run(2)


# One command.


def test_command_returns_number_that_collects_reply(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    assert number.isdigit()
    machine.run(0.1)
    assert _collect(machine, number) == b"ok 1 1234567\0"
    assert _asked(machine) == 1
    machine.leave()


def test_reply_is_collected_once(rig: Make) -> None:
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
def test_maximum_size_command_reaches_host_whole(rig: Make, size: int, end: bytes) -> None:
    """Requests may end with a NUL or not."""
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
def test_command_with_nul_or_too_long_is_refused(rig: Make, command: bytes) -> None:
    machine = rig()
    count = len(machine.requests())
    assert machine.call("rpc.request", new=command).error == EINVAL
    machine.run(1)
    assert len(machine.requests()) == count
    machine.leave()


@pytest.mark.parametrize("size", [0, 1, 16384, LARGEST - 2])
def test_reply_of_any_valid_length_is_returned(rig: Make, size: int) -> None:
    machine = rig()
    _given(machine, b"v" * size)
    assert machine.rpc(GET).data == b"1 " + b"v" * size + b"\0"
    machine.leave()


def test_oversized_reply_is_an_error(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * (LARGEST - 1))
    number = _send(machine)
    machine.run(1)
    assert _collect(machine, number) == b"error %d\0" % EMSGSIZE
    machine.leave()


def test_reply_with_nul_is_marked_and_complete(rig: Make) -> None:
    """sysctl(8) would print the part before the NUL (display_string)."""
    machine = rig()
    value = bytes(range(256))
    _given(machine, value)
    number = _send(machine)
    machine.run(0.1)
    assert _collect(machine, number) == b"binary 1 " + value + b"\0"
    machine.leave()


def test_refusal_by_host_is_returned_as_reply(rig: Make) -> None:
    machine = rig()
    assert machine.rpc(b"frobnicate now").text == "0 Unknown command"
    assert machine.rpc(b"info-get guestinfo.none").text == "0 No value found"
    machine.leave()


def test_unreachable_host_returns_errno(rig: Make) -> None:
    machine = rig()
    machine.host.faults.arm("no-reply", times=2)
    number = _send(machine)
    machine.run(1)
    assert _collect(machine, number) == b"error %d\0" % EIO
    assert _collect(machine, number) == b"unknown\0"
    machine.leave()


def test_command_wakes_sleeping_worker(rig: Make) -> None:
    machine = rig()
    _given(machine)
    machine.run(10)
    since = machine.now
    _send(machine)
    assert machine.until(lambda: _asked(machine) == 1)
    assert machine.now - since < SECOND // 50
    machine.leave()


@pytest.mark.parametrize("number", [b"0", b"1", b"2147483647"])
def test_unknown_number_is_refused(rig: Make, number: bytes) -> None:
    machine = rig()
    assert _ask(machine, number).data == number + b" unknown\0"
    machine.leave()


@pytest.mark.parametrize(
    ("name", "error"),
    [("rpc.reply.1.1", EINVAL), ("rpc.request.1", EINVAL), ("rpc.reply.x", ENOENT),
     ("rpc.reply.-1", ENOENT), ("rpc.1", ENOENT)],
)  # fmt: skip
def test_invalid_number_is_refused(rig: Make, name: str, error: int) -> None:
    machine = rig()
    assert machine.call(name).error == error
    machine.leave()


def test_number_above_int_max_is_unknown(rig: Make) -> None:
    """sysctl(8) hands 4294967295 over as -1 (sysctlgetmibinfo)."""
    machine = rig()
    assert _ask(machine, b"4294967295").data == b"-1 unknown\0"
    machine.leave()


# Buffers.


def test_short_buffer_keeps_reply_for_retry(rig: Make) -> None:
    machine = rig()
    _given(machine)
    number = _send(machine)
    machine.run(0.1)
    whole = number + b" ok 1 1234567\0"
    for room in (1, len(whole) - 1):
        reply = _ask(machine, number, room)
        assert (reply.error, reply.length) == (ENOMEM, len(whole))
        assert reply.data == b"\xa5" * room  # as it was
    reply = _ask(machine, number, None)  # requests the length
    assert (reply.error, reply.length) == (0, len(whole))
    reply = _ask(machine, number, len(whole))
    assert (reply.error, reply.data) == (0, whole)
    machine.leave()


def test_command_without_room_for_number_is_not_sent(rig: Make) -> None:
    machine = rig()
    _given(machine)
    assert machine.call("rpc.request", old=1, new=GET).error == ENOMEM
    machine.run(1)
    assert _asked(machine) == 0
    # A caller without a buffer does not request the number.
    assert machine.call("rpc.request", old=None, new=GET).error == 0
    machine.run(1)
    assert _asked(machine) == 1
    machine.leave()


@pytest.mark.parametrize("function", ["sysctl_copyin", "sysctl_copyout"])
def test_invalid_command_buffer_gives_efault(rig: Make, function: str) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    injections[0].fail(function)
    assert machine.call("rpc.request", new=GET).error == EFAULT
    machine.run(1)
    assert _asked(machine) == 0
    assert machine.rpc(GET).data == b"1 1234567\0"
    machine.leave()


def test_failed_copyout_of_reply_gives_efault_without_leak(rig: Make) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    _given(machine)
    number = _send(machine)
    machine.run(1)
    injections[0].fail("sysctl_copyout")
    assert _ask(machine, number).error == EFAULT
    machine.leave()


def test_command_is_not_sent_without_memory(rig: Make) -> None:
    machine = rig()
    machine.run(100)
    machine.kmem.refuse = lambda _size: True
    big = b"log " + b"x" * 3000
    assert machine.rpc(big).error == ENOMEM
    machine.kmem.refuse = lambda _size: False
    assert machine.rpc(big).error == 0
    machine.leave()


def test_reply_without_memory_is_an_error(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * 30000)
    machine.kmem.refuse = lambda size: size > 4096
    number = _send(machine)
    machine.run(1)
    machine.kmem.refuse = lambda _size: False
    assert _collect(machine, number).startswith(b"error ")
    machine.leave()


# Permissions, and plain reads.


def test_unprivileged_user_cannot_use_rpc_nodes(rig: Make) -> None:
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
def test_plain_read_gives_empty_string(rig: Make, name: str) -> None:
    machine = rig()
    for room in (1, 4096):
        reply = machine.call(name, old=room)
        assert (reply.error, reply.data) == (0, b"\0")
    reply = machine.call(name, old=None)
    assert (reply.error, reply.length) == (0, 1)
    machine.leave()


def test_reply_node_is_read_only(rig: Make) -> None:
    machine = rig()
    for name in ("rpc.reply", "rpc.reply.1"):
        assert machine.call(name, new=b"1\0").error == EPERM
    machine.leave()


def test_sysctl_a_collects_no_reply(rig: Make) -> None:
    machine = rig()
    _given(machine)
    numbers = [_send(machine), _send(machine)]
    machine.do("look")
    machine.run(0.5)
    machine.do("look")
    assert [_collect(machine, number) for number in numbers] == [b"ok 1 1234567\0"] * 2
    machine.leave()


@pytest.mark.parametrize("name", ["rpc", "rpc.request.x"])
def test_other_nodes_cannot_send_commands(rig: Make, name: str) -> None:
    machine = rig()
    assert machine.call(name, new=GET).error != 0
    machine.run(1)
    assert _asked(machine) == 0
    machine.leave()


# Other processes do not wait for the host.


def test_other_sysctls_do_not_wait_for_slow_host(rig: Make) -> None:
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


def test_other_sysctls_do_not_wait_for_blocked_worker(rig: Make) -> None:
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


# Concurrent callers.


def test_concurrent_callers_get_their_own_replies(rig: Make) -> None:
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


def test_many_concurrent_processes_complete(rig: Make) -> None:
    machine = rig()
    for n in range(PENDING):
        machine.host.guestinfo.variables[f"v{n}"] = b"value %d" % n
    callers = [_start(machine, b"info-get guestinfo.v%d" % n) for n in range(PENDING)]
    assert machine.until(lambda: all(each.state == "gone" for each in callers))
    assert [each.result.data for each in callers] == [b"1 value %d\0" % n for n in range(PENDING)]
    machine.leave()


def test_rule_detects_reply_given_to_wrong_caller(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests the rule that campaigns check."""
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


# Uncollected replies.


def test_uncollected_reply_is_dropped_and_counted(rig: Make) -> None:
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


def test_expired_command_is_never_sent(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    numbers = [_send(machine) for _ in range(PENDING)]
    machine.run(LIFETIME + 1)
    # The worker is blocked, so the next caller drops them.
    assert _collect(machine, numbers[0]) == b"unknown\0"
    assert machine.stats("abandoned") == PENDING
    late = _send(machine)
    _free(machine)
    assert _asked(machine) == 1
    assert _collect(machine, late) == b"ok 1 1234567\0"
    machine.leave()


def test_command_expired_at_host_is_dropped_afterwards(rig: Make) -> None:
    machine = rig()
    _given(machine)
    # A report that is due when the worker continues would be sent before the command.
    assert machine.write("info.memory_period", 0) == 0
    _stuck(machine)
    number = _send(machine)
    machine.run(LIFETIME - 0.05)
    _slow(machine, 9)
    machine.mounts.hang("/", stuck=False)
    assert machine.until(lambda: _asked(machine) == 1)
    machine.run(0.06)
    assert _collect(machine, number) == b"pending\0"
    machine.run(1)
    assert _collect(machine, number) == b"unknown\0"
    assert machine.stats("abandoned") == 1
    machine.leave()


# Detach.


def test_detach_drops_unsent_commands(rig: Make) -> None:
    machine = rig()
    _given(machine)
    _stuck(machine)
    number = _send(machine)
    process = machine.start("detach", "vmt0")
    machine.run(0.2)
    # The nodes are already removed; the worker still runs.
    assert _ask(machine, number).error == ENOENT
    machine.mounts.hang("/", stuck=False)
    assert machine.until(lambda: process.state == "gone")
    assert process.result == 0
    assert _asked(machine) == 0
    machine.leave()


def test_detach_frees_uncollected_replies(rig: Make) -> None:
    machine = rig()
    _given(machine, b"v" * 30000)
    for _ in range(PENDING):
        _send(machine)
    machine.run(1)
    assert machine.do("detach", "vmt0") == 0
    machine.leave()


def test_detach_during_command_waits_only_for_host(rig: Make) -> None:
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


def test_number_from_detached_driver_is_unknown_to_next(rig: Make) -> None:
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


def test_callers_during_attach_and_detach_get_errno(rig: Make) -> None:
    machine = rig()
    _given(machine)
    seen: set[int] = set()
    for turn in range(12):
        callers = [_start(machine) for _ in range(3)]
        machine.kernel.run(lambda: False, machine.now + turn * 2_000_000)
        process = machine.start("detach", "vmt0")
        callers += [_start(machine) for _ in range(2)]
        processes = [*callers, process]
        assert machine.until(lambda processes=processes: all(p.state == "gone" for p in processes))
        assert machine.do("rescan", "cpu0") == 0
        for caller in callers:
            assert isinstance(caller.result, Reply)
            seen.add(caller.result.error)
            if not caller.result.error:
                assert caller.result.data == b"1 1234567\0"
    assert 0 in seen
    assert seen <= {0, ENOENT, ENXIO, ETIMEDOUT}
    machine.leave()


def test_handler_of_detaching_driver_reports_errno(rig: Make) -> None:
    """A process that waits for the lock of the tree while the driver detaches."""
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
