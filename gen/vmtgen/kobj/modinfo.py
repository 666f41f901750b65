"""module_fetch_info(): the modinfo_t that a module's link set points to.

From NetBSD sys/kern/kern_module.c and sys/sys/module.h.  The kernel reads it after the
local relocations only, so none of its pointers may need a global symbol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.twos import signed
from vmtgen.kobj.errors import KobjError, KobjPanicError, Message
from vmtgen.kobj.model import ModInfo

if TYPE_CHECKING:
    from vmtgen.kobj.link import Loading

LINK_SET = "link_set_modules"
_ENOENT = 2


def fetch(loading: Loading) -> ModInfo:
    """Return the module's information; KobjError with the kernel's message where it refuses."""
    size = loading.module.machine.pointer_size
    section = loading.find_section(LINK_SET)
    if section is None:
        raise KobjError(
            module_error(f"`{LINK_SET}' section not present, error {_ENOENT}"), errno="ENOENT"
        )
    if section.size != size:
        if section.size > size and section.size % size == 0:
            detail = f"({section.size // size} different MODULE declarations?)"
        else:
            detail = f"(got {section.size}, wanted {size})"  # sic: NetBSD sys/kern/kern_module.c
        raise KobjError(module_error(f"`{LINK_SET}' section wrong size {detail}"))
    address = _integer(loading, loading.addresses[section.index], size, LINK_SET)
    fields = Fields.at(loading, address)
    name = _text(loading, fields.name, "mi_name")
    text, fault = b"", ""
    if fields.required:
        try:
            text = _text(loading, fields.required, "mi_required")
        except KobjPanicError as error:
            fault = str(error)  # the kernel follows it only after the other checks
    required, ignored = split_required(text.decode("utf-8", "backslashreplace"))
    return ModInfo(
        fields.version,
        fields.module_class,
        name.decode("utf-8", "backslashreplace"),
        required,
        ignored,
        len(name),
        text.decode("utf-8", "backslashreplace"),
        fault,
    )


class Fields:
    """The members of a modinfo_t in memory, pointers as addresses."""

    def __init__(self, version: int, module_class: int, modcmd: int, name: int, required: int):
        self.version = version
        self.module_class = module_class
        self.modcmd = modcmd
        self.name = name
        self.required = required

    @classmethod
    def at(cls, loading: Loading, address: int) -> Fields:
        """Read the modinfo_t at an address; KobjPanicError where nothing is mapped."""
        size = loading.module.machine.pointer_size
        # mi_version and mi_class are ints; then mi_modcmd, mi_name and mi_required.
        class_ = _integer(loading, address + 4, 4, "modinfo")
        return cls(
            _integer(loading, address, 4, "modinfo"),
            signed(class_, 32),
            *(_integer(loading, address + 8 + i * size, size, "modinfo") for i in range(3)),
        )


def split_required(text: str) -> tuple[tuple[str, ...], str]:
    """Split mi_required as module_do_load() does; return the names, and what it ignores.

    A comma at the start is skipped, and the first empty name ends the list.
    """
    names: list[str] = []
    rest = text
    while rest:
        rest = rest.removeprefix(",") if rest[0] == "," else rest
        name, comma, behind = rest.partition(",")
        if not name:
            return tuple(names), rest.strip(",")
        names.append(name)
        rest = comma + behind
    return tuple(names), ""


def module_error(text: str) -> Message:
    """Return a warning as the kernel's own function of that name prints it."""
    return Message(f"WARNING: module error: {text}")


def _integer(loading: Loading, address: int, size: int, what: str) -> int:
    found = loading.locate(address, size)
    if found is None:
        raise _outside_module(what, address)
    image, start = found
    return int.from_bytes(image[start : start + size], "little")


def _text(loading: Loading, address: int, what: str) -> bytes:
    text = loading.string_at(address)
    if text is None:
        raise _outside_module(what, address)
    return text


def _outside_module(what: str, address: int) -> KobjPanicError:
    return KobjPanicError(
        f"the pointer to {what} is {address:#x} after the local relocations, outside the module: "
        "the kernel would follow it (make modinfo and its strings static)"
    )
