"""powerd, service, clock, status and doctor from the administrator's view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import require
from vmtctl import exits

PERIOD = "machdep.vmt0.clock_sync.period"

if TYPE_CHECKING:
    from answers import Control

CONF = "etc/rc.conf.d/vmtools"


def test_powerd_install_is_idempotent_and_diff_is_empty(vmtctl: Control, guest: Any) -> None:
    assert vmtctl("powerd", "diff").status == 1
    assert vmtctl("powerd", "status").status == 1
    assert vmtctl("powerd", "install").status == 0
    assert vmtctl("powerd", "install", "--json").json["changed"] is False
    assert vmtctl("powerd", "diff").out == ""
    assert vmtctl("powerd", "status", "--json").json["state"] == "installed"
    assert vmtctl("status", "--json").json["powerd"]["hooks"] == "installed"


def test_powerd_works_on_an_image(vmtctl: Control, guest: Any, tmp_path: Any) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    assert vmtctl("powerd", "install", "-R", str(image)).status == 0
    assert (image / "etc/powerd/vmt-event").exists()
    assert not (guest.root / "etc/powerd/vmt-event").exists()
    assert guest.get()["calls"] == []


def test_dry_run_shows_diff(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("powerd", "install", "-n")
    assert "+++ /etc/powerd/vmt-event" in done.out
    assert not (guest.root / "etc/powerd/vmt-event").exists()
    assert "+++" in vmtctl("powerd", "install", "-n", "--json").json["diff"]


def test_install_warns_if_powerd_does_not_run(vmtctl: Control, guest: Any) -> None:
    guest.set(processes=[])
    assert "powerd does not run" in vmtctl("powerd", "install").err


def test_service_adds_and_removes_block(vmtctl: Control, guest: Any) -> None:
    path = guest.root / CONF
    path.write_text("vmtools=YES")
    assert vmtctl("service", "install").status == 0
    assert path.read_text().startswith("vmtools=YES\n# >>> vmtctl >>>")
    assert vmtctl("service", "install", "--json").json["changed"] is False
    assert vmtctl("service", "uninstall").status == 0
    assert path.read_text() == "vmtools=YES"
    assert vmtctl("service", "uninstall", "--json").json["changed"] is False


@pytest.mark.parametrize("kind", ["link", "file"])
def test_vmt_d_that_is_no_directory_is_reported(vmtctl: Control, guest: Any, kind: str) -> None:
    assert vmtctl("powerd", "install").status == 0
    site = guest.root / "etc/powerd/vmt.d"
    site.rmdir()
    if kind == "link":
        site.symlink_to(guest.root / "var")
    else:
        site.write_text("")
    done = vmtctl("powerd", "status")
    assert (done.status, done.err) == (1, "")
    assert "/etc/powerd/vmt.d" in done.out
    assert "not a directory" in done.out
    assert vmtctl("powerd", "install").status == exits.DATA
    assert vmtctl("powerd", "uninstall").status == 0
    assert not (guest.root / "etc/powerd/vmt-event").exists()


# pkgsrc sysutils/open-vm-tools/files/vmtools.sh 1.4, up to load_rc_config, and what
# run_rc_command of NetBSD's etc/rc.subr does with the variables: eval, unquoted.
RC_SCRIPT = """
start_precmd="disable_vmt"
disable_vmt() { echo "pkgsrc detaches"; }
stop_precmd="enable_vmt"
enable_vmt() { echo "pkgsrc attaches"; }
%s
start() {
	if [ -n "$start_precmd" ]; then eval $start_precmd || return 1; fi
	echo vmtoolsd starts
}
stop() {
	if [ -n "$stop_precmd" ]; then eval $stop_precmd || return 1; fi
	echo vmtoolsd stops
	if [ -n "$stop_postcmd" ]; then eval $stop_postcmd || return 1; fi
}
start; echo "status $?"
stop; echo "status $?"
"""


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("conf", "printed"),
    [
        ("", "-q detach|vmtoolsd starts|status 0|vmtoolsd stops|-q attach|status 0"),
        (
            # as an administrator may set it
            """vmtools_flags="-c /etc/vmtools.conf"
start_precmd="mine"
mine() { echo "before vmtoolsd"; }""",
            "before vmtoolsd|-q detach|vmtoolsd starts|status 0|vmtoolsd stops|-q attach|status 0",
        ),
        (
            """start_precmd="echo a; echo b;"
stop_precmd="echo c"
stop_postcmd="echo d" """,
            "a|b|-q detach|vmtoolsd starts|status 0|c|vmtoolsd stops|d|-q attach|status 0",
        ),
        (
            "start_precmd=false\nstop_postcmd=false",
            "status 1|vmtoolsd stops|-q attach|status 0",
        ),
    ],
)
def test_service_block_keeps_site_settings(
    vmtctl: Control, guest: Any, conf: str, printed: str, times: int
) -> None:
    import subprocess

    (guest.root / CONF).write_text(f"{conf}\n" if conf else "")
    assert vmtctl("service", "install").status == 0
    text = (guest.root / CONF).read_text().replace("/usr/pkg/bin/vmtctl", "/bin/echo")
    block = text[text.index("# >>> vmtctl") :] * (times - 1)
    for shell in ("/bin/sh", require("dash")):
        done = subprocess.run(
            [shell, "-uc", RC_SCRIPT.replace("%s", text + block)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.replace("\n", "|").rstrip("|") == printed, done.stderr


def test_edit_inside_service_block_is_kept_beside_it(vmtctl: Control, guest: Any) -> None:
    path = guest.root / CONF
    vmtctl("service", "install")
    edited = path.read_text().replace("start_precmd=vmtctl_start\n", "start_precmd=mine\n")
    assert edited != path.read_text()
    path.write_text(edited)
    assert f"keep /{CONF} as /{CONF}.edited" in vmtctl("service", "install").out
    assert path.with_name("vmtools.edited").read_text() == edited
    assert "start_precmd=mine" not in path.read_text()


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("60", 60), ("0", 0), ("off", 0), ("5m", 300), ("2h", 7200), ("2147483", 2147483)],
)
def test_period_is_set(vmtctl: Control, guest: Any, word: str, seconds: int) -> None:
    guest.set(nodes={PERIOD: "17"})
    assert vmtctl("clock", word).status == 0
    assert guest.get()["nodes"][PERIOD] == str(seconds)


@pytest.mark.parametrize("word", ["-5", "1.5", "5x", "", "2147484", "1000d", "٣"])
def test_invalid_period_is_refused(vmtctl: Control, guest: Any, word: str) -> None:
    assert vmtctl("clock", word).status == exits.USAGE
    assert guest.calls() == []


def test_same_period_changes_nothing(vmtctl: Control, guest: Any) -> None:
    assert vmtctl("clock", "60", "--json").json["changed"] is False
    assert guest.calls() == []


def test_persist_keeps_all_other_bytes(vmtctl: Control, guest: Any) -> None:
    path = guest.root / "etc/sysctl.conf"
    path.write_bytes(b"a=1\r\nmachdep.vmt0.clock_sync.period=5\nb=2")
    assert vmtctl("clock", "5m", "--persist").status == 0
    assert path.read_bytes() == b"a=1\r\nmachdep.vmt0.clock_sync.period?=300\nb=2"
    assert vmtctl("clock", "5m", "--persist", "--json").json["changed"] is False


def test_persist_works_without_device(vmtctl: Control, guest: Any) -> None:
    guest.set(attached=None)
    done = vmtctl("clock", "off", "--persist")
    assert done.status == 0
    assert "not attached" in done.err
    assert (guest.root / "etc/sysctl.conf").read_text() == f"{PERIOD}?=0\n"
    assert vmtctl("clock", "off").status == exits.UNAVAILABLE


def test_sync_requires_project_driver(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("clock", "sync")
    assert done.status == exits.UNAVAILABLE
    assert "vmtctl load" in done.err
    guest.set(attached="ours")
    assert vmtctl("clock", "sync").status == 0
    assert guest.calls()[-1] == f"sysctl -w {PERIOD[:-6]}now=1"


def test_negative_offset_is_decoded_from_unsigned(vmtctl: Control, guest: Any) -> None:
    guest.set(attached="ours")
    assert vmtctl("clock", "--json").json["clock"]["offset_us"] == -1500
    assert "-0.001500 s" in vmtctl("clock").out


def test_stock_driver_clock_is_shown_partially(vmtctl: Control) -> None:
    done = vmtctl("clock")
    assert "every 60 s" in done.out
    assert "vmtctl load" in done.out


def test_status_shows_snapshot_handling(vmtctl: Control, guest: Any) -> None:
    guest.set(
        attached="ours",
        nodes={
            "machdep.vmt0.backup.freeze": "/", "machdep.vmt0.backup.scripts": "60",
            "machdep.vmt0.backup.require_scripts": "0", "machdep.vmt0.backup.event": "17 freeze",
        },
    )  # fmt: skip
    line = "/ is frozen; scripts of powerd have 60 s, and may fail; waits for scripts: 17 freeze"
    assert f"snapshots   {line}\n" in vmtctl("status").out
    assert vmtctl("status", "--json").json["snapshots"]["require_scripts"] is False


def test_status_names_conflict(vmtctl: Control, guest: Any) -> None:
    guest.set(processes=[[9, "/usr/pkg/bin/vmtoolsd"]])
    assert "CONFLICT" in vmtctl("status").out
    assert vmtctl("status", "--json").json["channel"] == {"holder": "conflict", "vmtoolsd": [9]}


def test_json_output_matches_schema(vmtctl: Control, guest: Any) -> None:
    guest.set(attached="ours")
    found = vmtctl("status", "--json").json
    assert found["schema"] == 1
    assert list(found) == [
        "schema", "verb", "system", "driver", "device", "channel", "clock", "snapshots", "dns",
        "balloon", "powerd", "counters", "uuid", "problems",
    ]  # fmt: skip
    assert found["snapshots"] == dict.fromkeys(
        ("freeze", "scripts", "require_scripts", "event", "left")
    )  # the recorded driver had no such nodes
    assert found["counters"]["polls"] == 421
    assert found["counters"]["send_errors"] == 0
