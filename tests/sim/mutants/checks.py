"""Checks beyond scenarios: they control a module from Python.

Each returns the error, or "" if there is none.  The caller counts a panic.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import replace
from vmtsim.host import HostOptions
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.sysctl import Sysctl
from vmtsim.kernel.sysctltree import SysctlTree
from vmtsim.kernel.syslog import SysLog
from vmtsim.kernel.timekeeping import TimeKeeping
from vmtsim.run import invariants
from vmtsim.run.simulation import Simulation
from vmtsim.scenario.script import Scenario, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.kernel.api import Model

SECOND = 1_000_000_000
QUIET = HostOptions(option_burst=(), power_on=False, ping=0, vix_probe=0)


def simulation(
    module: Path, *steps: tuple[float, str, Any], host: HostOptions = QUIET, seed: int = 1,
    builtin: bool = False, seconds: float = 10,
) -> Simulation:  # fmt: skip
    """Return a simulation of steps (second, verb, argument)."""
    made = tuple(Step(round(at * SECOND), verb, arg, "check") for at, verb, arg in steps)
    scenario = Scenario("check", "", round(seconds * SECOND), host, made)
    return Simulation(module, scenario, seed=seed, builtin_vmt=builtin)


def verdict(done: Simulation) -> str:
    """Return the finding of a run."""
    return "; ".join(f"{each.rule}: {each.message}" for each in done.outcome.findings)


def booted(module: Path, *, seconds: int = 5, host: HostOptions = QUIET) -> Simulation:
    """Return a simulation with the module loaded and the first conversation over."""
    made = simulation(module, host=host)
    made.kernel.boot()
    made.admin.set_powerd(on=True)
    error = made.admin.wait("modload", made.admin.load())
    if error:
        raise AssertionError(f"modload: {error}")
    made.kernel.run_for(seconds * SECOND)
    return made


def idle_hour(module: Path) -> str:
    """An idle hour without statistics of the memory costs at most 7800 calls to the host."""
    made = booted(module, seconds=10)
    made.admin.wait("sysctl", made.admin.sysctl({"machdep.vmt0.info.memory_period": 0}))
    before = made.host.backdoor.calls
    made.kernel.run_for(3600 * SECOND)
    calls = made.host.backdoor.calls - before
    return "" if calls <= 7800 else f"{calls} calls in an idle hour"


def uuid(module: Path) -> str:
    """The UUID matches the host's four words."""
    made = booted(module)
    found = made.sysctl("machdep.vmt0.uuid")
    expected = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    return "" if found == expected else f"machdep.vmt0.uuid is {found!r}"


def _attached_at(module: Path, offset: int) -> Simulation:
    """Return a machine whose clock is off by this many ns, or 1970 for -1, at attach."""
    made = simulation(module)
    made.kernel.boot()
    made.admin.set_powerd(on=True)
    time = made.kernel.subject(TimeKeeping)
    time.boot_offset = 0 if offset == -1 else time.boot_offset + offset
    error = made.admin.wait("modload", made.admin.load())
    if error:
        raise AssertionError(f"modload: {error}")
    made.kernel.run_for(5 * SECOND)
    return made


def clock_ahead_at_start(module: Path) -> str:
    """A clock that is ahead when the driver attaches is stepped back."""
    steps = _attached_at(module, 7200 * SECOND).kernel.subject(TimeKeeping).steps
    return "" if len(steps) == 1 and steps[0][1] < 0 else f"steps {steps}"


def clock_not_set_yet(module: Path) -> str:
    """A clock that the system has not set is not touched."""
    steps = _attached_at(module, -1).kernel.subject(TimeKeeping).steps
    return "" if not steps else f"steps {steps}"


def back_with_lag(module: Path) -> str:
    """Time_Synchronize 1 does not step a clock forward that is behind within the limit."""
    host = replace(QUIET, max_lag_us=10_000, interrupt_lag_us=5_000)
    done = simulation(
        module,
        (5, "host.clock", {"jump": 0.001}),
        (5.1, "host.tclo", "Time_Synchronize 1"),
        host=host,
    )
    done.run()
    steps = done.kernel.subject(TimeKeeping).steps
    return verdict(done) or ("" if not steps else f"steps {steps}")


def precise_time_after_move(module: Path) -> str:
    """After a move, the driver uses the best time command that the new host knows."""
    made = booted(module, host=replace(QUIET, time_commands=(46,)))
    made.host.backdoor._commands[55] = made.host.backdoor._time(55)
    made.host.migrate()
    made.kernel.run_for(5 * SECOND)
    last = [event["command"] for event in made.trace.events if event.kind == "host.time"][-1]
    return "" if last == 55 else f"command {last}"


def uptime_is_registered(module: Path) -> str:
    """The uptime is sent in Capabilities_Register: otherwise the host never sees a reboot end."""
    made = booted(module)
    host = made.host
    host.power.request("reboot")
    made.kernel.run_for(2 * SECOND)
    host.guestinfo.decoded[7] = 360_000_000  # the host's information from before the reboot
    host.lose_channel("all")
    made.kernel.run_for(30 * SECOND)
    return "" if host.power.guest_state == "running" else f"the guest is {host.power.guest_state}"


def snapshot_has_flushed_data(module: Path) -> str:
    """Data written before a quiesced snapshot began is on the disk when the host takes it."""
    made = simulation(module, (5, "guest.write", "/"), (5.1, "host.backup", {"do": "start"}))
    invariants.watch(made)
    made.run()
    return verdict(made)


def suspended_root_is_synced(module: Path) -> str:
    """Data written before the suspension of a file system is on its disk."""
    writes = [(5.4 + number / 200, "guest.write", "/") for number in range(400)]
    freeze = {"machdep.vmt0.backup.freeze": "/"}
    made = simulation(
        module, (5, "guest.sysctl", freeze), (5.5, "host.backup", {"do": "start"}), *writes
    )
    invariants.watch(made)
    made.run()
    if not any(e.kind == "vfs.suspend" for e in made.trace.events):
        return "nothing was suspended"
    return verdict(made)


def event_precedes_reply(module: Path) -> str:
    """The event "reset" of a quiesced snapshot is out before the answer to vmbackup.start."""
    made = simulation(module, (5, "host.backup", {"do": "start"}))
    made.run()
    kinds = {"backup.event": b"", "tclo.reply": b"vmbackup.start"}
    seen = [
        e.kind
        for e in made.trace.events
        if e.kind in kinds and bytes(e.get("message", b"")).startswith(kinds[e.kind])
    ]
    return "" if seen[:2] == ["backup.event", "tclo.reply"] else f"{seen}"


def prompt_after_resume(module: Path) -> str:
    """A message after a resume is answered at once, also while the entropy pool waits."""
    made = booted(module)
    for _ in range(3):
        made.host.send("OS_Resume")
    made.host.send("ping")
    before = made.clock.now
    made.kernel.run_for(10 * SECOND)
    (at,) = [
        event.at - before
        for event in made.trace.events
        if event.kind == "tclo.reply" and event["message"] == b"ping" and event.at > before
    ]
    return "" if at < 1.5 * SECOND else f"answered after {at / SECOND} s"


def copy_reseeds_entropy(module: Path) -> str:
    """A lost channel, the sign of a reverted snapshot, empties and fills the entropy pool."""
    made = booted(module)
    made.host.lose_channel("tclo")
    made.kernel.run_for(10 * SECOND)
    kinds = [e.kind for e in made.trace.events if e.kind.startswith("entropy.")]
    expected = ["entropy.reset", "entropy.gather", "entropy.consolidate"]
    return "" if kinds == expected else f"{kinds}"


def empty_write_does_not_wake(module: Path) -> str:
    """A write of no bytes is a read: any user may make it, and it does not wake the worker."""
    made = booted(module)
    woken: list[int] = []

    def signal(usual: Callable[[int], Any]) -> Callable[[int], Any]:
        def call(condition: int) -> Any:
            woken.append(condition)
            return usual(condition)

        return call

    made.kernel.dispatch.wrap("cv_signal", signal)
    call = made.kernel.subject(Sysctl).call("machdep.vmt0.clock_sync.period", old=4, new=b"")
    reply = made.admin.wait("sysctl", call, uid=1000)
    return f"errno {reply.error}, {len(woken)} signals" if reply.error or woken else ""


def power_by_name(module: Path) -> str:
    """OS_Halt is carried out with any text after its name."""
    made = booted(module)
    made.host.send("OS_Halt now")
    made.kernel.run_for(3 * SECOND)
    answers = [
        bytes(event["reply"])
        for event in made.trace.events
        if event.kind == "tclo.reply" and event["message"].startswith(b"OS_Halt")
    ]
    return "" if answers == [b"OK "] else f"{answers}"


def retries_in_time(module: Path) -> str:
    """While the host refuses a channel, the driver retries at least every five seconds."""
    made = booted(module)
    made.host.faults.arm("table-full", times=1000)
    made.host.lose_channel("all")
    made.kernel.run_for(200 * SECOND)
    tries = [event.at for event in made.trace.events if event.kind == "open.refused"]
    longest = max(b - a for a, b in pairwise(tries))
    return "" if longest <= 5.1 * SECOND else f"{longest / SECOND} s between two tries"


def contention_logged_once(module: Path) -> str:
    """A repeatedly lost channel logs at most one line a minute."""
    made = booted(module)
    for _ in range(50):
        made.host.lose_channel("tclo")
        made.kernel.run_for(10 * SECOND)
    lines = [line.text for line in made.kernel.subject(SysLog).lines]
    return "" if len(lines) <= 5 + 50 * 10 // 60 else f"{len(lines)} lines: {lines[-2:]}"


def tmpfs_not_reported(module: Path) -> str:
    """The tmpfs that is mounted on /tmp is no disk of the machine."""
    made = booted(module)
    sent = [
        bytes(event["request"])
        for event in made.trace.events
        if event.kind == "rpci" and b"SetGuestDiskInfo" in bytes(event["request"])
    ]
    expected = base64.b64encode(b"/tmp")
    return "" if sent and not any(expected in each for each in sent) else f"{sent}"


def uptime(module: Path) -> str:
    """The uptime is reported in hundredths of a second."""
    done = simulation(module, seconds=130)
    done.run()
    reported = [
        (event.at, int(bytes(event["request"]).rsplit(b" ", 1)[1].rstrip(b"\0")))
        for event in done.trace.events
        if event.kind == "rpci" and bytes(event["request"]).startswith(b"SetGuestInfo  7 ")
    ]
    wrong = [(at, value) for at, value in reported if abs(at // 10_000_000 - value) > 100]
    return verdict(done) or (
        f"uptime reported as {wrong}" if wrong else "" if reported else "none reported"
    )


def bare_metal(module: Path) -> str:
    """Without a hypervisor the port is not touched."""
    done = simulation(module, host=replace(QUIET, kind="hardware"), seconds=5)
    done.run()
    calls = done.host.backdoor.calls
    return f"{calls} calls on a machine without VMware" if calls else verdict(done)


def root_only(module: Path) -> str:
    """An unprivileged user may neither send commands nor read replies."""
    made = booted(module)
    reply = made.admin.wait("sysctl", made.admin.request(b"log hello"), uid=1000)
    if reply.error != Errno.EPERM:
        return f"a user who sends got {reply}"
    number = made.admin.wait("sysctl", made.admin.request(b"log hello")).text
    made.kernel.run_for(SECOND)
    reply = made.admin.wait("sysctl", _look(made, number), uid=1000)
    return "" if reply.error == Errno.EPERM else f"a user who reads got {reply}"


def _look(made: Simulation, number: str, room: int = 65600) -> Model:
    return made.kernel.subject(Sysctl).call(f"machdep.vmt0.rpc.reply.{number}", old=room)


def settings_of_the_host(module: Path) -> str:
    """The host's settings are kept; switching synctime on synchronises once."""
    made = booted(module)
    made.admin.wait("sysctl", made.admin.set_node("machdep.vmt0.clock_sync.follow_host", 1))
    for option in ("time.synchronize.tools.enable 1", "synctime.period 77"):
        made.host.send(f"Set_Option {option}")
    made.kernel.run_for(5 * SECOND)
    made.host.clock.jump(-3600 * SECOND)
    for option in ("synctime 1", "synctime 1"):
        made.host.send(f"Set_Option {option}")
    made.kernel.run_for(5 * SECOND)
    kept = str(made.sysctl("machdep.vmt0.clock_sync.host"))
    if not kept.startswith("synctime 1, period 77, enable 1,"):
        return f"the settings are {kept}"
    steps = len(made.kernel.subject(TimeKeeping).steps)
    return "" if steps == 1 else f"the clock was stepped {steps} times"


def now_while_off(module: Path) -> str:
    """With a period of 0 a request to synchronise is refused."""
    made = booted(module)
    tree = "machdep.vmt0.clock_sync"
    made.admin.wait("sysctl", made.admin.set_node(f"{tree}.period", 0))
    error = made.admin.wait("sysctl", made.admin.set_node(f"{tree}.now", 1)).error
    return "" if error == Errno.EBUSY else f"clock_sync.now=1 gave {error}"


def short_backup_parameters(module: Path) -> str:
    """Parameters of a quiesced snapshot that end too early are refused."""
    words = b"\0\0\0\1" * 7
    for rest in (b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\xfd\0\0\0\5"):
        made = booted(module)
        made.host.send(b"vmbackup.startWithOpts " + words + rest)
        made.kernel.run_for(5 * SECOND)
        replies = [e["reply"] for e in made.trace.events if e.kind == "tclo.reply"]
        if not bytes(replies[-1]).startswith(b"ERROR"):
            return f"{rest!r} gave {replies[-1]!r}"
    return ""


def period_bounds(module: Path) -> str:
    """A period has bounds, and a value outside of them changes nothing."""
    made = booted(module)
    node = "machdep.vmt0.clock_sync.period"
    for value, error in ((-1, Errno.EINVAL), (2_147_484, Errno.EINVAL), (2_147_483, 0), (7, 0)):
        before = made.sysctl(node)
        got = made.admin.wait("sysctl", made.admin.set_node(node, value)).error
        if got != error:
            return f"writing {value} gives {got}, not {int(error)}"
        if made.sysctl(node) != (before if error else value):
            return f"after writing {value} the period is {made.sysctl(node)}"
    made.kernel.run_for(20 * SECOND)
    return ""


def bad_command(module: Path) -> str:
    """A command of more than 64 KiB, or with a NUL in it, is refused."""
    made = booted(module)
    for command in (b"x" * 65537, b"log a\0b"):
        call = made.kernel.subject(Sysctl).call("machdep.vmt0.rpc.request", new=command)
        reply = made.admin.wait("sysctl", call)
        if reply.error != Errno.EINVAL:
            return f"{command[:8]!r}, {len(command)} bytes, gave {reply}"
    return ""


def small_buffer(module: Path) -> str:
    """A reply that does not fit the buffer stays, and no part of it is copied out."""
    made = booted(module)
    made.host.guestinfo.set_variable("a", b"v" * 2000)
    number = made.admin.wait("sysctl", made.admin.request(b"info-get guestinfo.a")).text
    made.kernel.run_for(SECOND)
    for room in (8, 1024, 65600):
        reply = made.admin.wait("sysctl", _look(made, number, room))
        if reply.error != (0 if room > 2000 else Errno.ENOMEM):
            return f"with {room} bytes: {reply.error}, {reply.length} bytes"
    return "" if reply.data.endswith(b"v\0") else f"the reply is {reply.data[:40]!r}"


def own_replies(module: Path) -> str:
    """Each of several concurrent commands gets its own reply."""
    made = booted(module)
    for n in range(6):
        made.host.guestinfo.set_variable(f"v{n}", b"value %d" % n)
    callers = [
        made.admin.start("sysctl", made.admin.rpc(b"info-get guestinfo.v%d" % n)) for n in range(6)
    ]
    made.kernel.run_for(5 * SECOND)
    got = [caller.result and caller.result.data for caller in callers]
    if got != [b"1 value %d\0" % n for n in range(6)]:
        return f"the replies are {got}"
    return "; ".join(violation.rule for violation in made.kernel.violations)


def expired_in_time(module: Path) -> str:
    """An uncollected reply is dropped after a minute, and counted."""
    made = booted(module)
    for _ in range(8):
        made.admin.wait("sysctl", made.admin.request(b"log hello"))
    made.kernel.run_for(50 * SECOND)
    if made.admin.wait("sysctl", made.admin.request(b"log hello")).error != Errno.EBUSY:
        return "a ninth command was taken"
    made.kernel.run_for(15 * SECOND)
    counted = made.sysctl("machdep.vmt0.stats.abandoned")
    reply = made.admin.wait("sysctl", made.admin.rpc(b"log hello"))
    return "" if counted == 8 and not reply.error else f"{counted} of 8 dropped, then {reply}"


def leaves_replies(module: Path) -> str:
    """A detaching driver frees uncollected replies."""
    steps = [(6.0, "guest.request", "log hello"), (8.0, "guest.unload", "vmt")]
    done = simulation(module, *steps)
    done.run()
    return verdict(done)


def new_numbers(module: Path) -> str:
    """After a reattach the driver issues new numbers."""
    made = booted(module)
    numbers = [made.admin.wait("sysctl", made.admin.request(b"log hello")).text]
    for command in (made.admin.detach("vmt0"), made.admin.rescan("cpu0")):
        made.admin.wait("drvctl", command)
    numbers.append(made.admin.wait("sysctl", made.admin.request(b"log hello")).text)
    return "" if numbers[0] != numbers[1] else f"number {numbers[0]} came twice"


def two_commands(module: Path) -> str:
    """Some of several concurrent commands may be refused, and all end."""
    for seed in range(1, 13):
        steps = [(6.0 + 0.001 * n, "guest.rpc", "log hello") for n in range(6)]
        steps += [(6.0, "guest.rpc", "log again") for _ in range(6)]
        done = simulation(module, *steps, seed=seed)
        done.run()
        ended = sum(event.kind == "guest.done" for event in done.trace.events)
        if verdict(done) or ended != 12:
            return verdict(done) or f"{ended} of 12 commands came to an end"
    return ""


def prompt_commands(module: Path) -> str:
    """An administrator's command is sent at once, even if the worker is busy."""
    for seed in range(1, 9):
        steps: list[tuple[float, str, Any]] = []
        for n in range(12):
            at = 6.0 + 2.37 * n
            steps += [(at, "host.tclo", "Capabilities_Register")] * (n % 3)
            steps.append((at + 0.0137 * n, "guest.rpc", "log hello"))
        done = simulation(module, *steps, seed=seed, seconds=40)
        done.run()
        begun = [e.at for e in done.trace.events
                 if e.kind == "scenario.step" and e["verb"] == "guest.rpc"]  # fmt: skip
        ended = [e.at for e in done.trace.events if e.kind == "guest.done" and e["verb"] == "rpc"]
        late = [f"{(b - a) / 1e9:.3f} s" for a, b in zip(begun, ended, strict=False)
                if b - a > SECOND // 5]  # fmt: skip
        if verdict(done) or late or len(begun) != len(ended):
            return verdict(done) or f"seed {seed}: commands took {', '.join(late)}"
    return ""


def twenty_messages_per_wakeup(module: Path) -> str:
    """Twenty queued messages are answered in one wake-up."""
    done = simulation(module, *[(30.3, "host.tclo", "ping")] * 20, seconds=40)
    done.run()
    answers = [e.at for e in done.trace.events
               if e.kind == "tclo.reply" and e["message"] == b"ping"]  # fmt: skip
    took = max(answers, default=0) - min(answers, default=0)
    if len(answers) != 20:
        return verdict(done) or f"{len(answers)} answers"
    return verdict(done) or ("" if took < SECOND // 100 else f"answers took {took / 1e9:.3f} s")


def wakeup_while_busy(module: Path) -> str:
    """A command that arrives while the worker waits for the host is sent right after."""
    at = 60.03
    for messages in range(12, 24):
        # Each message moves the times of the polls: in some of these runs the host was
        # polled just before the uptime is due, and is not polled for another second.
        done = simulation(
            module,
            *[(6 + 2 * n, "host.tclo", "ping") for n in range(messages)],
            (59.5, "host.fault", {"no-reply": {"command": "SetGuestInfo"}}),
            (at, "guest.rpc", "log hello"),
            seconds=70,
        )
        done.run()
        ended = [e.at for e in done.trace.events if e.kind == "guest.done"]
        turns = [e.at for e in done.trace.events
                if e.kind == "rpci" and bytes(e["request"]).startswith(b"SetGuestInfo  7")
                and e.at > 59 * SECOND]  # fmt: skip
        if verdict(done) or not ended or not turns:
            return verdict(done) or "the command or the uptime never came"
        if ended[0] - max(turns[-1], round(at * SECOND)) > SECOND // 10:
            return (
                f"the command was carried out {(ended[0] - turns[-1]) / 1e9:.3f} s after the turn"
            )
    return ""


def after_a_timeout(module: Path) -> str:
    """A command that the host does not answer is an error, and later ones work."""
    made = booted(module)
    made.host.faults.arm("no-reply", times=100)
    commands = [made.admin.rpc(b"log hello") for _ in range(3)]
    errors = [made.admin.wait("sysctl", command).error for command in commands]
    made.host.faults.disarm()
    made.kernel.run_for(30 * SECOND)
    reply = made.admin.wait("sysctl", made.admin.rpc(b"log again"))
    if reply.error or not all(errors):
        return f"errors {errors}, then {reply}"
    return ""


def prompt_shutdown(module: Path) -> str:
    """The shutdown hook waits for the worker's last message, and no longer."""
    done = simulation(module, (6.0, "guest.shutdown", True), seconds=20)
    done.run()
    took = done.now() - 6 * SECOND
    if not done.outcome.halted:
        return verdict(done) or "the machine did not go down"
    return verdict(done) or ("" if took < SECOND else f"shutdown took {took / 1e9:.3f} s")


def load_after_builtin_detach(module: Path) -> str:
    """A module loaded right after drvctl -d of the built-in driver's device takes over."""
    made = simulation(module, builtin=True)
    made.kernel.boot()
    admin = made.admin
    for verb, argument in (("unload", "vmt"), ("detach", "vmt0")):
        error = admin.wait(verb, admin.command(verb, argument))
        if error:
            return f"{verb}: {error}"
    error = admin.wait("load", admin.load())
    if error:
        return f"modload gives {error}"
    made.kernel.run_for(5 * SECOND)
    lines = [line.text for line in made.kernel.subject(Console).lines]
    return "" if any("VMware Tools driver" in line for line in lines) else "vmt0 did not attach"


# Kernel calls of attach that may fail, with their results.
_FAILURES = {
    "sysmon_pswitch_register": int(Errno.ENOMEM),
    "pmf_device_register1": 0,
    "kthread_create": int(Errno.ENOMEM),
    "sysctl_createv": int(Errno.ENOMEM),
}


def unwinding(module: Path) -> str:
    """Each kernel call of attach fails once; nothing leaks, and the next attach works."""
    for name, result in _FAILURES.items():
        for count in range(1, 40):
            done = simulation(
                module,
                (3.0, "guest.detach", "vmt0"),
                (4.0, "guest.rescan", "cpu0"),
                seconds=8,
            )
            failed = _fail(done, name, count, result)
            done.run()
            if not 0 < failed() < 3 * SECOND:
                break  # it is made no more often
            lines = [line.text for line in done.kernel.subject(Console).lines]
            if not any("not started" in line for line in lines):
                return f"{name}, call {count} failed, and nothing was logged"
            back = any(e.kind == "tclo.reply" and e.at > 4 * SECOND for e in done.trace.events)
            if verdict(done) or not back:
                return f"{name}, call {count}: {verdict(done) or 'the next attach failed'}"
    return ""


def _fail(done: Simulation, name: str, count: int, result: int) -> Callable[[], int]:
    """Let call number ``count`` of a kernel function fail; returns when it did, 0 for never."""
    left = count
    at = 0

    def before(_lwp: Any, entry: Any) -> None:
        nonlocal left, at
        if entry.name != name or left <= 0:
            return
        left -= 1
        if left:
            return
        at = done.now()
        real = entry.method

        def fails(*_arguments: Any) -> int:
            entry.method = real
            return result

        entry.method = fails

    done.kernel.scheduler.on_call = before
    return lambda: at


def node_count(made: Simulation) -> int:
    """Return how many nodes there are below machdep.vmt0."""
    return len(made.kernel.subject(SysctlTree).leaves("machdep.vmt0"))


CHECKS: dict[str, Callable[[Path], str]] = {
    "idle-hour": idle_hour,
    "uuid": uuid,
    "uptime": uptime,
    "precise-time-after-move": precise_time_after_move,
    "uptime-is-registered": uptime_is_registered,
    "event-precedes-reply": event_precedes_reply,
    "prompt-after-resume": prompt_after_resume,
    "copy-reseeds-entropy": copy_reseeds_entropy,
    "empty-write-does-not-wake": empty_write_does_not_wake,
    "power-by-name": power_by_name,
    "retries-in-time": retries_in_time,
    "contention-logged-once": contention_logged_once,
    "tmpfs-not-reported": tmpfs_not_reported,
    "snapshot-has-flushed-data": snapshot_has_flushed_data,
    "suspended-root-is-synced": suspended_root_is_synced,
    "clock-ahead-at-start": clock_ahead_at_start,
    "clock-not-set-yet": clock_not_set_yet,
    "back-with-lag": back_with_lag,
    "bare-metal": bare_metal,
    "root-only": root_only,
    "now-while-off": now_while_off,
    "settings-of-the-host": settings_of_the_host,
    "short-backup-parameters": short_backup_parameters,
    "period-bounds": period_bounds,
    "bad-command": bad_command,
    "small-buffer": small_buffer,
    "own-replies": own_replies,
    "expired-in-time": expired_in_time,
    "leaves-replies": leaves_replies,
    "new-numbers": new_numbers,
    "two-commands": two_commands,
    "prompt-commands": prompt_commands,
    "twenty-messages-per-wakeup": twenty_messages_per_wakeup,
    "wakeup-while-busy": wakeup_while_busy,
    "after-a-timeout": after_a_timeout,
    "prompt-shutdown": prompt_shutdown,
    "load-after-builtin-detach": load_after_builtin_detach,
    "unwinding": unwinding,
}
