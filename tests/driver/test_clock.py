"""The clock: slewing, stepping, no action, and which setting decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.host.fault_messages import UNKNOWN_MESSAGES

from .inject import Injection

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

SECOND = 1_000_000_000
MS = 1_000_000
EBUSY, EINVAL, EPERM = 16, 22, 1
LAG = 10_000  # us, the maximum lag that the host reports


def _seen(machine: Rig, since: int) -> tuple[list[int], list[int]]:
    """Later steps and slews, in ms."""
    return (
        [round(by / MS) for at, by in machine.time.steps if at >= since],
        [round(by / MS) for at, by in machine.time.slews if at >= since],
    )


def _sync(machine: Rig) -> tuple[list[int], list[int]]:
    since = machine.now
    assert machine.write("clock_sync.now", 1) == 0
    machine.run(0.5)
    return _seen(machine, since)


def _caught_up(machine: Rig) -> list[int]:
    """The times at which STOPCATCHUP was sent."""
    return [e.at for e in machine.events("host.clock") if e["action"] == "stop-catchup"]


# The result of a comparison by the lead of the host (ms): steps, slews, state.
LOOKS = [
    (0, [], [], "in step"),
    (0.4, [], [], "in step"),
    (-0.4, [], [], "in step"),
    (2, [], [1], "slewing forward"),
    (9, [], [4], "slewing forward"),
    (11, [11], [], "stepped"),
    (1000, [1000], [], "stepped"),
    (86_400_000, [86_400_000], [], "stepped"),
    (-2, [], [-1], "slewing back"),
    (-9, [], [-4], "slewing back"),
    (-11, [-11], [], "stepped"),
    (-3_600_000, [-3_600_000], [], "stepped"),
]


@pytest.mark.parametrize(("ahead", "steps", "slews", "state"), LOOKS)
def test_time_synchronize_slews_small_errors_and_steps_large_ones(
    rig: Make, ahead: float, steps: list[int], slews: list[int], state: str
) -> None:
    machine = rig(max_lag_us=LAG)
    machine.host.clock.jump(round(ahead * MS))
    found = _sync(machine)
    assert found[0] == steps
    assert len(found[1]) == len(slews)
    for actual, expected in zip(found[1], slews, strict=True):
        assert abs(actual - expected) <= 1
    assert machine.read("clock_sync.state") == state
    assert abs(int(machine.read("clock_sync.offset")) / 1000 - ahead) < 0.1
    assert machine.read("clock_sync.steps") == len(steps)
    assert machine.read("clock_sync.slews") == len(slews)
    machine.leave()


@pytest.mark.parametrize("ahead", [-3600, -5, 5, 3600])
@pytest.mark.parametrize("backwards", [0, 1])
def test_time_synchronize_steps_back_only_if_host_allows(
    rig: Make, ahead: int, backwards: int
) -> None:
    machine = rig()
    machine.run(5)
    machine.host.clock.jump(ahead * SECOND)
    since = machine.now
    assert machine.ask(f"Time_Synchronize {backwards}") == b"OK "
    steps, slews = _seen(machine, since)
    if ahead > 0 or backwards:
        assert (steps, slews) == ([ahead * 1000], [])
        # The pending timer interrupts will correct the rest.
        assert len(_caught_up(machine)) == 1
        assert machine.log == [f"clock stepped by {machine.read('clock_sync.offset')} us"]
    else:
        assert (steps, len(slews)) == ([], 1)
    machine.leave()


def test_small_errors_are_stepped_back_if_host_allows(rig: Make) -> None:
    machine = rig()
    machine.host.clock.jump(-3 * MS)
    since = machine.now
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert _seen(machine, since) == ([-3], [])
    machine.leave()


def test_periodic_sync_ignores_host_switches(rig: Make) -> None:
    machine = rig(synctime=False, option_burst=(("synctime", "0"),), drift_ppm=200)
    machine.run(1800)
    # Two periods' worth of drift: within the second of the host's limit the clock is slewed.
    assert abs(machine.time.realtime() - machine.host.clock.now()) < 24 * MS
    looks = machine.read("clock_sync.slews") + machine.read("clock_sync.steps")
    assert 27 <= looks <= 32
    machine.leave()


@pytest.mark.parametrize("ppm", [-400, -50, 50, 400])
def test_drifting_clock_is_corrected_without_backward_step(rig: Make, ppm: int) -> None:
    machine = rig(drift_ppm=ppm)
    machine.run(1200)
    assert all(by > 0 for _at, by in machine.time.steps)
    bound = 60 * abs(ppm) * 1000 * 4  # four periods' worth of drift, in ns
    assert abs(machine.time.realtime() - machine.host.clock.now()) < max(bound, MS)
    machine.leave()


def _ahead(machine: Rig) -> None:
    """The clock chip is two hours ahead of the host, as one in local time."""
    machine.time.boot_offset += 7200 * SECOND


def test_first_comparison_steps_fast_clock_back(rig: Make) -> None:
    machine = rig(before=_ahead)
    assert [round(by / SECOND) for _at, by in machine.time.steps] == [-7200]
    machine.leave()


def test_later_comparisons_slew_and_log_duration(rig: Make) -> None:
    machine = rig()
    machine.host.clock.jump(-7200 * SECOND)
    machine.run(300)
    assert machine.time.steps == []
    (line,) = machine.log
    # adjtime(2) takes 5 ms off a second, and 0.5 ms of the last two seconds.
    expected = (7200 - 2) / 0.005 + 2 / 0.0005
    assert line.startswith("clock is 7200 s ahead of the host's: slewing it back takes about ")
    assert abs(int(line.split(" about ")[1].split(" ")[0]) - expected / 60) < 5
    assert machine.read("clock_sync.state") == "slewing back, for long; see clock_sync.now"
    assert int(machine.read("clock_sync.offset")) < -7_190_000_000
    assert [round(each / 1000) for each in _sync(machine)[0]] == [-7199]
    assert machine.read("clock_sync.state") == "stepped"
    machine.leave()


def _unset(machine: Rig) -> None:
    """The driver attaches before inittodr() has set the clock: it is 1970."""
    machine.time.boot_offset = 0


def test_unset_clock_is_left_to_the_system(rig: Make) -> None:
    """sys/kern/init_main.c: configure3() runs the hooks for the root, then inittodr() follows."""
    machine = rig(before=_unset)
    assert (machine.time.steps, machine.log) == ([], [])
    assert machine.read("clock_sync.state") == "off: the system has not set its clock"
    machine.time.boot_offset = machine.host.clock.now() - machine.time.uptime() + 40 * SECOND
    machine.run(2)
    # That was the first comparison: it may step back.
    assert [round(by / SECOND) for _at, by in machine.time.steps] == [-40]
    machine.leave()


def test_unset_clock_is_set_after_one_minute(rig: Make) -> None:
    machine = rig(before=_unset)
    assert machine.until(lambda: bool(machine.time.steps), 120)
    machine.leave()


@pytest.mark.parametrize("lost", [True, False])
def test_new_tclo_channel_triggers_clock_check(rig: Make, lost: bool) -> None:
    """After a snapshot revert or a move; the host need not send Time_Synchronize."""
    machine = rig()
    assert machine.write("clock_sync.period", 3600) == 0
    machine.run(60)
    since = machine.now
    if lost:
        machine.host.snapshot_revert(604_800, lose_channels=True, time_synchronize=False)
    else:
        machine.host.clock.jump(604_800 * SECOND)
        machine.host.tclo.reset()
    machine.run(30)
    assert _seen(machine, since)[0] == [604_800_000]
    machine.leave()


@pytest.mark.parametrize("lost", [True, False])
def test_lag_aware_time_command_is_retried_after_move(rig: Make, lost: bool) -> None:
    """If no channel is lost, Time_Synchronize 0 is the only sign of it to the guest."""
    machine = rig(time_commands=(46,))
    machine.host.backdoor._commands[55] = machine.host.backdoor._time(55)
    machine.host.migrate(lose_channels=lost)
    machine.run(30)
    since = machine.now
    machine.run(61)
    assert {e["command"] for e in machine.events("host.time", since=since)} == {55}
    machine.leave()


def test_with_lag_command_clock_behind_is_not_stepped_back(rig: Make) -> None:
    """services/plugins/timeSync/timeSync.c of open-vm-tools: backwards where the guest is ahead."""
    machine = rig(max_lag_us=LAG, interrupt_lag_us=5000)
    machine.host.clock.jump(MS)
    since = machine.now
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert _seen(machine, since)[0] == []
    machine.leave()


def test_offset_is_text_with_sign(rig: Make) -> None:
    machine = rig()
    machine.host.clock.jump(-9 * MS)
    _sync(machine)
    text = machine.read("clock_sync.offset")
    assert isinstance(text, str)
    assert -9200 < int(text) < -8800
    machine.leave()


# The period.


@pytest.mark.parametrize("value", [-1, -(2**31), 2147484, 2**31 - 1])
def test_overflowing_period_is_refused(rig: Make, value: int) -> None:
    machine = rig()
    assert machine.write("clock_sync.period", value) == EINVAL
    assert machine.read("clock_sync.period") == 60
    machine.leave()


@pytest.mark.parametrize("value", [0, 1, 60, 2147483])
def test_period_bounds_are_accepted(rig: Make, value: int) -> None:
    machine = rig()
    assert machine.write("clock_sync.period", value) == 0
    assert machine.read("clock_sync.period") == value
    machine.run(300)
    machine.leave()


def test_period_starts_when_set(rig: Make) -> None:
    machine = rig(drift_ppm=400)
    assert machine.write("clock_sync.period", 5) == 0
    slews = machine.read("clock_sync.slews")
    machine.run(100)
    assert 19 <= machine.read("clock_sync.slews") - slews <= 21
    assert machine.write("clock_sync.period", 1000) == 0
    slews = machine.read("clock_sync.slews")
    machine.run(900)
    assert machine.read("clock_sync.slews") - slews <= 1
    machine.leave()


def test_period_0_disables_clock_sync(rig: Make) -> None:
    machine = rig(drift_ppm=400, synctime=True)
    machine.host.clock.jump(9 * MS)
    assert _sync(machine)[1]
    assert machine.write("clock_sync.period", 0) == 0
    machine.run(1)
    # A pending slew is cancelled.
    assert machine.time.owed == 0
    assert machine.read("clock_sync.state") == "off: the period is 0"
    machine.host.clock.jump(3600 * SECOND)
    since = machine.now
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert machine.ask("OS_Resume") == b"OK "
    for name, value in (("time.synchronize.tools.startup.backward", "1"),
                        ("time.synchronize.tools.startup", "1"),
                        ("time.synchronize.tools.enable", "1"), ("synctime", "1")):  # fmt: skip
        assert machine.option(name, value) == b"OK "
    assert machine.write("clock_sync.follow_host", 1) == 0
    assert machine.write("clock_sync.now", 1) == EBUSY
    machine.run(600)
    assert _seen(machine, since) == ([], [])
    assert _caught_up(machine) == []
    # And back.
    assert machine.write("clock_sync.follow_host", 0) == 0
    assert machine.write("clock_sync.period", 60) == 0
    machine.run(1)
    assert len(_seen(machine, since)[0]) == 1
    machine.leave()


def test_now_accepts_0_and_1(rig: Make) -> None:
    machine = rig()
    assert machine.read("clock_sync.now") == 0
    assert machine.write("clock_sync.now", 0) == 0
    assert machine.write("clock_sync.now", 2) == EINVAL
    assert machine.write("clock_sync.now", -1) == EINVAL
    machine.leave()


def test_detach_cancels_pending_slew(rig: Make) -> None:
    machine = rig()
    machine.host.clock.jump(9 * MS)
    assert _sync(machine)[1]
    assert machine.time.owed != 0
    assert machine.do("detach", "vmt0") == 0
    assert machine.time.owed == 0
    machine.leave()


def test_foreign_slew_is_kept_when_driver_did_not_adjust(rig: Make) -> None:
    """ntpd slews the clock, the host agrees: there is nothing for the driver to do."""
    machine = rig()
    machine.run(2)
    machine.time.adjust(300 * MS)
    machine.run(1)
    assert machine.do("detach", "vmt0") == 0
    assert machine.time.slews == []
    assert machine.time.owed > 290 * MS
    machine.leave()


# The host's switches.


def test_host_controls_clock_only_if_enabled(rig: Make) -> None:
    machine = rig(drift_ppm=200)
    assert machine.write("clock_sync.follow_host", 1) == 0
    machine.run(1)
    assert machine.read("clock_sync.state") == "off: the host's switch is off"
    since = machine.now
    machine.run(600)
    assert _seen(machine, since) == ([], [])
    machine.host.set_synctime(on=True)
    machine.run(150)
    assert _seen(machine, since) != ([], [])
    machine.host.set_synctime(on=False)
    machine.run(2)
    assert machine.time.owed == 0
    since = machine.now
    machine.run(600)
    assert _seen(machine, since) == ([], [])
    machine.leave()


@pytest.mark.parametrize(("given", "period"), [("10", 10), ("0", 60), ("4294967295", None)])
def test_host_period_applies_if_enabled(rig: Make, given: str, period: int | None) -> None:
    machine = rig(drift_ppm=100)
    assert machine.option("synctime.period", given) == b"OK "
    assert machine.option("synctime", "1") == b"OK "
    assert machine.write("clock_sync.follow_host", 1) == 0
    machine.run(1)
    since = machine.now
    machine.run(600)
    looks = sum(len(each) for each in _seen(machine, since))
    if period is None:
        assert looks <= 1
    else:
        assert abs(looks - 600 // period) <= 1
    machine.leave()


@pytest.mark.parametrize(("given", "share"), [("100", 1.0), ("10", 0.1), ("0", 0.5), ("101", 0.5)])
def test_host_slew_percentage_applies_if_enabled(rig: Make, given: str, share: float) -> None:
    machine = rig()
    assert machine.write("clock_sync.follow_host", 1) == 0
    assert machine.option("time.synchronize.tools.percentCorrection", given) == b"OK "
    machine.host.clock.jump(8 * MS)
    since = machine.now
    assert machine.option("synctime", "1") == b"OK "
    machine.run(1)
    ((_at, by),) = [each for each in machine.time.slews if each[0] >= since]
    assert abs(by - share * 8 * MS) < MS // 5
    machine.leave()


def test_host_may_disable_slewing_if_enabled(rig: Make) -> None:
    machine = rig(max_lag_us=LAG)
    assert machine.write("clock_sync.follow_host", 1) == 0
    assert machine.option("time.synchronize.tools.slewCorrection", "0") == b"OK "
    machine.host.clock.jump(8 * MS)
    assert machine.option("synctime", "1") == b"OK "
    machine.run(1)
    assert machine.read("clock_sync.state") == "off: the host forbids slewing"
    assert machine.time.slews == []
    machine.host.clock.jump(100 * MS)
    assert machine.ask("Time_Synchronize 0") == b"OK "
    assert len(machine.time.steps) == 1
    machine.leave()


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("backward", ["0", "1"])
def test_startup_step_happens_once(rig: Make, backward: str, follow: bool) -> None:
    machine = rig()
    assert machine.write("clock_sync.follow_host", int(follow)) == 0
    machine.run(1)
    for turn in range(2):
        machine.host.clock.jump(-3 * SECOND)
        since = machine.now
        assert machine.option("time.synchronize.tools.startup.backward", backward) == b"OK "
        assert machine.option("time.synchronize.tools.startup", "0") == b"OK "
        assert _seen(machine, since)[0] == []
        assert machine.option("time.synchronize.tools.startup", "1") == b"OK "
        stepped = follow and backward == "1" and turn == 0
        assert _seen(machine, since)[0] == ([-3000] if stepped else [])
    machine.leave()


@pytest.mark.parametrize("enable", ["0", "1"])
def test_synctime_on_steps_clock_if_host_enables_it(rig: Make, enable: str) -> None:
    machine = rig()
    assert machine.write("clock_sync.follow_host", 1) == 0
    assert machine.option("time.synchronize.tools.enable", enable) == b"OK "
    machine.host.clock.jump(-3 * SECOND)
    since = machine.now
    assert machine.option("synctime", "1") == b"OK "
    assert _seen(machine, since)[0] == ([-3000] if enable == "1" else [])
    # On already.
    machine.host.clock.jump(-3 * SECOND)
    since = machine.now
    assert machine.option("synctime", "1") == b"OK "
    assert _seen(machine, since)[0] == []
    machine.leave()


def test_host_settings_are_readable(rig: Make) -> None:
    machine = rig()
    for name, value in (("synctime", "1"), ("synctime.period", "17"),
                        ("time.synchronize.tools.enable", "1"),
                        ("time.synchronize.tools.startup", "1"),
                        ("time.synchronize.tools.startup.backward", "1"),
                        ("time.synchronize.tools.slewCorrection", "off"),
                        ("time.synchronize.tools.percentCorrection", "33")):  # fmt: skip
        assert machine.option(name, value) == b"OK "
    assert machine.read("clock_sync.host") == (
        "synctime 1, period 17, enable 1, startup 1, backward 1, slew 1, percent 33"
    )
    machine.leave()


# The host's answers.


@pytest.mark.parametrize(
    ("known", "asked"),
    [((23, 46, 55), 55), ((23, 46), 46)],
)
def test_most_precise_supported_time_command_is_used(
    rig: Make, known: tuple[int, ...], asked: int
) -> None:
    machine = rig(time_commands=known)
    machine.host.clock.jump(3600 * SECOND)
    since = machine.now
    assert machine.ask("Time_Synchronize 0") == b"OK "
    assert _seen(machine, since)[0] == [3_600_000]
    assert {e["command"] for e in machine.events("host.time", since=since)} == {asked}
    # The driver does not repeat a command that the host does not support.
    since = machine.now
    machine.run(600)
    refused = [e for e in machine.events("backdoor", since=since) if not e["known"]]
    assert refused == []
    machine.leave()


def test_host_without_time_is_logged_once(rig: Make) -> None:
    machine = rig(time_commands=())
    assert machine.ask("Time_Synchronize 1") == b"ERROR Unable to sync time"
    assert machine.read("clock_sync.state") == "off: the host does not report its time"
    machine.run(600)
    assert machine.log == ["the host does not report its time"]
    assert machine.time.steps == machine.time.slews == []
    machine.leave()


@pytest.mark.parametrize(
    "broken",
    [(0, 0), (-1, 0), (1 << 62, 0), ((1 << 63) // 1_000_000, 0), (1_767_225_600, 1_000_000),
     (5, 0xFFFFFFFF)],
)  # fmt: skip
def test_invalid_host_time_is_ignored(rig: Make, broken: tuple[int, int]) -> None:
    # Without GETTIME, whose 32 bits would be the lower half of it.
    machine = rig(time_commands=(46, 55))
    machine.host.clock.broken = broken
    since = machine.now
    assert machine.ask("Time_Synchronize 1") == b"ERROR Unable to sync time"
    assert _seen(machine, since) == ([], [])
    machine.host.clock.broken = None
    assert machine.ask("Time_Synchronize 1") == b"OK "
    machine.leave()


def test_single_wrong_host_time_does_not_move_clock(rig: Make) -> None:
    machine = rig()
    for _ in range(20):
        machine.host.faults.arm("clock-garbage", skip=1)
        machine.ask("Time_Synchronize 1")
        assert abs(machine.time.realtime() - machine.host.clock.now()) < 10 * MS
    machine.leave()


@pytest.mark.parametrize("jump", [-7, 7])
def test_jump_between_two_samples_is_rechecked(rig: Make, jump: int) -> None:
    machine = rig()
    machine.host.faults.arm("clock-jump", skip=1, seconds=jump)
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert abs(machine.time.realtime() - machine.host.clock.now()) < MS
    machine.leave()


def test_inconsistent_host_clock_is_ignored(rig: Make) -> None:
    """Every second answer is earlier than the one before: no answer can be chosen."""
    machine = rig()
    since = machine.now
    for skip in (1, 2, 3, 4):
        machine.host.faults.arm("clock-jump", skip=skip, seconds=-7)
    assert machine.ask("Time_Synchronize 1") == b"ERROR Unable to sync time"
    assert machine.host.faults.injected["clock-jump"] == 4
    assert _seen(machine, since) == ([], [])
    machine.leave()


def test_fastest_of_four_slow_samples_is_used(rig: Make) -> None:
    machine = rig()
    for skip, seconds in ((1, 9), (2, 0.01), (3, 5), (4, 7)):
        machine.host.faults.arm("clock-jump", skip=skip, seconds=seconds)
    before = machine.host.clock.now() - machine.time.realtime()
    assert machine.ask("Time_Synchronize 1") == b"OK "
    ((_at, by),) = machine.time.steps
    # At the second comparison the host was 9 s ahead, and then 10 ms behind.
    assert abs(by - (before + 9 * SECOND + 5 * MS)) < 2 * MS
    machine.leave()


def test_pending_timer_interrupts_count_as_no_error(rig: Make) -> None:
    """The host reports that the guest lags 40 ms because of them: they will correct the lag."""
    machine = rig(
        interrupt_lag_us=40_000,
        max_lag_us=50_000,
        before=lambda rig: rig.host.clock.jump(40 * MS),
    )
    assert _sync(machine) == ([], [])
    assert machine.read("clock_sync.state") == "in step"
    machine.host.clock.jump(60 * MS)
    assert _sync(machine)[0] == [100]
    assert machine.host.clock.interrupt_lag_us == 0  # dropped by STOPCATCHUP
    machine.leave()


def test_default_lag_limit_applies(rig: Make) -> None:
    machine = rig(max_lag_us=0)
    machine.host.clock.jump(900 * MS)
    steps, slews = _sync(machine)
    assert (steps, len(slews)) == ([], 1)
    machine.host.clock.jump(200 * MS)
    assert len(_sync(machine)[0]) == 1
    machine.leave()


def test_kernel_refusal_of_step_is_reported(rig: Make) -> None:
    """At a high securelevel: nothing happens, and the driver reports that to the host."""
    injections: list[Injection] = []
    machine = rig(before=lambda rig: injections.append(Injection(rig.kernel)))
    machine.host.clock.jump(-SECOND)
    injections[0].fail("clock_settime1", times=1000)
    assert machine.ask("Time_Synchronize 1") == b"ERROR Unable to sync time"
    assert machine.read("clock_sync.state") == "off: the kernel refuses a step"
    assert machine.time.steps == []
    assert _caught_up(machine) == []
    injections[0].stop()
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert len(machine.time.steps) == 1
    machine.leave()


def test_step_cancels_pending_slew(rig: Make) -> None:
    machine = rig()
    machine.host.clock.jump(-10 * SECOND)
    assert machine.ask("Time_Synchronize 0") == b"OK "
    assert len(machine.time.slews) == 1
    assert machine.time.owed != 0
    assert machine.ask("Time_Synchronize 1") == b"OK "
    assert machine.time.owed == 0
    machine.leave()


def test_step_updates_rtc_and_timers(rig: Make) -> None:
    """clock_settime1() also sets the RTC (resettodr) and the timers; tc_setclock() does not."""
    machine = rig()
    machine.host.clock.jump(3600 * SECOND)
    assert machine.ask("Time_Synchronize 0") == b"OK "
    assert [e["how"] for e in machine.events("clock.step")] == ["clock_settime1"]
    machine.leave()


def test_other_messages_do_not_touch_clock(rig: Make) -> None:
    machine = rig()
    since = machine.now
    for message in UNKNOWN_MESSAGES:
        machine.ask(message)
    assert _seen(machine, since) == ([], [])
    machine.leave()
