"""Information that the guest reports: SetGuestInfo, SetGuestDiskInfo, guestinfo.* variables.

Keys and forms: open-vm-tools lib/include/guestInfo.h and services/plugins/guestInfo.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from vmtsim.host import nic

if TYPE_CHECKING:
    from vmtsim.host.context import Context

DNS_NAME, IP_V1, DISK_FREE, BUILD, OS_FULL, OS_SHORT, UPTIME, MEMORY, IP_V2, IP_V3, DETAILED = (
    range(1, 12)
)
KEY_NAMES = {
    DNS_NAME: "host name",
    IP_V1: "NICs (V1)",
    DISK_FREE: "disks (V0)",
    BUILD: "build",
    OS_FULL: "OS name",
    OS_SHORT: "OS id",
    UPTIME: "uptime",
    MEMORY: "memory",
    IP_V2: "NICs (V2)",
    IP_V3: "NICs (V3)",
    DETAILED: "OS details",
}
BINARY_KEYS = frozenset({IP_V1, DISK_FREE, MEMORY, IP_V2, IP_V3, DETAILED})

# Short names of open-vm-tools lib/include/guest_os.h that a BSD guest can send.
# Texts, because re compiles them at the first use: few runs send such a key.
_SHORT = r"(?:FreeBSD|other(?:-64)?|freeBSD(?:1[1-5])?(?:-64)?|arm-(?:freeBSD1[3-5]|other)-64)\Z"
_DETAIL_KEYS = (
    "architecture",
    "bitness",
    "buildNumber",
    "cpeString",
    "distroAddlVersion",
    "distroName",
    "distroVersion",
    "familyName",
    "kernelVersion",
    "prettyName",
)
_PAIR = r"(\w+)='((?:[^'\\]|\\['\\])*)'(?: |\Z)"


class ValueProblem(ValueError):  # noqa: N818 - it is no error of this program
    """A value that does not have the format of its key; ``rule`` names the rule it breaks."""

    def __init__(self, text: str, rule: str = "guestinfo-value") -> None:
        super().__init__(text)
        self.rule = rule


def _text(value: bytes) -> str:
    if not value or b"\0" in value:
        raise ValueProblem("empty text" if not value else "NUL inside the text")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueProblem("text is not UTF-8") from None


def _detailed(value: bytes) -> dict[str, Any]:
    """Decode key 11: u32 version, name[129], full name[513], padding, a string of pairs."""
    if len(value) < 649:
        raise ValueProblem(f"{len(value)} bytes, at least 649")
    if value[:4] != b"\1\0\0\0":
        raise ValueProblem(f"version {int.from_bytes(value[:4], 'little')}, not 1")
    if value[132] or value[645]:
        raise ValueProblem("a name fills its field: no NUL at the end")
    details, nul, rest = value[648:].partition(b"\0")
    if not nul or rest:
        raise ValueProblem("the detail string ends with exactly one NUL")
    text = details.decode("utf-8", "replace")
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = re.match(_PAIR, text[position:])
        if match is None or match[1] not in _DETAIL_KEYS:
            raise ValueProblem(f"detail string at {position}: {text[position : position + 20]!r}")
        pairs[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
        position += match.end()
    order = [_DETAIL_KEYS.index(name) for name in pairs]
    if text.endswith(" ") or order != sorted(order):
        raise ValueProblem("detail keys come in their order, without a space at the end")
    return {
        "short": _text(value[4:133].split(b"\0", 1)[0]),
        "full": _text(value[133:646].split(b"\0", 1)[0]),
        "details": pairs,
    }


def _disks_v0(value: bytes) -> list[dict[str, Any]]:
    """Decode key 3: u8 count, then 116 packed bytes each; two extra zeros are allowed."""
    count = value[0] if value else 0
    size = 1 + count * 116
    if len(value) not in {size, size + 2} or any(value[size:]):
        raise ValueProblem(f"{len(value)} bytes for {count} disks")
    return [
        {
            "name": value[at + 16 : at + 116].split(b"\0", 1)[0].decode("latin-1"),
            "free": int.from_bytes(value[at : at + 8], "little"),
            "size": int.from_bytes(value[at + 8 : at + 16], "little"),
        }
        for at in range(1, size, 116)
    ]


def decode_disks(data: bytes) -> list[dict[str, Any]]:
    """Decode the JSON of SetGuestDiskInfo (version 1); raises ValueProblem."""
    try:
        document = json.loads(data)
        disks = document["disks"] if document.get("version") == "1" else None
        if not isinstance(disks, list):
            raise ValueProblem('not {"version":"1","disks":[...]}')
        return [_disk(disk) for disk in disks]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ValueProblem):
            raise
        raise ValueProblem(f"disk JSON: {error}") from None


def _disk(disk: dict[str, Any]) -> dict[str, Any]:
    if list(disk) != [k for k in ("name", "free", "size", "fstype", "devices") if k in disk]:
        raise ValueProblem(f"disk fields {', '.join(disk)}")
    try:
        name = base64.b64decode(disk["name"], validate=True).decode()
    except ValueError:  # also binascii.Error, UnicodeDecodeError
        raise ValueProblem(f"disk name {disk['name']!r} is not base64") from None
    free, size = int(disk["free"]), int(disk["size"])
    if not 0 <= free <= size:
        raise ValueProblem(f"disk {name}: {free} bytes free of {size}")
    decoded = {**disk, "name": name, "free": free, "size": size}
    if len(decoded.get("fstype", "")) > 259:
        raise ValueProblem(f"disk {name}: file system type of {len(disk['fstype'])} bytes")
    return decoded


class GuestInfo:
    """Everything known about the guest.  ``decoded`` holds the last valid value by key."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.decoded: dict[int, Any] = {}
        self.disks: list[dict[str, Any]] = []
        self.variables: dict[str, bytes] = {}

    def decode(self, key: int, value: bytes) -> Any:
        """Return the value in plain form; raises ValueProblem if its format is wrong."""
        try:
            if key in {IP_V1, IP_V2, IP_V3}:
                return nic.decode(key, value)
            if key == MEMORY:
                from vmtsim.host import memory  # noqa: PLC0415 - a short run has none

                return memory.decode(value)
        except ValueError as error:
            raise ValueProblem(str(error)) from None
        if key == DISK_FREE:
            return _disks_v0(value)
        if key == DETAILED:
            return _detailed(value)
        text = _text(value)
        if key == UPTIME:
            if not text.isascii() or not text.isdecimal():
                raise ValueProblem(f"uptime {text!r} is not decimal")
            return int(text)
        if key == DNS_NAME and len(value) > 255:
            raise ValueProblem(f"host name of {len(value)} bytes, at most 255")
        return text

    def store(self, key: int, value: bytes) -> None:
        """Store the value of ``key``; raises ValueProblem."""
        decoded = self.decode(key, value)
        if key == OS_SHORT:
            self._short_name(decoded)
        elif key == DETAILED:
            self._short_name(decoded["short"])
        self.decoded[key] = decoded
        self._context.trace.emit("guestinfo", key=key, name=KEY_NAMES[key], value=decoded)

    def _short_name(self, name: str) -> None:
        """Handle a name that VMware's table lacks: it is stored, and hostd logs a message (E13)."""
        if re.match(_SHORT, name):
            return
        self._context.log(f"Unable to convert Vigor value '{name}'")
        if self._context.options.strict_os_names:
            self._context.violation("os-name", f"OS id {name!r}")

    @property
    def system(self) -> tuple[str, str]:
        """Return the short name that a management client shows, and the full name of the system.

        If the short name is unknown, the client shows none, and the full name as reported by the
        guest (E13).
        """
        detailed = self.decoded.get(DETAILED, {})
        short = detailed.get("short") or self.decoded.get(OS_SHORT, "")
        full = detailed.get("full") or self.decoded.get(OS_FULL, "")
        return (short if re.match(_SHORT, short) else "", full)

    def set_disks(self, data: bytes) -> None:
        """Store SetGuestDiskInfo's JSON; raises ValueProblem."""
        self.disks = decode_disks(data)
        self._context.trace.emit("guestinfo", key=None, name="disks", value=self.disks)

    def set_variable(self, name: str, value: bytes) -> bool:
        """Store ``guestinfo.NAME``; returns whether it fits into the limit of all variables."""
        others = sum(len(key) + len(data) for key, data in self.variables.items() if key != name)
        if others + len(name) + len(value) > self._context.options.guestinfo_limit:
            return False
        self.variables[name] = value
        self._context.trace.emit("guestinfo", key=None, name=f"guestinfo.{name}", value=value)
        return True
