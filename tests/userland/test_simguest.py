"""vmtctl against the real module: each command reaches the driver and returns its answer."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from answers import tools_answer_here
from fakeguest import USERLAND

from tests.programs import programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from answers import Control
    from simguest import SimGuest

    Start = Callable[..., SimGuest]


@pytest.fixture
def sim_guest(start: Start) -> SimGuest:
    """A guest whose kernel has no built-in driver, with the module loaded and attached."""
    sim_guest = start()
    sim_guest.advance(3)
    return sim_guest


@pytest.fixture
def on(capsys: pytest.CaptureFixture[str]) -> Callable[[SimGuest], Control]:
    """vmtctl on a guest."""
    from answers import Control

    return lambda sim_guest: Control(sim_guest, capsys)


def attached(sim_guest: SimGuest) -> bool:
    return "vmt0" in sim_guest.tool("sbin/drvctl", "-l", "cpu0").stdout


# Detaching and attaching.


def test_detach_runs_driver_detach_code(sim_guest: SimGuest, on: Any) -> None:
    assert sim_guest.status["channel"] is not None
    done = on(sim_guest)("detach")
    assert (done.status, done.out) == (0, "detached vmt0\n")
    assert "vmt0: detached" in sim_guest.dmesg()
    # The driver has closed its channel and removed its nodes.
    assert sim_guest.status["channel"] is None
    assert "is invalid" in sim_guest.tool("sbin/sysctl", "machdep.vmt0").stderr


def test_attach_restarts_communication(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    vmtctl("detach")
    resets = sim_guest.status["resets"]
    done = vmtctl("attach")
    assert (done.status, done.out) == (0, "attached vmt0\n")
    sim_guest.advance(3)
    assert sim_guest.status["channel"] is not None
    assert sim_guest.status["resets"] == resets + 1


def test_repeated_detach_and_attach_do_nothing(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("attach").out == "vmt0 is unchanged: attached\n"
    for _ in range(2):
        assert vmtctl("detach").status == 0
    assert sim_guest.commands("drvctl -d") == ["drvctl -d vmt0"]


def test_dry_run_does_not_touch_driver(sim_guest: SimGuest, on: Any) -> None:
    for words in (("detach",), ("clock", "5m"), ("unload",), ("guestinfo", "set", "a", "b")):
        assert on(sim_guest)(*words, "--dry-run").status == 0
    assert sim_guest.commands("drvctl -d", "drvctl -r", "mod", "sysctl -w") == ["modstat vmt"]


def test_status_shows_driver_counters(sim_guest: SimGuest, on: Any) -> None:
    sim_guest.host("lose")
    sim_guest.advance(10)
    found = on(sim_guest)("status", "--json").json
    assert found["driver"]["in_charge"] == "netbsd-vmt"
    assert found["channel"]["holder"] == "vmt"
    assert found["counters"]["reopens"] == 1
    assert found["clock"]["state"] == "in step"


# The kernel's own driver, and the module in its place.


@pytest.fixture
def generic(start: Start) -> SimGuest:
    """A guest whose kernel has a built-in driver, like GENERIC."""
    return start("--kernel", "builtin")


def test_load_replaces_built_in_driver_and_unload_restores_it(generic: SimGuest, on: Any) -> None:
    vmtctl = on(generic)
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "stock"
    assert vmtctl("load").out.splitlines() == [
        "disabled the built-in driver",
        f"loaded {generic.root}/usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod",
        "detached vmt0",
        "attached vmt0",
    ]
    generic.advance(3)
    assert generic.status["channel"] is not None
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "netbsd-vmt"
    assert vmtctl("load", "--json").json["changed"] is False
    assert vmtctl("unload").out.splitlines() == [
        "unloaded the module vmt",
        "enabled the built-in driver",
        "attached vmt0 to the built-in driver",
    ]
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "stock"
    assert vmtctl("doctor").status == 1  # nothing is broken


def test_following_the_fixes_of_doctor_gives_healthy_guest(
    generic: SimGuest, on: Any, tmp_path: Path
) -> None:
    root, vmtctl = generic.root, on(generic)
    program = tmp_path / "vmtctl"
    script = root / "usr/pkg/share/examples/rc.d/vmtctl"
    script.parent.mkdir(parents=True)
    script.write_bytes((USERLAND / "rc.d/vmtctl").read_bytes())
    # Several errors: no powerd, a second time daemon, and no owner of the channel.
    os.kill(generic.status["powerd"], signal.SIGTERM)
    generic.until(lambda status: status["powerd"] is None)
    (root / "etc/rc.conf").write_text("powerd=NO\nntpd=YES vmtools=YES")
    (root / "etc/powerd/vmt.d").mkdir()
    (root / "etc/powerd/vmt.d/10-mail").write_text("#!/bin/sh\n")
    assert vmtctl("detach").status == 0
    typed: list[str] = []
    with programs("vmtctl", before=tools_answer_here) as ours:
        program.write_text(f'#!/bin/sh\nexec {ours} vmtctl --tools-root "{root}" "$@"\n')
        program.chmod(0o755)
        while rows := [
            row for row in vmtctl("doctor", "--json").json["findings"] if row["severity"] != "ok"
        ]:
            assert len(typed) < 20, typed
            row = next((row for row in rows if row["fix"]), rows[0])
            typed.append(row["name"])
            subprocess.run(
                ["/bin/sh", "-euc", row["fix"]],
                env={**os.environ, "PATH": f"{tmp_path}:{root}/usr/pkg/bin:{os.environ['PATH']}"},
                check=True,
            )
    assert len(typed) == len(set(typed)), "each finding is fixed by its own command"
    assert {
        "device-detached", "powerd-down", "clock-masters", "site-script-mode",
        "driver-stock", "module-not-at-boot", "hooks-absent", "vmtools-alone",
    } <= set(typed)  # fmt: skip
    assert "nothing to fix\n" in vmtctl("doctor").out
    status = generic.until(lambda status: status["powerd"] is not None)
    assert status["modules"]


def test_load_after_earlier_detach_does_not_panic(generic: SimGuest, on: Any) -> None:
    # A detached unit is not freed before the next rescan (config_detach of subr_autoconf.c).
    assert generic.tool("sbin/drvctl", "-d", "vmt0").returncode == 0
    assert on(generic)("load").status == 0
    assert generic.status["machine"] == "running"


@pytest.mark.parametrize("detached", [False, True])
def test_load_continues_if_built_in_driver_is_only_disabled(
    generic: SimGuest, on: Any, *, detached: bool
) -> None:
    assert generic.tool("sbin/modunload", "vmt").returncode == 0
    if detached:
        assert generic.tool("sbin/drvctl", "-d", "vmt0").returncode == 0
    vmtctl = on(generic)
    assert vmtctl("status", "--json").json["driver"]["builtin_disabled"] is True
    assert vmtctl("load").status == 0
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "netbsd-vmt"
    assert vmtctl("unload").status == 0
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "stock"


def test_module_refused_by_kernel_linker_changes_nothing(
    generic: SimGuest, on: Any, tmp_path: Path
) -> None:
    damaged = tmp_path / "vmt.kmod"
    content = generic.module.read_bytes()
    assert content.count(b"\0sysmon_pswitch_event\0") == 1
    damaged.write_bytes(content.replace(b"sysmon_pswitch_event\0", b"sysmon_pswitch_evenX\0"))
    vmtctl = on(generic)
    done = vmtctl("load", "-m", str(damaged))
    assert done.status == 65
    assert "the kernel's linker refused it" in done.err
    assert "sysmon_pswitch_evenX" in done.err  # the kernel prints it only in dmesg
    assert "all steps were undone" in done.err
    found = vmtctl("status", "--json").json
    assert (found["driver"]["loaded"], found["driver"]["in_charge"]) == ("builtin", "stock")
    assert found["device"]["attached"] is True


def test_nothing_is_loaded_at_raised_securelevel(generic: SimGuest, on: Any) -> None:
    assert generic.tool("sbin/sysctl", "-w", "kern.securelevel=1").returncode == 0
    vmtctl = on(generic)
    assert vmtctl("load").status == 69
    assert vmtctl("status", "--json").json["driver"]["in_charge"] == "stock"
    assert "kern.securelevel is 1" in vmtctl("doctor").out


def test_each_verb_works_with_stock_driver_as_far_as_possible(generic: SimGuest, on: Any) -> None:
    vmtctl = on(generic)
    shown = vmtctl("clock")
    assert shown.status == 0
    assert "this driver reports nothing else" in shown.out
    assert vmtctl("clock", "5m").status == 0
    assert vmtctl("status", "--json").json["clock"]["period"] == 300
    assert vmtctl("clock", "off").status == 0
    sync = vmtctl("clock", "sync")
    assert (sync.status, "load the module: vmtctl load" in sync.err) == (69, True)
    for words in (("get", "a"), ("set", "a", "b"), ("list",)):
        done = vmtctl("guestinfo", *words)
        assert (done.status, "the driver has no node machdep.vmt0.rpc.request" in done.err) == (
            69,
            True,
        )
    assert [vmtctl(word).status for word in ("detach", "attach", "status")] == [0, 0, 0]


# Clock and guest variables.


def test_clock_period_is_set_and_kept(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("clock", "2h", "--persist").status == 0
    assert sim_guest.tool("sbin/sysctl", "-n", "machdep.vmt0.clock_sync.period").stdout == "7200\n"
    assert "period?=7200" in (sim_guest.root / "etc/sysctl.conf").read_text()
    assert vmtctl("clock", "off").status == 0
    assert vmtctl("status", "--json").json["clock"]["period"] == 0
    assert vmtctl("clock", "2147484").status == 64


def test_sysctl_conf_period_survives_detach(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("clock", "30", "--persist").status == 0

    def period() -> Any:
        return vmtctl("status", "--json").json["clock"]["period"]

    vmtctl("detach")
    assert vmtctl("attach", "-n").out.splitlines()[-1] == "would set the clock's period: every 30 s"
    assert vmtctl("attach").out == "attached vmt0\nset the clock's period: every 30 s\n"
    assert period() == 30
    assert lend(sim_guest, "/bin/sh", "-c", "exit 0").wait() == 0
    assert period() == 30


def test_sysctl_conf_period_carries_over_to_other_driver(generic: SimGuest, on: Any) -> None:
    vmtctl = on(generic)
    assert vmtctl("clock", "off", "--persist").status == 0
    for verb in ("load", "unload"):
        assert vmtctl(verb).status == 0
        assert vmtctl("status", "--json").json["clock"]["period"] == 0


def test_clock_follow_host_setting_is_kept(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)

    def decides() -> bool:
        return bool(vmtctl("status", "--json").json["clock"]["follow_host"])

    # In the form of an administrator, and in that of vmtctl.
    for words in ((), ("clock", "--follow-host", "on", "--persist")):
        if words:
            assert vmtctl("clock", "--follow-host", "off", "--persist").status == 0
            assert vmtctl(*words).status == 0
        else:
            (sim_guest.root / "etc/sysctl.conf").write_text(
                "machdep.vmt0.clock_sync.period=300\nmachdep.vmt0.clock_sync.follow_host=1\n"
            )
        assert vmtctl("detach").status == 0
        assert vmtctl("attach").out.splitlines()[1:] == [
            "set the clock's period: every 300 s",
            "set who decides about the clock: the host (follow_host 1)",
        ]
        assert decides()
        assert vmtctl("run", "--", "true").status == 0
        assert decides()
    assert vmtctl("clock", "--follow-host", "off").status == 0
    assert not decides()
    assert "after a reboot the host decides" in vmtctl("status").out
    assert vmtctl("clock", "--follow-host", "maybe").status == 64


def test_sync_sets_clock_at_once(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("clock", "1h").status == 0
    sim_guest.host("clock", "jump=100")
    sim_guest.advance(5)
    assert vmtctl("clock", "--json").json["clock"]["steps"] == 0
    assert vmtctl("clock", "sync").status == 0
    sim_guest.advance(1)
    assert vmtctl("clock", "--json").json["clock"]["steps"] == 1
    assert "clock stepped by 100" in sim_guest.dmesg() or "clock stepped by 99" in sim_guest.dmesg()


def test_disabled_clock_sync_stays_disabled(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("clock", "off").status == 0
    sim_guest.host("clock", "jump=100")
    sim_guest.advance(130)
    done = vmtctl("clock", "sync")
    assert (done.status, "the clock is off" in done.err) == (78, True)
    assert vmtctl("clock", "--json").json["clock"]["steps"] == 0


@pytest.mark.parametrize(
    "value", ["hello", "a -> b", "two\nlines\n", "'quoted' \"text\" $(x)", "größer 北京", "1 "]
)
def test_guest_variable_reads_back_as_set(sim_guest: SimGuest, on: Any, value: str) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("guestinfo", "set", "motd", "--", value).status == 0
    assert sim_guest.status["variables"]["motd"] == value
    got = vmtctl("guestinfo", "get", "motd", "--json").json
    assert (got["set"], got["value"]) == (True, value)


def test_variable_set_by_host_is_readable_in_guest(sim_guest: SimGuest, on: Any) -> None:
    sim_guest.host("guestinfo", "userdata=#cloud-config")
    vmtctl = on(sim_guest)
    assert vmtctl("guestinfo", "get", "guestinfo.userdata").out == "#cloud-config"
    assert "guestinfo.userdata = #cloud-config" in vmtctl("guestinfo", "list").out
    assert vmtctl("guestinfo", "get", "nothing").status == 1


def test_64_kib_variable_round_trips(
    sim_guest: SimGuest, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of VMware's protocol, through sysctl(8) both ways (cloud-init's user data)."""
    vmtctl = on(sim_guest)
    room = 65536 - len("info-set guestinfo.userdata ")
    value = ("#cloud-config \u00e9 -> # = \\\n" * 4000).encode()[: room - 1] + b"."
    for data, status in ((value, 0), (value + b".", 65)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert vmtctl("guestinfo", "set", "--raw", "userdata", "-").status == status
    assert vmtctl("guestinfo", "get", "userdata").out.encode() == value
    sim_guest.host("guestinfo", "hostname=web01")
    listed = vmtctl("guestinfo", "list", "--json").json
    assert listed["unread"] == {}
    assert listed["variables"]["guestinfo.userdata"].encode() == value
    assert listed["variables"]["guestinfo.hostname"] == "web01"


def test_old_vmtctl_with_one_node_sends_nothing_to_this_driver(sim_guest: SimGuest) -> None:
    """sysctl(8) prints the nodes below a name that is written to (sbin/sysctl/sysctl.c, parse)."""
    before = sim_guest.status["variables"]
    done = sim_guest.tool("sbin/sysctl", "-w", "machdep.vmt0.rpc=info-set guestinfo.a b")
    assert (done.returncode, done.stdout) == (
        0,
        "machdep.vmt0.rpc.request = \nmachdep.vmt0.rpc.reply = \n",
    )
    sim_guest.advance(2)
    assert sim_guest.status["variables"].keys() == before.keys()


def test_oversized_variable_does_not_hide_others(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    sim_guest.host("guestinfo", "hostname=web01")
    sim_guest.host("guestinfo", "userdata=" + "A" * 65535)
    shown = vmtctl("guestinfo", "list")
    assert shown.status == 0
    assert "guestinfo.hostname = web01" in shown.out
    assert "guestinfo.userdata: the value is longer than the protocol allows" in shown.out


# vmtoolsd beside vmt0.


def test_channel_contention_is_named_and_detach_ends_it(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    sim_guest.start(sim_guest.root / "usr/pkg/bin/vmtoolsd")
    sim_guest.until_toolsd(runs=True)
    before = sim_guest.status
    sim_guest.advance(20)
    contended = sim_guest.status
    # Both reopen the channel repeatedly.
    assert contended["tools_sessions"] >= 3
    assert contended["resets"] - before["resets"] > contended["tools_sessions"]
    assert vmtctl("status", "--json").json["channel"]["holder"] == "conflict"
    assert "CONFLICT: vmt0 and vmtoolsd" in vmtctl("status").out
    doctor = vmtctl("doctor")
    assert doctor.status == 2
    assert "both use the channel" in doctor.out
    assert vmtctl("detach").status == 0
    sessions = sim_guest.status["tools_sessions"]
    sim_guest.advance(20)
    # It takes the free channel one last time, and keeps it.
    assert sim_guest.status["tools_sessions"] <= sessions + 1
    assert vmtctl("status", "--json").json["channel"]["holder"] == "vmtoolsd"


def test_past_contention_is_reported_until_reattach(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    toolsd = sim_guest.start(sim_guest.root / "usr/pkg/bin/vmtoolsd")
    sim_guest.until_toolsd(runs=True)
    sim_guest.advance(20)
    toolsd.terminate()
    sim_guest.until_toolsd(runs=False)
    met = "another tools service has used the channel"
    assert met in vmtctl("doctor").out
    assert [vmtctl(verb).status for verb in ("detach", "attach")] == [0, 0]
    assert met not in vmtctl("doctor").out


def test_attach_refuses_while_vmtoolsd_runs(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    vmtctl("detach")
    sim_guest.start(sim_guest.root / "usr/pkg/bin/vmtoolsd")
    sim_guest.until_toolsd(runs=True)
    refused = vmtctl("attach")
    assert (refused.status, "vmtoolsd runs" in refused.err) == (75, True)
    pid = vmtctl("status", "--json").json["channel"]["vmtoolsd"][0]
    assert f"service vmtools stop, or kill {pid};" in refused.err
    assert not attached(sim_guest)
    assert vmtctl("attach", "--force").status == 0
    assert attached(sim_guest)


def lend(sim_guest: SimGuest, *command: str | Path) -> subprocess.Popen[str]:
    return sim_guest.start_vmtctl("run", "--", *command)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_detaches_for_command_and_reattaches(
    sim_guest: SimGuest, number: signal.Signals
) -> None:
    toolsd = sim_guest.root / "usr/pkg/bin/vmtoolsd"
    if number == signal.SIGHUP:  # vmtoolsd stays alive then; another command does not
        running = lend(sim_guest, "/bin/sh", "-c", f"'{toolsd}' & trap 'kill $!; exit 7' HUP; wait")
    else:
        running = lend(sim_guest, toolsd)
    sim_guest.until_toolsd(runs=True)
    assert not attached(sim_guest)
    sim_guest.advance(20)
    assert sim_guest.status["tools_sessions"] == 1  # no other process took the channel
    running.send_signal(number)
    out, _ = running.communicate()
    assert running.returncode == (7 if number == signal.SIGHUP else 0), out
    assert attached(sim_guest)
    sim_guest.until_toolsd(runs=False)
    sim_guest.advance(5)
    assert sim_guest.status["channel"] is not None


def test_run_keeps_settings_of_driver(sim_guest: SimGuest, on: Any) -> None:
    """A driver attaches with its defaults: run restores the administrator's settings."""
    settings = {
        "clock_sync.period": "300", "clock_sync.follow_host": "1", "backup.freeze": "/",
        "backup.scripts": "30", "backup.require_scripts": "1", "info.memory_period": "7",
        "net.primary": "vmx0", "net.exclude": "tap* bridge0",
    }  # fmt: skip
    (sim_guest.root / "etc/sysctl.conf").write_text("machdep.vmt0.clock_sync.period=60\n")
    for name, value in settings.items():
        assert sim_guest.tool("sbin/sysctl", "-w", f"machdep.vmt0.{name}={value}").returncode == 0

    def now() -> dict[str, str]:
        lines = sim_guest.tool("sbin/sysctl", "machdep.vmt0").stdout.splitlines()
        nodes = dict(line.removeprefix("machdep.vmt0.").split(" = ", 1) for line in lines)
        return {name: nodes[name] for name in settings}

    assert now() == settings
    assert on(sim_guest)("run", "--", "true").status == 0
    assert now() == settings


def test_attach_sets_every_setting_of_sysctl_conf(sim_guest: SimGuest, on: Any) -> None:
    """Settings that rc.d/sysctl could not apply before the module was loaded."""
    vmtctl = on(sim_guest)
    (sim_guest.root / "etc/sysctl.conf").write_text(
        "machdep.vmt0.backup.freeze?=/\n#machdep.vmt0.backup.scripts=9\n"
        "machdep.vmt0.clock_sync.period=0x1e\n"
        "machdep.vmt0.info.memory_period=99999\nmachdep.vmt0.backup.done=1\nkern.x=1\n"
    )
    assert vmtctl("detach").status == 0
    done = vmtctl("attach")
    assert (done.status, done.out) == (
        0,
        "attached vmt0\nset the clock's period: every 30 s\nset backup.freeze to '/'\n",
    )
    assert "machdep.vmt0.info.memory_period was not set to '99999': " in done.err
    assert "Invalid argument" in done.err


def test_nothing_is_frozen_while_run_has_the_channel(sim_guest: SimGuest, on: Any) -> None:
    assert sim_guest.tool("sbin/sysctl", "-w", "machdep.vmt0.backup.freeze=/").returncode == 0
    sim_guest.host("backup", "do=start", "snapshot=60")
    sim_guest.advance(3)
    assert sim_guest.status["suspended"] == ["/"]
    running = lend(sim_guest, sim_guest.root / "usr/pkg/bin/vmtoolsd")
    sim_guest.until_toolsd(runs=True)
    assert sim_guest.status["suspended"] == []
    sim_guest.host("backup", "do=start", "snapshot=60")
    sim_guest.advance(10)
    assert sim_guest.status["suspended"] == []
    running.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    sim_guest.advance(5)
    # The driver is back, and so is its setting.
    sim_guest.host("backup", "do=start", "snapshot=60")
    sim_guest.advance(3)
    assert sim_guest.status["suspended"] == ["/"]


def test_run_reattaches_after_failed_command(sim_guest: SimGuest) -> None:
    done = lend(sim_guest, "/bin/sh", "-c", "exit 3")
    done.communicate()
    assert done.returncode == 3
    assert attached(sim_guest)


def test_guest_vmtctl_runs_guest_programs(sim_guest: SimGuest) -> None:
    vmtctl = sim_guest.root / "usr/pkg/bin/vmtctl"
    running = sim_guest.start(vmtctl, "run", "--", "/usr/pkg/bin/vmtoolsd")
    sim_guest.until_toolsd(runs=True)
    assert not attached(sim_guest)
    running.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert attached(sim_guest)


def test_pkgsrc_service_uses_vmtctl(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert vmtctl("service", "install").status == 0
    assert sim_guest.tool("usr/sbin/service", "vmtools", "onestart").returncode == 0
    sim_guest.until_toolsd(runs=True)
    assert not attached(sim_guest)
    sim_guest.advance(10)
    assert sim_guest.status["tools_sessions"] == 1
    stopped = sim_guest.tool("usr/sbin/service", "vmtools", "onestop")
    assert stopped.returncode == 0, stopped.stderr
    assert attached(sim_guest)
    # vmt0 attached only after vmtoolsd had ended: attach refuses while it runs.
    commands = sim_guest.commands("drvctl -d", "drvctl -r")
    assert commands == ["drvctl -d vmt0", "drvctl -r -a cpufeaturebus cpu0"]
    assert vmtctl("service", "uninstall").status == 0
    assert not (sim_guest.root / "etc/rc.conf.d/vmtools").exists()


# Requests of the host, through powerd.


def test_shutdown_request_causes_orderly_shutdown(sim_guest: SimGuest, on: Any) -> None:
    assert on(sim_guest)("powerd", "install").status == 0
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    shutdown = sim_guest.commands("shutdown")
    # By NetBSD's own script, last of all
    assert shutdown == ["shutdown -p now power_button pressed"]
    status = sim_guest.status
    assert status["machine"] == "power off"
    assert status["statuses"]["1"] is True  # the driver reported it to the host before
    assert "vmt0: the host asks for a shutdown" in sim_guest.messages
    gone = sim_guest.tool("sbin/drvctl", "-l", "cpu0")
    assert (gone.returncode, "the machine is down: power off" in gone.stderr) == (1, True)


def test_reboot_request_causes_orderly_reboot(sim_guest: SimGuest, on: Any) -> None:
    assert on(sim_guest)("powerd", "install").status == 0
    sim_guest.host("power", "reboot")
    sim_guest.advance(5)
    assert sim_guest.commands("shutdown") == ["shutdown -r now reset_button pressed"]
    assert sim_guest.status["machine"] == "reboot"
    assert sim_guest.status["statuses"]["2"] is True


def site_script(sim_guest: SimGuest, name: str, text: str) -> None:
    path = sim_guest.root / "etc/powerd/vmt.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_resume_renews_network_and_runs_site_scripts(sim_guest: SimGuest, on: Any) -> None:
    assert on(sim_guest)("powerd", "install").status == 0
    log = sim_guest.root / "var/log/site"
    site_script(sim_guest, "20-second", f'echo "second $*" >>"{log}"')
    site_script(sim_guest, "10-first", f'echo "first $*" >>"{log}"')
    sim_guest.host("power", "suspend", "seconds=3600")
    sim_guest.advance(10)
    assert sim_guest.status["machine"] == "running"
    assert sim_guest.commands("dhcpcd", "shutdown") == ["dhcpcd restart"]
    assert log.read_text() == "first resume vmt0\nsecond resume vmt0\n"
    for text in ("the virtual machine was resumed", "10-first resume"):
        assert text in sim_guest.messages


def test_site_scripts_run_before_shutdown(sim_guest: SimGuest, on: Any) -> None:
    assert on(sim_guest)("powerd", "install").status == 0
    # A script may use vmtctl's own tools: the driver answers while powerd waits.
    node = "machdep.vmt0.uuid"
    log = sim_guest.root / "var/log/site"
    site_script(sim_guest, "10-uuid", f'"{sim_guest.root}/sbin/sysctl" -n {node} >"{log}"')
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert log.read_text() == "00010203-0405-0607-0809-0a0b0c0d0e0f\n"
    assert sim_guest.status["machine"] == "power off"


def test_without_acpi_standard_scripts_get_blocks(start: Start, on: Any) -> None:
    sim_guest = start("--no-acpi")
    sim_guest.advance(3)
    before = {
        path: path.read_bytes() for path in (sim_guest.root / "etc/powerd/scripts").glob("*_button")
    }
    vmtctl = on(sim_guest)
    assert vmtctl("powerd", "install").status == 0
    assert not (sim_guest.root / "etc/powerd/scripts/acpi").exists()
    assert vmtctl("powerd", "uninstall").status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert vmtctl("powerd", "install").status == 0
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert sim_guest.commands("shutdown") == ["shutdown -p now power_button pressed"]
    assert "vmt0: the host asks for a shutdown" in sim_guest.messages


def test_site_power_button_script_runs_last(sim_guest: SimGuest, on: Any) -> None:
    own = sim_guest.root / "etc/powerd/scripts/power_button"
    own.write_text(
        """#!/bin/sh
# ours: stop the billing first
root=${0%/etc/powerd/*}
case "${2}" in
pressed)
	"$root/usr/bin/logger" -t billing "stopped in order"
	exec "$root/sbin/shutdown" -p now "power button"
	;;
esac
"""
    )
    assert on(sim_guest)("powerd", "install").status == 0
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert "billing: stopped in order" in sim_guest.messages
    assert sim_guest.commands("shutdown") == ["shutdown -p now power button"]
    assert sim_guest.status["machine"] == "power off"


def test_without_standard_script_hooks_shut_down(sim_guest: SimGuest, on: Any) -> None:
    (sim_guest.root / "etc/powerd/scripts/power_button").unlink()
    assert on(sim_guest)("powerd", "install").status == 0
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert sim_guest.commands("shutdown") == ["shutdown -p now the host asked for a shutdown"]


def test_events_of_other_devices_reach_standard_script(sim_guest: SimGuest, on: Any) -> None:
    assert on(sim_guest)("powerd", "install").status == 0
    script = sim_guest.root / "etc/powerd/scripts/acpi/power_button"
    subprocess.run([script, "acpibut0", "pressed"], check=True, capture_output=True)
    assert sim_guest.commands("shutdown") == ["shutdown -p now power_button pressed"]


def test_after_uninstall_standard_scripts_handle_events(sim_guest: SimGuest, on: Any) -> None:
    vmtctl = on(sim_guest)
    assert [vmtctl("powerd", word).status for word in ("install", "uninstall")] == [0, 0]
    sim_guest.host("power", "reboot")
    sim_guest.advance(5)
    assert sim_guest.commands("shutdown") == ["shutdown -r now reset_button pressed"]


def test_without_powerd_kernel_shuts_down_and_doctor_warns(start: Start, on: Any) -> None:
    sim_guest = start("--no-powerd")
    sim_guest.advance(3)
    doctor = on(sim_guest)("doctor")
    assert (doctor.status, "powerd does not run" in doctor.out) == (2, True)
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert sim_guest.status["machine"] == "power off"
    assert sim_guest.commands("shutdown") == []


def test_service_restarts_powerd(sim_guest: SimGuest, on: Any) -> None:
    assert sim_guest.tool("usr/sbin/service", "powerd", "stop").returncode == 0
    sim_guest.until(lambda status: status["powerd"] is None)
    assert on(sim_guest)("status", "--json").json["powerd"]["running"] is False
    assert sim_guest.tool("usr/sbin/service", "powerd", "start").returncode == 0
    sim_guest.until(lambda status: status["powerd"] is not None)
    busy = sim_guest.tool("usr/sbin/powerd", "-d")
    assert (busy.returncode, "/dev/power: Device busy" in busy.stderr) == (1, True)
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    assert sim_guest.status["machine"] == "power off"
