"""Quiesced snapshots: every way to begin, every moment to give up, and what the channel does
meanwhile."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.host.backup import quiesce_parameters
from vmtsim.kernel.api import Block
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.run import invariants

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
BUSY = b"ERROR Quiesce operation already in progress."
IDLE = b"ERROR Error: no quiesce operation in progress"
COMMITTED = ["reset 0", "prov.snapshotCommit 0"]
DONE = [*COMMITTED, "req.done 0"]
ABORTED = "req.aborted 4 Quiesce canceled."


def _said(machine: Rig, since: int = 0, *, alive: bool = False) -> list[str]:
    """The events that the guest reported; signs of life only if ``alive``."""
    events = [
        f"{e['name']} {e['code']} {e['text']}".strip()
        for e in machine.events("backup.event", since=since)
    ]
    return [text for text in events if alive or not text.startswith("req.keepAlive")]


def _freeze(machine: Rig) -> None:
    """Let the driver freeze: a host that insists on quiesced file systems is refused else."""
    assert machine.write("backup.freeze", "/") == 0


def _idle(machine: Rig, seconds: float = 60.0) -> None:
    assert machine.until(lambda: machine.host.backup.state == "idle", seconds)
    machine.run(0.5)


@pytest.mark.parametrize("how", ["start", "start with volumes", "options"])
def test_a_snapshot_is_taken_of_what_was_written_out(rig: Make, how: str) -> None:
    machine = rig()
    root = machine.mounts.find("/")
    root.dirty = True
    flushed = root.flushed
    if how == "options":
        _freeze(machine)
        machine.host.backup.start(parameters=quiesce_parameters(timeout=60, argument="a b"))
    else:
        machine.host.backup.start(manifest=0, volumes="C: D:" if "volumes" in how else "")
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    assert root.flushed > flushed
    assert not root.dirty
    assert machine.mounts.syncs == 0  # sync(2) would only start the writing
    assert machine.mounts.suspended() == (["/"] if how == "options" else [])
    _idle(machine)
    assert machine.host.backup.completed == 1
    assert _said(machine) == DONE
    assert machine.threads == ["vmt0"]
    machine.leave()


def test_remote_and_read_only_file_systems_are_left_out(rig: Make) -> None:
    machine = rig()
    mounts = machine.mounts
    mounts.mount("nfs", "/net", "server:/net", size=1 << 30, free=1 << 29)
    mounts.mount("ffs", "/cdrom", "/dev/cd0a", size=1 << 30, read_only=True)
    mounts.mount("ffs", "/home", "/dev/wd1a", size=1 << 30, free=1 << 29)
    for directory in ("/", "/net", "/home"):
        machine.do("write", directory)
    machine.run(0.1)
    machine.host.backup.start()
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    dirty = [mount.directory for mount in mounts.mounted if mount.dirty]
    assert dirty == ["/net"]
    assert mounts.find("/cdrom").flushed == 0
    _idle(machine)
    machine.leave()


def test_a_server_that_is_gone_holds_neither_snapshot_nor_detach(rig: Make) -> None:
    machine = rig()
    machine.mounts.mount("nfs", "/net", "server:/net", size=1 << 30, free=1 << 29)
    machine.do("write", "/net")
    machine.mounts.stick("/net")
    machine.host.backup.start()
    machine.run(1)
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.host.backup.start()
    machine.run(0.5)
    machine.leave()


def test_given_up_it_ends_with_the_file_system_that_it_is_at(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    machine.mounts.mount("ffs", "/home", "/dev/wd1a", size=1 << 30, free=1 << 29)
    flushed = machine.mounts.find("/home").flushed
    sync.held = True
    machine.host.backup.start()
    machine.run(5)
    machine.host.backup.abort()
    _idle(machine)
    sync.release()
    machine.run(2)
    assert machine.mounts.find("/home").flushed == flushed
    machine.leave()


def _writes_nothing(machine: Rig) -> None:
    machine.kernel.dispatch.wrap("VFS_SYNC", lambda _usual: lambda *_arguments: 0)


def test_a_snapshot_of_what_is_not_on_the_disk_breaks_a_rule(rig: Make) -> None:
    machine = rig(before=_writes_nothing)
    invariants.watch(machine.simulation)
    machine.do("write", "/")
    machine.run(1)
    machine.host.backup.start()
    machine.run(5)
    (text,) = machine.broken
    assert text.startswith("snapshot-not-written: the guest lets the host take a quiesced snapshot")


def test_it_can_be_done_again_and_again(rig: Make) -> None:
    machine = rig()
    for number in range(1, 6):
        machine.host.backup.start()
        assert machine.until(lambda: machine.host.backup.state != "idle")
        _idle(machine)
        assert machine.host.backup.completed == number
    machine.leave()


def test_signs_of_life_come_until_the_host_is_done(rig: Make) -> None:
    machine = rig()
    machine.host.backup.start(snapshot=60)
    machine.run(5)
    _idle(machine, 120)
    alive = [e.at for e in machine.events("backup.event") if e["name"] == "req.keepAlive"]
    assert len(alive) >= 20
    assert max(b - a for a, b in pairwise(alive)) <= 3 * SECOND
    assert machine.host.backup.completed == 1
    machine.leave()


class SlowSync:
    """VFS_SYNC that takes until ``release``, once ``held`` is set."""

    def __init__(self) -> None:
        self.held = False
        self._queue = WaitQueue("sync")
        self._machine: Rig | None = None

    def __call__(self, machine: Rig) -> None:
        self._machine = machine
        machine.kernel.dispatch.wrap("VFS_SYNC", self._around)

    def _around(self, usual: Callable[..., Any]) -> Callable[..., Model]:
        def sync(*arguments: int) -> Model:
            while self.held:
                yield Block(self._queue, what="biowait")
            return (yield from usual(*arguments))

        return sync

    def release(self) -> None:
        self.held = False
        assert self._machine is not None
        self._machine.kernel.scheduler.wake_all(self._queue)


def test_while_it_writes_the_channel_goes_on(rig: Make) -> None:
    """A disk that takes its time holds sync(2), but neither pings nor anything else."""
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    machine.run(30)
    assert _said(machine) == ["reset 0"]
    assert len(_said(machine, alive=True)) > 8
    assert machine.ask("ping") == b"OK "
    assert machine.ask("vmbackup.start 1") == BUSY
    sync.release()
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_one_that_was_given_up_has_to_write_to_its_end_before_the_next(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    machine.run(5)
    machine.host.backup.abort()
    _idle(machine)
    assert _said(machine)[-2:] == [ABORTED, "req.done 0"]
    assert machine.threads == ["vmt0", "vmt0sync"]
    assert machine.ask("vmbackup.start 1") == BUSY
    sync.release()
    machine.run(2)
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_a_limit_that_runs_out_while_it_writes_ends_it(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    _freeze(machine)
    machine.host.backup.start(parameters=quiesce_parameters(timeout=20))
    machine.run(30)
    assert _said(machine) == ["reset 0", ABORTED, "req.done 0"]
    sync.release()
    machine.run(5)
    assert _said(machine) == ["reset 0", ABORTED, "req.done 0"]
    machine.leave()


@pytest.mark.parametrize("moment", ["at once", "reset 0", "sync", "commit", "waiting"])
def test_the_host_may_call_it_off_at_any_moment(rig: Make, moment: str) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = moment == "sync"
    machine.host.backup.start(snapshot=60)
    if moment == "reset 0":
        assert machine.until(lambda: machine.host.backup.state == "accepted")
    elif moment == "sync":
        machine.run(8)
        assert machine.host.backup.state == "accepted"
    elif moment == "commit":
        assert machine.until(lambda: machine.host.backup.state == "frozen")
    elif moment == "waiting":
        machine.run(20)
    machine.host.backup.abort()
    if moment == "sync":
        machine.run(5)
        sync.release()
    _idle(machine)
    said = _said(machine)
    assert said[-2:] == [ABORTED, "req.done 0"]
    assert said.count(ABORTED) == 1
    assert machine.replies("vmbackup.abort") == [b"OK "]
    machine.run(20)
    assert _said(machine) == said
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_a_host_that_does_not_come_back_is_waited_for_so_long_as_it_said(rig: Make) -> None:
    machine = rig()
    since = machine.now
    parameters = quiesce_parameters(timeout=30, file_systems=False)
    machine.host.backup.start(parameters=parameters, snapshot=1000)
    machine.run(100)
    (ended,) = [e.at for e in machine.events("backup.event") if e["name"] == "req.aborted"]
    assert 29 * SECOND <= ended - since <= 33 * SECOND
    assert _said(machine) == [*COMMITTED, ABORTED, "req.done 0"]
    machine.leave()


def test_without_a_limit_of_the_host_it_is_a_quarter_of_an_hour(rig: Make) -> None:
    machine = rig()
    since = machine.now
    machine.host.backup.start(snapshot=5000)
    machine.run(950)
    (ended,) = [e.at for e in machine.events("backup.event") if e["name"] == "req.aborted"]
    assert 899 * SECOND <= ended - since <= 903 * SECOND
    machine.leave()


@pytest.mark.parametrize("event", ["reset", "prov.snapshotCommit", "req.keepAlive", "req.done"])
@pytest.mark.parametrize("fault", ["reject", "no-reply"])
def test_an_event_that_the_host_does_not_take_ends_it(rig: Make, fault: str, event: str) -> None:
    machine = rig()
    skip = {"reset": 0, "prov.snapshotCommit": 1, "req.keepAlive": 2, "req.done": 2}[event]
    snapshot = 1.0 if event == "req.done" else 60.0
    machine.host.faults.arm(fault, command="vmbackup.eventSet", skip=skip, times=2)
    machine.host.backup.start(snapshot=snapshot)
    machine.run(100)
    lines = [line for line in machine.log if line.startswith('cannot tell the host "vmbackup')]
    assert 1 <= len(lines) <= 2
    assert machine.ask("vmbackup.snapshotDone") == IDLE
    machine.host.faults.disarm()
    _idle(machine)
    machine.host.backup.start()
    machine.run(10)
    assert _said(machine)[-3:] == DONE
    machine.leave()


def test_commands_out_of_turn_are_refused(rig: Make) -> None:
    machine = rig()
    assert machine.ask("vmbackup.snapshotDone") == IDLE
    assert machine.ask("vmbackup.abort") == IDLE
    assert machine.ask("vmbackup.snapshotCompleted") == b"ERROR Unknown Command"
    machine.host.backup.start(snapshot=60)
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    assert machine.ask("vmbackup.start 1") == BUSY
    assert machine.ask(b"vmbackup.startWithOpts " + quiesce_parameters()) == BUSY
    assert machine.host.backup.state == "frozen"
    machine.host.backup.abort()
    _idle(machine)
    machine.leave()


def test_the_second_version_of_the_parameters_is_refused_by_name(rig: Make) -> None:
    machine = rig()
    reply = machine.ask(b"vmbackup.startWithOpts " + quiesce_parameters(version=2))
    assert reply == b"ERROR Incompatible quiesce parameter version"
    machine.leave()


def test_parameters_that_are_cut_off_or_nonsense_are_refused(rig: Make) -> None:
    machine = rig()
    good = quiesce_parameters(argument="abcde", timeout=5)
    error = b"ERROR Error initializing quiesce operation."
    version = b"ERROR Incompatible quiesce parameter version"
    for length in range(len(good) - 4):
        reply = machine.ask(b"vmbackup.startWithOpts " + good[:length])
        assert reply == (version if length < 4 else error), length
    absent = good[:4] + bytes(4) + good[8:]
    assert machine.ask(b"vmbackup.startWithOpts " + absent) == error
    long = good[:28] + b"\xff\xff\xff\xfe" + good[32:]
    assert machine.ask(b"vmbackup.startWithOpts " + long) == error
    longer = good[:28] + b"\0\0\0\x11" + good[32:]  # the padding is behind the end
    assert machine.ask(b"vmbackup.startWithOpts " + longer) == error
    assert machine.requests("vmbackup") == []
    machine.leave()


def test_binary_parameters_may_end_in_zeroes_and_blanks(rig: Make) -> None:
    machine = rig()
    _freeze(machine)
    machine.host.backup.start(parameters=quiesce_parameters(timeout=0x20))
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.leave()


@pytest.mark.parametrize("state", ["accepted", "frozen"])
def test_a_reset_in_the_middle_leaves_it_alone(rig: Make, state: str) -> None:
    """VmBackupReset() of open-vm-tools does nothing; the events go by another channel."""
    machine = rig()
    machine.host.backup.start(snapshot=20)
    assert machine.until(lambda: machine.host.backup.state == state)
    resets = machine.host.tclo.resets
    machine.host.lose_channel("tclo")
    assert machine.until(lambda: machine.host.tclo.resets > resets)
    _idle(machine)
    assert machine.host.backup.completed == 1
    assert _said(machine) == DONE
    machine.leave()


def test_one_that_the_host_forgot_with_a_reset_gives_way_to_the_next(rig: Make) -> None:
    machine = rig()
    machine.host.backup.start(snapshot=600)
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    resets = machine.host.tclo.resets
    machine.host.lose_channel("tclo")
    assert machine.until(lambda: machine.host.tclo.resets > resets)
    machine.host.backup.forget()
    machine.host.backup.start()
    _idle(machine)
    assert machine.host.backup.completed == 1
    assert _said(machine)[-3:] == DONE
    machine.leave()


@pytest.mark.parametrize("how", ["start", "options"])
def test_the_first_event_is_out_before_the_answer(rig: Make, how: str) -> None:
    """stateMachine.c of open-vm-tools, VmBackupStartCommon(); OpenBSD's vmt_tclo_startbackup()."""
    machine = rig()
    _freeze(machine)
    machine.host.backup.start(parameters=quiesce_parameters() if how == "options" else None)
    _idle(machine)
    (reset,) = [e for e in machine.events("backup.event") if e["name"] == "reset"]
    (answer,) = [e for e in machine.events("tclo.reply") if b"vmbackup.start" in e["message"]]
    assert reset.sequence < answer.sequence
    machine.leave()


@pytest.mark.parametrize("fault", ["reject", "no-reply"])
def test_a_host_that_does_not_take_the_first_event_hears_an_error(rig: Make, fault: str) -> None:
    machine = rig()
    machine.host.faults.arm(fault, command="vmbackup.eventSet", times=2)
    error = b"ERROR Error initializing quiesce operation."
    assert machine.ask("vmbackup.start 1") == error
    machine.host.faults.disarm()
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_the_host_reads_in_its_log_that_nothing_is_frozen(rig: Make) -> None:
    """Until there is a freeze: "This will make open-vm-tools lie about quiescing" (its issue 7)."""
    machine = rig()
    machine.host.backup.start()
    _idle(machine)
    (line,) = machine.requests("log toolbox: quiesced snapshot")
    assert line.endswith(b"file systems are synced, not frozen")
    assert machine.log == [line.decode().partition(": ")[2]]
    machine.leave()


def test_file_systems_that_are_not_to_be_quiesced_are_left_alone(rig: Make) -> None:
    machine = rig()
    machine.do("write", "/")
    machine.run(0.1)
    flushed = machine.mounts.find("/").flushed
    machine.host.backup.start(parameters=quiesce_parameters(file_systems=False))
    _idle(machine)
    assert machine.host.backup.completed == 1
    assert machine.mounts.find("/").flushed == flushed
    assert machine.requests("log toolbox: quiesced") == []
    machine.leave()


@pytest.mark.parametrize("state", ["started", "accepted", "frozen", "thawing"])
def test_a_detach_gives_it_up_and_says_so(rig: Make, state: str) -> None:
    machine = rig()
    process = machine.when("backup", "detach", "vmt0", state=state)
    machine.host.backup.start()
    assert machine.until(lambda: bool(process) and process[0].state == "gone", 30)
    assert process[0].result == 0
    if state != "thawing":
        machine.run(30)
    assert machine.host.backup.state in {"idle", "started", "thawing"}
    assert machine.threads == []
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    machine.leave()


def test_a_detach_waits_for_what_is_being_written(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    assert machine.until(lambda: "vmt0sync" in machine.threads)
    machine.run(1)
    process = machine.start("detach", "vmt0")
    machine.run(20)
    assert process.state != "gone"
    # The host was told at once.
    assert _said(machine)[-2:] == [ABORTED, "req.done 0"]
    sync.release()
    assert machine.until(lambda: process.state == "gone")
    assert process.result == 0
    assert machine.threads == []
    machine.leave()


def test_without_a_thread_for_it_there_is_no_snapshot(rig: Make) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    injections[0].fail("kthread_create")
    machine.host.backup.start()
    machine.run(10)
    error = "req.error 3 Error when enabling the sync provider."
    assert _said(machine) == ["reset 0", error, "req.done 0"]
    machine.host.backup.start()
    machine.run(10)
    assert _said(machine)[-3:] == DONE
    machine.leave()


def test_last_words_that_the_host_refuses_do_not_hold_a_detach(rig: Make) -> None:
    machine = rig()
    machine.host.backup.start(snapshot=60)
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    machine.run(1)
    machine.host.faults.arm("reject", command="vmbackup.eventSet")
    assert machine.do("detach", "vmt0") == 0
    assert machine.log[-1] == 'cannot tell the host "vmbackup.eventSet" (86)'
    machine.leave()
