"""The verbs of vmtctl as data, for the parser, the help, the manual and the completions."""

from __future__ import annotations

from vmtctl.grammar import Argument, Command, Option

SUMMARY = "Manage the VMware Tools driver vmt(4) on a NetBSD guest."

EXAMPLES = (
    ("vmtctl status", "show the state of driver, channel, clock and powerd"),
    ("vmtctl doctor", "report problems, each with the command that fixes it"),
    ("vmtctl powerd install", "let the host's shutdown button shut the guest down in order"),
    (
        "vmtctl run -- /usr/pkg/bin/vmtoolsd",
        "run open-vm-tools on the channel, then attach vmt0 again",
    ),
)

_FORCE_TOOLSD = Option("--force", help="Proceed although vmtoolsd runs.")
_MODULE = Option(
    "-m",
    "--module",
    value="FILE",
    help="The module file (default: /usr/pkg/stand/MACHINE/RELEASE/modules/DRIVER/DRIVER.kmod).",
)

_CLOCK_TEXT = """\
Without an argument the verb shows the state of the clock: the period, the last measured offset,
the numbers of steps and slews, and the reason when the clock was not set.  PERIOD is a number of
seconds (or 5m, 2h).  off is 0: the driver then never sets the clock, and sync fails.  With sync
the driver sets the clock once, now.  The driver starts with its default settings each time that
it attaches; attach, run, load and unload then apply the values in /etc/sysctl.conf.  The driver
that is built into NetBSD has the period only."""

_GUESTINFO_TEXT = """\
A guest variable is text that host and guest share: guestinfo.KEY in the virtual machine's
configuration.  Name and value together may have almost 64 KiB.  The driver's sysctl nodes
machdep.vmt0.rpc carry them; the driver that is built into NetBSD has no such nodes.  A host does
not report which variables exist: list queries the well-known ones and those on the command line.
set passes the value on the command line of sysctl(8), where ps(1) shows it for a moment."""

_POWERD_TEXT = """\
powerd(8) runs a script when the host asks for a shutdown or a reboot, and after a resume.
install puts small scripts into /etc/powerd/scripts/acpi, where powerd looks first, so it edits
no file of the system.  The scripts handle vmt(4), and call the standard script for every other
device.  Where the site has a script of that name, install adds a marked block to it; on a
machine without ACPI, install adds the block to the standard scripts.  install never edits a
script that is not for sh(1): it stops and prints what to do.

When the host asks for a shutdown or a reboot, the hooks first run the executables in
/etc/powerd/vmt.d, in the order of their names.  They then run the script that powerd would run
without vmtctl, under its own name and with powerd's arguments: NetBSD's, which calls
shutdown(8), or the site's.  Where that script is missing or fails, the hooks call shutdown.
After a resume the hooks run that script first, then renew the leases of dhcpcd(8) and
dhclient(8), then run vmt.d.

A script in vmt.d gets two arguments: the event (shutdown, reboot or resume) and the device.
After 30 seconds it is killed together with its children.  The hooks do not run a script that a
user other than root can change, by its mode, its owner or a directory above it.  For a symbolic
link, its target is checked."""

_SERVICE_TEXT = """\
pkgsrc's script vmtools detaches vmt0 before vmtoolsd starts, but attaches it again while
vmtoolsd still runs.  install adds a marked block to /etc/rc.conf.d/vmtools that lets vmtctl do
both steps, in the right order.  Commands that the site has set for these steps in that file
still run first. install does not change pkgsrc's own script."""

_DNS_TEXT = """\
The host shows the guest's name servers, its domain and its search list.  The kernel does not
have them, so vmtctl reads resolv.conf(5) as the resolver does, and sets them in the driver.
attach and load do so too, and so does rc.d/vmtctl at boot.  install adds a script to
/libexec/resolvconf/libc.d, which resolvconf(8) runs after each change of resolv.conf, such as
one by dhcpcd(8).  Where another program writes that file, let that program run update."""

_RPCTOOL_TEXT = """\
cloud-init and scripts of sites call vmware-rpctool, or vmtoolsd --cmd, to read and set guest
variables: cloud-init's DataSourceVMware of version 22.4.2 calls vmware-rpctool "info-get
guestinfo.KEY" and "info-set guestinfo.KEY VALUE", and nothing else.  install puts programs of
these names into /usr/pkg/bin.  They have the same arguments, output and exit statuses, and use
vmt(4). install fails where open-vm-tools is installed.  vmtoolsd has --cmd and --cmdfile only,
and is no daemon.  Only root may send commands."""

_DRIVER = Argument(
    "driver",
    "vmt (default), or vmmemctl, the memory balloon.",
    count="?",
    choices=("vmt", "vmmemctl"),
)

_LOAD_TEXT = """\
This verb replaces the kernel's own vmt(4) without a reboot: it disables the built-in module,
loads FILE, detaches vmt0 from the built-in driver and attaches it to the module.  It first
checks FILE against this kernel's release and machine.  It verifies each step, and undoes the
earlier steps when one fails.  The module is not signed, and the kernel loads no module at
securelevel(7) 1 or above. To go back to the built-in driver, use unload.  A reboot goes back
too, unless rc.d/vmtctl loads the module at boot: for that, put vmtctl=YES into rc.conf(5).
Where /etc/rc.d/vmtctl is missing, copy it from /usr/pkg/share/examples/rc.d.

load vmmemctl loads the memory balloon, vmmemctl(4), beside vmt(4), and fails where the host has
no balloon for this guest.  vmt(4) and vmtoolsd are not affected.  To load it at boot, put
vmtctl_balloon=YES into rc.conf(5) besides vmtctl=YES."""

_UNLOAD_TEXT = """\
unload vmmemctl unloads the memory balloon, which takes all its pages back from the host first."""

COMMANDS = (
    Command(
        "status",
        "Show driver, channel, clock and powerd on one screen",
        text="Nothing is changed, and root is not needed.  Unknown values are reported as unknown.",
        examples=(
            ("vmtctl status", "as text"),
            ("vmtctl status --json", "for programs; `schema` is the version of the format"),
        ),
    ),
    Command(
        "detach",
        "Detach vmt0 from its driver, so that vmtoolsd can use the channel",
        text="Does nothing when vmt0 is not attached.",
        examples=(("vmtctl detach", "before vmtoolsd is started by hand"),),
        changes=True,
    ),
    Command(
        "attach",
        "Attach vmt0 to its driver again",
        text="Does nothing when vmt0 is attached.  When vmt0 does not attach, prints the reason.",
        options=(_FORCE_TOOLSD,),
        examples=(("vmtctl attach", "after vmtoolsd was stopped"),),
        changes=True,
    ),
    Command(
        "run",
        "Detach vmt0, run a command, then attach vmt0 again, also when the command fails",
        text=(
            "The command must stay in the foreground.  vmtctl exits with the command's status;\n"
            "with 128 plus the signal's number when a signal ended the command, 127 when the\n"
            "command was not found, 126 when it could not be run.  vmtctl passes signals on to\n"
            "the command.  A lock prevents a second run at the same time.  Afterwards vmt0 has\n"
            "the settings that it had before.  With --json the command's output goes to standard\n"
            "error, and its status is in the JSON object."
        ),
        options=(
            Option(
                "--grace",
                value="SECONDS",
                help="Seconds for the command to end after a signal (default: 10).",
            ),
        ),
        arguments=(Argument("command", "What to run, with its arguments.", count="rest"),),
        examples=(
            ("vmtctl run -- /usr/pkg/bin/vmtoolsd", "open-vm-tools, until Ctrl-C"),
            ("vmtctl run -- vmware-toolbox-cmd stat hosttime", "one command of open-vm-tools"),
        ),
        changes=True,
    ),
    Command(
        "load",
        "Replace the kernel's driver with the module of this project, or load the memory balloon",
        text=_LOAD_TEXT,
        arguments=(_DRIVER,),
        options=(
            _MODULE,
            Option(
                "--force",
                help="Load although vmtoolsd runs, or although the module is for another release.",
            ),
        ),
        examples=(
            ("vmtctl load -n", "show the steps"),
            ("vmtctl load -m ./vmt.kmod", "load a module just built"),
            ("vmtctl load vmmemctl", "let the host take memory that this guest does not use"),
        ),
        changes=True,
    ),
    Command(
        "unload",
        "Unload the module, and attach vmt0 to the kernel's own driver; or unload the balloon",
        text=_UNLOAD_TEXT,
        options=(_FORCE_TOOLSD,),
        arguments=(_DRIVER,),
        examples=(
            ("vmtctl unload", "back to the driver of the kernel"),
            ("vmtctl unload vmmemctl", "take all memory back from the host"),
        ),
        changes=True,
    ),
    Command(
        "clock",
        "Show or set how the driver adjusts the clock",
        text=_CLOCK_TEXT,
        options=(
            Option(
                "--follow-host",
                value="on|off",
                help="Whether the virtual machine's time options apply (default: off).",
            ),
            Option("--persist", help="Write the settings to /etc/sysctl.conf too."),
        ),
        arguments=(
            Argument("period", "A period, off, or sync.", count="?", suggested=("off", "sync")),
        ),
        examples=(
            ("vmtctl clock", "show"),
            ("vmtctl clock 5m --persist", "check every five minutes, also after a reboot"),
            ("vmtctl clock off", "leave the clock to ntpd(8)"),
            ("vmtctl clock sync", "set the clock once"),
        ),
        changes=True,
    ),
    Command(
        "powerd",
        "Install, remove or inspect the hooks for powerd(8)",
        text=_POWERD_TEXT,
        parts=(
            Command(
                "install",
                "Install the hooks, or bring them up to date",
                options=(
                    Option(
                        "--force",
                        help="Replace edited scripts of vmtctl too; keep each as NAME.edited.",
                    ),
                    Option("--no-acpi", help="Use marked blocks in the standard scripts."),
                ),
                changes=True,
            ),
            Command(
                "uninstall",
                "Remove the hooks, and restore what was there before",
                options=(
                    Option(
                        "--force",
                        help="Remove edited scripts of vmtctl too; keep each as NAME.edited.",
                    ),
                ),
                changes=True,
            ),
            Command("status", "Report what is installed; status 1 when it is not complete"),
            Command(
                "diff",
                "Show what install would change; status 1 when it would change something",
                options=(Option("--no-acpi", help="Use marked blocks in the standard scripts."),),
            ),
        ),
        examples=(
            ("vmtctl powerd install -n", "see the changes before they are made"),
            ("vmtctl powerd install -R /mnt", "prepare a system image"),
            ("vmtctl powerd uninstall", "restore what was there before"),
        ),
    ),
    Command(
        "service",
        "Let vmtctl detach and attach vmt0 when pkgsrc's vmtools starts and stops",
        text=_SERVICE_TEXT,
        parts=(
            Command("install", "Add the block to /etc/rc.conf.d/vmtools", changes=True),
            Command("uninstall", "Remove the block again", changes=True),
        ),
        examples=(("vmtctl service install", "then: service vmtools start"),),
    ),
    Command(
        "dns",
        "Set the name servers of resolv.conf in the driver, which reports them to the host",
        text=_DNS_TEXT,
        parts=(
            Command(
                "update", "Set the present contents of resolv.conf in the driver", changes=True
            ),
            Command("install", "Let resolvconf(8) run update after each change", changes=True),
            Command("uninstall", "Remove the script of resolvconf again", changes=True),
        ),
        examples=(
            ("vmtctl dns update", "after resolv.conf was edited"),
            ("vmtctl dns install", "for addresses that come from DHCP"),
        ),
    ),
    Command(
        "guestinfo",
        "Read and write guest variables",
        text=_GUESTINFO_TEXT,
        parts=(
            Command(
                "get",
                "Print the value of a variable; status 1 when it is not set",
                arguments=(Argument("key", "The name, with or without the prefix guestinfo."),),
            ),
            Command(
                "set",
                "Set a variable",
                options=(
                    Option(
                        "--raw", help="With the value -, keep the last newline of standard input."
                    ),
                ),
                arguments=(
                    Argument("key", "The name, with or without the prefix guestinfo."),
                    Argument(
                        "value",
                        "The value, or - to read it from standard input, without the last newline.",
                    ),
                ),
                changes=True,
            ),
            Command(
                "list",
                "Print the well-known variables that are set",
                arguments=(Argument("key", "More names to ask for.", count="*"),),
            ),
        ),
        examples=(
            ("vmtctl guestinfo get userdata", "what cloud-init would see"),
            ("vmtctl guestinfo set motd - < /etc/motd", "a value from a file"),
        ),
    ),
    Command(
        "rpctool",
        "Install vmware-rpctool and vmtoolsd --cmd, for cloud-init and scripts",
        text=_RPCTOOL_TEXT,
        parts=(
            Command("install", "Install the two programs", changes=True),
            Command("uninstall", "Remove them again", changes=True),
            Command(
                "as",
                "Act as one of the two programs; this is what the programs call",
                arguments=(
                    Argument("command", "The program's name, and its arguments.", count="rest"),
                ),
            ),
        ),
        examples=(
            ("vmtctl rpctool install", "then: vmware-rpctool 'info-get guestinfo.userdata'"),
        ),
    ),
    Command(
        "doctor",
        "Check the system; each finding has its reason and the command that fixes it",
        text=(
            "The exit status is that of the worst finding: 0 ok, 1 a warning, 2 an error.  For\n"
            "root on the running system sh(1) evaluates rc.conf(5), as at boot; otherwise doctor\n"
            "parses it.  With -R doctor checks the files of the image only."
        ),
        examples=(("vmtctl doctor", "after an installation, or when something does not work"),),
    ),
    Command(
        "completion",
        "Print completions for a shell",
        text=(
            "The package vmtctl installs the completions where each shell looks for them.  Other\n"
            "installations write them to a file with this verb."
        ),
        arguments=(Argument("shell", "bash, fish or zsh.", choices=("bash", "fish", "zsh")),),
        examples=(
            (
                "vmtctl completion bash > ~/.local/share/bash-completion/completions/vmtctl",
                "for bash, where bash-completion is installed; else read the file in ~/.bashrc",
            ),
            ("vmtctl completion fish > ~/.config/fish/completions/vmtctl.fish", "for fish"),
            ("vmtctl completion zsh > DIR/_vmtctl", "for zsh; DIR is one of $fpath"),
        ),
    ),
)
