"""``vmtctl guestinfo``: variables that host and guest share."""

from __future__ import annotations

import sys

from vmtctl import rpc
from vmtctl.context import printable
from vmtctl.exits import DATA, NO_PERMISSION, OK, UNAVAILABLE, USAGE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

PREFIX = "guestinfo."

# Names in common use: cloud-init's datasource, OVF, and open-vm-tools.
WELL_KNOWN = (
    "metadata",
    "metadata.encoding",
    "userdata",
    "userdata.encoding",
    "vendordata",
    "vendordata.encoding",
    "ovfEnv",
    "hostname",
    "ip",
    "vmtools.description",
    "vmtools.versionNumber",
    "vmtools.versionString",
    "vmtools.buildNumber",
)

# The host's answer for a variable that is not set (open-vm-tools, lib/rpcChannel).
NOT_SET = "No value found"

NOT_FOUND = 1


def run(context: Context) -> int:
    """Get, set or list."""
    context.no_image()
    verb = context.values.path[1]
    if verb == "set":
        return _set(context)
    if verb == "list":
        return _list(context)
    return _get(context)


def _name(word: str) -> str:
    name = word.removeprefix(PREFIX)
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise Failure(
            f"{word!r} is not a name of a variable: give printable ASCII without blanks",
            status=USAGE,
        )
    return PREFIX + name


def _fetch(context: Context, name: str) -> str | None:
    taken, text = rpc.call(context, f"info-get {name}")
    if taken:
        return text
    if text.startswith(NOT_SET):
        return None
    raise _refusal("hand out", name, text)


def _refusal(doing: str, name: str, text: str) -> Failure:
    message = f"the host does not {doing} {name}: {text or 'no reason given'}"
    if "privileged" in text:
        return Failure(
            message,
            hint="the administrator of the virtual machine may have forbidden it",
            status=NO_PERMISSION,
        )
    if "disabled" in text:
        return Failure(message, hint="see isolation.tools.setInfo.disable in the .vmx file")
    return Failure(message, status=UNAVAILABLE)


def _get(context: Context) -> int:
    name = _name(context.values.word("key") or "")
    value = _fetch(context, name)
    context.print_json({"key": name, "set": value is not None, "value": value})
    if value is None:
        if not context.json:
            context.warn(f"{name} is not set")
        return NOT_FOUND
    if context.json:
        return OK
    if sys.stdout.isatty():
        # The host chooses the bytes, and a terminal would interpret some of them.
        print(printable(value.removesuffix("\n")))
        return OK
    # The output is the unchanged value, for pipes.
    sys.stdout.flush()
    sys.stdout.buffer.write(value.encode("utf-8", "surrogateescape"))
    return OK


def _set(context: Context) -> int:
    name = _name(context.values.word("key") or "")
    value = context.values.word("value") or ""
    if value == "-":
        value = sys.stdin.buffer.read(rpc.REQUEST_LIMIT + 1).decode("utf-8", "surrogateescape")
        if not context.values.on("raw"):
            # The newline that echo(1) and editors write at the end is not part of the value.
            value = value.removesuffix("\n").removesuffix("\r")
    request = f"info-set {name} {value}"
    size = len(request.encode("utf-8", "surrogateescape"))
    if size > rpc.REQUEST_LIMIT:
        raise Failure(
            f"the value is too long: name and value may have {rpc.REQUEST_LIMIT - 10} bytes",
            hint="write it in parts, or compress it: gzip -c FILE | base64",
            status=DATA,
        )
    if context.dry_run:
        context.step(f"set {name} ({len(value)} characters)")
        context.finish(changed=True, key=name)
        return OK
    context.need_root(f"set {name}")
    taken, text = rpc.call(context, request)
    if not taken:
        raise _refusal("take", name, text)
    context.step(f"set {name}")
    context.finish(changed=True, key=name)
    return OK


def _list(context: Context) -> int:
    names = dict.fromkeys(_name(word) for word in (*WELL_KNOWN, *context.values.words("key")))
    found = {}
    unread = {}
    for name in names:
        try:
            value = _fetch(context, name)
        except Failure as error:
            if not _works(context):
                raise  # the error applies to all of them
            unread[name] = str(error)
            continue
        if value is not None:
            found[name] = value
    context.print_json({"variables": found, "unread": unread})
    for name, value in found.items():
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        context.print(
            f"{name} = {shown!r}" if shown != value or "\n" in value else f"{name} = {shown}"
        )
    for name, reason in unread.items():
        context.print(f"{name}: {reason}")
    if not found and not unread:
        context.print("none of the well-known variables is set")
    return OK


def _works(context: Context) -> bool:
    """Whether the host answers; this reads a variable that is not set, so the reply is short."""
    try:
        rpc.call(context, f"info-get {PREFIX}vmtctl.no-such-variable")
    except Failure:
        return False
    return True
