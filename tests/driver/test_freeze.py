"""Quiesced snapshots that suspend a file system: the rules during it, and its end in every case.

vfs_trans.c, vfs_mount.c and kern_reboot.c of NetBSD are modelled: writers sleep, a reboot waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.host.backup import quiesce_parameters
from vmtsim.kernel.errors import Halted
from vmtsim.run import invariants

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
BACKUP = "backup"
ABORTED = "req.aborted 4 Quiesce canceled."
NOT_FROZEN = "req.error 3 Error when enabling the sync provider."
SCRIPT_FAILED = "req.error 2 Custom quiesce script failed."
REFUSED = b"ERROR Error initializing quiesce operation."
DONE = ["reset 0", "prov.snapshotCommit 0", "req.done 0"]
LIMIT = 30.0  # OpenBSD's vmt(4); specs/vmt/tclo.yaml


def _set(machine: Rig, **values: Any) -> None:
    for name, value in values.items():
        assert machine.write(f"{BACKUP}.{name}", value) == 0


@pytest.fixture
def freezing(rig: Make) -> Make:
    """A machine whose driver freezes the root; ``values`` are the other nodes of backup."""

    def make(values: dict[str, Any] | None = None, **options: Any) -> Rig:
        machine = rig(**options)
        invariants.watch(machine.simulation)
        _set(machine, **{"freeze": "/", **(values or {})})
        return machine

    return make


def _backup_events(machine: Rig) -> list[str]:
    return [
        f"{e['name']} {e['code']} {e['text']}".strip()
        for e in machine.events("backup.event")
        if e["name"] != "req.keepAlive"
    ]


def _held(machine: Rig) -> bool:
    return machine.mounts.suspended() != []


def _frozen(machine: Rig) -> None:
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    assert machine.mounts.suspended() == ["/"]


def _scripts(machine: Rig) -> list[str]:
    return [
        {"pressed": "freeze", "released": "thaw"}[event]
        for script, event in machine.powerd
        if script == "hotkey_button"
    ]


def _answer(machine: Rig, *, good: bool = True) -> int:
    """Report as powerd's script does after the administrator's scripts."""
    number = int(machine.read(f"{BACKUP}.event").split()[0])
    return machine.write(f"{BACKUP}.done", number if good else -number)


def _over(machine: Rig) -> None:
    """Require that nothing is suspended and that the next backup works."""
    assert machine.until(lambda: not _held(machine), 10)
    assert machine.until(lambda: machine.host.backup.state == "idle", 120)
    machine.run(1)
    assert machine.broken == []
    completed = machine.host.backup.completed
    _set(machine, freeze="/", scripts=0)
    machine.host.backup.start(snapshot=1)
    machine.run(10)
    assert machine.host.backup.completed == completed + 1
    machine.leave()


@pytest.mark.parametrize("how", ["start", "options"])
def test_root_is_suspended_during_snapshot(freezing: Make, how: str) -> None:
    machine = freezing()
    machine.do("write", "/")
    machine.host.backup.start(
        parameters=quiesce_parameters() if how == "options" else None, snapshot=20
    )
    _frozen(machine)
    assert not machine.mounts.find("/").dirty
    writer = machine.start("write", "/")
    machine.run(10)
    assert (writer.state, writer.what) == ("asleep", "fstchg")
    assert not machine.mounts.find("/").dirty
    assert machine.until(lambda: writer.state == "gone", 20)
    assert machine.until(lambda: machine.host.backup.state == "idle")
    machine.run(1)
    assert _backup_events(machine) == DONE
    assert machine.threads == ["vmt0"]
    (line,) = machine.requests("log toolbox: quiesced snapshot")
    assert line.endswith(b"a file system will be frozen")
    _over(machine)


def test_named_mount_points_are_suspended(freezing: Make) -> None:
    machine = freezing({"freeze": "/home"})
    machine.mounts.mount("ffs", "/home", "/dev/wd1a", size=1 << 30, free=1 << 29)
    machine.do("write", "/")
    machine.host.backup.start()
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    assert machine.mounts.suspended() == ["/home"]
    assert not machine.mounts.find("/").dirty
    _over(machine)


@pytest.mark.parametrize("where", ["/nowhere", "/tmp/x", "/union"])
def test_unsupported_suspension_reports_code_3(freezing: Make, where: str) -> None:
    machine = freezing({"freeze": where})
    machine.mounts.mount("unionfs", "/union", "/some/where")
    machine.host.backup.start()
    machine.run(10)
    assert _backup_events(machine) == ["reset 0", NOT_FROZEN, "req.done 0"]
    error = 45 if where == "/union" else 2  # EOPNOTSUPP, ENOENT
    assert machine.log[-1] == f"quiesced snapshot: cannot freeze {where} ({error})"
    _over(machine)


def test_unwritable_disk_reports_code_3(freezing: Make) -> None:
    machine = freezing()
    machine.mounts.fail("/", 5)
    machine.host.backup.start()
    machine.run(10)
    assert _backup_events(machine) == ["reset 0", NOT_FROZEN, "req.done 0"]
    machine.mounts.fail("/", 0)
    _over(machine)


@pytest.mark.parametrize(
    ("parameters", "freeze", "reply"),
    [
        ({"file_systems": True}, "", REFUSED),
        ({"file_systems": True}, "/", b"OK "),
        ({"file_systems": True, "applications": True}, "/", b"OK "),
        ({"file_systems": False, "applications": True}, "/", REFUSED),
        ({"file_systems": False}, "", b"OK "),
    ],
)
def test_required_quiescing_freezes_or_fails(
    freezing: Make, parameters: dict[str, bool], freeze: str, reply: bytes
) -> None:
    """VmBackupStartCommon() of open-vm-tools with forceQuiesce."""
    machine = freezing({"freeze": freeze})
    machine.host.backup.start(parameters=quiesce_parameters(**parameters))
    machine.run(10)
    replies = [e["reply"] for e in machine.events("tclo.reply") if b"startWithOpts" in e["message"]]
    assert replies == [reply]
    assert _backup_events(machine) == (DONE if reply == b"OK " else [])
    machine.leave()


# -- every way to the end ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "end", ["abort", "lost channel", "reset", "refused event", "forgotten", "halt"]
)
def test_suspended_file_system_is_resumed_at_once(freezing: Make, end: str) -> None:
    machine = freezing(powerd=True)
    machine.host.backup.start(snapshot=600)
    _frozen(machine)
    machine.run(2)
    if end == "abort":
        machine.host.backup.abort()
    elif end == "lost channel":
        machine.host.lose_channel("tclo")
    elif end == "reset":
        machine.host.send("reset")
    elif end == "refused event":
        machine.host.faults.arm("reject", command="vmbackup.eventSet", times=1)
    elif end == "forgotten":
        machine.host.backup.forget()
    else:
        machine.host.send("OS_Halt")
    assert machine.until(lambda: not _held(machine), 4)
    machine.run(1)
    if end == "refused event":
        machine.host.backup.forget()
    _over(machine)


def test_freeze_limit_expires_without_snapshot_done(freezing: Make) -> None:
    machine = freezing()
    machine.host.backup.start(snapshot=600)
    _frozen(machine)
    since = machine.now
    assert machine.until(lambda: not _held(machine), LIMIT + 1)
    assert machine.now - since >= (LIMIT - 2) * SECOND
    machine.run(2)
    assert _backup_events(machine)[-2:] == [ABORTED, "req.done 0"]
    assert machine.log[-1] == "quiesced snapshot: given up, because the host took too long"
    _over(machine)


def test_timeout_requested_by_host_limits_freeze(freezing: Make) -> None:
    machine = freezing()
    machine.host.backup.start(parameters=quiesce_parameters(timeout=6), snapshot=600)
    _frozen(machine)
    assert machine.until(lambda: not _held(machine), 7)
    machine.run(2)
    assert _backup_events(machine)[-2:] == [ABORTED, "req.done 0"]
    _over(machine)


@pytest.mark.parametrize("snapshot", [LIMIT - 2, *(LIMIT - n / 8 for n in range(-2, 9))])
def test_snapshot_finished_after_resume_is_reported_as_error(
    freezing: Make, snapshot: float
) -> None:
    """The message may wait for the worker while the thread resumes at its own deadline."""
    machine = freezing()
    machine.host.backup.start(snapshot=snapshot)
    _frozen(machine)
    assert machine.until(lambda: machine.host.backup.state == "idle", 60)
    resumed = machine.events("vfs.resume")[-1].at
    done = [e.at for e in machine.events("backup") if e["state"] == "thawing"]
    good = ABORTED not in _backup_events(machine)
    assert not good or done[0] <= resumed
    assert good or snapshot > LIMIT - 2
    _over(machine)


def test_detach_resumes_and_reattach_works(freezing: Make) -> None:
    machine = freezing()
    machine.host.backup.start(snapshot=600)
    _frozen(machine)
    process = machine.start("detach", "vmt0")
    assert machine.until(lambda: process.state == "gone", 5)
    assert not _held(machine)
    assert _backup_events(machine)[-2:] == [ABORTED, "req.done 0"]
    assert machine.threads == []
    # While vmtoolsd(8) uses the channel there is no driver to freeze.
    machine.host.backup.forget()
    machine.host.backup.start()
    machine.run(40)
    assert not _held(machine)
    machine.host.backup.forget()
    assert machine.do("rescan", "cpu0") == 0
    machine.settle()
    _over(machine)


def test_without_thread_nothing_is_suspended(freezing: Make) -> None:
    injections: list[Injection] = []
    machine = freezing(before=lambda rig: injections.append(Injection(rig.kernel)))
    injections[0].fail("kthread_create")
    machine.host.backup.start()
    machine.run(5)
    assert _backup_events(machine) == ["reset 0", NOT_FROZEN, "req.done 0"]
    _over(machine)


@pytest.mark.parametrize("powerd", [True, False])
@pytest.mark.parametrize("net_mpsafe", [True, False])
def test_reboot_waits_at_most_the_freeze_limit(
    freezing: Make, powerd: bool, net_mpsafe: bool
) -> None:
    machine = freezing(powerd=powerd, net_mpsafe=net_mpsafe)
    machine.host.backup.start(snapshot=600)
    _frozen(machine)
    since = machine.now
    machine.start("shutdown")
    with pytest.raises(Halted):
        machine.run(90)
    assert machine.now - since <= (LIMIT + 4) * SECOND


def test_reboot_by_worker_without_powerd_resumes_first(freezing: Make) -> None:
    """sysmon_pswitch_event(9) does not return there, and syncs all file systems."""
    machine = freezing(powerd=False)
    machine.host.backup.start(snapshot=600)
    _frozen(machine)
    machine.host.send("OS_Halt")
    since = machine.now
    with pytest.raises(Halted):
        machine.run(90)
    assert machine.now - since <= 8 * SECOND


def test_suspension_by_another_thread_is_waited_for(freezing: Make) -> None:
    machine = freezing()
    kernel, mounts = machine.kernel, machine.mounts

    def fss() -> Any:
        from vmtsim.kernel.api import Block

        yield from mounts.suspend(mounts.find("/tmp"))
        yield Block(deadline=kernel.clock.now + 8 * SECOND, what="fss")
        mounts.resume(mounts.find("/tmp"))

    kernel.spawn("fssconfig", "user", fss())
    machine.run(0.1)
    machine.host.backup.start()
    machine.run(5)
    assert machine.mounts.suspended() == ["/tmp"]
    assert machine.until(lambda: machine.mounts.suspended() == ["/"], 10)
    _over(machine)


def test_wait_for_other_suspension_can_be_aborted(freezing: Make) -> None:
    machine = freezing()
    kernel, mounts = machine.kernel, machine.mounts

    def fss() -> Any:
        from vmtsim.kernel.api import Block

        yield from mounts.suspend(mounts.find("/tmp"))
        yield Block(deadline=kernel.clock.now + 20 * SECOND, what="fss")
        mounts.resume(mounts.find("/tmp"))

    kernel.spawn("fssconfig", "user", fss())
    machine.run(0.1)
    machine.host.backup.start()
    machine.run(5)
    machine.host.backup.abort()
    machine.run(2)
    assert machine.threads == ["vmt0"]
    assert machine.until(lambda: machine.mounts.suspended() == [], 20)
    _over(machine)


def test_list_of_disks_is_not_made_during_suspension(freezing: Make) -> None:
    """mountlist_iterator_trynext() skips a mount in suspension, also after the caller gave up."""
    machine = freezing()
    kernel, mounts = machine.kernel, machine.mounts
    root = mounts.find("/")

    def inside() -> Any:
        """A thread that waits for its disk inside the file system."""
        from vmtsim.kernel.api import Block

        yield from mounts.enter(root)
        yield Block(deadline=kernel.clock.now + 200 * SECOND, what="biowait")
        mounts.leave(root)

    kernel.spawn("tar", "user", inside())
    machine.run(0.1)
    machine.host.backup.start()
    machine.run(5)
    assert machine.mounts.suspended() == ["/"]
    machine.host.backup.abort()
    machine.run(190)  # longer than the driver waits between two checks
    assert machine.mounts.suspended() == ["/"]
    assert [disk["name"] for disk in machine.host.guestinfo.disks] == ["/"]
    assert machine.until(lambda: not _held(machine), 20)
    _over(machine)


# -- scripts -----------------------------------------------------------------------------------


def test_nothing_is_suspended_before_freeze_scripts_ran(freezing: Make) -> None:
    machine = freezing({"scripts": 60})
    machine.host.backup.start(snapshot=2)
    assert machine.until(lambda: _scripts(machine) == ["freeze"])
    machine.run(20)
    assert _backup_events(machine) == ["reset 0"]
    assert machine.threads == ["vmt0"]
    assert machine.read(f"{BACKUP}.event").endswith(" freeze")
    assert _answer(machine) == 0
    _frozen(machine)
    assert machine.read(f"{BACKUP}.event") == ""
    assert machine.until(lambda: not _held(machine), 5)
    assert machine.until(lambda: _scripts(machine) == ["freeze", "thaw"], 5)
    # "done" is the last event, as from open-vm-tools.
    assert _backup_events(machine) == DONE[:2]
    assert _answer(machine) == 0
    machine.run(2)
    assert _backup_events(machine) == DONE
    assert machine.host.backup.completed == 1
    _over(machine)


@pytest.mark.parametrize("file_systems", [True, False])
def test_scripts_run_without_freeze_too(freezing: Make, file_systems: bool) -> None:
    machine = freezing({"freeze": "", "scripts": 60})
    parameters = None if file_systems else quiesce_parameters(file_systems=False)
    machine.host.backup.start(parameters=parameters)
    for event in ("freeze", "thaw"):
        assert machine.until(lambda event=event: _scripts(machine)[-1:] == [event], 10)
        assert _answer(machine) == 0
    machine.run(2)
    assert _backup_events(machine) == DONE
    assert machine.events("vfs.suspend") == []
    _over(machine)


def test_scripts_do_not_run_if_host_disables_them(freezing: Make) -> None:
    machine = freezing({"scripts": 60})
    machine.host.backup.start(parameters=quiesce_parameters(scripts=False))
    _frozen(machine)
    machine.run(10)
    assert _scripts(machine) == []
    _over(machine)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("how", ["failed", "late", "no powerd"])
def test_failing_scripts_are_handled_as_configured(
    freezing: Make, how: str, required: bool
) -> None:
    machine = freezing({"scripts": 20, "require_scripts": int(required)}, powerd=how != "no powerd")
    machine.host.backup.start(snapshot=2)
    machine.run(3)
    if how == "failed":
        assert _answer(machine, good=False) == 0
    else:
        machine.run(15)
        assert _backup_events(machine) == ["reset 0"]
        assert machine.events("vfs.suspend") == []
    assert machine.until(lambda: len(_backup_events(machine)) > 1, 10)
    machine.run(40)
    (line,) = [e for e in machine.requests("log toolbox: quiesced") if b"powerd" in e]
    assert line.endswith(b"the scripts of powerd(8) failed, or did not end in time")
    expected = ["reset 0", SCRIPT_FAILED, "req.done 0"] if required else DONE
    assert _backup_events(machine) == expected
    assert bool(machine.events("vfs.suspend")) != required
    if how != "no powerd":
        assert _scripts(machine)[:2] == ["freeze", "thaw"]
    _over(machine)


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_powerd_hook_reports_and_snapshot_continues(freezing: Make, seconds: float) -> None:
    machine = freezing({"scripts": 20})
    machine.do("scripts", seconds)
    machine.host.backup.start(snapshot=3)
    _frozen(machine)
    assert [e["event"] for e in machine.events("scripts")] == ["freeze"]
    since = machine.events("scripts")[0].at
    assert machine.events("vfs.suspend")[-1].at - since >= seconds * SECOND
    assert machine.until(lambda: machine.host.backup.state == "idle")
    assert [e["event"] for e in machine.events("scripts")] == ["freeze", "thaw"]
    assert _backup_events(machine) == DONE
    _over(machine)


@pytest.mark.parametrize(
    ("given", "required", "code"),
    [
        ({"seconds": 1, "fail": True}, 1, SCRIPT_FAILED),
        ({"seconds": 1, "fail": True}, 0, "prov.snapshotCommit 0"),
        ({"seconds": 9}, 1, SCRIPT_FAILED),
        ({"seconds": 9}, 0, "prov.snapshotCommit 0"),
    ],
)
def test_failing_or_slow_scripts_are_followed_by_thaw(
    freezing: Make, given: dict[str, Any], required: int, code: str
) -> None:
    """The hook that comes too late runs thaw by itself; with a suspended root it waits for that."""
    machine = freezing({"scripts": 5, "require_scripts": required})
    machine.do("scripts", given)
    machine.host.backup.start(snapshot=12)
    machine.run(60)
    assert _backup_events(machine) == ["reset 0", code, "req.done 0"]
    assert [e["event"] for e in machine.events("scripts")] == ["freeze", "thaw"]
    _over(machine)


def test_rule_detects_suspension_before_scripts_finish(freezing: Make) -> None:
    """The invariant of campaigns: here another thread suspends while scripts run."""
    machine = freezing({"scripts": 20})
    machine.do("scripts", 10)
    machine.host.backup.start()
    assert machine.until(lambda: machine.events("scripts") != [])
    kernel, mounts = machine.kernel, machine.mounts

    def thread() -> Any:
        yield from mounts.suspend(mounts.find("/"))
        mounts.resume(mounts.find("/"))

    kernel.spawn("vmt0sync", "kthread", thread())
    machine.run(1)
    (text,) = machine.broken
    assert text.startswith("suspended-before-scripts: thread vmt0sync suspends /")
    assert text.endswith("they have not reported completion within 20 s")


def test_rule_detects_missing_thaw(rig: Make) -> None:
    machine = rig()
    finish = invariants.watch(machine.simulation)
    _set(machine, scripts=20)
    machine.do("scripts", 1)
    machine.host.backup.start(snapshot=600)
    assert machine.until(lambda: machine.host.backup.state == "frozen")
    finish()
    (text,) = machine.broken
    assert text.startswith("freeze-without-thaw: scripts ran for freeze ")


@pytest.mark.parametrize("moment", ["scripts", "frozen"])
@pytest.mark.parametrize("end", ["abort", "lost", "refused", "detach", "new start", "limit"])
def test_freeze_event_is_followed_by_thaw_event(freezing: Make, moment: str, end: str) -> None:
    machine = freezing({"scripts": 20})
    parameters = quiesce_parameters(timeout=12) if end == "limit" else None
    machine.host.backup.start(snapshot=600, parameters=parameters)
    assert machine.until(lambda: _scripts(machine) == ["freeze"])
    if moment == "frozen":
        assert _answer(machine) == 0
        _frozen(machine)
    machine.run(1)
    if end == "abort":
        machine.host.backup.abort()
    elif end in {"lost", "new start"}:
        machine.host.lose_channel("tclo")
        if end == "new start":
            machine.host.backup.forget()
            machine.run(3)
            machine.host.backup.start(snapshot=600)
    elif end == "refused":
        machine.host.faults.arm("reject", command="vmbackup.eventSet", times=1)
    elif end == "detach":
        assert machine.do("detach", "vmt0") == 0
    machine.run(13 if end == "limit" else 5)
    assert _scripts(machine)[:2] == ["freeze", "thaw"]
    machine.host.backup.forget()
    if end == "detach":
        assert machine.do("rescan", "cpu0") == 0
        machine.settle()
    machine.run(60)
    assert _scripts(machine)[-1] == "thaw"
    _over(machine)


def test_thaw_event_lost_by_powerd_is_raised_again(freezing: Make) -> None:
    """An event that is raised without a reader of /dev/power is lost (sysmon_pswitch_event)."""
    machine = freezing({"scripts": 30})
    machine.host.backup.start(snapshot=2)
    assert machine.until(lambda: _scripts(machine) == ["freeze"])
    assert _answer(machine) == 0
    _frozen(machine)
    machine.do("powerd", False)
    machine.run(6)
    assert _scripts(machine) == ["freeze"]
    machine.do("powerd", True)
    assert machine.until(lambda: _scripts(machine) == ["freeze", "thaw"], 10)
    assert _answer(machine) == 0
    machine.run(12)
    assert _scripts(machine) == ["freeze", "thaw"]
    assert _backup_events(machine) == DONE
    _over(machine)


def test_unacknowledged_thaw_is_logged(freezing: Make) -> None:
    machine = freezing({"scripts": 12})
    machine.host.backup.start(snapshot=1)
    assert machine.until(lambda: _scripts(machine) == ["freeze"])
    assert _answer(machine) == 0
    machine.run(30)
    assert _scripts(machine) == ["freeze", "thaw", "thaw", "thaw"]
    assert machine.log[-1].endswith("powerd(8) does not report that its scripts ran for thaw")
    assert machine.read(f"{BACKUP}.event").endswith(" thaw")
    assert _backup_events(machine) == DONE
    _over(machine)


def test_only_the_event_number_is_an_acknowledgement(freezing: Make) -> None:
    machine = freezing({"scripts": 60})
    assert machine.write(f"{BACKUP}.done", 1) == 22
    machine.host.backup.start(snapshot=600)
    assert machine.until(lambda: _scripts(machine) == ["freeze"])
    number = int(machine.read(f"{BACKUP}.event").split()[0])
    for wrong in (0, number - 1, number + 1, -number - 1):
        assert machine.write(f"{BACKUP}.done", wrong) == 22
    assert machine.write(f"{BACKUP}.done", number, uid=1000) == 1
    machine.run(3)
    assert machine.events("vfs.suspend") == []
    assert machine.write(f"{BACKUP}.done", number) == 0
    assert machine.write(f"{BACKUP}.done", number) == 22
    _frozen(machine)
    machine.host.backup.abort()
    machine.run(3)
    assert machine.write(f"{BACKUP}.done", number) == 22  # thaw has the next
    assert machine.write(f"{BACKUP}.done", number + 1) == 0
    _over(machine)
