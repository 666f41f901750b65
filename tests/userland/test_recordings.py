"""The stubs of NetBSD's tools print what the recorded real tools print, column for column.

Differences between the recorded older tools and the current ones are in ``current``, with the
source; values that vary from run to run (numbers, times, pids) are masked in both.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtctl.system import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

fakeguest = sys.modules["fakeguest"]

TRANSCRIPTS = fakeguest.TRANSCRIPTS
PARTS = sorted(TRANSCRIPTS)
RELEASE = "10.99.12"
RPC = "machdep.vmt0.rpc"

# Rows that no stub implements, and why.
NOT_PLAYED = {
    "uname": "not a tool of the table",
    "dmesg": "the recorded system had no grep",
    "ls": "status 139: a fault of that small system",
    "/etc/rc.d/powerd": "a script; the simulated guest's rc.subr is a separate stub",
    "service": "as rc.d/powerd",
}
SIMULATED_ONLY = ("drvctl -p", "drvctl -l vmt0", "sysctl -d", "sysctl -n", "drvctl -r cpu0")


def current(command: str, row: dict[str, Any]) -> tuple[int, str, str]:
    """The output of the current tool where it differs from the recorded one."""
    status, out, err = row["status"], two_nodes(row["stdout"]), row["stderr"]
    tool = command.split(maxsplit=1)[0]
    if tool == "drvctl" and status == 3:
        status = 1  # sbin/drvctl/drvctl.c 1.19 of 2018: EXIT_FAILURE everywhere
    if tool in {"modload", "modunload"} and err:
        # sbin/modload/main.c 1.16, sbin/modunload/main.c 1.5 of 2016: the argument is named.
        err = err.replace(f"{tool}: ", f"{tool}: {command.rsplit(maxsplit=1)[-1]}: ", 1)
    return status, out, err


def two_nodes(text: str) -> str:
    """The recorded driver had one node for requests and replies; each write gets a number."""
    text = text.replace(f"{RPC} = \n", f"{RPC}.request = \n{RPC}.reply = \n")
    text = re.sub(rf"^{RPC}: .* -> ", f"{RPC}.request: NUMBER -> ", text)
    return text.replace(f"{RPC}=", f"{RPC}.request=")


def masked(text: str, *, names: set[str]) -> str:
    """``text`` without values that vary from run to run; only nodes of both drivers."""
    lines = []
    text = re.sub(rf"^{RPC}\.request: [0-9]+ -> ", f"{RPC}.request: NUMBER -> ", text)
    for line in text.splitlines(keepends=True):
        node = re.match(r"(machdep\.vmt0\.[a-z_.]+)( = |: )(.*)", line)
        if node is not None and node[1] not in names:
            continue
        if node is not None and node[2] == " = " and "rpc" not in node[1]:
            line = f"{node[1]}{node[2]}{'VALUE' if node[3] else ''}\n"  # noqa: PLW2901
        if node is not None and node[2] == ": " and " -> " not in node[3]:
            # sysctl -d: later versions of the driver describe their nodes in other words.
            line = f"{node[1]}: {'DESCRIPTION' if node[3] else ''}\n"  # noqa: PLW2901
        lines.append(line)
    return "".join(lines)


def nodes_of(text: str) -> list[str]:
    return re.findall(r"^(machdep\.vmt0\.[a-z_.]+)", text, re.MULTILINE)


def played(part: str, *, simulated: bool) -> list[tuple[str, dict[str, Any]]]:
    """The rows that a stub implements, with the command."""
    found = []
    for row in TRANSCRIPTS[part]:
        command = two_nodes(row["command"])
        if command.split()[0] in NOT_PLAYED or command.startswith("ps "):
            continue
        if not simulated and (command == "drvctl -l" or command.startswith(SIMULATED_ONLY)):
            continue
        if "/var/tmp/" in command or command.endswith("machdep.hypervisor"):
            continue  # of that system: its own copy, and a kernel started without a BIOS
        if command.startswith("sysctl -d") and part == "built-in vmt":
            continue  # the simulated built-in driver describes no nodes, and nothing reads them
        found.append((command, row))
    return found


def play(
    rows: list[tuple[str, dict[str, Any]]],
    run: Callable[[list[str]], tuple[int, str, str]],
    here: Callable[[str], str],
) -> None:
    """Run the commands in their order; every output must match the recording."""
    for command, row in rows:
        words = shlex.split(here(command))
        status, out, err = (
            here(text) if isinstance(text, str) else text for text in current(command, row)
        )
        found = run(words)
        # A module that is loaded a second time: the kernel checks its global symbols before it
        # looks at its name (sys/kern/subr_kobj.c, kobj_checksyms).  The recorded one had some.
        if "File exists" in found[2]:
            err = err.replace("Exec format error", "File exists")
        shared = set(nodes_of(out)) & set(nodes_of(found[1])) if found[1] else set()
        # No node of the recording is missing, except those that a newer driver renamed.
        if command == "sysctl machdep.vmt0" and out:
            assert len(shared) == len(nodes_of(out)), set(nodes_of(out)) - shared
        assert (found[0], masked(found[1], names=shared), found[2]) == (
            status,
            masked(out, names=shared),
            err,
        ), command


@pytest.mark.parametrize("part", PARTS)
def test_stubs_match_recordings(guest: Any, part: str) -> None:
    module = guest.root / f"usr/pkg/stand/amd64/{RELEASE}/modules/vmt/vmt.kmod"
    module.parent.mkdir(parents=True)
    module.write_bytes(Path(guest.module(version=1099001200)).read_bytes())
    builtin = part == "built-in vmt"
    guest.set(builtin=builtin, attached="stock" if builtin else None, siblings=[])
    guest.kernel(kern__osrelease=RELEASE, machdep__hypervisor="unknown")

    def run(words: list[str]) -> tuple[int, str, str]:
        answer = fakeguest.answer(Path(Tools(str(guest.root)).path(words[0])), tuple(words))
        return answer[1:]

    rows = played(part, simulated=False)
    assert len(rows) > 12
    play(rows, run, lambda text: text.replace("/usr/pkg", f"{guest.root}/usr/pkg"))


@pytest.mark.parametrize("part", PARTS)
def test_simulated_guest_matches_recordings(start: Callable[..., Any], part: str) -> None:
    options = ("--kernel", "builtin") if part == "built-in vmt" else ("--kernel", "plain")
    sim_guest = start(*options, "--no-load")

    def run(words: list[str]) -> tuple[int, str, str]:
        done = sim_guest.tool(f"sbin/{words[0]}", *words[1:])
        sim_guest.advance(1)
        return done.returncode, done.stdout, done.stderr

    rows = played(part, simulated=True)
    assert len(rows) > 15
    # swwdog(4) was in that kernel's configuration.
    play(rows, run, lambda text: text.replace(RELEASE, "11.0").replace("root swwdog0\n", ""))


def test_ps_prints_recorded_columns(guest: Any, vmtctl: Any) -> None:
    (row,) = [row for row in TRANSCRIPTS[PARTS[1]] if row["command"].startswith("ps -ax")]
    processes = []
    for line in row["stdout"].splitlines()[1:]:
        pid, uid, stat, command = line.split(None, 3)
        processes.append([int(pid), command.rstrip(), int(uid), stat])
    guest.set(processes=processes)
    path = Path(Tools(str(guest.root)).path("ps"))
    out = fakeguest.answer(path, tuple(row["command"].split()))[2]
    # [system] has no arguments, and so no blank after them.
    assert out.replace("[system] \n", "[system]\n") == row["stdout"]
    assert vmtctl("status", "--json").json["powerd"]["pid"] == 112


def test_simulated_ps_prints_recorded_columns(start: Callable[..., Any]) -> None:
    sim_guest = start()
    lines = sim_guest.tool("bin/ps", "-ax", "-o", "pid,uid,stat,command").stdout.splitlines()
    pid = sim_guest.status["powerd"]
    wide = max(3, len(str(pid)))
    assert lines == [
        f"{'PID':>{wide}} UID STAT COMMAND",
        f"{0:>{wide}}   0 DKl  [system]",
        f"{1:>{wide}}   0 Ss   init ",
        f"{pid:>{wide}}   0 Ss   /usr/sbin/powerd ",
    ]


def test_unrelated_program_does_not_stop_guest(start: Callable[..., Any]) -> None:
    sim_guest = start()
    copy = sim_guest.root / "bin/ps.real"
    copy.write_bytes((sim_guest.root / "bin/ps").read_bytes())
    copy.chmod(0o755)
    done = sim_guest.tool("bin/ps.real", "-ax")
    assert (done.returncode, done.stderr) == (127, "ps.real: not found\n")
    assert sim_guest.tool("bin/ps").returncode == 0


def test_every_skipped_row_has_reason() -> None:
    commands = {row["command"].split()[0] for part in TRANSCRIPTS.values() for row in part}
    assert set(NOT_PLAYED) <= commands
    assert commands - set(NOT_PLAYED) == {"drvctl", "modload", "modunload", "ps", "sysctl"}
    assert json.dumps(TRANSCRIPTS)
