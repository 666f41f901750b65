"""A fake NetBSD guest: stubs of its tools that share one JSON file as their state.

They print and exit as the real ones do: drvctl(8) 1.19, sysctl(8), modload(8), modunload(8),
modstat(8), ps(1), dmesg(8). The rules of replacing the built-in driver, its panic included, are
those seen on NetBSD/amd64 10.99.12.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

USERLAND = Path(__file__).parent.parent.parent / "userland"

TOOLS = {
    "dmesg": "sbin/dmesg",
    "drvctl": "sbin/drvctl",
    "modload": "sbin/modload",
    "modstat": "sbin/modstat",
    "modunload": "sbin/modunload",
    "ps": "bin/ps",
    "sysctl": "sbin/sysctl",
}

ORDINALS = ("top", "second", "third", "fourth", "fifth")

TRANSCRIPTS = json.loads((Path(__file__).parent / "recordings/transcripts.json").read_text())


def _recorded_nodes(part: str) -> dict[str, str]:
    """The driver's sysctl nodes as a real sysctl(8) printed them, in its order."""
    rows = [row for row in TRANSCRIPTS[part] if row["command"] == "sysctl machdep.vmt0"]
    return dict(line.split(" = ", 1) for line in rows[-1]["stdout"].splitlines())


def _of_two_nodes(nodes: dict[str, str]) -> dict[str, str]:
    """The recorded driver had one node for requests and replies."""
    found = {}
    for name, value in nodes.items():
        names = (name,) if name != "machdep.vmt0.rpc" else (f"{name}.request", f"{name}.reply")
        found.update(dict.fromkeys(names, value))
    return found


OUR_NODES = _of_two_nodes(_recorded_nodes("no built-in vmt")) | {
    "machdep.vmt0.clock_sync.offset": str((1 << 64) - 1500),
    "machdep.vmt0.clock_sync.steps": "1",
    "machdep.vmt0.clock_sync.slews": "7",
    "machdep.vmt0.clock_sync.state": "slewing",
    "machdep.vmt0.stats.polls": "421",
    "machdep.vmt0.net.dns": "",
}
BALLOON = "vmmemctl0"
STOCK_NODES = _recorded_nodes("built-in vmt")


def require(tool: str) -> str:
    """The path of a tool from Debian; skip without it, fail where CI promised it."""
    from tests.conftest import find_tool

    return find_tool(tool)


def fresh_state() -> dict[str, Any]:
    """A booted NetBSD 11.0/amd64 with the built-in driver attached."""
    return {
        "attached": "stock",  # None, "stock" or "ours"
        "builtin": True,  # the kernel has its own driver
        "builtin_disabled": False,  # its module was unloaded
        "module": None,  # path of the loaded vmt.kmod
        "half_freed": False,  # drvctl -d leaves the unit allocated until the next rescan
        "panic": None,
        "vmware": True,
        "balloon": False,  # vmmemctl.kmod is loaded
        "balloon_offered": True,  # by the host
        "siblings": ["coretemp0"],
        "kernel": {
            "kern.ostype": "NetBSD",
            "kern.osrelease": "11.0",
            "kern.osrevision": "1100000000",
            "hw.machine": "amd64",
            "hw.machine_arch": "x86_64",
            "kern.securelevel": "-1",
            "kern.module.path": "/stand/amd64/11.0/modules",
            "machdep.hypervisor": "VMware",
            "hw.acpi.root": "1027392",
        },
        "nodes": {},  # values that were written
        "processes": [[1, "init"], [312, "/usr/sbin/powerd"]],
        "dmesg": ["[   1.0000000] vmt0 at cpu0"],
        "guestinfo": {},
        "replies": {},  # raw replies by request
        "number": 5020,  # of the last request
        "requests": {},  # replies that were not collected, by number
        "slow": 0,  # this many reads report that there is no reply yet
        "faults": {},  # "drvctl -d": "Device busy"
        "calls": [],
    }


# The content of a stub's file.
_CALL = re.compile(r"fakeguest\.tool\('([a-z]+)', '(.*)', sys\.argv")

# For sh(1) the second line runs Python, whose name may hold a blank; for Python it is a string.
SHEBANG = f"#!/bin/sh\n'''exec' \"{sys.executable}\" -IS \"$0\" \"$@\"\n' '''\n"


class FakeGuest:
    """A guest below ``root``; ``state`` is read and written through ``get`` and ``set``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "state.json"
        for tool, place in TOOLS.items():
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"{SHEBANG}import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                f"import fakeguest\n"
                f"sys.exit(fakeguest.tool({tool!r}, {str(self.file)!r}, sys.argv[1:]))\n"
            )
            path.chmod(0o755)
        for directory in ("var/run", "etc/powerd/scripts", "etc/rc.d", "etc/rc.conf.d", "dev"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        (root / "dev/drvctl").write_text("")
        (root / "bin/sh").symlink_to("/bin/sh")
        # The defaults of a machine with ACPI (etc/etc.amd64/rc.conf.append).
        (root / "etc/rc.conf").write_text("rc_configured=YES\npowerd=YES\n")
        self.write(fresh_state())

    def get(self) -> dict[str, Any]:
        return json.loads(self.file.read_text())

    def write(self, state: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(state))

    def set(self, **changes: Any) -> None:
        self.write({**self.get(), **changes})

    def kernel(self, **values: str) -> None:
        state = self.get()
        state["kernel"].update({name.replace("__", "."): text for name, text in values.items()})
        self.write(state)

    def calls(self) -> list[str]:
        """The changing commands that were run, in order."""
        return [
            call
            for call in self.get()["calls"]
            if call.startswith(("drvctl -d", "drvctl -r", "modload", "modunload", "sysctl -w"))
        ]

    def module(self, **options: Any) -> str:
        """Write the file of a module that this guest takes; its path."""
        path = self.root / "vmt.kmod"
        path.write_bytes(module_file(**options))
        return str(path)


def module_file(
    *, machine: int = 62, wide: bool = True, version: int = 1100000000, name: str = "vmt"
) -> bytes:
    """A relocatable ELF file with the parts by which a module is recognised."""
    data = bytearray(64)
    strings = b"\0"
    offsets = {}
    names = ("link_set_modules", ".rela", ".rodata", ".relb", ".symtab", ".strtab", ".shstrtab")
    for section in names:
        offsets[section] = len(strings)
        strings += section.encode() + b"\0"
    rela = wide
    pointer, word = ("<Q", 8) if wide else ("<I", 4)
    text_at = 32 if wide else 20
    modinfo = struct.pack("<II", version, 3) + bytes(text_at - 8) + name.encode() + b"\0"
    if not rela:
        body = bytearray(modinfo)
        struct.pack_into(pointer, body, 12, text_at)
        modinfo = bytes(body)

    def relocation(offset: int, addend: int) -> bytes:
        if wide:
            return struct.pack("<QQq", offset, 1 << 32 | 1, addend)
        return struct.pack("<II", offset, 1 << 8 | 1)

    if wide:
        symbols = bytes(24) + struct.pack("<IBBHQQ", 0, 3, 0, 3, 0, 0)
    else:
        symbols = bytes(16) + struct.pack("<IIIBBH", 0, 0, 0, 3, 0, 3)
    kind = 4 if rela else 9
    sections = [
        ("link_set_modules", 1, bytes(word), 0, 0),
        (".rela", kind, relocation(0, 0), 5, 1),
        (".rodata", 1, modinfo, 0, 0),
        (".relb", kind, relocation(16 if wide else 12, text_at), 5, 3),
        (".symtab", 2, symbols, 6, 1),
        (".strtab", 3, b"\0", 0, 0),
        (".shstrtab", 3, strings, 0, 0),
    ]
    layout = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
    table = [struct.pack(layout, *([0] * 10))]
    for section, type_, body, link, info in sections:
        row = (offsets[section], type_, 0, 0, len(data), len(body), link, info, 8, 0)
        table.append(struct.pack(layout, *row))
        data += body
    start = len(data)
    data += b"".join(table)
    header = struct.pack(
        "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
        1, machine, 1, 0, 0, start, 0, 64, 0, 0, struct.calcsize(layout), 8, 7,
    )  # fmt: skip
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    data[: len(ident) + len(header)] = ident + header
    return bytes(data)


# ---------------------------------------------------------------------------
# The tools


def answer(path: Path, command: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Run the stub ``path`` in this process.

    The command, its status and both outputs; None for a file that is no stub, or needs a process.
    """
    try:
        found = _CALL.search(path.read_text()) if os.access(path, os.X_OK) else None
    except (OSError, UnicodeDecodeError):
        return None
    if found is None:
        return None
    name, state_file = found.groups()
    if "hang" in json.loads(Path(state_file).read_text())["faults"].values():
        return None
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = tool(name, state_file, list(command[1:]))
    return command, status, out.getvalue(), err.getvalue()


def tool(name: str, state_file: str, arguments: list[str]) -> int:
    path = Path(state_file)
    state = json.loads(path.read_text())
    state["calls"].append(" ".join((name, *arguments)))
    try:
        for pattern, text in state["faults"].items():
            if " ".join((name, *arguments)).startswith(pattern):
                if text == "hang":
                    import time

                    path.write_text(json.dumps(state))
                    time.sleep(600)
                return _fault(name, arguments, text)
        return globals()[f"_{name}"](state, arguments)
    finally:
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state))
        temporary.replace(path)


def _complain(text: str, status: int = 1) -> int:
    sys.stderr.write(text + "\n")
    return status


def _fault(name: str, arguments: list[str], text: str) -> int:
    if text == "silent":
        return 0
    if name == "drvctl":
        call = {"-d": "DRVDETACHDEV", "-r": "DRVRESCANBUS"}.get(arguments[0], "DRVLISTDEV")
        return _complain(f"drvctl: {call}: {text}")
    return _complain(f"{name}: {arguments[-1].partition('=')[0]}: {text}")


def _log(state: dict[str, Any], text: str) -> None:
    state["dmesg"].append(f"[{len(state['dmesg']) + 1:>4}.0000000] {text}")


def _probe(state: dict[str, Any]) -> None:
    """Rescan cpu0: the driver with the highest match priority attaches."""
    if state["balloon"] and state["vmware"] and state["balloon_offered"]:
        state["siblings"] = [*(each for each in state["siblings"] if each != BALLOON), BALLOON]
        for name, value in {"target": 0, "size": 0, "floor": 64, "state": "idle"}.items():
            state["kernel"].setdefault(f"machdep.{BALLOON}.{name}", str(value))
    if state["attached"] or not state["vmware"]:
        return
    if state["module"]:
        state["attached"] = "ours"
    elif state["builtin"]:
        state["attached"] = "stock"
    if state["attached"]:
        state["nodes"] = {}
        _log(state, "vmt0 at cpu0")


def _no_balloon(state: dict[str, Any]) -> None:
    state["siblings"] = [each for each in state["siblings"] if each != BALLOON]
    for name in [name for name in state["kernel"] if name.startswith(f"machdep.{BALLOON}.")]:
        del state["kernel"][name]


def _drvctl(state: dict[str, Any], arguments: list[str]) -> int:
    match arguments:
        case ["-d", "vmmemctl0"] if BALLOON in state["siblings"]:
            _no_balloon(state)
            return 0
        case ["-d", device]:
            if device != "vmt0" or not state["attached"]:
                return _complain("drvctl: DRVDETACHDEV: Device not configured")
            state["attached"] = None
            state["half_freed"] = True
            _log(state, "vmt0: detached")
            return 0
        case ["-r", "-a", attribute, bus]:
            if bus != "cpu0":
                return _complain("drvctl: DRVRESCANBUS: Device not configured")
            if attribute != "cpufeaturebus":
                return _complain("drvctl: DRVRESCANBUS: Invalid argument")
            state["half_freed"] = False
            _probe(state)
            return 0
        case ["-l", "cpu0"]:
            children = [*state["siblings"], *(["vmt0"] if state["attached"] else [])]
            print("".join(f"cpu0 {child}\n" for child in children), end="")
            return 0
    return _complain("usage: drvctl -d device")


def _modload(state: dict[str, Any], arguments: list[str]) -> int:
    force = "-f" in arguments
    name = arguments[-1]

    def no(text: str, message: str = "") -> int:
        if message:
            _log(state, f"WARNING: module error: {message}")
        return _complain(f"modload: {name}: {text}")

    if "/" not in name:
        if name == "vmt" and state["builtin"]:
            if state["module"] or not state["builtin_disabled"]:
                return no("File exists")
            if not force:
                return no("Operation not permitted", "use -f to reinstate builtin module `vmt'")
            state["builtin_disabled"] = False
            return 0
        return no("No such file or directory")
    if not Path(name).exists():
        return no("No such file or directory")
    data = Path(name).read_bytes()
    if b"BAD RELOCATION" in data:
        return no("Exec format error", "kobj_load: linker error: symbol 'x' not found")
    if b"vmmemctl" in data:
        if state["balloon"]:
            return no("File exists", "module with name `vmmemctl' already loaded")
        state["balloon"] = True
        _probe(state)
        return 0
    if state["module"] or (state["builtin"] and not state["builtin_disabled"]):
        return no("File exists", "module with name `vmt' already loaded")
    if state["half_freed"]:
        state["panic"] = "config_attach: allocation of device softc failed"
        return no("panic")
    state["module"] = name
    _probe(state)
    return 0


def _modunload(state: dict[str, Any], arguments: list[str]) -> int:
    if arguments[-1] == "vmmemctl":
        if not state["balloon"]:
            return _complain("modunload: vmmemctl: No such file or directory")
        state["balloon"] = False
        _no_balloon(state)
        return 0
    if state["module"]:
        if state["attached"] == "ours":
            state["attached"] = None
            _log(state, "vmt0: detached")
        state["module"] = None
        return 0
    if state["builtin"] and not state["builtin_disabled"]:
        state["builtin_disabled"] = True  # the device stays
        return 0
    return _complain(f"modunload: {arguments[-1]}: No such file or directory")


def _modstat(state: dict[str, Any], arguments: list[str]) -> int:
    rows = []
    if state["module"]:
        rows.append((state.get("module_source", "filesys"), 0, "24576", "sysmon_power"))
    elif state["builtin"] and not state["builtin_disabled"]:
        rows.append(("builtin", 0, "-", "sysmon_power,sysmon_taskq"))
    if state["builtin"] and state["builtin_disabled"]:
        # NetBSD sys/kern/kern_module.c, handle_modctl_stat: they stay in the list.
        rows.append(("builtin", -1, "-", "sysmon_power,sysmon_taskq"))
    # sbin/modstat/main.c 1.23: a blank ends the header.
    print(f"{'NAME':<16} {'CLASS':<8} {'SOURCE':<8} FLAG {'REFS':>5} {'SIZE':>7} REQUIRES ")
    if state["balloon"] and arguments in ([], ["vmmemctl"]):
        print(f"{'vmmemctl':<16} {'driver':<8} {'filesys':<8} {'-':<4} {0:>5} {'8411':>7} - ")
    for source, references, size, needs in rows:
        if not arguments or arguments[-1] == "vmt":
            print(
                f"{'vmt':<16} {'driver':<8} {source:<8} {'-':<4} {references:>5} {size:>7} {needs}"
            )
    return 0


def _ps(state: dict[str, Any], arguments: list[str]) -> int:
    rows = [(str(pid), str((rest or [0])[0]), (rest or [0, "Ss"])[-1] if len(rest) > 1 else "Ss",
             f"{command} ") for pid, command, *rest in state["processes"]]  # fmt: skip
    print(columns(("PID", "UID", "STAT", "COMMAND"), rows), end="")
    return 0


def columns(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return ps(1)'s output of pid, uid, stat and command (bin/ps/print.c, printheader)."""
    table = [header, *rows]
    wide = [max(len(row[n]) for row in table) for n in range(3)]
    return "".join(
        f"{pid:>{wide[0]}} {uid:>{wide[1]}} {stat:<{wide[2]}} {command}\n"
        for pid, uid, stat, command in table
    )


def _dmesg(state: dict[str, Any], arguments: list[str]) -> int:
    print("\n".join(state["dmesg"]))
    return 0


def _tree(state: dict[str, Any]) -> dict[str, str]:
    nodes = dict(state["kernel"])
    if state["attached"]:
        nodes.update(OUR_NODES if state["attached"] == "ours" else STOCK_NODES)
        nodes.update(state["nodes"])
    return nodes


def _sysctl(state: dict[str, Any], arguments: list[str]) -> int:
    tree = _tree(state)
    if arguments[0] == "-w":
        name, _, value = arguments[1].partition("=")
        if name not in tree:
            return _unknown(tree, name)
        return _write(state, tree, name, value)
    if arguments[0] == "-r":
        return _raw(state, tree, arguments[1])
    for name in arguments:
        below = [leaf for leaf in tree if leaf == name or leaf.startswith(f"{name}.")]
        if not below:
            return _unknown(tree, name)
        for leaf in below:
            print(f"{leaf} = {tree[leaf]}")
    return 0


def _raw(state: dict[str, Any], tree: dict[str, str], name: str) -> int:
    """The bytes of a value; a number after the name of a leaf is passed to the driver."""
    leaf, _, number = name.rpartition(".")
    if leaf not in tree or not number.isdecimal():
        if name not in tree:
            return _unknown(tree, name)
        print(tree[name], end="\0")
        return 0
    if state["slow"] and number in state["requests"]:
        state["slow"] -= 1
        print(f"{number} pending", end="\0")
        return 0
    print(number, state["requests"].pop(number, "unknown"), end="\0")
    return 0


def _unknown(tree: dict[str, str], name: str) -> int:
    parts = name.split(".")
    depth = 0
    for depth in range(len(parts)):
        prefix = ".".join(parts[: depth + 1])
        if not any(leaf == prefix or leaf.startswith(f"{prefix}.") for leaf in tree):
            break
    sys.stdout.flush()
    return _complain(
        f"sysctl: {ORDINALS[depth]} level name '{parts[depth]}' in '{name}' is invalid"
    )


def _write(state: dict[str, Any], tree: dict[str, str], name: str, value: str) -> int:
    old = tree[name]
    leaf = name.removeprefix("machdep.vmt0.")
    if leaf == "uuid":
        return _complain(f"sysctl: {name}: Operation not permitted")
    texts = {"rpc.request", "net.dns", "backup.freeze"}
    if leaf not in texts and not value.lstrip("-").isdigit():
        return _complain(f"sysctl: {value}: not a number")
    if leaf == "rpc.request":
        state["number"] += 1
        old = str(state["number"])
        state["requests"][old] = _host(state, value)
    elif name in state["kernel"]:
        state["kernel"][name] = value
    elif leaf.endswith("period") and not 0 <= int(value) <= 2147483:
        return _complain(f"sysctl: {name}: Invalid argument")
    elif leaf.endswith("now"):
        state["nodes"]["machdep.vmt0.clock_sync.offset"] = "0"
        state["nodes"]["machdep.vmt0.clock_sync.state"] = "stepped"
    else:
        state["nodes"][name] = value
    print(f"{name}: {old} -> {value}")
    return 0


def _host(state: dict[str, Any], request: str) -> str:
    """Return state and reply in the driver's format."""
    if request in state["replies"]:
        return state["replies"][request]
    command, _, rest = request.partition(" ")
    if command == "info-get":
        value = state["guestinfo"].get(rest)
        return "ok 0 No value found" if value is None else f"ok 1 {value}"
    if command == "info-set":
        name, _, value = rest.partition(" ")
        state["guestinfo"][name] = value
        return "ok 1 "
    return "ok 0 Unknown command"
