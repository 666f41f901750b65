"""Quiesced snapshots: every way to begin, an abort at every moment, and the channel
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


def _backup_events(machine: Rig, since: int = 0, *, alive: bool = False) -> list[str]:
    """The events that the guest reported; keep-alive events only if ``alive``."""
    events = [
        f"{e['name']} {e['code']} {e['text']}".strip()
        for e in machine.events("backup.event", since=since)
    ]
    return [text for text in events if alive or not text.startswith("req.keepAlive")]


def _freeze(machine: Rig) -> None:
    """Enable freezing: otherwise the driver refuses a host that requires quiesced file systems."""
    assert machine.write("backup.freeze", "/") == 0


def _idle(machine: Rig, seconds: float = 60.0) -> None:
    assert machine.until(lambda: machine.host.backup.state == "idle", seconds)
    machine.run(0.5)


@pytest.mark.parametrize("how", ["start", "start with volumes", "options"])
def test_snapshot_contains_flushed_data(rig: Make, how: str) -> None:
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
    assert _backup_events(machine) == DONE
    assert machine.threads == ["vmt0"]
    machine.leave()


def test_snapshot_skips_remote_and_read_only_file_systems(rig: Make) -> None:
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


def test_unreachable_server_blocks_neither_snapshot_nor_detach(rig: Make) -> None:
    machine = rig()
    machine.mounts.mount("nfs", "/net", "server:/net", size=1 << 30, free=1 << 29)
    machine.do("write", "/net")
    machine.mounts.hang("/net")
    machine.host.backup.start()
    machine.run(1)
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.host.backup.start()
    machine.run(0.5)
    machine.leave()


def test_aborted_sync_stops_after_current_file_system(rig: Make) -> None:
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


def test_snapshot_of_unflushed_data_breaks_rule(rig: Make) -> None:
    machine = rig(before=_writes_nothing)
    invariants.watch(machine.simulation)
    machine.do("write", "/")
    machine.run(1)
    machine.host.backup.start()
    machine.run(5)
    (text,) = machine.broken
    assert text.startswith("snapshot-not-written: the guest lets the host take a quiesced snapshot")


def test_repeated_backups_succeed(rig: Make) -> None:
    machine = rig()
    for number in range(1, 6):
        machine.host.backup.start()
        assert machine.until(lambda: machine.host.backup.state != "idle")
        _idle(machine)
        assert machine.host.backup.completed == number
    machine.leave()


def test_keepalive_events_continue_until_host_is_done(rig: Make) -> None:
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


def test_channel_is_served_during_sync(rig: Make) -> None:
    """A disk that takes its time holds sync(2), but neither pings nor anything else."""
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    machine.run(30)
    assert _backup_events(machine) == ["reset 0"]
    assert len(_backup_events(machine, alive=True)) > 8
    assert machine.ask("ping") == b"OK "
    assert machine.ask("vmbackup.start 1") == BUSY
    sync.release()
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_aborted_sync_must_finish_before_next_backup(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    machine.run(5)
    machine.host.backup.abort()
    _idle(machine)
    assert _backup_events(machine)[-2:] == [ABORTED, "req.done 0"]
    assert machine.threads == ["vmt0", "vmt0sync"]
    assert machine.ask("vmbackup.start 1") == BUSY
    sync.release()
    machine.run(2)
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_timeout_during_sync_ends_backup(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    _freeze(machine)
    machine.host.backup.start(parameters=quiesce_parameters(timeout=20))
    machine.run(30)
    assert _backup_events(machine) == ["reset 0", ABORTED, "req.done 0"]
    sync.release()
    machine.run(5)
    assert _backup_events(machine) == ["reset 0", ABORTED, "req.done 0"]
    machine.leave()


@pytest.mark.parametrize("moment", ["at once", "reset 0", "sync", "commit", "waiting"])
def test_host_may_abort_at_any_time(rig: Make, moment: str) -> None:
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
    message = _backup_events(machine)
    assert message[-2:] == [ABORTED, "req.done 0"]
    assert message.count(ABORTED) == 1
    assert machine.replies("vmbackup.abort") == [b"OK "]
    machine.run(20)
    assert _backup_events(machine) == message
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_missing_snapshot_done_times_out_after_host_limit(rig: Make) -> None:
    machine = rig()
    since = machine.now
    parameters = quiesce_parameters(timeout=30, file_systems=False)
    machine.host.backup.start(parameters=parameters, snapshot=1000)
    machine.run(100)
    (ended,) = [e.at for e in machine.events("backup.event") if e["name"] == "req.aborted"]
    assert 29 * SECOND <= ended - since <= 33 * SECOND
    assert _backup_events(machine) == [*COMMITTED, ABORTED, "req.done 0"]
    machine.leave()


def test_default_timeout_is_15_minutes(rig: Make) -> None:
    machine = rig()
    since = machine.now
    machine.host.backup.start(snapshot=5000)
    machine.run(950)
    (ended,) = [e.at for e in machine.events("backup.event") if e["name"] == "req.aborted"]
    assert 899 * SECOND <= ended - since <= 903 * SECOND
    machine.leave()


@pytest.mark.parametrize("event", ["reset", "prov.snapshotCommit", "req.keepAlive", "req.done"])
@pytest.mark.parametrize("fault", ["reject", "no-reply"])
def test_refused_event_ends_backup(rig: Make, fault: str, event: str) -> None:
    machine = rig()
    skip = {"reset": 0, "prov.snapshotCommit": 1, "req.keepAlive": 2, "req.done": 2}[event]
    snapshot = 1.0 if event == "req.done" else 60.0
    machine.host.faults.arm(fault, command="vmbackup.eventSet", skip=skip, times=2)
    machine.host.backup.start(snapshot=snapshot)
    machine.run(100)
    lines = [line for line in machine.log if line.startswith('cannot send "vmbackup')]
    assert 1 <= len(lines) <= 2
    assert machine.ask("vmbackup.snapshotDone") == IDLE
    machine.host.faults.disarm()
    _idle(machine)
    machine.host.backup.start()
    machine.run(10)
    assert _backup_events(machine)[-3:] == DONE
    machine.leave()


def test_out_of_order_commands_are_refused(rig: Make) -> None:
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


def test_version_2_parameters_are_refused_by_name(rig: Make) -> None:
    machine = rig()
    reply = machine.ask(b"vmbackup.startWithOpts " + quiesce_parameters(version=2))
    assert reply == b"ERROR Incompatible quiesce parameter version"
    machine.leave()


def test_malformed_parameters_are_refused(rig: Make) -> None:
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
    longer = good[:28] + b"\0\0\0\x11" + good[32:]  # the padding is after the end
    assert machine.ask(b"vmbackup.startWithOpts " + longer) == error
    assert machine.requests("vmbackup") == []
    machine.leave()


def test_binary_parameters_accept_trailing_padding(rig: Make) -> None:
    machine = rig()
    _freeze(machine)
    machine.host.backup.start(parameters=quiesce_parameters(timeout=0x20))
    _idle(machine)
    assert machine.host.backup.completed == 1
    machine.leave()


@pytest.mark.parametrize("state", ["accepted", "frozen"])
def test_reset_does_not_abort_backup(rig: Make, state: str) -> None:
    """VmBackupReset() of open-vm-tools does nothing; the events go by another channel."""
    machine = rig()
    machine.host.backup.start(snapshot=20)
    assert machine.until(lambda: machine.host.backup.state == state)
    resets = machine.host.tclo.resets
    machine.host.lose_channel("tclo")
    assert machine.until(lambda: machine.host.tclo.resets > resets)
    _idle(machine)
    assert machine.host.backup.completed == 1
    assert _backup_events(machine) == DONE
    machine.leave()


def test_backup_forgotten_by_host_is_replaced_by_next(rig: Make) -> None:
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
    assert _backup_events(machine)[-3:] == DONE
    machine.leave()


@pytest.mark.parametrize("how", ["start", "options"])
def test_first_event_precedes_reply(rig: Make, how: str) -> None:
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
def test_refused_first_event_is_reported_as_error(rig: Make, fault: str) -> None:
    machine = rig()
    machine.host.faults.arm(fault, command="vmbackup.eventSet", times=2)
    error = b"ERROR Error initializing quiesce operation."
    assert machine.ask("vmbackup.start 1") == error
    machine.host.faults.disarm()
    machine.host.backup.start()
    machine.run(10)
    assert machine.host.backup.completed == 1
    machine.leave()


def test_host_log_states_that_nothing_is_frozen(rig: Make) -> None:
    """Until there is a freeze: "This will make open-vm-tools lie about quiescing" (its issue 7)."""
    machine = rig()
    machine.host.backup.start()
    _idle(machine)
    (line,) = machine.requests("log toolbox: quiesced snapshot")
    assert line.endswith(b"file systems are synced, not frozen")
    assert machine.log == [line.decode().partition(": ")[2]]
    machine.leave()


def test_excluded_file_systems_are_not_synced(rig: Make) -> None:
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
def test_detach_aborts_backup_with_event(rig: Make, state: str) -> None:
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


def test_detach_waits_for_running_sync(rig: Make) -> None:
    sync = SlowSync()
    machine = rig(before=sync)
    sync.held = True
    machine.host.backup.start()
    assert machine.until(lambda: "vmt0sync" in machine.threads)
    machine.run(1)
    process = machine.start("detach", "vmt0")
    machine.run(20)
    assert process.state != "gone"
    # The driver reported it to the host at once.
    assert _backup_events(machine)[-2:] == [ABORTED, "req.done 0"]
    sync.release()
    assert machine.until(lambda: process.state == "gone")
    assert process.result == 0
    assert machine.threads == []
    machine.leave()


def test_thread_creation_failure_refuses_snapshot(rig: Make) -> None:
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    injections[0].fail("kthread_create")
    machine.host.backup.start()
    machine.run(10)
    error = "req.error 3 Error when enabling the sync provider."
    assert _backup_events(machine) == ["reset 0", error, "req.done 0"]
    machine.host.backup.start()
    machine.run(10)
    assert _backup_events(machine)[-3:] == DONE
    machine.leave()


def test_refused_final_event_does_not_block_detach(rig: Make) -> None:
    machine = rig()
    machine.host.backup.start(snapshot=60)
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    machine.run(1)
    machine.host.faults.arm("reject", command="vmbackup.eventSet")
    assert machine.do("detach", "vmt0") == 0
    assert machine.log[-1] == 'cannot send "vmbackup.eventSet" to the host (86)'
    machine.leave()
