"""vmware-rpctool and vmtoolsd --cmd, compatible with open-vm-tools, through the driver.

cloud-init and scripts of sites call these programs, so arguments, output and exit statuses are
those of open-vm-tools 13 (rpctool/rpctool.c, services/vmtoolsd/cmdLine.c and mainPosix.c).
"""

from __future__ import annotations

import sys

from vmtctl import guest, rpc
from vmtctl.exits import USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

RPCTOOL = "vmware-rpctool"
TOOLSD = "vmtoolsd"
PROGRAMS = (RPCTOOL, TOOLSD)

# main() of rpctool.c returns -1 outside of VMware.
_NO_VMWARE = 255
_FAILED = 1

_RPCTOOL_USAGE = """\
usage: vmware-rpctool TEXT
  -h, --help   print this
  TEXT         the command to send, as one argument: "info-get guestinfo.NAME"
"""
_TOOLSD_USAGE = """\
usage: vmtoolsd --cmd TEXT | --cmdfile FILE
  --cmd TEXT       send a command to the host: "info-get guestinfo.NAME"
  --cmdfile FILE   send the command in a file
This program is vmtctl's and not a daemon.  vmt(4) is the service that answers the host.
"""


def act(context: Context, command: str, arguments: list[str]) -> int:
    """Act as the program ``command``; returns its exit status."""
    program = command.rpartition("/")[2]
    if program == RPCTOOL:
        return _rpctool(context, command, arguments)
    if program == TOOLSD:
        return _toolsd(context, arguments)
    raise Failure(f"unknown program {program!r}: choose from {', '.join(PROGRAMS)}", status=USAGE)


def _rpctool(context: Context, command: str, arguments: list[str]) -> int:
    if not _is_vmware(context):
        sys.stderr.write(
            f"Error: {command} must be run inside a virtual machine on a VMware hypervisor "
            "product.\n"
        )
        return _NO_VMWARE
    if not arguments:
        sys.stderr.write(_RPCTOOL_USAGE)
        return _FAILED
    # rpctool compares this many characters of the first argument, and ignores the others.
    if arguments[0].startswith(("-h", "--help")):
        sys.stderr.write(_RPCTOOL_USAGE)
        return 0
    return _send(context, arguments[0])


def _toolsd(context: Context, arguments: list[str]) -> int:
    if not _is_vmware(context):
        return _FAILED
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in {"--cmd", "--cmdfile"}:
            if not equals:
                found = next(words, None)
                if found is None:
                    sys.stderr.write(f"Command line parsing failed: Missing argument for {name}\n")
                    return _FAILED
                value = found
            # The first error ends the program.
            return _send(context, value) if name == "--cmd" else _send_file(context, value)
        if word in {"-h", "--help", "-?"}:
            sys.stdout.write(_TOOLSD_USAGE)
            return 0
        break
    sys.stderr.write(_TOOLSD_USAGE)
    return _FAILED


def _send_file(context: Context, path: str) -> int:
    try:
        with open(path, "rb") as stream:
            content = stream.read(rpc.REQUEST_LIMIT * 2)
    except OSError:
        sys.stderr.write(f"Unable to read command from file {path}.\n")
        return _FAILED
    # g_strchomp(); and a C string ends at its NUL.
    text = content.partition(b"\0")[0].rstrip(b" \t\n\v\f\r")
    return _send(context, text.decode("utf-8", "surrogateescape"))


def _is_vmware(context: Context) -> bool:
    nodes, _ = guest.driver_nodes(context)
    return guest.hypervisor(context, nodes)[0] in {"VMware", "unknown"}


def _send(context: Context, text: str) -> int:
    try:
        taken, reply = rpc.call(context, text)
    except Failure as error:
        # In place of the host's reply, which is missing.
        taken, reply = False, f"{error}; {error.hint}" if error.hint else str(error)
    stream = sys.stdout if taken else sys.stderr
    stream.flush()
    # The original prints a C string.
    stream.buffer.write(reply.partition("\0")[0].encode("utf-8", "surrogateescape") + b"\n")
    stream.flush()
    return 0 if taken else _FAILED
