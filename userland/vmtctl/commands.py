"""The verbs of vmtctl as data: the parser, the help, the manual and the completions read this."""

from __future__ import annotations

from vmtctl.grammar import Argument, Command, Option

SUMMARY = "The companion of vmt(4): makes NetBSD and VMware get on, one safe command each."

EXAMPLES = (
    ("vmtctl status", "see everything at a glance"),
    ("vmtctl doctor", "find out what is wrong, and the command that fixes it"),
    ("vmtctl powerd install", "make the host's shutdown button do the right thing"),
    ("vmtctl run -- /usr/pkg/bin/vmtoolsd", "lend the channel to open-vm-tools"),
)

_FORCE_TOOLSD = Option("--force", help="Do it although vmtoolsd runs.")
_MODULE = Option(
    "-m",
    "--module",
    value="FILE",
    help="The module; else /usr/pkg/stand/MACHINE/RELEASE/modules/vmt/vmt.kmod.",
)

_CLOCK_TEXT = """\
Without an argument the state of the clock is shown: the period, the last measured offset, how
often it was stepped and slewed, and why not.  PERIOD is a number of seconds (or 5m, 2h); off is 0:
then nothing touches the clock, and sync is refused.  sync sets the clock once, now.  Each time
that it attaches the driver begins with settings of its own; attach, run, load and unload set
again what /etc/sysctl.conf says.  The driver that NetBSD has built in knows the period only."""

_GUESTINFO_TEXT = """\
A guest variable is text that host and guest share: guestinfo.KEY in the virtual machine's
configuration.  Name and value may have almost 64 KiB.  The driver's nodes machdep.vmt0.rpc carry
them; the driver that NetBSD has built in has no such nodes.  A host does not tell which variables
exist: list asks for the well-known ones and for those named.  A value that is set travels on the
command line of sysctl(8), where ps(1) shows it for a moment."""

_POWERD_TEXT = """\
powerd(8) runs a script when the host asks for a shutdown or a reboot, and after a resume.  install
puts small scripts into /etc/powerd/scripts/acpi, where powerd looks first, so no file of the
system is edited.  They handle vmt(4), and hand every other device on to the standard script.  Where
a script of the site is in their place, a marked block goes into it; on a machine without ACPI
that is true of the standard scripts.  A script that is not for sh(1) is never edited: install
stops and says what to do.

When the host asks for a shutdown or a reboot, the executables in /etc/powerd/vmt.d are run first,
in the order of their names.  Last comes the script that powerd would run without vmtctl, under its
own name and with powerd's arguments: NetBSD's, which calls shutdown(8), or the site's.  Where there
is none, or where it fails, the hooks call shutdown.  After a resume that script comes first, then
the leases of dhcpcd(8) and dhclient(8) are renewed, then vmt.d is run.

The arguments of the scripts in vmt.d are what happens (shutdown, reboot or resume) and the
device.  Each has 30 seconds; then it is killed with its children.  A script that others than root
can change, by its mode, its owner or a directory above it, is not run; a symbolic link counts as
what it leads to."""

_SERVICE_TEXT = """\
pkgsrc's script vmtools detaches vmt0 before vmtoolsd starts, and attaches it again while vmtoolsd
still runs.  install adds a marked block to /etc/rc.conf.d/vmtools that makes both steps go through
vmtctl, in the right order.  Commands that the site has set for these steps in that file are run
first, as before.  pkgsrc's own script is not touched."""

_DNS_TEXT = """\
The host shows the guest's name servers, its domain and the names that it searches.  The kernel does
not know them, so the driver has them from here: what resolv.conf(5) says and the resolver uses.
attach and load hand them over by themselves, and so does rc.d/vmtctl at boot.  install adds a
script to /libexec/resolvconf/libc.d, which resolvconf(8) runs after each change of resolv.conf, as
dhcpcd(8) makes it.  Where another program writes that file, let it run update."""

_RPCTOOL_TEXT = """\
cloud-init and many a script of a site call vmware-rpctool, or vmtoolsd --cmd, to read and set guest
variables: cloud-init's DataSourceVMware of version 22.4.2 calls vmware-rpctool "info-get
guestinfo.KEY" and "info-set guestinfo.KEY VALUE", and nothing else.  install puts programs of these
names into /usr/pkg/bin, with the same arguments, output and exit statuses, and vmt(4) behind them;
where open-vm-tools is installed, it refuses.  Theirs is vmtoolsd --cmd and --cmdfile alone: no
daemon.  Only root may send commands."""

_LOAD_TEXT = """\
The kernel's own vmt(4) is replaced without a reboot: the built-in module is disabled, FILE is
loaded, and vmt0 changes hands.  Each step is verified; when one fails the steps before it are
undone.  Before anything happens, FILE is checked against this kernel's release and machine.  The
next boot begins with the kernel's own driver again, unless rc.d/vmtctl loads the module: put
vmtctl=YES into rc.conf(5).  Where /etc/rc.d/vmtctl is missing, copy it from
/usr/pkg/share/examples/rc.d."""

COMMANDS = (
    Command(
        "status",
        "Show driver, channel, clock and powerd on one screen",
        text="Nothing is changed, and root is not needed.  What cannot be found out is said so.",
        examples=(
            ("vmtctl status", "for people"),
            ("vmtctl status --json", "for programs; `schema` tells the version of the format"),
        ),
    ),
    Command(
        "detach",
        "Take vmt0 away from its driver, so that vmtoolsd can have the channel",
        text="Nothing happens when vmt0 is not attached.",
        examples=(("vmtctl detach", "before vmtoolsd is started by hand"),),
        changes=True,
    ),
    Command(
        "attach",
        "Give vmt0 back to its driver",
        text="Nothing happens when vmt0 is attached.  When it does not attach, the reason is told.",
        options=(_FORCE_TOOLSD,),
        examples=(("vmtctl attach", "after vmtoolsd was stopped"),),
        changes=True,
    ),
    Command(
        "run",
        "Detach vmt0, run a command, attach vmt0 again however the command ends",
        text=(
            "The command must stay in the foreground.  Its exit status is that of vmtctl; 128 and\n"
            "the number of the signal when a signal ended it, 127 when it was not found, 126 when\n"
            "it could not be run.  Signals that would end vmtctl are handed on to it.  A lock\n"
            "keeps two runs apart.  With --json its output goes to standard error, and its status\n"
            "is in the JSON object."
        ),
        options=(
            Option(
                "--grace",
                value="SECONDS",
                help="How long the command may take to end after a signal; 10 by default.",
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
        "Replace the kernel's driver by the module of this project",
        text=_LOAD_TEXT,
        options=(
            _MODULE,
            Option("--force", help="Load it although vmtoolsd runs, or for another release."),
        ),
        examples=(
            ("vmtctl load -n", "see the steps"),
            ("vmtctl load -m ./vmt.kmod", "load a module just built"),
        ),
        changes=True,
    ),
    Command(
        "unload",
        "Unload the module, and give vmt0 back to the kernel's own driver",
        options=(_FORCE_TOOLSD,),
        examples=(("vmtctl unload", "back to the driver of the kernel"),),
        changes=True,
    ),
    Command(
        "clock",
        "Show or set how the clock follows the host",
        text=_CLOCK_TEXT,
        options=(
            Option(
                "--follow-host",
                value="on|off",
                help="Whether the time switches of the virtual machine decide; off at first.",
            ),
            Option("--persist", help="Write what is set to /etc/sysctl.conf too."),
        ),
        arguments=(
            Argument("period", "A period, off, or sync.", count="?", suggested=("off", "sync")),
        ),
        examples=(
            ("vmtctl clock", "show"),
            ("vmtctl clock 5m --persist", "look every five minutes, also after a reboot"),
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
                        help="Replace our scripts though edited; each is kept as NAME.edited.",
                    ),
                    Option("--no-acpi", help="Use marked blocks in the standard scripts."),
                ),
                changes=True,
            ),
            Command(
                "uninstall",
                "Remove the hooks, and put back what was there before",
                options=(
                    Option(
                        "--force",
                        help="Remove our scripts though edited; each is kept as NAME.edited.",
                    ),
                ),
                changes=True,
            ),
            Command("status", "Tell what is installed; status 1 when it is not complete"),
            Command(
                "diff",
                "Show what install would change; status 1 when it would change something",
                options=(Option("--no-acpi", help="Use marked blocks in the standard scripts."),),
            ),
        ),
        examples=(
            ("vmtctl powerd install -n", "see the changes before they are made"),
            ("vmtctl powerd install -R /mnt", "prepare a system image"),
            ("vmtctl powerd uninstall", "everything as it was"),
        ),
    ),
    Command(
        "service",
        "Make the start and stop of pkgsrc's vmtools go through vmtctl",
        text=_SERVICE_TEXT,
        parts=(
            Command("install", "Add the block to /etc/rc.conf.d/vmtools", changes=True),
            Command("uninstall", "Remove the block again", changes=True),
        ),
        examples=(("vmtctl service install", "then: service vmtools start"),),
    ),
    Command(
        "dns",
        "Hand the name servers of resolv.conf to the driver, for the host",
        text=_DNS_TEXT,
        parts=(
            Command("update", "Hand over what resolv.conf says now", changes=True),
            Command("install", "Let resolvconf(8) do that after each change", changes=True),
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
                arguments=(
                    Argument("key", "The name; guestinfo. in front of it may be left out."),
                ),
            ),
            Command(
                "set",
                "Set a variable",
                options=(Option("--raw", help="Keep the newline that ends what is read from -."),),
                arguments=(
                    Argument("key", "The name; guestinfo. in front of it may be left out."),
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
                "Be one of them; this is what the programs call",
                arguments=(Argument("command", "Its name, and its arguments.", count="rest"),),
            ),
        ),
        examples=(
            ("vmtctl rpctool install", "then: vmware-rpctool 'info-get guestinfo.userdata'"),
        ),
    ),
    Command(
        "doctor",
        "Check everything; each finding says what, why, and the command that fixes it",
        text=(
            "The exit status is that of the worst finding: 0 ok, 1 a warning, 2 an error.  For\n"
            "root on the running system sh(1) reads rc.conf(5), as at boot; else its words are\n"
            "read.  With -R only the files of the image are checked."
        ),
        examples=(("vmtctl doctor", "after an installation, and when something is odd"),),
    ),
    Command(
        "completion",
        "Print completions for a shell",
        text=(
            "The package vmtctl installs them where each shell looks by itself; another\n"
            "installation, and a home directory, take them from here."
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
