"""The simulated guest itself: it starts, stops, and its tools print as NetBSD's do."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simguest import SimGuest

from tests import forked
from tests.patience import HANG

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Start = Callable[..., SimGuest]


def vmtsim(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return forked.run("vmtsim", *words)


# The output of each tool; the texts are those of NetBSD's own (sbin/drvctl, sbin/sysctl, modload).
SESSION: tuple[tuple[str, int, str, str], ...] = (
    ("sbin/drvctl -l cpu0", 0, "cpu0 vmt0\n", ""),
    ("sbin/drvctl -nl cpu0", 0, "vmt0\n", ""),
    ("sbin/drvctl -l", 0, "root mainbus0\n", ""),
    ("sbin/drvctl -tnl", 0, "mainbus0\n  cpu0\n    vmt0\n", ""),
    ("sbin/drvctl -l cpu7", 1, "", "drvctl: DRVLISTDEV: Device not configured\n"),
    ("sbin/drvctl -d vmt1", 1, "", "drvctl: DRVDETACHDEV: Device not configured\n"),
    # Their drivers have no ca_detach.
    ("sbin/drvctl -d mainbus0", 1, "", "drvctl: DRVDETACHDEV: Operation not supported\n"),
    ("sbin/drvctl -d cpu0", 1, "", "drvctl: DRVDETACHDEV: Operation not supported\n"),
    (
        "sbin/drvctl -r -a cpufeaturebus cpu7", 1, "",
        "drvctl: DRVRESCANBUS: Device not configured\n",
    ),
    ("sbin/drvctl -r -a nothing cpu0", 1, "", "drvctl: DRVRESCANBUS: Invalid argument\n"),
    (
        "sbin/drvctl -r -a x vmt0", 1, "",
        "drvctl: DRVRESCANBUS: Operation not supported by device\n",
    ),
    ("sbin/drvctl -r -a cpufeaturebus cpu0", 0, "", ""),
    ("sbin/drvctl -p vmt0 device-driver", 0, "vmt\n", ""),
    ("sbin/drvctl -p vmt0 nothing", 1, "", ""),
    ("sbin/modload nothing", 1, "", "modload: nothing: No such file or directory\n"),
    ("sbin/modload /no/vmt.kmod", 1, "", "modload: /no/vmt.kmod: No such file or directory\n"),
    ("sbin/modload /sbin/drvctl", 1, "", "modload: /sbin/drvctl: Exec format error\n"),
    (
        "sbin/modload /usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod", 1, "",
        "modload: /usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod: File exists\n",
    ),
    ("sbin/modunload nothing", 1, "", "modunload: nothing: No such file or directory\n"),
    (
        "sbin/modstat nothing", 0,
        "NAME             CLASS    SOURCE   FLAG  REFS    SIZE REQUIRES \n", "",
    ),
    ("sbin/sysctl -n kern.ostype", 0, "NetBSD\n", ""),
    ("sbin/sysctl hw.machine", 0, "hw.machine = amd64\n", ""),
    (
        "sbin/sysctl machdep.vmt0.clock_sync.period", 0,
        "machdep.vmt0.clock_sync.period = 60\n", "",
    ),
    (
        "sbin/sysctl -e machdep.vmt0.clock_sync.period", 0,
        "machdep.vmt0.clock_sync.period=60\n", "",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=5", 0,
        "machdep.vmt0.clock_sync.period: 60 -> 5\n", "",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=-1", 1, "",
        "sysctl: machdep.vmt0.clock_sync.period: Invalid argument\n",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=0x1e", 0,
        "machdep.vmt0.clock_sync.period: 5 -> 30\n", "",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=017", 0,
        "machdep.vmt0.clock_sync.period: 30 -> 15\n", "",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=08", 1, "",
        "sysctl: 08: not a number\n",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.clock_sync.period=4294967301", 1, "",
        "sysctl: 4294967301: Result too large or too small\n",
    ),
    (
        "sbin/sysctl -w machdep.vmt0.uuid=x", 1, "",
        "sysctl: machdep.vmt0.uuid: Operation not permitted\n",
    ),
    (
        "sbin/sysctl machdep.vmt0.nothing", 1, "",
        "sysctl: third level name 'nothing' in 'machdep.vmt0.nothing' is invalid\n",
    ),
    (
        "sbin/sysctl kern.ostype nothing.x kern.osrelease", 1, "kern.ostype = NetBSD\n",
        "sysctl: top level name 'nothing' in 'nothing.x' is invalid\n",
    ),
    ("sbin/sysctl -q nothing", 1, "", ""),
    ("sbin/sysctl kern.hostname=x", 1, "", "sysctl: Must specify -w to set variables\n"),
    ("sbin/sysctl -w machdep.vmt0.nothing?=1", 0, "", ""),
)  # fmt: skip


def test_tools_print_as_on_netbsd(start: Start) -> None:
    sim_guest = start()
    sim_guest.advance(1)
    for command, status, out, err in SESSION:
        path, *words = command.split()
        done = sim_guest.tool(path, *words)
        assert (done.returncode, done.stdout, done.stderr) == (status, out, err), command


def test_same_requests_give_same_run(start: Start) -> None:
    states = []
    for root in ("one", "two"):
        sim_guest = start("--seed", "7", root=root)
        for words in (
            ("advance", "3"),
            ("host", "tclo", "ping"),
            ("host", "lose"),
            ("advance", "30"),
        ):
            assert sim_guest.control(*words)[0] == 0
        status = sim_guest.status
        states.append((status["time"], status["resets"], sim_guest.dmesg()))
    assert states[0] == states[1]


def test_killed_guest_can_be_restarted(start: Start, tmp_path: Path) -> None:
    sim_guest = start()
    kept = sim_guest.root / "etc/powerd/scripts/power_button"
    kept.write_text(kept.read_text() + "# mine\n")
    os.kill(sim_guest.process.pid, signal.SIGKILL)
    sim_guest.process.communicate()
    assert (sim_guest.root / "var/run/vmtsim.sock").exists()
    dead = sim_guest.tool("sbin/drvctl", "-l")
    assert dead.returncode == 1
    assert "drvctl: no guest runs in" in dead.stderr
    refused = vmtsim("guest-control", sim_guest.root, "status")
    assert (refused.returncode, "vmtsim guest --root" in refused.stderr) == (69, True)
    again = start()
    assert again.tool("sbin/drvctl", "-l").returncode == 0
    assert kept.read_text().endswith("# mine\n")


def test_directory_holds_one_guest(start: Start, kmod: Path) -> None:
    sim_guest = start()
    second = vmtsim("guest", "--root", sim_guest.root, kmod)
    assert second.returncode == 73
    assert "a guest already runs in" in second.stderr
    assert "guest-control" in second.stderr
    assert sim_guest.tool("sbin/drvctl", "-l").returncode == 0


def test_foreign_directory_is_not_changed(tmp_path: Path, kmod: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    refused = vmtsim("guest", "--root", tmp_path, kmod)
    assert (refused.returncode, "has other content" in refused.stderr) == (73, True)
    assert [path.name for path in tmp_path.iterdir() if "gw" not in path.name] == ["thesis.tex"]


def test_non_module_starts_no_guest(tmp_path: Path) -> None:
    (tmp_path / "vmt.kmod").write_text("no module")
    assert vmtsim("guest", "--root", tmp_path / "guest", tmp_path / "vmt.kmod").returncode == 65
    assert vmtsim("guest", "--root", tmp_path / "guest", tmp_path / "no.kmod").returncode == 66
    assert not (tmp_path / "guest").exists()


def test_stop_ends_guest_and_removes_sockets(start: Start) -> None:
    sim_guest = start()
    done = vmtsim("guest-control", sim_guest.root, "stop")
    assert done.returncode == 0, done.stderr
    sim_guest.process.communicate(timeout=HANG)
    assert sim_guest.process.returncode == 0
    for name in ("var/run/vmtsim.sock", "dev/power", "var/run/powerd.pid"):
        assert not (sim_guest.root / name).exists(), name


def test_real_time_guest_advances_by_itself(start: Start) -> None:
    sim_guest = start("--realtime")
    sim_guest.until(lambda status: status["channel"] is not None)
    refused, text = sim_guest.control("advance", "1")
    assert (refused, "time advances by itself" in text) == (64, True)
    sim_guest.host("power", "halt")
    sim_guest.until(lambda status: status["machine"] == "power off")
    assert sim_guest.commands("shutdown") == ["shutdown -p now power_button pressed"]


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("advance", "x"), 64, "invalid"),
        (("advance", "-1"), 64, "seconds above 0"),
        (("host", "explode"), 64, "expected one of tclo, power"),
        (("host", "powr", "halt"), 64, "did you mean 'power'?"),
        (("host", "clock"), 64, "usage: clock [set=X]"),
        (("host", "clock", "jmp=3"), 64, "unknown key 'jmp'"),
        (("host", "lose", "all of it"), 64, "expected tclo, rpci or all"),
        (("host", "show", "nothing"), 1, "nothing is not set"),
        (("host", "show"), 64, "usage: show NAME"),
        (("explode",), 64, "invalid choice"),
    ],
)
def test_guest_control_reports_invalid_requests(
    shared: SimGuest, words: tuple[str, ...], status: int, text: str
) -> None:
    done = vmtsim("guest-control", shared.root, *words)
    assert (done.returncode, text in done.stderr) == (status, True), done.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, kmod: Path) -> Iterator[SimGuest]:
    """One guest, shared by all tests that do not change it."""
    sim_guest = SimGuest(tmp_path_factory.mktemp("sim_guest") / "guest", kmod)
    yield sim_guest
    assert sim_guest.close() == 0, sim_guest.errors


def test_status_has_text_form(shared: SimGuest) -> None:
    done: Any = vmtsim("guest-control", shared.root, "status")
    assert done.returncode == 0
    labels = [line.split()[0] for line in done.stdout.splitlines()]
    assert labels == ["machine", "kernel", "modules", "channel", "powerd", "processes"]
