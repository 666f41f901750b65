"""module_fetch_info(): the modinfo_t that a module's link set points to.

From NetBSD sys/kern/kern_module.c and sys/sys/module.h.  The kernel reads it after the
local relocations only, so what it needs must not hang on global symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj.errors import KobjCorruptionError, KobjError, Message
from vmtgen.kobj.link import link_locally
from vmtgen.kobj.model import ModInfo

if TYPE_CHECKING:
    from vmtgen.kobj.link import Linked
    from vmtgen.kobj.model import Module

LINK_SET = "link_set_modules"
_ENOENT = 2


def fetch(module: Module) -> ModInfo:
    """Return the module's information; KobjError with the kernel's words where it refuses."""
    size = module.machine.pointer_size
    try:
        section = module.section(LINK_SET)
    except KeyError:
        raise KobjError(
            _module_error(f"`{LINK_SET}' section not present, error {_ENOENT}"), errno="ENOENT"
        ) from None
    if section.size != size:
        if section.size > size and section.size % size == 0:
            detail = f"({section.size // size} different MODULE declarations?)"
        else:
            detail = f"(got {section.size}, wanted {size})"
        raise KobjError(_module_error(f"`{LINK_SET}' section wrong size {detail}"))
    linked = link_locally(module)
    (address,) = linked.link_sets["modules"]
    # mi_version and mi_class are ints; then mi_modcmd, mi_name and mi_required.
    version = _integer(linked, address, 4, "modinfo")
    module_class = _integer(linked, address + 4, 4, "modinfo")
    name = _text(linked, _integer(linked, address + 8 + size, size, "modinfo"), "mi_name")
    required_at = _integer(linked, address + 8 + 2 * size, size, "modinfo")
    required = _text(linked, required_at, "mi_required") if required_at else ""
    return ModInfo(version, module_class, name, tuple(part for part in required.split(",") if part))


def _module_error(text: str) -> Message:
    """module_error() has no function name: it prints a warning of its own form."""
    return Message(f"WARNING: module error: {text}")


def _integer(linked: Linked, address: int, size: int, what: str) -> int:
    return int.from_bytes(_read(linked, address, size, what), "little")


def _text(linked: Linked, address: int, what: str) -> str:
    for region, base in linked.bases.items():
        image = linked.images.get(region, b"")
        if base <= address < base + len(image):
            end = image.find(b"\0", address - base)
            if end >= 0:
                return image[address - base : end].decode("utf-8", "backslashreplace")
    raise _astray(what, address)


def _read(linked: Linked, address: int, size: int, what: str) -> bytes:
    for region, base in linked.bases.items():
        image = linked.images.get(region, b"")
        if base <= address and address + size <= base + len(image):
            return image[address - base : address - base + size]
    raise _astray(what, address)


def _astray(what: str, address: int) -> KobjCorruptionError:
    return KobjCorruptionError(
        f"the pointer to {what} is {address:#x} after the local relocations, outside the module: "
        "the kernel would follow it (make modinfo and its strings static)"
    )
