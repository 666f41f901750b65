"""A stub of NetBSD's console, from power-on to a shell: it prints and answers as NetBSD does.

The texts are from the sources that sim/vmtsim/accept/texts.py names.  The shell is the sh(1)
of the machine that runs the tests.  Arguments list the events, in order.
"""

from __future__ import annotations

import os
import sys
import termios
import time
from pathlib import Path

STAMP = "[   5.1234567] "


def out(text: str) -> None:
    os.write(1, text.replace("\n", "\r\n").encode("latin-1"))


def slowly(text: str) -> None:
    for character in text:
        out(character)
        time.sleep(0.001)


def raw(*, on: bool) -> None:
    """Take keys one by one and without echo, as the boot loader does."""
    mode = termios.tcgetattr(0)
    if on:
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[0] &= ~termios.ICRNL
    else:
        mode[3] |= termios.ICANON | termios.ECHO
        mode[0] |= termios.ICRNL
    termios.tcsetattr(0, termios.TCSANOW, mode)


def key() -> str:
    return os.read(0, 1).decode("latin-1")


def edited() -> str:
    """Read a line as the loader's gets() does: with echo, until a return."""
    line = ""
    while True:
        character = key()
        if character in "\r\n":
            out("\n")
            return line
        out(character)
        line += character


def seabios() -> None:
    out("\x1b[2J\x1b[1;1H\x1b[0mSeaBIOS (version 1.16.2-debian-1.16.2-1)\n")
    out("\x1b[7;1HBooting from Hard Disk...\n")


def menu(*, prompt: bool = True) -> None:
    """boot.cfg of a live image; the countdown ends with a key that is none of the menu."""
    seabios()
    out("\x1b[2J\x1b[1;1HWelcome to the NetBSD live image\n\n")
    out("     1. Boot normally\n     2. Boot single user\n     3. Disable ACPI\n")
    out("     4. Disable ACPI and SMP\n")
    out("     5. Drop to boot prompt\n" if prompt else "     5. Boot from the network\n")
    out("\nChoose an option; RETURN for default; SPACE to stop countdown.\n")
    out("Option 1 will be chosen in 5 seconds.\b\b\b\b\b\b\b\b\b\b4 seconds.")
    raw(on=True)
    while key() != " ":
        pass
    while True:
        out("\nOption: [1]:")
        choice = edited()
        if choice == "5" and prompt:
            out('type "?" or "help" for help, or "menu" to return to the menu.\n')
            loader()
            return
        if choice in {"", "1"}:
            return


def menu_without_keys() -> None:
    """A loader on the serial line, whose keys SeaBIOS takes: it boots by itself."""
    out("     1. Boot normally\n     2. Drop to boot prompt\n")
    out("\nChoose an option; RETURN for default; SPACE to stop countdown.\n")
    raw(on=True)
    time.sleep(1)


def countdown() -> None:
    seabios()
    out(">> NetBSD/x86 BIOS Boot, Revision 5.11 (from NetBSD 10.1)\n>> Memory: 639/1047424 k\n")
    out("Press return to boot now, any other key for boot menu\n")
    out("booting hd0a:netbsd - starting in 5 seconds. ")
    raw(on=True)
    key()
    out('\ntype "?" or "help" for help.\n')
    loader()


def loader() -> None:
    """The prompt.  SeaBIOS consumes the first `boot` typed on the serial line."""
    serial = stolen = False
    while True:
        out("> ")
        line = edited()
        if line == "consdev com0":
            serial = True
            out("\n>> NetBSD/x86 BIOS Boot, Revision 5.11 (from NetBSD 10.1)\n")
        elif line == "boot" and not stolen:
            stolen = True
            out("unknown command\ncommands are:\nboot [dev:][filename] [-12acdqsvxz]\n")
        elif line == "boot":
            if not serial:
                os._exit(9)  # the kernel's console is the screen: nothing more is seen
            break
        elif line:
            out("unknown command\n")
    raw(on=False)


def kernel() -> None:
    raw(on=False)
    out("14345432+667872+1234567 [1188528+1234+432]=0x1234567\n")
    out(f"{STAMP}Copyright (c) 1996, 1997, 1998, 1999, 2000, 2001, 2002, 2003,\n")
    out(f"{STAMP}NetBSD 10.1 (GENERIC) #0: Mon Dec 16 13:08:11 UTC 2024\n")
    slowly(f"{STAMP}cpu0 at mainbus0 apid 0\n{STAMP}root on wd0a dumps on wd0b\n")
    out("Starting root file system check:\n/dev/rwd0a: file system is clean; not checking\n")
    slowly("Progress: 50% of 100%\n")


def resets() -> None:
    out(f"Resizing / ...\n{STAMP}rebooting...\n")


def login(*, password: str = "", noise: bool = False, incorrect: bool = False) -> None:
    out("\nNetBSD/amd64 (netbsd) (constty)\n\n")
    while True:
        out("login: ")
        if noise:
            time.sleep(0.05)
            out(f"{STAMP}wm0: link state UP (was UNKNOWN)\n")
            noise = False
        name = sys.stdin.readline().strip()
        if not name:
            continue
        if password or incorrect:
            mode = termios.tcgetattr(0)
            mode[3] &= ~termios.ECHO
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
            out("Password:")
            given = sys.stdin.readline().strip()
            mode[3] |= termios.ECHO
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
            out("\n")
            if given != password or incorrect:
                out("Login incorrect\n")
                continue
        return


def login_banner() -> None:
    out("Last login: ")
    time.sleep(0.1)
    out("Sat Nov 28 12:00:00 2026 on constty\n")
    out("NetBSD 10.1 (GENERIC) #0: Mon Dec 16 13:08:11 UTC 2024\n\nWelcome to NetBSD!\n\n")


def terminal() -> None:
    out("Terminal type? [unknown] ")
    sys.stdin.readline()


def single() -> None:
    out("Enter pathname of shell or RETURN for /bin/sh: ")
    sys.stdin.readline()


def refused() -> None:
    login()
    out("root login refused on this terminal.\n")
    time.sleep(30)


def shell() -> None:
    os.environ["PS1"] = "netbsd# "
    os.environ["ENV"] = str(Path(__file__).with_suffix(".sh"))
    os.execvp("sh", ["sh", "-i"])


def hangs() -> None:
    time.sleep(60)


def no_root() -> None:
    out(f"{STAMP}root device: ")
    time.sleep(30)


def no_kernel() -> None:
    countdown()
    out("boot: hd0a:netbsd: No such file or directory\n")
    time.sleep(30)


def panics() -> None:
    out(f'{STAMP}panic: kernel diagnostic assertion "to_ticks >= 0" failed: file "x.c", line 1\n')
    out(f"{STAMP}cpu0: Begin traceback...\n{STAMP}vpanic() at netbsd:vpanic+0x183\n")
    out("Stopped in pid 0.3 (system) at  netbsd:breakpoint+0x5:  leave\ndb{0}> ")
    if sys.stdin.readline().strip() == "bt":
        out("breakpoint() at netbsd:breakpoint+0x5\n--db_more--")
        raw(on=True)
        key()
        out("\nvmt_tick() at vmt:vmt_tick+0x11\ndb{0}> ")
    time.sleep(30)


WORDS = {
    "menu": menu,
    "menu-without-prompt": lambda: menu(prompt=False),
    "menu-without-keys": menu_without_keys,
    "countdown": countdown,
    "kernel": kernel,
    "resets": resets,
    "login": login,
    "login-noise": lambda: login(noise=True),
    "login-password": lambda: login(password="secret word"),
    "login-incorrect": lambda: login(incorrect=True),
    "login_banner": login_banner,
    "terminal": terminal,
    "single": single,
    "refused": refused,
    "shell": shell,
    "hangs": hangs,
    "no-root": no_root,
    "no-kernel": no_kernel,
    "panics": panics,
}

if __name__ == "__main__":
    for word in sys.argv[1:]:
        WORDS[word]()
