"""From power-on to a root shell: boot loader, single-user mode or login.

A live image of NetBSD may reset itself once in the first boot (distrib/amd64/liveimage/emuimage,
resize_root): everything may come twice.  Its boot loader uses the screen, which SeaBIOS shows on
the serial line; the kernel would continue on the screen, which has no reader.  So the loader is
first brought to its prompt and given `consdev com0`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.accept import texts
from vmtsim.accept.console import Console, ConsoleError, ConsoleTimeoutError
from vmtsim.accept.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = 5.0
_TRIES = 4
_LOGINS = 3
# Seconds after which a kernel without output is taken to use another console.
_SCREEN = 300.0
# Seconds without output after which a guest counts as silent, and a prompt as one.
_SILENT, _STILL = 15.0, 1.0


@dataclass(frozen=True)
class Account:
    """The account to log in with.  ``password`` is only typed at login's prompt and not logged."""

    user: str = "root"
    password: str = ""

    def __repr__(self) -> str:
        return f"Account(user={self.user!r})"


class BootError(ConsoleError):
    """The root shell was not reached; ``hint`` says what to do about it."""


class Boot:
    """Brings one machine to its shell.  ``timeout`` (seconds) is the limit for all of it.

    ``inside``: the console may start with a shell's prompt, as with ssh.  Otherwise a text that
    looks like a prompt counts only after a login, or in answer to an empty line.
    """

    def __init__(
        self,
        console: Console,
        account: Account,
        *,
        timeout: float,
        print_line: Callable[[str], None] | None = None,
        inside: bool = False,
    ) -> None:
        self.console = console
        self.account = account
        self.loaders = 0
        self._print_line = print_line or (lambda _line: None)
        self._deadline = time.monotonic() + timeout
        self._logins = self._asked = 0
        self._ignored_since: float | None = None
        self._ignored_from = 0
        self._inside = self._entered = inside

    def shell(self) -> Shell:
        """Return the root shell; raises BootError and what Console.expect raises."""
        steps = (
            (texts.MENU, self._menu),
            (texts.MENU_OPTION, self._option),
            (texts.COUNTDOWN, self._countdown),
            (texts.BOOT_PROMPT, self._loader_prompt),
            (texts.BOOT_ERROR, self._no_kernel),
            (texts.NO_SYSTEM, self._no_system),
            (texts.ROOT_DEVICE, self._no_root),
            (texts.NO_INIT, self._no_init),
            (texts.SINGLE_USER, self._single_user),
            (texts.LOGIN, self._login),
            (texts.PASSWORD, self._password),
            (texts.HOST_KEY, self._unknown_host_key),
            (texts.INCORRECT, self._incorrect),
            (texts.REFUSED, self._refused),
            (texts.TERMINAL, self._terminal),
            (texts.REBOOTING, self._again),
            (texts.HALTED, self._halted),
            (texts.PROMPT, self._prompt),
        )
        while True:
            which = self._wait([text for text, _ in steps], "a login prompt")
            found = steps[which][1]()
            if found is not None:
                return found

    def _wait(self, expected: list[texts.Text], what: str) -> int:
        """Wait for one of the texts; a silent guest gets an empty line.

        The kernel may have printed into getty's prompt, which then comes again.
        """
        while True:
            left = self._deadline - time.monotonic()
            before = len(self.console.seen)
            try:
                return self.console.expect(
                    expected, timeout=max(min(left, _SILENT), 0.0), what=what
                )
            except ConsoleTimeoutError as error:
                self._check_keys_accepted()
                if left > _SILENT:
                    if len(self.console.seen) == before and self._running():
                        self._entered = True
                        self.console.type("\r")
                    continue
                error.hint = (
                    "the guest printed nothing: is it made for this machine, and is its console "
                    "the serial line? See docs/acceptance.md, The console"
                    if not self.console.seen.strip()
                    else "give it more time with --boot-timeout, or see docs/acceptance.md"
                )
                raise

    def _check_keys_accepted(self) -> None:
        """Give up on a loader that accepted no keys if no kernel prints anything for long."""
        if self._ignored_since is None:
            return
        if texts.KERNEL.search(self.console.seen, self._ignored_from):
            self._ignored_since = None
        elif time.monotonic() - self._ignored_since > _SCREEN:
            raise self._keys_ignored()

    def _running(self) -> bool:
        return self._inside or texts.KERNEL.search(self.console.seen) is not None

    # The boot loader.

    def _menu(self) -> Shell | None:
        """Stop the countdown, then choose the menu entry for the prompt."""
        self._print_line("boot loader: menu")
        listed = self._entries(self.console.before)
        if not self._press(" ", texts.MENU_OPTION):
            return self._leave_alone()
        return self._choose(listed)

    def _press(self, keys: str, expected: texts.Text | str) -> bool:
        """Type keys until the loader shows their effect; return false if it never does."""
        what = expected if isinstance(expected, str) else expected.name
        for _ in range(_TRIES):
            self.console.type(keys)
            try:
                self.console.expect([expected], timeout=_KEY, what=what)
            except ConsoleTimeoutError:
                continue
            return True
        return False

    def _leave_alone(self) -> Shell | None:
        """Let a loader that accepts no keys boot its default.

        If boot.cfg selects the serial line, the loader shares it with SeaBIOS, which takes the keys
        (https://bugs.launchpad.net/qemu/+bug/1743191); after its countdown the loader boots a
        kernel that uses the serial line.
        """
        self._print_line("boot loader: it accepts no keys; waiting for its default")
        self._ignored_since = time.monotonic()
        self._ignored_from = len(self.console.seen)
        return None

    def _option(self) -> Shell | None:
        self._print_line("boot loader: menu without a countdown")
        return self._choose(self._entries(self.console.before))

    @staticmethod
    def _entries(screen: str) -> dict[str, str]:
        return dict(re.findall(texts.MENU_ENTRY.pattern, screen))

    def _choose(self, entries: dict[str, str]) -> Shell | None:
        key = next(
            (key for key, text in entries.items() if "prompt" in text.lower()),
            next((key for key, text in entries.items() if "command line" in text.lower()), None),
        )
        if key is None:
            # No way to the prompt.  With `consdev=com0` in boot.cfg it is not needed.
            self._print_line("boot loader: no entry leads to its prompt; taking the default")
            self.console.type("\r")
            return None
        if not self._press(f"{key}\r", texts.BOOT_PROMPT):
            return self._leave_alone()
        return self._loader_prompt()

    def _countdown(self) -> Shell | None:
        self._print_line("boot loader: countdown")
        if not self._press(" ", texts.BOOT_PROMPT):
            return self._leave_alone()
        return self._loader_prompt()

    def _loader_prompt(self) -> Shell | None:
        """Move the console to the serial line, and boot.

        SeaBIOS also reads the line and may take a key: each line is typed again until it has an
        effect.
        """
        self.loaders += 1
        self._print_line("boot loader: consdev com0, boot")
        if not self._press("consdev com0\r", texts.BOOT_PROMPT):
            raise self._keys_ignored()
        for _ in range(_TRIES):
            if not self._press("boot\r", "boot"):
                break
            # Loading time depends on the disk.
            loading = [texts.KERNEL, texts.BOOT_ERROR, texts.BOOT_PROMPT]
            which = self._wait(loading, "the kernel's first line")
            if which == 1:
                return self._no_kernel()
            if which == 0:
                return None
        raise self._keys_ignored()

    def _keys_ignored(self) -> BootError:
        return BootError(
            f"the boot loader does not accept keys from the serial line:\n{self.console.screen()}",
            hint="put `consdev=com0` into the image's /boot.cfg, or boot the kernel with --kernel",
        )

    def _no_system(self) -> Shell | None:
        raise BootError(
            f"there is no boot loader on the disk:\n{self.console.screen()}",
            hint="is it an image for this machine? A root without one needs --kernel",
        )

    def _no_kernel(self) -> Shell | None:
        raise BootError(f"the boot loader loads no kernel:\n{self.console.screen()}")

    # The kernel and init.

    def _no_root(self) -> Shell | None:
        raise BootError(
            f"the kernel finds no root file system:\n{self.console.screen()}",
            hint="another --disk-bus (ide, virtio, scsi, usb), or root=DEVICE with --append",
        )

    def _no_init(self) -> Shell | None:
        raise BootError(
            f"the root file system has no init:\n{self.console.screen()}",
            hint="the root needs a userland: init, sh, modload, modunload, drvctl, sysctl",
        )

    def _again(self) -> Shell | None:
        self._print_line("the guest resets itself")
        return None

    def _halted(self) -> Shell | None:
        raise BootError(f"the guest halted by itself:\n{self.console.screen()}")

    def _single_user(self) -> Shell | None:
        self._print_line("single-user mode")
        self._entered = True
        self.console.type("\r")
        return None

    # Login.

    def _login(self) -> Shell | None:
        self._logins += 1
        if self._logins > _LOGINS:
            raise BootError(
                f"{self.account.user} cannot log in:\n{self.console.screen()}",
                hint="--user and --password-file; live images have root without a password",
            )
        self._print_line(f"login as {self.account.user}")
        self._entered = True
        self.console.type(f"{self.account.user}\r")
        return None

    def _password(self) -> Shell | None:
        self._asked += 1
        if self._asked > _LOGINS:
            return self._incorrect()
        self.console.type(f"{self.account.password}\r")
        return None

    def _unknown_host_key(self) -> Shell | None:
        raise BootError(
            "ssh does not know the guest's key", hint="connect once by hand and check the key"
        )

    def _incorrect(self) -> Shell | None:
        raise BootError(
            f"the guest refuses the password of {self.account.user}",
            hint="--password-file FILE holds it, in its first line",
        )

    def _refused(self) -> Shell | None:
        raise BootError(
            f"{self.account.user} may not log in on the console",
            hint="the console needs `secure` in the guest's /etc/ttys",
        )

    def _terminal(self) -> Shell | None:
        self.console.type("vt100\r")
        return None

    def _prompt(self) -> Shell | None:
        """Check whether the last text, which looks like a prompt, comes from a shell."""
        if not self._entered:
            return None
        before = len(self.console.seen)
        self.console.idle(_STILL)
        if len(self.console.seen) > before:
            return None
        shell = Shell(self.console)
        shell.begin()
        found = shell.run("id -u")
        if found.ok and found.output.strip() != "0":
            raise BootError(
                f"{self.account.user} is not root (id -u printed {found.output.strip()!r})",
                hint="only root can load modules: --user root",
            )
        return shell
