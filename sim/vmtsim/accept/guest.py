"""Actions inside a real guest: the verbs of scenarios and of a run, typed on its console.

Each is one call of guest.sh, which was unpacked beside the module.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import UNAVAILABLE, ReportedError

from vmtsim.accept.files import FOLDER
from vmtsim.accept.shell import LONGEST, Result, Shell
from vmtsim.scenario.expect import FACTS
from vmtsim.scenario.guest import COMMANDS, listed

if TYPE_CHECKING:
    from vmtsim.scenario.guest import Calls

# Candidates for the files' directory, first writable one; /var/tmp is in every system (hier(7)).
PLACES = ("/var/tmp", "/tmp", "/root", "/mnt")
_MARKS = 90  # length of the text that Shell.run adds to a command
# strerror(3) of NetBSD -> errno, as drvctl, modload and sysctl print it (sys/errno.h,
# lib/libc/gen/errlist).
ERRNO = {
    "Operation not permitted": "EPERM (1)",
    "No such file or directory": "ENOENT (2)",
    "Device not configured": "ENXIO (6)",
    "Exec format error": "ENOEXEC (8)",
    "Device busy": "EBUSY (16)",
    "File exists": "EEXIST (17)",
    "Invalid argument": "EINVAL (22)",
    "Operation not supported": "EOPNOTSUPP (45)",
    "Program version wrong": "EPROGMISMATCH (75)",
}


class GuestError(ReportedError):
    """The guest cannot be prepared; ``hint`` says what it needs."""

    exit_status = UNAVAILABLE


@dataclass
class Facts:
    """The guest's description of itself."""

    values: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    @property
    def release(self) -> str:
        """The release whose kernel interface it has: 11.0 for 11.0_STABLE, 10.1 for 10.1_RC2."""
        return re.split(r"[_\s]", self["release"])[0]


def calls(verb: str, argument: Any) -> Calls | str:
    """Return the calls of guest.sh for ``guest.VERB``, or why a console cannot do it."""
    command = COMMANDS[verb]
    found = command.typed(command.value(argument))
    if isinstance(found, str):
        return found
    room = LONGEST - _MARKS - len("sh /var/tmp//guest.sh ") - len(FOLDER)
    if any(len(shlex.join(words)) > room for words in found):
        return "it is longer than a terminal's line"
    return found


def unable(verb: str, argument: Any) -> str:
    """Return why a real guest cannot do ``guest.VERB``; "" if it can."""
    found = calls(verb, argument)
    return found if isinstance(found, str) else ""


class Guest:
    """The guest behind a shell; ``folder`` is where its files are."""

    def __init__(self, shell: Shell, folder: str) -> None:
        self.shell = shell
        self.folder = folder

    def call(self, *words: str, timeout: float = 120.0) -> Result:
        """Run one verb of guest.sh."""
        return self.shell.run(f"sh {self.folder}/guest.sh {shlex.join(words)}", timeout=timeout)

    def do(self, verb: str, argument: Any) -> str:
        """Execute a scenario's ``guest.VERB``; returns "0" or how it failed."""
        found = calls(verb, argument)
        if isinstance(found, str):
            return found
        for words in found:
            result = self.call(*words)
            if not result.ok:
                return failure(result)
        return "0"

    def facts(self) -> Facts:
        """Query the guest's system."""
        facts = Facts()
        for line in self.call("facts").output.splitlines():
            name, _, value = line.partition("=")
            if name == "missing":
                facts.missing.append(value)
            else:
                facts.values[name] = value.strip()
        return facts


def named(result: Result) -> dict[str, str]:
    """Return the output of `guest.sh named`: known scenario.expect.FACTS with their values."""
    pairs = (line.partition("=") for line in result.output.splitlines())
    return {name: value.strip() for name, _, value in pairs if name in FACTS and value.strip()}


def changed(facts: dict[str, str], verb: str, argument: Any) -> dict[str, str]:
    """Return the facts after ``guest.VERB``, whose effect may take a moment."""
    if verb == "hostname":
        return {**facts, "hostname": str(argument)}
    if verb != "addresses":
        return facts
    after = {name: value for name, value in facts.items() if name in {"hostname", "release"}}
    for text in listed(COMMANDS[verb].value(argument)):
        address = ipaddress.ip_interface(text)
        suffix = "6" if address.version == 6 else ""
        after.setdefault(f"address{suffix}", str(address.ip))
        after.setdefault(f"prefix{suffix}", str(address.network.prefixlen))
    return after


def failure(result: Result) -> str:
    """Return how a command failed: its errno if the message has one, or the message."""
    lines = [line for line in result.output.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else f"exit status {result.status}"
    for text, errno in ERRNO.items():
        if last.endswith(text):
            return errno
    return last


def find_folder(shell: Shell) -> str:
    """Return a writable directory, making the root writable if necessary.

    Raises GuestError.
    """
    for attempt in ("", "mount -u -o rw /", "mount -t tmpfs tmpfs /mnt"):
        if attempt and not shell.run(attempt).ok:
            continue
        for place in PLACES:
            if shell.run(f"mkdir -p {place}/{FOLDER} && : > {place}/{FOLDER}/x").ok:
                return f"{place}/{FOLDER}"
    raise GuestError(
        "no directory of the guest can be written",
        hint="its root is read-only, and it has no tmpfs: use an image with a writable root",
    )


def unpack(shell: Shell, parent: str) -> None:
    """Find the disk that is an archive and unpack it below ``parent``; raises GuestError."""
    found = shell.run(
        "for d in $(sysctl -n hw.disknames); do case $d in fd*|cd*|dk*|md*) ;; *) "
        "case $(dd if=/dev/r${d}d count=1 2>/dev/null) in "
        f"{FOLDER}*) echo DISK $d;; esac;; esac; done"
    )
    disk = re.search(r"DISK (\w+)", found.output)
    if disk is None:
        raise GuestError(
            f"the guest does not see the disk with the files; it printed: {found.output!r}",
            hint="another --disk-bus (ide, virtio, scsi, usb): the guest needs a driver for it",
        )
    device = f"/dev/r{disk.group(1)}d"
    done = shell.run(f"tar xpf {device} -C {parent}", timeout=300)
    if done.status == 127:  # no tar(1): pax(1) is in /bin of any NetBSD
        done = shell.run(f"cd {parent} && pax -rf {device}", timeout=300)
    if not done.ok:
        raise GuestError(f"the guest cannot unpack the files: {done.output}")
