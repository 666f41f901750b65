"""NetBSD's console output as patterns: one row each, with the source that prints it.

The console's text is matched without carriage returns and without the escape sequences of
SeaBIOS.  A kernel line may begin with the time since boot (``[   1.4461918] ``), and may begin in
the middle of another line: the kernel does not wait for the end of a process's output.
"""

from __future__ import annotations

import re

from vmtgen.common.dataclass import dataclass

# kprintf_internal() in sys/kern/subr_prf.c of NetBSD 8 and later.
STAMP = r"\[ *\d+\.\d{6,9}\] "
# Lines that other programs print into a command's output: syslogd (usr.sbin/syslogd/syslogd.c; the
# default syslog.conf sends kern.* to the console), the kernel, the driver by log(9), reporter.sh.
NOISE = (
    r"(?m)^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:]+: [^\n]*\n?",
    rf"{STAMP}[^\n]*\n?",
    r"(?m)^vmt\d+(?:: | at )[^\n]*\n?",
    r"vmt-accept: powerd [^\n]*\n?",
)
# Where a kernel message begins: after its time stamp, or at the start of a line.
_BEGIN = rf"(?:{STAMP}|(?:^|\n))"


@dataclass(frozen=True)
class Text:
    """One text: its name here, the pattern, and the NetBSD source that prints it."""

    name: str
    pattern: str
    source: str

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        """Return the first match in ``text``, from ``start`` on."""
        return re.compile(self.pattern).search(text, start)


# The boot loader.
COUNTDOWN = Text(
    "the boot loader's countdown",
    r"Press return to boot now, any other key for boot menu",
    "sys/arch/i386/stand/boot/boot2.c, boot2",
)
MENU = Text(
    "the boot loader's menu",
    r"Choose an option; RETURN for default; SPACE to stop countdown",
    "sys/arch/i386/stand/lib/bootmenu.c, doboottypemenu",
)
MENU_OPTION = Text(
    "the boot loader's question for an option",
    r"\nOption(?: \(edit\))?: \[\w+\]:",
    "sys/arch/i386/stand/lib/bootmenu.c, doboottypemenu",
)
MENU_ENTRY = Text(
    "an entry of the boot loader's menu",
    r"(?m)^ *(\w{1,2})\. (\S.*?) *$",
    "sys/arch/i386/stand/lib/bootmenu.c, showmenu",
)
BOOT_PROMPT = Text(
    "the boot loader's prompt",
    r"(?:^|\n)> \Z",
    "sys/arch/i386/stand/lib/menuutils.c, prompt",
)
BOOT_ERROR = Text(
    "the boot loader cannot load the kernel",
    r"(?:^|\n)boot: [^\n]*: [^\n]*\n",
    "sys/arch/i386/stand/boot/boot2.c, bootit",
)
NO_SYSTEM = Text(
    "the BIOS finds nothing to boot",
    r"No bootable device|Boot failed: not a bootable disk|no active partition",
    "SeaBIOS src/boot.c; sys/arch/i386/stand/mbr/mbr.S",
)
KERNEL = Text(
    "the kernel's first lines",
    rf"{_BEGIN}(?:Copyright \(c\) 1996, 1997|NetBSD \d)",
    "sys/conf/copyright, banner() in sys/kern/init_main.c",
)
ROOT_DEVICE = Text(
    "the kernel's question for the root device",
    r"root device(?: \(default [^)]*\))?: \Z",
    "sys/kern/kern_subr.c, setroot",
)
NO_INIT = Text(
    "the kernel's question for init",
    r"init path(?: \(default [^)]*\))?: ",
    "sys/kern/init_main.c, start_init",
)

# From init to a shell.
SINGLE_USER = Text(
    "init's question for a shell",
    r"Enter pathname of shell or RETURN for [^:\n]+: ?\Z",
    "sbin/init/init.c, single_user",
)
# login(1) prints `Last login: ` and the time, in one or in two pieces.
LOGIN = Text("getty's prompt", r"(?<!Last )login: \Z", "libexec/getty/main.c; etc/gettytab, lm")
PASSWORD = Text(
    "the question for the password",
    r"[Pp]assword(?: \[[^\]\n]*\])?: ?\Z",
    "usr.bin/login/login.c; ssh(1)",
)
HOST_KEY = Text(
    "ssh's question for an unknown host",
    r"continue connecting \(yes/no",
    "crypto/external/bsd/openssh/dist/sshconnect.c",
)
INCORRECT = Text("a refused login", r"Login incorrect", "usr.bin/login/login.c")
REFUSED = Text(
    "a console that is not secure",
    r"login refused on this terminal|LOGIN \S+ REFUSED ON TTY",
    "usr.bin/login/login.c; etc/ttys, `secure`",
)
TERMINAL = Text(
    "tset's question",
    r"Terminal type\?(?: \[[^\]\n]*\])? ?\Z",
    "usr.bin/tset/map.c, askuser; root's .profile and .login run it",
)
# sh(1): "# " for root, "$ " for others (bin/sh/var.c); csh(1): "%m# " (bin/csh/csh.c); root's
# .profile puts the host's name before it.
PROMPT = Text("a shell's prompt", r"(?:^|\n)[^\n]{0,80}[#$%] \Z", "bin/sh/var.c; bin/csh/csh.c")
REBOOTING = Text(
    "the machine is reset",
    rf"{_BEGIN}rebooting\.\.\.",
    "sys/arch/x86/x86/x86_machdep.c and amd64/amd64/machdep.c, cpu_reboot",
)
HALTED = Text(
    "the machine has halted",
    r"The operating system has halted\.",
    "sys/arch/amd64/amd64/machdep.c and i386/i386/machdep.c, cpu_reboot",
)

# Texts that end a run at once.
PANIC = Text("panic", rf"{_BEGIN}panic: ", "sys/kern/subr_prf.c, vpanic")
FAULT = Text(
    "fatal trap",
    rf"{_BEGIN}fatal [a-z ]+ in supervisor mode",
    "sys/arch/amd64/amd64/trap.c and i386/i386/trap.c",
)
LOCK_ERROR = Text(
    "LOCKDEBUG report",
    rf"{_BEGIN}(?:Mutex|Reader / writer lock|Kernel lock|Condition variable|CPU lock|"
    r"[A-Z][a-z]+ lock) error: [a-z_]\w*(?:,\d+)?: ",
    "sys/kern/subr_lockdebug.c, lockdebug_abort1 and lockdebug_abort",
)
ASAN = Text(
    "KASAN report", r"k?ASan: Unauthorized Access In ", "sys/kern/subr_asan.c, kasan_report"
)
MSAN = Text("KMSAN report", r"MSan: Uninitialized ", "sys/kern/subr_msan.c")
CSAN = Text("KCSAN report", r"CSan: Racy Access ", "sys/kern/subr_csan.c")
UBSAN = Text(
    "KUBSAN report", r"UBSan: Undefined Behavior in ", "common/lib/libc/misc/ubsan.c, Report"
)
DDB = Text(
    "ddb prompt",
    r"(?:^|\n)db(?:\{\d+\})?> \Z",
    "sys/ddb/db_command.c, db_command_loop",
)
DDB_MORE = Text("ddb's pager", r"--db_more--", "sys/ddb/db_output.c, db_more")

CRASHES = (PANIC, FAULT, LOCK_ERROR, ASAN, MSAN, CSAN, UBSAN, DDB)
