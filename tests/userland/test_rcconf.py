"""rc.conf as the shell sees it: parsed, compared with a shell, and evaluated by the shell."""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fakeguest import require
from vmtctl.checks import rcconf
from vmtctl.checks.shellvars import UNKNOWN, Variables

if TYPE_CHECKING:
    from pathlib import Path

    from answers import Control


def value(text: str, name: str = "powerd", path: str = "") -> str | None:
    variables = Variables(lambda _: None, lambda _: None)
    variables.read(text)
    return variables.get(name)


# The forms of a real rc.conf, and the shell's results.
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("powerd=NO", "NO"),
        ("powerd='no'", "no"),
        ("powerd=NO # x", "NO"),
        ('powerd=NO\t\tpowerd_flags=""', "NO"),
        ("powerd=NO; ntpd=YES", "NO"),
        ("export powerd=NO", "NO"),
        (": ${powerd:=NO}", "NO"),
        ("powerd=YES\n: ${powerd:=NO}", "YES"),
        ("powerd=\n: ${powerd:=NO}", "NO"),
        ("powerd=\n: ${powerd=NO}", ""),
        ("powerd=NO\npowerd=YES", "YES"),
        ("hostname=$(cat /etc/myname)\npowerd=YES", "YES"),
        # The form in which etc/defaults/rc.conf sets rc_silent.
        ('x=$( [ "$(( $(sysctl -n a || echo 0) & 1 ))" != 0 ] && echo ")" )\npowerd=NO', "NO"),
        ("x=$(echo ')')\npowerd=NO", "NO"),
        ('x="$(echo ")" "$(date)")" powerd=NO', "NO"),
        ("powerd=YES\\\n", "YES"),
        ("echo powerd=YES", None),
        ("powerd=YES command", None),
        ("# powerd=YES", None),
        ("(powerd=YES)", None),
        ("f() { powerd=YES; }", None),
        ("powerd=YES\nunset powerd", None),
    ],
)
def test_plain_forms_are_parsed(text: str, found: str | None) -> None:
    assert value(text) == found


@pytest.mark.parametrize(
    "text",
    [
        ". /etc/rc.conf.site",
        "if [ -f /etc/x ]; then\n\tpowerd=YES\nfi",
        "[ -f /etc/x ] && powerd=YES",
        "case x in y) powerd=YES;; esac",
        "cat <<EOF\npowerd=YES\nEOF",
        'powerd="$x"',
        "powerd=$(echo YES)",
        "powerd=`echo YES`",
        "eval powerd=YES",
        "f() { powerd=YES; }\nf",
        "read powerd < /etc/x",
        "while false; do powerd=YES; done",
        "powerd=YES | cat",
        "exit 0\n",
    ],
)
def test_undetermined_value_is_reported_as_unknown(text: str) -> None:
    assert value(text) == UNKNOWN


PIECES = (
    "powerd=YES", "powerd=NO", "powerd='on'", 'powerd="off"', "powerd=", "ntpd=YES",
    "export powerd=YES", ": ${powerd:=NO}", ": ${powerd=YES}", ': "${powerd:=NO}"',
    "unset powerd", "powerd=$ntpd", "x=1 powerd=YES", "powerd=YES true", "true", "false", ":",
    "powerd=NO # note\n:", "powerd=a\\ b", "echo powerd=NO > /dev/null", "f() { powerd=NO; }", "f",
    "eval powerd=YES", "powerd=$(echo NO)", "set -u", "x=$(echo ')' \"$(echo ')')\")", "! false",
)  # fmt: skip
FRAMES = (
    "{}\n{}", "{}; {}", "{} && {}", "{} || {}", "if true; then\n{}\nelse\n{}\nfi",
    "if false; then\n{}\nelif true; then\n{}\nfi", "( {}\n{} )", "{{ {}; {}\n}}",
    "for i in 1 2; do\n{}\n{}\ndone", "case a in\na) {};;\n*) {};;\nesac",
    "while false; do {}; done\n{}", "if true; then {}; elif false; then :; else {}; fi",
)  # fmt: skip


def program(rng: random.Random, depth: int = 3) -> str:
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(PIECES)
    return rng.choice(FRAMES).format(program(rng, depth - 1), program(rng, depth - 1))


def test_parser_agrees_with_shell_or_reports_unknown(tmp_path: Path) -> None:
    shell = require("dash")
    rng = random.Random(20)
    programs = [program(rng) for _ in range(400)]
    for number, text in enumerate(programs):
        (tmp_path / str(number)).write_text(f"{text}\n")
    # set -u and exit end the shell that reads a file: one for each, which prints at its end.
    script = (
        f"for n in $(seq 0 {len(programs) - 1}); do ( set +e; trap 'set +u; "
        'echo "$n:${powerd+set}:$powerd"\' EXIT; . "$0/$n" ) 2>/dev/null; done'
    )
    done = subprocess.run(
        [shell, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    known = 0
    lines = done.stdout.splitlines()
    assert len(lines) == len(programs)
    for line in lines:
        number, state, real = line.split(":", 2)
        read = value(programs[int(number)] + "\n")
        if read == UNKNOWN:
            continue
        known += 1
        assert read == (real if state else None), programs[int(number)]
    # Otherwise a parser that always reports unknown would pass.
    assert known > len(programs) / 4


STOCK = """\
# Load the defaults in from /etc/defaults/rc.conf (if it's readable).
if [ -r /etc/defaults/rc.conf ]; then
\t. /etc/defaults/rc.conf
fi
rc_configured=YES
"""
DEFAULTS = 'powerd=NO\t\tpowerd_flags=""\nntpd=NO ntpd_flags=""\n'
ACPI = "if /sbin/sysctl -q hw.acpi.root; then\n\tpowerd=YES\nfi\n"


@pytest.mark.parametrize(
    ("defaults", "more", "status"),
    [
        (DEFAULTS, "", 2),
        (DEFAULTS + ACPI, "", 0),
        (DEFAULTS + ACPI, "powerd=NO\n", 2),
        (DEFAULTS, "powerd=YES\n", 0),
        (DEFAULTS, ". /etc/rc.conf.site\n", 1),
    ],
)
def test_netbsd_files_are_followed(
    vmtctl: Control, tmp_path: Path, defaults: str, more: str, status: int
) -> None:
    image = tmp_path / "image"
    (image / "etc/defaults").mkdir(parents=True)
    (image / "etc/defaults/rc.conf").write_text(defaults)
    (image / "etc/rc.conf").write_text(STOCK + more)
    (image / "etc/sysctl.conf").write_text("machdep.vmt0.clock_sync.period=0\n")
    assert vmtctl("powerd", "install", "-R", str(image)).status == 0
    done = vmtctl("doctor", "-R", str(image))
    assert done.status == status, done.out
    if status == 1:
        assert "unknown whether powerd is started at boot" in done.out


# A stub of NetBSD's rc.subr: it reads rc.conf once, then the script's own file.
SUBR = """\
echo() { command echo "from rc.subr: $*"; }
printf() { command printf "from rc.subr: %s" "$*"; }
load_rc_config()
{
	. "$root/etc/rc.conf"
	if [ -f "$root/etc/rc.conf.d/$1" ]; then . "$root/etc/rc.conf.d/$1"; fi
}
"""


@pytest.fixture
def system(guest: Any) -> Any:
    """A guest with a shell and rc.subr."""
    (guest.root / "etc/rc.subr").write_text(SUBR)
    return guest


@pytest.mark.parametrize(
    ("conf", "own", "found"),
    [
        (". $root/etc/rc.conf.site", "", "NO"),
        ("eval powerd=on", "", "on"),
        ("echo noise; powerd=$(command echo YES)", "", "YES"),
        ("powerd=NO", "powerd=YES", "YES"),
        ("ntpd=YES", "", None),
        ("powerd=a:b", "", "a:b"),
    ],
)
def test_root_evaluates_with_shell(system: Any, conf: str, own: str, found: str | None) -> None:
    (system.root / "etc/rc.conf").write_text(f"{conf}\n")
    (system.root / "etc/rc.conf.site").write_text("powerd=NO\n")
    if own:
        (system.root / "etc/rc.conf.d/powerd").write_text(f"{own}\n")
    assert rcconf.RcConf(_context(system)).value("powerd") == found


@pytest.mark.parametrize(
    ("path", "mode"),
    [("etc", 0o777), ("etc/rc.conf", 0o666), ("etc/rc.conf", 0o664), ("etc/rc.conf.d", 0o777),
     ("etc/rc.subr", 0o622), ("etc/rc.conf.d/powerd", 0o666)],
)  # fmt: skip
def test_file_writable_by_others_is_not_run(system: Any, path: str, mode: int) -> None:
    trap = system.root / "ran"
    (system.root / "etc/rc.conf").write_text(f": > {trap}\npowerd=$(command echo YES)\n")
    (system.root / "etc/rc.conf.d/powerd").write_text("")
    (system.root / path).chmod(mode)
    assert rcconf.RcConf(_context(system)).value("powerd") == UNKNOWN
    assert not trap.exists()
    (system.root / path).chmod(0o755)
    assert rcconf.RcConf(_context(system)).value("powerd") == "YES"
    assert trap.exists()


def test_symbolic_link_is_not_run(system: Any) -> None:
    (system.root / "etc/other").write_text("powerd=$(echo YES)\n")
    (system.root / "etc/rc.conf").unlink()
    (system.root / "etc/rc.conf").symlink_to("other")
    assert rcconf.RcConf(_context(system)).value("powerd") == UNKNOWN


def test_files_of_image_are_not_run(system: Any, vmtctl: Control) -> None:
    trap = system.root / "ran"
    (system.root / "etc/rc.conf").write_text(f": > {trap}\npowerd=YES\n")
    vmtctl("doctor", "-R", str(system.root))
    assert not trap.exists()


def test_non_root_runs_nothing(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    context = _context(system)
    context.values.options.pop("tools-root")
    context._tools = type(context.tools)(str(system.root))
    monkeypatch.setattr(type(context), "files_root", str(system.root))
    assert not rcconf._may_run(context)


def test_endless_rc_conf_is_abandoned(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rcconf, "TIME_LIMIT", 0.3)
    (system.root / "etc/rc.conf").write_text("powerd=NO\nsleep 60\npowerd=YES\n")
    assert rcconf.RcConf(_context(system)).value("powerd") == "YES"


def _context(guest: Any) -> Any:
    from vmtctl.context import Context
    from vmtctl.grammar import Values

    values = Values()
    values.options["tools-root"] = str(guest.root)
    return Context(values)
