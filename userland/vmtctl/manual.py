"""The manual page vmtctl(8), made from the tables of the parser.

``python -m vmtctl.manual > vmtctl.8`` writes it.
"""

from __future__ import annotations

import re
import sys

from vmtctl import hooks, lock, record, settings
from vmtctl.commands import COMMANDS, EXAMPLES
from vmtctl.exits import MEANINGS
from vmtctl.grammar import COMMON, DRY_RUN, VERSION, Argument, Command, Option, walk

# The date of the last change of the page's contents.
DATE = "November 29, 2026"

_FILES = (
    (hooks.HANDLER, "Carries out the host's requests."),
    (f"{hooks.TYPED}/*_button", "Run it for events of vmt(4), and the standard script for others."),
    (hooks.SITE, "Scripts of the site; see powerd above."),
    (hooks.RECORD, "The directories that powerd install created."),
    ("/etc/rc.conf.d/vmtools", "Has the block of service install."),
    (settings.FILE, "Has the settings of clock --persist."),
    ("/usr/pkg/stand/MACHINE/RELEASE/modules/DRIVER/DRIVER.kmod", "The default module of load."),
    (lock.PATH, "The lock of load, unload and run."),
    (record.PATH.format("DRIVER"), "The path of the loaded module."),
)

_SEE_ALSO = (
    ("modules", 7), ("drvctl", 8), ("modload", 8), ("modstat", 8), ("modunload", 8),
    ("powerd", 8), ("rc", 8), ("sysctl", 8),
)  # fmt: skip

# Pages of other sections, and the name of the system, have macros of their own.
_MARKED = re.compile(
    r"\b(?:(?P<page>[a-z][a-z0-9_.]*)\((?P<section>\d)\)"
    r"|NetBSD(?: (?P<release>\d+))?(?P<owner>'s)?)(?P<mark>[.,;:]?)(?=\s|$)"
)

_WIDTH = 76


def _escape(text: str) -> str:
    """Return ``text`` for a line of running text."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in {".", "'"} else text


def _argument(text: str) -> str:
    """Return ``text`` as one argument of a macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', '""')
    return f'"{text}"' if " " in text or not text or '"' in text else text


def _prose(text: str) -> list[str]:
    """Return text, each sentence on lines of its own, with pages and systems marked."""
    lines = []
    flat = " ".join(text.split())
    for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z])", flat):
        rest = sentence
        while found := _MARKED.search(rest):
            lines += _wrapped(rest[: found.start()].rstrip())
            mark = f" {found['mark']}" if found["mark"] else ""
            if found["page"]:
                lines.append(f".Xr {found['page']} {found['section']}{mark}")
            else:
                release = f" {found['release']}" if found["release"] else ""
                owner = " Ap s" if found["owner"] else ""
                lines.append(f".Nx{release}{owner}{mark}")
            rest = rest[found.end() :].lstrip()
        lines += _wrapped(rest)
    return lines


def _wrapped(text: str) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_escape(line) for line in lines]


def _flag(spelling: str) -> str:
    # .Fl writes the first dash.
    return _argument(spelling[1:]) if spelling != "-" else ""


def _option_item(option: Option) -> list[str]:
    value = f" Ar {option.value}" if option.value else ""
    spelled = " , ".join(f"Fl {_flag(spelling)}{value}" for spelling in option.spellings)
    return [f".It {spelled}", *_prose(option.help)]


def _synopsis_argument(argument: Argument) -> str:
    name = argument.name
    return {
        "1": f".Ar {name}",
        "?": f".Oo Ar {name} Oc",
        "*": f".Oo Ar {name} ... Oc",
        "rest": f".Fl \\- Ar {name} ...",
    }[argument.count]


def _usage(path: tuple[str, ...], command: Command) -> list[str]:
    lines = [".Nm", f".Cm {' '.join(path)}"]
    for option in (*command.options, *((DRY_RUN,) if command.changes else ())):
        value = f" Ar {option.value}" if option.value else ""
        # Oo and Oc, unlike Op, are valid in the head of a list's item.
        lines.append(f".Oo Fl {_flag(option.spellings[0])}{value} Oc")
    return [*lines, *(_synopsis_argument(argument) for argument in command.arguments)]


def _leaves(commands: tuple[Command, ...]) -> list[tuple[tuple[str, ...], Command]]:
    return [(path, command) for path, command in walk(commands) if not command.parts]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _verb(command: Command) -> list[str]:
    lines = [f".Ss {command.name}"]
    if not command.parts:
        lines += [".Bd -ragged -offset indent", *_usage((command.name,), command), ".Ed", ".Pp"]
    lines += _prose(_sentence(command.summary))
    if command.text:
        lines += _prose(_sentence(command.text))
    if command.parts:
        lines.append(".Bl -tag -width indent")
        for part in command.parts:
            items = " ".join(
                line[1:] for line in _usage((command.name, part.name), part)[1:]
            )  # fmt: skip
            lines += [f".It {items}", *_prose(_sentence(part.summary))]
        lines.append(".El")
    rows = [*command.options]
    if rows or command.arguments:
        lines.append(".Bl -tag -width indent")
        for argument in command.arguments:
            lines += [f".It Ar {argument.name}", *_prose(argument.help)]
        for option in rows:
            lines += _option_item(option)
        lines.append(".El")
    for part in command.parts:
        if part.options or part.arguments:
            lines += [".Pp", f"With {_escape(part.name)}:", ".Bl -tag -width indent"]
            for argument in part.arguments:
                lines += [f".It Ar {argument.name}", *_prose(argument.help)]
            for option in part.options:
                lines += _option_item(option)
            lines.append(".El")
    return lines


def _example(command: str, what: str) -> list[str]:
    return [
        *_prose(_sentence(what[:1].upper() + what[1:])),
        f".Dl # {command.replace(chr(92), chr(92) + 'e').replace('-', chr(92) + '-')}",
    ]


def page() -> str:
    """Return the page as mdoc(7)."""
    lines = [
        '.\\" SPDX-License-Identifier: BSD-2-Clause',
        '.\\"',
        '.\\" Made from the tables of vmtctl; do not edit:',
        '.\\"\tpython -m vmtctl.manual > vmtctl.8',
        f".Dd {DATE}",
        ".Dt VMTCTL 8",
        ".Os",
        ".Sh NAME",
        ".Nm vmtctl",
        ".Nd manage the VMware Tools driver",
        ".Sh SYNOPSIS",
    ]
    for path, command in _leaves(COMMANDS):
        lines += _usage(path, command)
    lines += [".Nm", ".Fl h | \\-version", ".Sh DESCRIPTION"]
    lines += [
        ".Nm",
        "manages the VMware Tools driver",
        ".Xr vmt 4",
        "on a",
        ".Nx",
        "guest: it detaches and attaches the driver around other tools services,",
        "replaces the driver without a reboot,",
        "installs hooks for",
        ".Xr powerd 8 ,",
        "and reports problems with their fixes.",
        ".Pp",
        "Every verb that changes something can be repeated safely,",
        "verifies the result,",
        "and with",
        ".Fl n",
        "prints what it would do.",
        ".Pp",
        "These options are common to all verbs:",
        ".Bl -tag -width indent",
    ]
    for option in (DRY_RUN, *COMMON, VERSION):
        lines += _option_item(option)
    lines.append(".El")
    for command in COMMANDS:
        lines += _verb(command)
    lines += [".Sh FILES", ".Bl -tag -width indent"]
    for name, what in _FILES:
        lines += [f".It Pa {_argument(name)}", *_prose(what)]
    lines += [".El", ".Sh EXIT STATUS", "The statuses are those of", ".Xr sysexits 3 :",
              ".Bl -tag -width indent"]  # fmt: skip
    for status, what in MEANINGS:
        lines += [f".It {status}", *_prose(what)]
    lines += [
        ".El", ".Pp",
        "The verbs", ".Cm run , doctor , powerd status , powerd diff", "and", ".Cm guestinfo get",
        "have exit statuses of their own, described there.",
        ".Sh EXAMPLES",
    ]  # fmt: skip
    shown: dict[str, str] = {}
    for command_line, what in (*EXAMPLES, *(row for each in COMMANDS for row in each.examples)):
        shown.setdefault(command_line, what)
    for command_line, what in shown.items():
        lines += _example(command_line, what)
    lines.append(".Sh SEE ALSO")
    references = [("netbsd-vmt", 4), ("vmt", 4), *_SEE_ALSO]
    for position, (name, section) in enumerate(sorted(references, key=lambda row: row[1]), 1):
        lines.append(f".Xr {name} {section}" + (" ," if position < len(references) else ""))
    lines += [
        ".Sh CAVEATS",
        "A value of",
        ".Cm guestinfo set",
        "is for a moment visible to",
        ".Xr ps 1 .",
        ".Pp",
        "Replacing the driver needs a",
        ".Xr securelevel 7",
        "of 0 or below.",
        "On",
        ".Nx 10",
        "for aarch64 the built\\-in driver cannot be detached.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
