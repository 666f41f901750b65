"""Rules about modinfo_t: follows its relocations, then makes the kernel's checks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vmtgen.kobj import KobjError
from vmtgen.kobj.admission import own_refusals, required_refusals, version_refusals
from vmtgen.kobj.known import modules_of, nearest_modules
from vmtgen.kobj.modinfo import LINK_SET, Fields
from vmtgen.lint.findings import finding, refusal
from vmtgen.lint.rules import BY_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import Loading, ModInfo, Module, Section
    from vmtgen.kobj.admission import AdmissionError
    from vmtgen.lint.findings import Finding

_MODULE = "MODULE()"
_ORDINARY_NAME = re.compile(r"[A-Za-z0-9_]+")


def info_findings(module: Module, loading: Loading, version: int | None) -> Iterator[Finding]:
    """Yield the errors in the module's information.

    `loading` is the module with every relocation applied; `version` the kernel's
    __NetBSD_Version__ (None: the one that the module was built for).
    """
    try:
        info = module.modinfo
    except KobjError as error:
        if error.relocation is None:  # relocations are reported one by one
            yield refusal(error, None)
        return
    yield from _place_findings(module, loading)
    yield from _name_findings(info, module, version)
    for refused in own_refusals(info):
        yield _of(refused, "module-name" if "longer than" in refused.text else "module-class")
    if version is not None:
        for refused in version_refusals(info, version):
            yield _of(refused, "module-version")
    yield from _required_findings(info, module, version)


def _of(refused: AdmissionError, rule: str) -> Finding:
    return finding(rule, _MODULE, f"{BY_ID[rule].why} Here: {refused.text}", refused.text)


# -- the pointers' targets ---------------------------------------------------------------------


def _place_findings(module: Module, loading: Loading) -> Iterator[Finding]:
    """Follow the link set to modinfo_t, and that to its strings and to the function."""
    size = module.machine.pointer_size
    link_set = loading.find_section(LINK_SET)
    assert link_set is not None, "module_fetch_info() found it"
    found = loading.locate(loading.addresses[link_set.index], size)
    assert found is not None, "module_fetch_info() read it"
    address = int.from_bytes(found[0][found[1] : found[1] + size], "little")
    if _section_at(loading, address, 8 + 3 * size) is None:
        yield finding("module-info-place", LINK_SET, f"modinfo at {address:#x} is in no section")
        return
    fields = Fields.at(loading, address)
    for what, pointer in (("mi_name", fields.name), ("mi_required", fields.required)):
        if pointer and not _ends_inside(loading, pointer):
            message = f"{what} is {pointer:#x}, no string inside a section"
            yield finding("module-info-place", _MODULE, message)
    yield from _modcmd_findings(module, loading, fields.modcmd)


def _modcmd_findings(module: Module, loading: Loading, address: int) -> Iterator[Finding]:
    section = _section_at(loading, address, 1)
    if section is None or section.region != "text" or section.type != "PROGBITS":
        where = "in no section" if section is None else f"in {section.name}"
        message = f"mi_modcmd is {address:#x}, {where}: no function of the module's"
        yield finding("module-modcmd", _MODULE, message)
        return
    for symbol in module.symbols:
        if symbol.kind != "FUNC" or symbol.section != section.index:
            continue
        distance = address - loading.values[symbol.index]
        if 0 < distance < symbol.size:
            message = f"mi_modcmd leads {distance} bytes into {symbol.name}, not to its start"
            yield finding("module-modcmd", _MODULE, message)
            return


def _section_at(loading: Loading, address: int, size: int) -> Section | None:
    """Return the loaded section that holds these bytes."""
    for section in loading.module.sections:
        start = loading.addresses.get(section.index)
        if start is not None and start <= address and address + size <= start + section.size:
            return section
    return None


def _ends_inside(loading: Loading, address: int) -> bool:
    """Whether a string begins in a section and ends in it."""
    section = _section_at(loading, address, 1)
    text = loading.string_at(address)
    if section is None or text is None:
        return False
    return address + len(text) < loading.addresses[section.index] + section.size


# -- the contents ------------------------------------------------------------------------------


def _name_findings(info: ModInfo, module: Module, version: int | None) -> Iterator[Finding]:
    if not _ORDINARY_NAME.fullmatch(info.name):
        message = f"the name is {info.name!r}"
        yield finding("module-name-odd", _MODULE, message)
    known = modules_of(version or info.version, module.machine) or nearest_modules()
    if info.name in known.idle:
        yield finding("module-replaces", _MODULE, f"{info.name}: {BY_ID['module-replaces'].why}")
    elif info.name in known.builtin:
        message = f"module with name `{info.name}' already loaded"
        yield finding(
            "module-builtin", _MODULE, f"{info.name} is built in ({known.source})", message
        )


def _required_findings(info: ModInfo, module: Module, version: int | None) -> Iterator[Finding]:
    if info.required_fault:
        yield finding("module-info-local", _MODULE, info.required_fault)
        return
    exact = modules_of(version or info.version, module.machine)
    known = exact or nearest_modules()
    for refused in required_refusals(info, lambda _: True):
        yield _of(refused, "module-requires")
    for name in info.required:
        if re.search(r"\s", name):
            message = f"{name!r}: a blank is part of a required module's name"
            yield finding("module-requires", _MODULE, message, _not_loaded(info, name))
        elif known.has(name) or name == info.name or len(name) + 1 >= 32:
            continue
        elif exact is not None:
            message = f"{name}: no such module ({exact.source})"
            yield finding("module-requires", _MODULE, message, _not_loaded(info, name))
        else:
            message = f"{name}: not among the known modules ({known.source})"
            yield finding("module-requires-unknown", _MODULE, message)
    if info.ignored:
        message = f"{info.ignored!r} comes after an empty name, where the kernel stops reading"
        yield finding("module-requires", _MODULE, message)


def _not_loaded(info: ModInfo, name: str) -> str:
    return f"recursive load failed for `{info.name}' (`{name}' required), error 2"
