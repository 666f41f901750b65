"""The tools of NetBSD that vmtctl and powerd's hooks use: one row each.

The path and the set of a tool come from NetBSD's set lists (distrib/sets/lists), its output from a
recording of the real tool, or else from its source.  The tests compare this table, the code that
runs the tools and every stub with both.
"""

from __future__ import annotations


class Tool:
    """One tool: its place, its use, and the source of these facts.

    ``uses`` are the command lines; words in capitals vary.  ``prints`` describes the output that
    is parsed, "" for none.  ``failure`` is the exit status of a refusal.
    ``evidence`` is "recording" (tests/userland/recordings) or "source".
    """

    __slots__ = ("evidence", "failure", "path", "prints", "set", "source", "user", "uses")

    def __init__(
        self,
        path: str,
        *,
        uses: tuple[str, ...],
        prints: str = "",
        failure: str = "1",
        source: str,
        evidence: str = "source",
        user: str = "vmtctl",
        set: str = "base",  # noqa: A002 - NetBSD's word for it
    ) -> None:
        self.path = path
        self.uses = uses
        self.prints = prints
        self.failure = failure
        self.source = source
        self.evidence = evidence
        self.user = user  # vmtctl or hooks
        self.set = set

    def is_use(self, words: tuple[str, ...]) -> bool:
        """Whether the command line ``words`` is one of ``uses``."""
        return any(_fits(use.split(), words) for use in self.uses)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def _fits(use: list[str], words: tuple[str, ...]) -> bool:
    """Whether ``words`` match ``use``: a word in capitals is any word, a last one in -S several."""
    for number, part in enumerate(use):
        last = number == len(use) - 1
        if last and part.isupper() and part.endswith("S"):
            return len(words) > number and not words[number].startswith("-")
        if number >= len(words):
            return False
        _, equals, value = part.partition("=")
        if not (part.isupper() or part == words[number]):
            return False
        if equals and value.isupper() and "=" not in words[number]:
            return False
    return len(words) == len(use)


_ROWS = (
    Tool(
        "/sbin/dmesg",
        uses=("dmesg",),
        prints="[SECONDS.FRACTION] TEXT per line of the kernel; older releases without the stamp",
        source="sbin/dmesg/dmesg.c",
    ),
    Tool(
        "/sbin/drvctl",
        uses=("drvctl -l cpu0", "drvctl -d vmt0", "drvctl -r -a cpufeaturebus cpu0"),
        prints="PARENT CHILD per line of -l; drvctl: IOCTL: strerror(3) on standard error",
        # The recording is of a drvctl before 1.19 of 2018: 3 for an ioctl that failed.
        failure="1",
        source="sbin/drvctl/drvctl.c 1.19",
        evidence="recording",
    ),
    Tool(
        "/sbin/modload",
        uses=("modload FILE", "modload -f vmt", "modload -f FILE"),
        # The recording is of a modload before 1.16 of 2016, which omits the file.
        prints="modload: FILE: strerror(3) on standard error",
        source="sbin/modload/main.c 1.16",
        evidence="recording",
    ),
    Tool(
        "/sbin/modstat",
        uses=("modstat vmt", "modstat vmmemctl"),
        prints="NAME CLASS SOURCE FLAG REFS SIZE REQUIRES, a header and a row per module; "
        "status 0 also when there is none of that name",
        source="sbin/modstat/main.c 1.23",
    ),
    Tool(
        "/sbin/modunload",
        uses=("modunload vmt", "modunload vmmemctl"),
        # As with modload, the name is in the message since 1.5 of 2016.
        prints="modunload: NAME: strerror(3) on standard error",
        source="sbin/modunload/main.c 1.5",
        evidence="recording",
    ),
    Tool(
        "/bin/ps",
        uses=("ps -ax -o pid,uid,stat,command",),
        prints="a header and a row per process; a blank ends each argument, and (NAME) follows "
        "where the first argument is another",
        source="bin/ps/print.c 1.129",
        evidence="recording",
    ),
    Tool(
        "/bin/sh",
        uses=("sh -c SCRIPT sh ROOT NAMES",),
        prints="rc.conf:NAME:set:VALUE, which the script itself prints",
        source="bin/sh, etc/rc.subr load_rc_config",
    ),
    Tool(
        "/sbin/sysctl",
        # -r prints only the bytes of the value; a value of 64 KiB fits ARG_MAX, 256 KiB.
        uses=("sysctl NODES", "sysctl -r NODE", "sysctl -w NODE=VALUE"),
        prints="NODE = VALUE, NODE: OLD -> NEW; sysctl: TEXT on standard error",
        source="sbin/sysctl/sysctl.c parse, print_tree, write_string, display_string",
        evidence="recording",
    ),
)

TOOLS = {row.name: row for row in _ROWS}

# The tools of powerd's hooks: userland/powerd/hook and vmt-event.
_HOOK_ROWS = (
    Tool(
        "/sbin/dhcpcd",
        uses=("dhcpcd -n", "dhcpcd -n INTERFACE", "dhcpcd -n -4 INTERFACE",
              "dhcpcd -n -6 INTERFACE"),
        source="external/bsd/dhcpcd/dist/src/dhcpcd.c main, defs.h PIDFILE",
        user="hooks",
    ),
    Tool(
        "/usr/bin/find",
        uses=("find -H PATH -prune -user UID ! -perm -0020 ! -perm -0002 -print",),
        prints="PATH if all conditions hold",
        source="usr.bin/find/option.c, main.c -H",
        user="hooks",
    ),
    Tool(
        "/usr/bin/id",
        uses=("id -u",),
        prints="the effective user id",
        source="usr.bin/id/id.c",
        user="hooks",
    ),
    Tool(
        "/usr/bin/logger",
        uses=("logger -p PRIORITY -t TAG -- TEXT",),
        source="usr.bin/logger/logger.c",
        user="hooks",
    ),
    Tool(
        "/bin/ps",
        uses=("ps -p PID -o ucomm=",),
        prints="the name of the program, then blanks; nothing where there is no process",
        source="bin/ps/keyword.c ucomm",
        user="hooks",
    ),
    Tool(
        "/usr/bin/readlink",
        uses=("readlink -f PATH",),
        prints="the path without symbolic links",
        source="usr.bin/stat/stat.c",
        user="hooks",
    ),
    Tool(
        "/sbin/sysctl",
        uses=("sysctl -n NODE", "sysctl -w NODE=VALUE"),
        prints="the value; sysctl: TEXT on standard error",
        failure="1 where the node does not exist or refuses the value",
        source="sbin/sysctl/sysctl.c main, parse, print_tree",
        user="hooks",
    ),
    Tool(
        "/sbin/shutdown",
        uses=("shutdown -p now TEXT", "shutdown -r now TEXT"),
        source="sbin/shutdown/shutdown.c",
        user="hooks",
    ),
    Tool(
        "/usr/bin/timeout",
        uses=("timeout --preserve-status -s 0 -k SECONDS 0.2 WORDS",),
        failure="that of the command; 137 when it was killed",
        # In the base system since NetBSD 7.
        source="usr.bin/timeout/timeout.c 1.5",
        user="hooks",
    ),
    Tool(
        "/usr/bin/tr",
        uses=("tr -d BLANK", "tr NEWLINE BLANK"),
        source="usr.bin/tr/tr.c",
        user="hooks",
    ),
)  # fmt: skip

HOOK_TOOLS = {row.name: row for row in _HOOK_ROWS}
