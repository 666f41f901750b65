"""boot.cfg(5): the lines with which the boot loader loads or disables vmt.

Lines are KEYWORD=VALUE without blanks around the sign, ``#`` begins a comment, and a menu line has
commands after its colon (NetBSD sys/lib/libsa/bootcfg.c, perform_bootcfg), which semicolons
separate (sys/arch/i386/stand/lib/bootmenu.c).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/boot.cfg"


def _commands(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each command with its argument and its line."""
    for whole in text.splitlines():
        line = whole.partition("#")[0]
        keyword, equals, value = line.partition("=")
        if not equals:
            continue
        if keyword.startswith("menu"):
            for command in value.partition(":")[2].split(";"):
                name, _, argument = command.strip().partition(" ")
                yield name, argument.strip(), whole.strip()
            continue
        for name in ("load", "userconf"):
            if keyword.startswith(name):
                yield name, value.strip(), whole.strip()


def disabling_line(text: str) -> str | None:
    """Return the line that disables vmt at boot, or None."""
    for name, argument, line in _commands(text):
        if name == "userconf":
            for command in argument.split(";"):
                words = command.split()
                if len(words) == 2 and words[0] == "disable" and words[1].rstrip("*0") == "vmt":
                    return line
    return None


def loading_line(text: str) -> str | None:
    """Return the line that makes the boot loader load a module vmt, or None."""
    for name, argument, line in _commands(text):
        if name == "load" and argument.rpartition("/")[2].removesuffix(".kmod") == "vmt":
            return line
    return None
