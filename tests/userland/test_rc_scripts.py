"""rc.d/vmtctl and the block for rc.d/vmtools, run by rc.subr(8) under a small POSIX shell.

Each test runs with the simulated guest's stub of rc.subr. NETBSD_ETC=/usr/src/etc also runs it with
that tree's own rc.subr: the stub must pass the same tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakeguest import USERLAND, require

if TYPE_CHECKING:
    from collections.abc import Iterator

STUB_SUBR = Path(__file__).parents[2] / "sim/vmtsim/fakeguest/root/etc/rc.subr"
# The settings of pkgsrc's sysutils/open-vm-tools, files/vmtools.sh 1.4, before load_rc_config.
VMTOOLS = """\
root={root}
. {root}/etc/rc.subr
name=vmtools
rcvar=vmtools
pidfile={prefix}/var/run/vmware-guestd.pid
command={prefix}/usr/pkg/bin/vmtoolsd
command_args="--background {root}/var/run/vmware-guestd.pid"
start_precmd="disable_vmt"
disable_vmt()
{
	echo their-detach >>{root}/log
}
stop_precmd="enable_vmt"
enable_vmt()
{
	echo their-attach >>{root}/log
}
load_rc_config $name
run_rc_command "$1"
"""
# In the background under its own name, as ps(1) shows vmtoolsd.
RUNS = """\
"{python}" -Sc 'import os; os.execv("/bin/sleep", ["{root}/usr/pkg/bin/vmtoolsd", "1000"])' \\
    </dev/null >/dev/null 2>&1 &
echo $! >"$2"
until ps -p $! -o command= | grep -q '^{root}/usr/pkg/bin/vmtoolsd '; do :; done
echo started >>{root}/log
"""
FAILS = "echo failed >>{root}/log; exit 3"


class Rc:
    """A directory with rc.subr, rc.conf and scripts; ``run`` is service(8)."""

    def __init__(self, root: Path, subr: str, *, stub: bool) -> None:
        self.root = root
        self.prefix = "" if stub else str(root)
        self.write("etc/rc.subr", subr)
        self.write("etc/rc.conf", "vmtools=YES\nvmtctl=YES\n")
        self.write("var/run/empty", "")
        self.write("etc/rc.d/vmtools", self.fill(VMTOOLS))

    def fill(self, text: str) -> str:
        for name, value in {
            "root": self.root, "prefix": self.prefix, "python": sys.executable,
        }.items():  # fmt: skip
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def program(self, name: str, text: str) -> None:
        self.write(name, f"#!/bin/sh\n{self.fill(text)}\n")
        (self.root / name).chmod(0o755)

    def run(self, script: str, word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require("dash"), str(self.root / "etc/rc.d" / script), word],
            env={**os.environ, "COLUMNS": "1000"},  # ps(1) of Linux cuts its lines there
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    @property
    def log(self) -> list[str]:
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["stub", "NetBSD's"])
def rc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rc]:
    if request.param == "stub":
        made = Rc(tmp_path, STUB_SUBR.read_text(), stub=True)
    else:
        place = os.environ.get("NETBSD_ETC")
        if not place:
            pytest.skip("no rc.subr of NetBSD: NETBSD_ETC=/usr/src/etc names its directory")
        real = (Path(place) / "rc.subr").read_text()
        made = Rc(tmp_path, real.replace("/etc/rc.conf", f"{tmp_path}/etc/rc.conf"), stub=False)
    block = (USERLAND / "rc.d/vmtools.conf").read_text()
    if made.prefix:
        block = block.replace("/usr/pkg/bin/vmtctl", f"{made.prefix}/usr/pkg/bin/vmtctl")
    made.write("etc/rc.conf.d/vmtools", block)
    made.program("usr/pkg/bin/vmtctl", 'echo "$*" >>{root}/log')
    yield made
    pid = tmp_path / "var/run/vmware-guestd.pid"
    if pid.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def test_vmt0_is_detached_while_vmtoolsd_runs(rc: Rc) -> None:
    rc.program("usr/pkg/bin/vmtoolsd", RUNS)
    done = rc.run("vmtools", "start")
    assert (done.returncode, done.stdout) == (0, "Starting vmtools.\n"), done.stderr
    assert rc.log == ["-q detach", "started"]
    done = rc.run("vmtools", "stop")
    assert done.returncode == 0, done.stderr
    assert rc.log == ["-q detach", "started", "-q attach"]


def test_vmt0_is_attached_if_vmtoolsd_fails_to_start(rc: Rc) -> None:
    rc.program("usr/pkg/bin/vmtoolsd", FAILS)
    assert rc.run("vmtools", "start").returncode == 1
    assert rc.log == ["-q detach", "failed", "-q attach"]


def test_site_commands_run_first(rc: Rc) -> None:
    path = rc.root / "etc/rc.conf.d/vmtools"
    site = """\
start_precmd=mine
mine() { echo mine >>{root}/log; }
stop_postcmd='echo over >>{root}/log'
"""
    path.write_text(rc.fill(site) + path.read_text())
    rc.program("usr/pkg/bin/vmtoolsd", RUNS)
    assert rc.run("vmtools", "start").returncode == 0
    assert rc.run("vmtools", "stop").returncode == 0
    assert rc.log == ["mine", "-q detach", "started", "over", "-q attach"]


def test_second_start_does_not_touch_channel(rc: Rc) -> None:
    rc.program("usr/pkg/bin/vmtoolsd", RUNS)
    assert rc.run("vmtools", "start").returncode == 0
    assert rc.run("vmtools", "start").returncode == 1
    assert rc.log == ["-q detach", "started"]


def test_without_vmtctl_package_script_works_unchanged(rc: Rc) -> None:
    (rc.root / "usr/pkg/bin/vmtctl").unlink()
    rc.program("usr/pkg/bin/vmtoolsd", RUNS)
    assert rc.run("vmtools", "start").returncode == 0
    assert rc.run("vmtools", "stop").returncode == 0
    assert rc.log == ["their-detach", "started", "their-attach"]


def _vmtctl_script(rc: Rc) -> None:
    text = (USERLAND / "rc.d/vmtctl").read_text()
    text = text.replace("/etc/rc.subr", f"{rc.root}/etc/rc.subr")
    text = text.replace("/usr/pkg/bin/vmtctl", f"{rc.root}/usr/pkg/bin/vmtctl")
    rc.write("etc/rc.d/vmtctl", f"root={rc.root}\n{text}")


@pytest.mark.parametrize(
    ("word", "arguments"),
    [("start", "load --module /x y"), ("stop", "unload"), ("status", "status")],
)
def test_service_commands_are_vmtctl_commands(rc: Rc, word: str, arguments: str) -> None:
    rc.write("etc/rc.conf.d/vmtctl", "vmtctl_flags='--module /x y'\n")
    _vmtctl_script(rc)
    done = rc.run("vmtctl", word)
    assert done.returncode == 0, done.stderr
    assert rc.log == [arguments]


@pytest.mark.parametrize(
    ("word", "calls"),
    [("start", ["load", "load vmmemctl"]), ("stop", ["unload vmmemctl", "unload"])],
)
def test_service_handles_the_balloon_where_requested(rc: Rc, word: str, calls: list[str]) -> None:
    rc.write("etc/rc.conf.d/vmtctl", "vmtctl_balloon=YES\n")
    _vmtctl_script(rc)
    assert rc.run("vmtctl", word).returncode == 0
    assert rc.log == calls


def test_failed_balloon_is_the_status_of_start(rc: Rc) -> None:
    rc.write("etc/rc.conf.d/vmtctl", "vmtctl_balloon=YES\n")
    rc.program("usr/pkg/bin/vmtctl", 'echo "$*" >>{root}/log; [ "$*" = load ] || exit 69')
    _vmtctl_script(rc)
    assert rc.run("vmtctl", "start").returncode == 69
    assert rc.log == ["load", "load vmmemctl"]


def test_script_without_its_package_prints_remedy(rc: Rc) -> None:
    _vmtctl_script(rc)
    (rc.root / "usr/pkg/bin/vmtctl").unlink()
    done = rc.run("vmtctl", "start")
    assert done.returncode == 1
    assert "is not there: add the package vmtctl, or remove /etc/rc.d/vmtctl" in done.stderr


def test_disabled_service_does_nothing(rc: Rc) -> None:
    _vmtctl_script(rc)
    rc.write("etc/rc.conf", "vmtctl=NO\n")
    assert rc.run("vmtctl", "start").returncode == 1
    assert rc.log == []


# The lines REQUIRE and BEFORE of NetBSD's etc/rc.d: mountall 1.13, mountd 1.6, securelevel 1.7.
ORDER = {
    "mountall": ["mountcritremote", "named", "ypbind"],
    "mountd": ["mountall", "network", "rpcbind", "quota"],
    "securelevel": ["ipnat", "mountd", "vmtctl"],
}


def test_vmtctl_runs_after_mounts_and_before_securelevel() -> None:
    """/usr/pkg may be a separate file system."""
    head = dict(
        line[2:].split(":", 1)
        for line in (USERLAND / "rc.d/vmtctl").read_text().splitlines()
        if line.startswith(("# PROVIDE:", "# REQUIRE:", "# BEFORE:"))
    )
    assert head["PROVIDE"].split() == ["vmtctl"]
    assert "mountall" in head["REQUIRE"].split()
    assert "securelevel" in head["BEFORE"].split()
    order = {**ORDER, "vmtctl": head["REQUIRE"].split()}

    def before(name: str, seen: tuple[str, ...] = ()) -> set[str]:
        assert name not in seen, f"a cycle: {seen}"
        direct = order.get(name, [])
        return {name}.union(*(before(one, (*seen, name)) for one in direct))

    assert {"mountall", "vmtctl"} <= before("securelevel")
