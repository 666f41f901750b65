"""doctor: every finding, and that its printed command fixes it."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from answers import tools_answer_here
from fakeguest import SHEBANG, USERLAND, module_file
from vmtctl import checks, cli, grammar
from vmtctl.commands import COMMANDS

from tests.programs import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from answers import Control

PERIOD = "machdep.vmt0.clock_sync.period"
MODULE = "usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod"


# A stub for NetBSD's own script.
STANDARD = '#!/bin/sh\nexec "${0%/etc/*}/sbin/shutdown" -p now\n'


def healthy(vmtctl: Control, guest: Any) -> None:
    """A guest without findings of doctor."""
    place = guest.root / MODULE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(Path(guest.module()).read_bytes())
    example = guest.root / "usr/pkg/share/examples/rc.d/vmtctl"
    example.parent.mkdir(parents=True, exist_ok=True)
    example.write_bytes((USERLAND / "rc.d/vmtctl").read_bytes())
    (guest.root / "etc/rc.d/vmtctl").write_bytes(example.read_bytes())
    (guest.root / "etc/rc.d/vmtctl").chmod(0o555)
    (guest.root / "etc/rc.conf").write_text("rc_configured=YES\npowerd=YES\nvmtctl=YES\n")
    for name in ("power_button", "reset_button", "sleep_button", "hotkey_button"):
        _file(f"etc/powerd/scripts/{name}", STANDARD, 0o755)(guest)
    assert vmtctl("powerd", "install").status == 0
    assert vmtctl("load").status == 0


def _conf(text: str) -> Callable[[Any], None]:
    return lambda guest: (guest.root / "etc/rc.conf").write_text(text) and None


def _file(path: str, text: str, mode: int = 0o644) -> Callable[[Any], None]:
    def write(guest: Any) -> None:
        target = guest.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    return write


def _mode(path: str, mode: int) -> Callable[[Any], None]:
    return lambda guest: (guest.root / path).chmod(mode)


def _gone(*paths: str) -> Callable[[Any], None]:
    def remove(guest: Any) -> None:
        for path in paths:
            (guest.root / path).unlink()

    return remove


def _state(**changes: Any) -> Callable[[Any], None]:
    return lambda guest: guest.set(**changes)


# vmt_clock_log_slew() of the driver.
_LONG = "slewing back, for long; see clock_sync.now"


def _nodes(**values: str) -> Callable[[Any], None]:
    """Change the driver's values in nodes below machdep.vmt0."""

    def change(guest: Any) -> None:
        nodes = {f"machdep.vmt0.{k.replace('__', '.')}": value for k, value in values.items()}
        guest.set(nodes={**guest.get()["nodes"], **nodes})

    return change


def _processes(*more: list[Any]) -> Callable[[Any], None]:
    return _state(processes=[[1, "init"], [312, "/usr/sbin/powerd"], *more])


def _hypervisor(name: str) -> Callable[[Any], None]:
    return _both(lambda guest: guest.kernel(machdep__hypervisor=name), _state(attached=None))


def _both(*steps: Callable[[Any], None]) -> Callable[[Any], None]:
    def all_of_them(guest: Any) -> None:
        for step in steps:
            step(guest)

    return all_of_them


def _link(guest: Any) -> None:
    path = guest.root / "etc/powerd/scripts/acpi/power_button"
    path.unlink()
    path.symlink_to("/etc/passwd")


def _plain(guest: Any) -> None:
    """vmt.kmod of the package is not loaded any more."""
    guest.set(module=None, attached="stock", builtin_disabled=False)


def _change(guest: Any, *verb: str) -> None:
    """Change files of the guest as of an image; with a root of tools, any user may."""
    root = str(guest.root)
    assert cli.main([*verb, "-q", "-R", root, "--tools-root", root]) == 0


def _uninstalled(guest: Any) -> None:
    _change(guest, "powerd", "uninstall")


def _linked(place: int, script: int) -> Callable[[Any], None]:
    """A link in vmt.d to a script with mode ``script`` in a directory with mode ``place``."""

    def link(guest: Any) -> None:
        _file("etc/site/backup", "#!/bin/sh\n", script)(guest)
        (guest.root / "etc/site").chmod(place)
        (guest.root / "etc/powerd/vmt.d/10-backup").symlink_to("../../site/backup")

    return link


def _vmt_d_elsewhere(guest: Any) -> None:
    (guest.root / "etc/powerd/vmt.d").rmdir()
    (guest.root / "elsewhere").mkdir()
    (guest.root / "etc/powerd/vmt.d").symlink_to(guest.root / "elsewhere")


def _overridden(guest: Any) -> None:
    _file("etc/rc.d/vmtools", "", 0o755)(guest)
    _change(guest, "service", "install")
    with (guest.root / "etc/rc.conf.d/vmtools").open("a") as stream:
        stream.write("start_precmd=mine\n")


_BALLOON = "usr/pkg/stand/amd64/11.0/modules/vmmemctl/vmmemctl.kmod"


def _balloon_package(guest: Any) -> None:
    target = guest.root / _BALLOON
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(module_file(name="vmmemctl"))


def _balloon(
    *, attached: bool = True, state: str = "idle", size: int = 5000
) -> Callable[[Any], None]:
    """Load the module of the balloon, with a target of 5000 pages."""

    def load(guest: Any) -> None:
        _balloon_package(guest)
        known = guest.get()["siblings"]
        guest.set(balloon=True, siblings=[*known, *(["vmmemctl0"] if attached else [])])
        nodes = {"target": "5000", "size": str(size), "floor": "64", "state": state}
        guest.kernel(**{f"machdep__vmmemctl0__{name}": value for name, value in nodes.items()})

    return load


_SECURE = _both(_plain, lambda guest: guest.kernel(kern__securelevel="1"))
_OLD_MODULE = "usr/pkg/stand/amd64/10.1/modules/vmt/vmt.kmod"

# name of the finding, the change that causes it, status of doctor, whether a command fixes it
BROKEN: tuple[tuple[str, Callable[[Any], None], int, bool], ...] = (
    ("tools-missing", _gone("sbin/dmesg"), 2, False),
    ("wrong-system", lambda guest: guest.kernel(kern__ostype="FreeBSD"), 2, False),
    ("drvctl-device", _gone("dev/drvctl"), 2, True),
    ("hypervisor", _hypervisor("KVM"), 2, False),
    ("driver-absent", _both(_plain, _state(builtin=False, attached=None)), 2, True),
    ("device-detached", _state(attached=None), 2, True),
    ("module-idle", _state(attached="stock"), 1, True),
    ("driver-stock", _plain, 1, True),
    ("securelevel", _both(_SECURE, _conf("powerd=YES\n")), 1, True),
    ("channel-met", _nodes(stats__contentions="1"), 1, False),
    ("clock-ahead", _nodes(clock_sync__offset="-7200000000", clock_sync__state=_LONG), 1, True),
    ("channel-conflict", _processes([9, "/usr/pkg/bin/vmtoolsd"]), 2, True),
    ("freeze-directory", _nodes(backup__freeze="/nowhere"), 1, True),
    ("freeze-directory", _nodes(backup__freeze="/etc/"), 1, True),
    ("freeze-no-hooks", _both(
        _uninstalled, _nodes(backup__scripts="60", backup__require_scripts="1")
    ), 2, True),
    ("freeze-no-hooks", _both(
        _uninstalled, _nodes(backup__scripts="60", backup__require_scripts="0")
    ), 1, True),
    ("freeze-left", _both(
        _nodes(backup__freeze="", backup__event=""), _file("var/run/vmt0.frozen", "17\n")
    ), 1, True),
    ("balloon-absent", _both(
        _balloon_package, _conf("rc_configured=YES\npowerd=YES\nvmtctl=YES\nvmtctl_balloon=YES\n")
    ), 1, True),
    ("balloon-detached", _balloon(attached=False), 1, True),
    ("balloon-lost", _balloon(state="the host does not answer", size=0), 1, False),
    ("balloon-short", _balloon(state="memory is short", size=300), 1, False),
    ("dns-differs", _file("etc/resolv.conf", "nameserver 192.0.2.53\n"), 1, True),
    ("powerd-down", _state(processes=[[1, "init"]]), 2, True),
    ("powerd-down", _both(_state(processes=[[1, "init"]]), _conf("vmtctl=YES")), 2, True),
    ("powerd-disabled", _conf("rc_configured=YES\nvmtctl=YES\n"), 2, True),
    ("powerd-disabled", _conf("vmtctl=YES\npowerd=NO"), 2, True),
    ("powerd-disabled", _file("etc/rc.conf.d/powerd", "powerd=NO\n"), 2, True),
    ("powerd-unclear", _conf("vmtctl=YES\n. /etc/rc.conf.site\nvmtctl=YES\n"), 1, True),
    ("clock-masters", _processes([5, "/usr/sbin/ntpd -p /x"]), 1, True),
    ("clock-masters", _processes([777, "/usr/pkg/sbin/chronyd"]), 1, True),
    ("clock-masters", _processes([8, "/usr/sbin/timed"]), 1, True),
    ("clock-masters", _conf("powerd=YES vmtctl=YES ntpd=YES\n"), 1, True),
    ("clock-differs", _file("etc/sysctl.conf", f"{PERIOD}?=30\n"), 1, True),
    (
        "clock-differs",
        _file("etc/sysctl.conf", "machdep.vmt0.clock_sync.follow_host=1\n"),
        1,
        True,
    ),
    (
        "clock-unknown-setting",
        _both(_plain, _file("etc/sysctl.conf", "machdep.vmt0.clock_sync.follow_host=1\n")),
        1,
        False,
    ),
    (
        "run-killed",
        _both(_state(attached=None), _file("var/run/vmtctl.lock", "99 run vmtoolsd\n", 0o600)),
        2,
        True,
    ),
    ("run-killed", _file("var/run/vmtctl.lock", "99 run vmtoolsd\n", 0o600), 1, True),
    ("pid-file", _file("var/run/powerd.pid", "4711\n"), 1, True),
    ("module-not-loaded", _plain, 1, True),
    ("module-not-at-boot", _conf("powerd=YES\n"), 1, True),
    (
        "hooks-impossible",
        _both(_link),
        2,
        False,
    ),
    ("hooks-impossible", _vmt_d_elsewhere, 2, False),
    ("hooks-impossible", _file("etc/powerd/scripts/acpi/power_button", "#!/usr/bin/perl\n", 0o755),
     2, False),
    ("hooks-absent", _uninstalled, 1, True),
    ("hooks-differ", _file("etc/powerd/vmt-event", "# vmtctl: part of netbsd-vmt\n", 0o755), 1,
     True),
    ("script-passed-over", _mode("etc/powerd/scripts/acpi/power_button", 0o644), 1, True),
    (
        "script-missing",
        _both(
            _mode("etc/powerd/scripts/acpi/power_button", 0o644),
            _gone("etc/powerd/scripts/power_button"),
        ),
        2,
        True,
    ),
    (
        "script-missing",
        _both(
            _gone("etc/powerd/scripts/acpi/sleep_button"),
            _gone("etc/powerd/scripts/sleep_button"),
        ),
        2,
        True,
    ),
    ("no-shutdown", _file("etc/powerd/scripts/power_button", "#!/bin/sh\n# shutdown\n", 0o755), 1,
     False),
    ("others-may-write", _mode("etc/powerd/vmt-event", 0o777), 2, True),
    ("others-may-write", _linked(0o775, 0o755), 2, True),
    ("others-may-write", _linked(0o755, 0o757), 2, True),
    ("others-may-write", _file("etc/powerd/vmt.d/20-open", "#!/bin/sh\n", 0o775), 2, True),
    ("site-script-mode", _file("etc/powerd/vmt.d/10-mail", "#!/bin/sh\n", 0o644), 1, True),
    ("boot-cfg-disables", _file("boot.cfg", "userconf=disable vmt0\n"), 1, False),
    ("boot-cfg-disables", _file("boot.cfg", "menu=No vmt:userconf disable vmt;boot\n"), 1, False),
    ("boot-cfg-loads", _file("boot.cfg", f"load=/{MODULE}\n"), 1, False),
    ("boot-cfg-loads", _file("boot.cfg", f"menu=NetBSD:load /{MODULE};boot\n"), 1, False),
    ("modules-conf", _file("etc/modules.conf", "# x\nvmt\n"), 1, False),
    ("module-damaged", _file(MODULE, "not a module"), 2, False),
    (
        "module-release",
        lambda guest: (guest.root / MODULE).write_bytes(
            Path(guest.module(version=1001000000)).read_bytes()
        ) and None,
        2,
        False,
    ),
    (
        "module-other-release",
        _both(_gone(MODULE), _file(_OLD_MODULE, "")),
        1,
        False,
    ),
    ("script-vmtctl", _gone("etc/rc.d/vmtctl"), 2, True),
    ("vmtools-block", _both(
        _file("etc/rc.d/vmtools", "", 0o755),
        _file("etc/rc.conf.d/vmtools", "# >>> vmtctl >>> managed block; see vmtctl(8)\n"),
    ), 2, False),
    ("vmtools-overridden", _overridden, 1, False),
    ("vmtools-alone", _both(
        _file("etc/rc.d/vmtools", "", 0o755), _conf("vmtools=YES powerd=YES vmtctl=YES\n")
    ), 1, True),
)  # fmt: skip

# Findings that other test files cover, and findings that report no error.
ELSEWHERE = {
    "owner": "needs a file of another user",
    "hooks": "ok", "device": "ok", "channel": "ok", "powerd": "ok", "vmtctl-unclear": "ok",
    "balloon": "ok",
}  # fmt: skip


def found(vmtctl: Control) -> dict[str, dict[str, str]]:
    """The findings that are not ok, by name."""
    rows = vmtctl("doctor", "--json").json["findings"]
    return {row["name"]: row for row in rows if row["severity"] != "ok"}


def test_healthy_guest_has_no_findings(vmtctl: Control, guest: Any) -> None:
    healthy(vmtctl, guest)
    done = vmtctl("doctor")
    assert done.status == 0, done.out
    assert "\nnothing to fix\n" in f"\n{done.out}"


@pytest.mark.parametrize(
    ("name", "damage", "status", "fixable"),
    BROKEN,
    ids=[f"{n}-{row[0]}" for n, row in enumerate(BROKEN)],
)
def test_finding_is_fixed_by_its_command(
    vmtctl: Control,
    guest: Any,
    tmp_path: Path,
    ours: str,
    name: str,
    damage: Callable[[Any], None],
    status: int,
    fixable: bool,
) -> None:
    healthy(vmtctl, guest)
    assert found(vmtctl) == {}
    damage(guest)
    rows = found(vmtctl)
    assert name in rows, rows
    assert vmtctl("doctor").status == status
    row = rows[name]
    assert row["why"], row
    assert bool(row["fix"]) is fixable, row
    assert row["fix"] or row["advice"] or name in {"wrong-system", "hypervisor"}, row
    if fixable:
        done = carry_out(guest, tmp_path, ours, row["fix"])
        assert done.returncode == 0, (row["fix"], done.stderr)
        assert name not in found(vmtctl), row["fix"]


@pytest.fixture(scope="module")
def ours() -> Iterator[str]:
    """How a shell starts vmtctl."""
    with programs("vmtctl", before=tools_answer_here) as command:
        yield command


def carry_out(guest: Any, place: Path, ours: str, command: str) -> subprocess.CompletedProcess[str]:
    """Type a fix into sh(1), as root would."""
    directory = place / "programs"
    directory.mkdir(exist_ok=True)
    program = directory / "vmtctl"
    program.write_text(
        f'#!/bin/sh\nexec {ours} vmtctl --tools-root {shlex.quote(str(guest.root))} "$@"\n'
    )
    program.chmod(0o755)
    # Other tools of NetBSD: MAKEDEV(8), and service(8) as far as a fix uses it.
    (guest.root / "dev/MAKEDEV").write_text(': > "$1"\n')
    service = guest.root / "usr/sbin/service"
    service.parent.mkdir(parents=True, exist_ok=True)
    service.write_text(
        f"{SHEBANG}import json, sys\nassert sys.argv[1:] == ['powerd', 'start']\n"
        f"path = {str(guest.file)!r}\nstate = json.load(open(path))\n"
        "state['processes'].append([312, '/usr/sbin/powerd'])\njson.dump(state, open(path, 'w'))\n"
    )
    service.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-ec", command],
        env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_finding_is_in_table() -> None:
    names = set()
    for path in Path(checks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                name = node.args[1]
                assert isinstance(name, ast.Constant), ast.dump(node)
                names.add(name.value)
    assert names == {row[0] for row in BROKEN} | set(ELSEWHERE)


def test_every_recommended_command_is_valid(vmtctl: Control, guest: Any) -> None:
    """Also in advice, hints and texts: the words after `vmtctl` are a valid command line."""
    commands = set()
    for path in sorted(Path(checks.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "command"
                and node.args
            ):
                commands.add("".join(_constant(node.args[0])))
    assert "attach" in commands
    assert len(commands) > 8
    for words in sorted(commands):
        _, values = grammar.parse(COMMANDS, shlex.split(words))
        assert values.path


def test_every_command_in_texts_is_valid() -> None:
    """The text in backquotes in a message, a help text or an installed script."""
    found = set()
    for path in sorted(USERLAND.rglob("*")):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(re.findall(r"`vmtctl ([^`]+)`", node.value))
        elif path.is_file() and path.parent.name in {"powerd", "rc.d", "package"}:
            found |= set(re.findall(r"`vmtctl ([^`]+)`", path.read_text()))
    assert len(found) > 8
    for words in sorted(found):
        # A verb of several parts may be meant as a whole.
        typed = shlex.split(words.replace("COMMAND", "true").replace("SHELL", "bash"))
        if typed[0] in {"VERB", "--help"}:
            continue
        _, values = grammar.parse(COMMANDS, [*typed, "--help"] if len(typed) == 1 else typed)
        assert values.path, words


def _constant(node: ast.expr) -> list[str]:
    """The parts of a text; the variable part is a number of seconds or empty."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        pieces = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                pieces.append(str(part.value))
            else:
                source = ast.unparse(part)
                pieces.append("" if "force" in source or "typed" in source else "60")
        return pieces
    return [ast.unparse(node)]


def test_image_without_powerd_is_an_error(vmtctl: Control, tmp_path: Path) -> None:
    image = tmp_path / "image"
    scripts = image / "etc/powerd/scripts"
    scripts.mkdir(parents=True)
    for name in ("power_button", "reset_button", "sleep_button", "hotkey_button"):
        (scripts / name).write_text(STANDARD)
        (scripts / name).chmod(0o755)
    conf = image / "etc/rc.conf"
    conf.write_text("rc_configured=YES\nhostname=web01.example.org\ndhcpcd=YES\nsshd=YES\n")
    assert vmtctl("powerd", "install", "-R", str(image)).status == 0
    done = vmtctl("doctor", "-R", str(image), "--json")
    assert done.status == 2
    (row,) = [row for row in done.json["findings"] if row["severity"] == "error"]
    assert row["name"] == "powerd-disabled"
    assert row["fix"] == f"echo powerd=YES >> {conf}"
    subprocess.run(["/bin/sh", "-c", row["fix"]], check=True)
    assert vmtctl("doctor", "-R", str(image)).status == 0


def test_fixes_for_image_use_its_root(vmtctl: Control, tmp_path: Path) -> None:
    image = tmp_path / "an image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/rc.conf").write_text("powerd=YES ntpd=YES\n")
    rows = found_on(vmtctl, image)
    assert rows["hooks-absent"]["fix"] == f"vmtctl powerd install -R '{image}'"
    assert rows["clock-masters"]["fix"] == f"vmtctl clock off --persist -R '{image}'"
    for row in rows.values():
        words = shlex.split(row["fix"])
        assert words[0] == "vmtctl"
        assert vmtctl(*words[1:], "-q").status == 0
    assert found_on(vmtctl, image) == {}


def found_on(vmtctl: Control, image: Path) -> dict[str, dict[str, str]]:
    rows = vmtctl("doctor", "-R", str(image), "--json").json["findings"]
    return {row["name"]: row for row in rows if row["severity"] != "ok"}


def test_image_with_disabled_clock_sync_may_have_ntpd(vmtctl: Control, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/rc.conf").write_text("powerd=YES chronyd=YES\n")
    assert "clock-masters" in found_on(vmtctl, image)
    (image / "etc/sysctl.conf").write_text(f"{PERIOD}?=0\n")
    assert "clock-masters" not in found_on(vmtctl, image)


@pytest.mark.parametrize(
    "text",
    [
        "# load=/x/vmt.kmod\n",
        "load=/x/vmtother.kmod\n",
        "menu=load vmt:boot\n",
        "banner=load=vmt\n",
        "userconf=disable vmt*x\n",
        "userconf=enable vmt\n",
    ],
)
def test_unused_boot_cfg_lines_are_not_reported(vmtctl: Control, guest: Any, text: str) -> None:
    healthy(vmtctl, guest)
    (guest.root / "boot.cfg").write_text(text)
    assert found(vmtctl) == {}


def test_module_loaded_by_boot_loader_needs_no_rc_script(vmtctl: Control, guest: Any) -> None:
    healthy(vmtctl, guest)
    (guest.root / "etc/rc.conf").write_text("powerd=YES\n")
    guest.set(module_source="boot")
    assert "module-not-at-boot" not in found(vmtctl)


@pytest.mark.parametrize(
    "process",
    [
        [9, "vmtoolsd", 1000],
        [9, "/usr/pkg/bin/vmtoolsd -n vmusr", 1000],
        [9, "/usr/pkg/bin/vmtoolsd -n vmusr", 0],
        [9, "/usr/pkg/bin/vmtoolsd --name=vmusr", 0],
        [9, "vmtoolsd 9 (sleep)", 0],
        [9, "vmtoolsd", 0, "Z"],
    ],
)
def test_other_process_of_same_name_is_no_conflict(
    vmtctl: Control, guest: Any, process: list[Any]
) -> None:
    healthy(vmtctl, guest)
    guest.set(processes=[[1, "init"], [312, "/usr/sbin/powerd"], process])
    assert vmtctl("status", "--json").json["channel"]["holder"] == "vmt"
    assert found(vmtctl) == {}
    assert vmtctl("detach").status == 0
    assert vmtctl("attach").status == 0


def test_vmtoolsd_with_other_argv0_is_detected(vmtctl: Control, guest: Any) -> None:
    healthy(vmtctl, guest)
    guest.set(processes=[[312, "powerd"], [9, "toolsd (vmtoolsd)"]])
    assert vmtctl("status", "--json").json["channel"]["holder"] == "conflict"


def test_invisible_processes_are_not_assumed_absent(
    vmtctl: Control, guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With security.curtain=1 ps(1) shows a user's own processes only."""
    guest.kernel(security__curtain="1")
    guest.set(processes=[[44, "-sh", 1000]])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status = vmtctl("status", "--json").json
    assert (status["powerd"]["running"], status["channel"]["holder"]) == (None, None)
    assert any("security.curtain" in problem for problem in status["problems"])
    assert "powerd-down" not in found(vmtctl)


@pytest.mark.parametrize(
    ("hypervisor", "vendor", "name", "words"),
    [
        ("unknown", "QEMU", "none", "machdep.dmi.system-vendor is QEMU"),
        ("unknown", "VMware, Inc.", "VMware", "machdep.dmi.system-vendor is VMware, Inc."),
        ("generic", "VMware, Inc.", "VMware", "machdep.dmi.system-vendor is VMware, Inc."),
        ("KVM", "QEMU", "KVM", "machdep.hypervisor is KVM"),
        ("unknown", None, "unknown", "neither machdep.hypervisor nor"),
    ],
)
def test_hypervisor_unknown_to_kernel_is_derived_from_vendor(
    vmtctl: Control, guest: Any, hypervisor: str, vendor: str | None, name: str, words: str
) -> None:
    guest.set(attached=None)
    guest.kernel(machdep__hypervisor=hypervisor)
    if vendor is not None:
        state = guest.get()
        state["kernel"]["machdep.dmi.system-vendor"] = vendor
        guest.write(state)
    system = vmtctl("status", "--json").json["system"]
    assert system["hypervisor"] == name
    assert words in system["hypervisor_source"]
    if name not in {"VMware", "unknown"}:
        assert words in vmtctl("doctor").out


def test_load_names_non_vmware_machine_as_cause(vmtctl: Control, guest: Any) -> None:
    state = guest.get()
    state.update(builtin=False, attached=None, vmware=False)
    state["kernel"].update({"machdep.hypervisor": "unknown", "machdep.dmi.system-vendor": "QEMU"})
    guest.write(state)
    done = vmtctl("load", "-m", guest.module())
    assert "this is not a VMware machine (machdep.dmi.system-vendor is QEMU)" in done.err
    assert "userconf" not in done.err
    del state["kernel"]["machdep.dmi.system-vendor"]
    guest.write(state)
    done = vmtctl("load", "-m", guest.module())
    assert "the driver did not find VMware's backdoor" in done.err


def test_securelevel_is_named_if_it_prevents_load(vmtctl: Control, guest: Any) -> None:
    guest.kernel(kern__securelevel="2")
    guest.set(faults={"modload /": "Operation not permitted"})
    done = vmtctl("load", "-m", guest.module())
    assert done.status == 77
    assert "kern.securelevel is 2, which forbids it" in done.err


def test_securelevel_is_named_as_cause(vmtctl: Control, guest: Any) -> None:
    healthy(vmtctl, guest)
    guest.kernel(kern__securelevel="1")
    guest.set(faults={"modunload": "Operation not permitted"})
    done = vmtctl("unload")
    assert done.status == 77
    assert "kern.securelevel is 1, which forbids it" in done.err
    assert "request" not in done.err


def test_doctor_on_image_does_not_query_running_system(
    vmtctl: Control, guest: Any, tmp_path: Any
) -> None:
    image = tmp_path / "image"
    (image / "etc/powerd/scripts").mkdir(parents=True)
    (image / "boot.cfg").write_text("userconf=disable vmt\n")
    done = vmtctl("doctor", "-R", str(image))
    assert "userconf=disable vmt" in done.out
    assert guest.get()["calls"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change a file's owner")
def test_hook_of_another_user_is_an_error(vmtctl: Control, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/rc.conf").write_text("powerd=YES\n")
    assert vmtctl("powerd", "install", "-R", str(image)).status == 0
    os.chown(image / "etc/powerd/vmt-event", 1000, 1000)
    row = found_on(vmtctl, image)["owner"]
    subprocess.run(["/bin/sh", "-c", row["fix"]], check=True)
    assert "owner" not in found_on(vmtctl, image)


def test_doctor_names_installed_manuals(vmtctl: Control) -> None:
    last = vmtctl("doctor").out.splitlines()[-1]
    assert last == "manuals: netbsd-vmt(4) of the driver, vmtctl(8)"
    assert "manuals" not in vmtctl("doctor", "--json").out


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (5000, "the host has 20 of 20 MB; floor 64 MB; idle"),
        (0, "the host has 0 of 20 MB; floor 64 MB; idle"),
        (300, "the host has 1.2 of 20 MB; floor 64 MB; idle"),
    ],
)
def test_status_and_doctor_report_the_balloon(
    vmtctl: Control, guest: Any, size: int, words: str
) -> None:
    healthy(vmtctl, guest)
    assert "balloon" not in vmtctl("status").out
    _balloon(size=size)(guest)
    assert re.search(rf"^balloon +{re.escape(words)}$", vmtctl("status").out, re.MULTILINE)
    checked = vmtctl("doctor")
    assert checked.status == 0
    assert f"ok      vmmemctl0: {words}\n" in checked.out
