"""The console: from power-on to a shell, commands there, and crashes that end everything."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtsim.accept import boot as boot_module
from vmtsim.accept import shell as shell_module
from vmtsim.accept import texts
from vmtsim.accept.boot import Account, Boot, BootError
from vmtsim.accept.console import (
    Console,
    ConsoleClosedError,
    ConsoleTimeoutError,
    GuestCrashError,
    cleaned,
)
from vmtsim.accept.shell import Shell
from vmtsim.accept.worker import Worker

from tests.patience import HANG, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


STUB = Path(__file__).parent / "netbsdstub.py"
TIMEOUT = HANG


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Console]]:
    """A function that starts the stub with a list of events."""
    monkeypatch.setattr(boot_module, "_SILENT", 2.0)
    monkeypatch.setattr(boot_module, "_STILL", 0.2)
    monkeypatch.setattr(boot_module, "_KEY", 2.0)
    started: list[Console] = []

    def start(*words: str, progress: Callable[[str], None] | None = None) -> Console:
        console = Console.of_command(sys.executable, [str(STUB), *words], progress=progress)
        started.append(console)
        return console

    yield start
    for console in started:
        console.close()


def booted(console: Console, account: Account | None = None) -> tuple[Shell, list[str]]:
    lines: list[str] = []
    boot = Boot(console, account or Account(), timeout=TIMEOUT, print_line=lines.append)
    return boot.shell(), lines


WAYS = {
    "live image": ("menu", "kernel", "login", "login_banner", "terminal", "shell"),
    "live image that resizes its root": (
        *("menu", "kernel", "resets", "menu", "kernel", "login", "login_banner", "shell"),
    ),
    "installed system": ("countdown", "kernel", "login", "login_banner", "shell"),
    "serial console already": ("menu-without-prompt", "kernel", "login", "shell"),
    "loader that takes no keys": ("menu-without-keys", "kernel", "login", "shell"),
    "kernel by itself": ("kernel", "single", "terminal", "shell"),
    "no init but a shell": ("kernel", "shell"),
    "kernel message in the prompt": ("kernel", "login-noise", "login_banner", "shell"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_boot_path_reaches_root_shell(guest: Callable[..., Console], way: str) -> None:
    console = guest(*WAYS[way])
    shell, lines = booted(console)
    assert shell.run("echo here; (exit 3)").status == 3
    assert ("boot loader: consdev com0, boot" in lines) == bool(
        {"menu", "countdown"} & set(WAYS[way])
    )


def test_password_is_typed_and_never_shown(guest: Callable[..., Console]) -> None:
    console = guest("kernel", "login-password", "login_banner", "shell")
    account = Account(password="secret word")
    shell, lines = booted(console, account)
    assert shell.run("echo in").output == "in"
    kept = (console.seen, repr(account), *lines, *(each.command for each in shell.log))
    assert not any("secret" in text for text in kept)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("kernel", "login-incorrect"), "refuses the password", "--password-file"),
        (("kernel", "refused"), "may not log in on the console", "/etc/ttys"),
        (("kernel", "no-root"), "no root file system", "--disk-bus"),
        (("no-kernel",), "loads no kernel", None),
    ],
)
def test_failed_step_is_reported_with_remedy(
    guest: Callable[..., Console], words: tuple[str, ...], message: str, hint: str | None
) -> None:
    with pytest.raises(BootError, match=message) as caught:
        booted(guest(*words))
    assert hint is None or hint in (caught.value.hint or "")


def test_loader_without_input_and_kernel_times_out(
    guest: Callable[..., Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_module, "_SCREEN", 0.0)
    monkeypatch.setattr(boot_module, "_KEY", 0.1)
    with pytest.raises(BootError, match="does not accept keys") as caught:
        booted(guest("menu-without-keys", "hangs"))
    assert "consdev=com0" in (caught.value.hint or "")


def test_hanging_guest_is_reported_with_last_output(guest: Callable[..., Console]) -> None:
    boot = Boot(guest("kernel", "hangs"), Account(), timeout=3)
    with pytest.raises(ConsoleTimeoutError, match="Progress: 50% of 100%") as caught:
        boot.shell()
    assert "--boot-timeout" in (caught.value.hint or "")


def test_ended_guest_is_reported(guest: Callable[..., Console]) -> None:
    with pytest.raises(ConsoleClosedError, match=r"gone while waiting for"):
        booted(guest("kernel"))


def test_waiting_is_reported(
    guest: Callable[..., Console], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmtsim.accept.console._PROGRESS", 0.2)
    lines: list[str] = []
    console = guest("kernel", "hangs", progress=lines.append)
    with pytest.raises(ConsoleTimeoutError):
        console.expect([texts.LOGIN], timeout=1.5, what="a login prompt")
    assert "waiting for a login prompt: Progress: 50% of 100%" in lines


def test_panic_ends_wait_with_report_and_stack(guest: Callable[..., Console]) -> None:
    with pytest.raises(GuestCrashError) as caught:
        booted(guest("kernel", "panics"))
    assert caught.value.kind == "panic"
    for part in ("to_ticks >= 0", "netbsd:vpanic", "vmt:vmt_tick+0x11"):
        assert part in caught.value.report


@pytest.fixture
def shell(guest: Callable[..., Console]) -> Shell:
    shell = Shell(guest("shell"))
    shell.console.expect([texts.PROMPT], timeout=TIMEOUT, what="the prompt")
    shell.begin()
    return shell


def test_commands_return_status_and_output(shell: Shell) -> None:
    assert shell.run("echo one; echo two >&2").output == "one\ntwo"
    assert shell.run("false").status == 1
    assert shell.run("nosuchcommand").status == 127
    assert shell.run("printf 'no newline'").output == "no newline"
    assert shell.run("cat; echo read").output == "read"  # stdin is empty
    assert [each.status for each in shell.log[-5:]] == [0, 1, 127, 0, 0]


NOISE = (
    "[   7.0000001] vmt0: detached",
    "Nov 28 12:00:00 netbsd /netbsd: [   7.0000001] vmt0: detached",
    "Nov  1 12:00:00 netbsd powerd[212]: no script for x",
    "vmt0: clock stepped by 300 s",
    "vmt-accept: powerd power_button pressed vmt0 1212",
)


@pytest.mark.parametrize("noise", NOISE)
def test_output_of_other_processes_is_removed(shell: Shell, noise: str) -> None:
    command = f"echo one; echo '{noise}'; echo two; echo '{noise}'"
    assert shell.run(command).output == "one\ntwo"


def test_kernel_message_within_a_line_is_removed(shell: Shell) -> None:
    command = f"printf 'half'; echo '{NOISE[0]}'; echo 'other half'"
    assert shell.run(command).output == "halfother half"


def test_interrupted_mark_is_requested_again(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "_AGAIN", 0.5)
    # echo(1) of this shell is replaced by one that the kernel interrupts, once.
    torn = (
        "echo() { case $n$1 in VMT*end) n=1; printf '%s' VMT:; "
        "printf '[  8.0000001] x\\n%s\\n' \"$1\";; *) printf '%s\\n' \"$*\";; esac; }; n=; (exit 5)"
    )
    assert shell.run(torn).status == 5
    assert shell.run("unset -f echo; echo well").output.endswith("well")


def test_hanging_command_is_named(shell: Shell) -> None:
    with pytest.raises(ConsoleTimeoutError, match=r"'sleep 60' has not ended after 1 s"):
        shell.run("sleep 60", timeout=1)


def test_panic_during_command_is_not_output(shell: Shell) -> None:
    with pytest.raises(GuestCrashError, match="lock error"):
        shell.run("printf '[   9.0000001] panic: lock error: Mutex: x\\n'; sleep 9")


def test_overlong_line_is_refused(shell: Shell) -> None:
    with pytest.raises(ValueError, match="too long"):
        shell.run("x" * 600)


# Reports as NetBSD kernels print them: the format strings of the sources, filled in.
REPORTS = {
    texts.PANIC: "[  12.3456789] panic: kmem_free(0xffff, 256) overwrote\n",
    texts.FAULT: "fatal page fault in supervisor mode\n",
    texts.LOCK_ERROR: (
        "[  12.3456789] Mutex error: mutex_vector_enter,544: locking against myself\n"
    ),
    texts.ASAN: (
        "[  12.3456789] ASan: Unauthorized Access In 0xffffffff82345678: Addr 0xffff [1 byte, "
        "read, PoolUseAfterFree]\n"
    ),
    texts.MSAN: "[  12.3456789] panic: MSan: Uninitialized Variable In 0xffffffff85ad2798\n",
    texts.CSAN: "[  12.3456789] CSan: Racy Access [Cpu0 Write ...\n",
    texts.UBSAN: (
        "[  12.3456789] UBSan: Undefined Behavior in x.c:1:2, signed integer overflow: 1 + 2\n"
    ),
    texts.DDB: "Stopped in pid 1.1 (init) at netbsd:breakpoint+0x5: leave\ndb{1}> ",
}


@pytest.mark.parametrize("crash", texts.CRASHES, ids=lambda each: each.name)
def test_every_kind_of_crash_is_recognised(crash: texts.Text) -> None:
    assert crash.search(REPORTS[crash])
    assert not crash.search("vmt0: no panic, no error: all is well\n> db is a shell\n")


def test_crash_text_in_output_is_not_a_crash() -> None:
    text = "dmesg says: there was a panic: once\nACPI Error: method failed\ncould be db> or not\n"
    assert [crash.name for crash in texts.CRASHES if crash.search(text)] == []


def test_every_text_has_source() -> None:
    rows = [each for each in vars(texts).values() if isinstance(each, texts.Text)]
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"\w+/\w+", row.source), row.name


def test_escape_sequences_are_removed() -> None:
    assert cleaned("\x1b[2J\x1b[1;1Hab\x1b[0;37mc\r\n\x1b[5Cx\0") == "\nabc\n     x"


def test_hanging_command_disables_console_but_failure_does_not(
    shell: Shell,
) -> None:
    worker = Worker(shell)
    assert worker.call(lambda each: each.run("(exit 3)")).status == 3
    assert not worker.hung
    with pytest.raises(ConsoleTimeoutError):
        worker.call(lambda each: each.run("sleep 60", timeout=0.2))
    assert worker.hung
    assert worker.crash is None
    worker.stop()


def test_crash_between_commands_is_detected(shell: Shell) -> None:
    worker = Worker(shell)
    worker.call(lambda each: each.run("(sleep 1; printf 'panic: x\\n') & :"))
    until(lambda: worker.crash is not None, "the panic")
    assert isinstance(worker.crash, GuestCrashError)
    with pytest.raises(GuestCrashError):
        worker.call(lambda each: each.run("true"))
    worker.stop()
