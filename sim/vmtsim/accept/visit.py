"""The console part alone: the walkthrough on a guest that runs already, such as on real VMware.

No QEMU, no simulated host, no comparison.  The guest is reached by a command that opens a terminal
on it: ssh, or a program that connects to a serial line.
"""

from __future__ import annotations

import platform
import re
import shlex
import time
from typing import TYPE_CHECKING

from vmtgen.common.errors import DATA, USAGE, ReportedError

from vmtsim import __version__
from vmtsim.accept import files, guest, verdict, walk
from vmtsim.accept.boot import Account, Boot
from vmtsim.accept.console import Console, ConsoleError
from vmtsim.accept.guest import Facts, Guest, GuestError
from vmtsim.accept.run import Versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.accept.drivers import Driver
    from vmtsim.accept.shell import Shell

ARCHIVE = "files.tar"


class Visit:
    """One visit.  The archive for the guest is written to ``report``; ``bring`` makes it."""

    def __init__(
        self,
        driver: Driver,
        command: str,
        account: Account,
        report: Path,
        bring: Callable[[str, str], dict[str, Path]],
        print_line: Callable[[str], None],
        *,
        timeout: float,
    ) -> None:
        self.facts = Facts()
        self.versions = Versions()
        self._driver = driver
        self._words = shlex.split(command)
        self._account = account
        self._report = report
        self._bring = bring
        self._print_line = print_line
        self._timeout = timeout
        self._console: Console | None = None

    def console(self) -> bytes:
        """Return the console output."""
        return b"" if self._console is None else self._console.seen.encode("latin-1")

    def take(self) -> verdict.Result:
        """Log in, load the driver, do the walkthrough, unload it.

        Raises GuestError, ConsoleError, ReportedError.
        """
        if not self._words:
            raise ReportedError("--console needs a command", exit_status=USAGE)
        started = time.monotonic()
        try:
            self._console = Console.of_command(
                self._words[0], self._words[1:], progress=self._print_line
            )
        except Exception as error:
            raise ReportedError(f"cannot run {self._words[0]}: {error}") from error
        result = verdict.Result(walk.NAME, walk.SUMMARY)
        try:
            boot = Boot(
                self._console,
                self._account,
                timeout=self._timeout,
                print_line=self._print_line,
                inside=True,
            )
            shell = boot.shell()
            self._print_line("the guest has a root shell")
            inside, python = self._prepare(shell)
            try:
                result.properties = self._walk(inside, python)
            except ConsoleError as error:
                result.crash = str(error)
        finally:
            self._console.close()
        result.seconds = time.monotonic() - started
        return result

    def _prepare(self, shell: Shell) -> tuple[Guest, str]:
        system = shell.run("uname -s -r -m").output.strip()
        match = re.fullmatch(r"NetBSD (\S+) (\S+)", system)
        if match is None:
            raise GuestError(f"the guest is not NetBSD: uname printed {system!r}")
        brought = self._bring(match.group(1), match.group(2))
        folder = self._files_in(shell, brought)
        inside = Guest(shell, folder)
        self.facts = inside.facts()
        self.versions.pairs = {
            "vmtsim": __version__,
            "Python": platform.python_version(),
            "guest": self.facts["version"] or system,
            "console": " ".join(self._words),
        }
        python = self.facts["python"] if walk.VMTCTL in brought else ""
        return inside, python

    def _files_in(self, shell: Shell, brought: dict[str, Path]) -> str:
        """Return the directory of the files in the guest; without one, write an archive for it."""
        file = self._driver.file
        size = brought[file].stat().st_size
        for place in guest.PLACES:
            folder = f"{place}/{files.FOLDER}"
            found = shell.run(f"wc -c <{folder}/{file} && ls {folder}/guest.sh")
            if found.ok and found.output.split()[0] == str(size):
                return folder
        self._report.mkdir(parents=True, exist_ok=True)
        target = self._report / ARCHIVE
        target.write_bytes(files.archive(brought))
        raise ReportedError(
            "the guest does not have the files of this run",
            hint=f"copy {target} to it, unpack it there as root (tar -xpf {ARCHIVE} -C /var/tmp), "
            "and start again",
            exit_status=DATA,
        )

    def _walk(self, inside: Guest, python: str) -> list[verdict.Property]:
        self._print_line("loading the driver")
        name = self._driver.name
        inside.call("free", name)
        loaded = inside.call("load", name)
        if not loaded.ok:
            return [verdict.Property("the module loads", verdict.BROKEN, guest.failure(loaded))]
        properties = [verdict.Property("the module loads", verdict.HELD)]
        # A built-in vmt(4) that is attached stays so until drvctl detaches it.
        built_in = inside.call("device", name).output.strip()
        if built_in:
            inside.call("detach", built_in)
        inside.call("rescan", "cpu0")
        self._print_line("doing the walkthrough")
        properties += walk.Walk(
            inside.shell, inside.folder, name, self._driver.steps, python
        ).take()
        unloaded = inside.do("unload", name)
        left = inside.call("device", name).output.strip()
        good = unloaded == "0" and not left
        properties.append(
            verdict.Property(
                "the module unloads",
                verdict.HELD if good else verdict.BROKEN,
                "" if good else f"modunload: {unloaded}; attached: {left or 'nothing'}",
            )
        )
        return properties
