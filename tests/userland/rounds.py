"""Two concurrent runs of vmtctl that change the same files, in many rounds."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from vmtctl import cli

if TYPE_CHECKING:
    from pathlib import Path

VERBS = (("powerd", "install"), ("powerd", "uninstall"))


def contents(root: Path) -> dict[str, bytes | None]:
    """Every path below ``root`` and its content; None for a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def image(root: Path) -> None:
    """A system image with a power_button script of the administrator."""
    scripts = root / "etc/powerd/scripts"
    (scripts / "acpi").mkdir(parents=True)
    for name in ("power_button", "reset_button", "sleep_button", "hotkey_button"):
        (scripts / name).write_text("#!/bin/sh\nexit 0\n")
        (scripts / name).chmod(0o755)
    own = scripts / "acpi/power_button"
    own.write_text("#!/bin/sh\n# the administrator's\n")
    own.chmod(0o755)


def change(root: Path, verb: tuple[str, ...]) -> int:
    """Run a verb on the image; with a root of tools, any user may."""
    return cli.main([*verb, "-q", "-R", str(root), "--tools-root", str(root)])


def at_once(root: Path, verbs: tuple[tuple[str, ...], ...]) -> list[int]:
    """Run the verbs in processes that start together; their exit statuses."""
    ready, go = os.pipe()
    children = []
    for verb in verbs:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.close(go)
                quiet = os.open(os.devnull, os.O_RDWR)
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
                os.read(ready, 1)  # ends for all readers when the last writer has closed it
                status = change(root, verb)
            finally:
                os._exit(status)
        children.append(pid)
    os.close(ready)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def play(root: Path, rounds: int, seed: int = 1) -> list[str]:
    """Run the rounds; return the errors, one line each."""
    image(root)
    clean = [contents(root)]
    for verb in VERBS:
        change(root, verb)
        clean.append(contents(root))
    wrong = []
    rng = random.Random(seed)
    for number in range(rounds):
        verbs = tuple(rng.choice(VERBS) for _ in range(2))
        statuses = at_once(root, verbs)
        words = " and ".join(" ".join(verb) for verb in verbs)
        if statuses != [0, 0]:
            wrong.append(f"round {number}: {words}: statuses {statuses}")
        if contents(root) not in clean:
            wrong.append(f"round {number}: {words}: left {sorted(contents(root))}")
    return wrong
