"""Rules about symbols: those that the kernel resolves, and duplicates that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj.known import nearest_symbols, symbols_of
from vmtgen.kobj.link import may_be_defined_twice
from vmtgen.lint.findings import finding
from vmtgen.targets import ExportedNames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.kobj import Module
    from vmtgen.kobj.known import KernelSymbols
    from vmtgen.lint.findings import Finding
    from vmtgen.targets import Targets

_FPU_ENTER = "fpu_kern_enter"
_SHOWN = 5


def symbol_findings(
    module: Module, targets: Targets, version: int | None, symbols: KernelSymbols | None
) -> Iterator[Finding]:
    """Yield the problems of the module's symbols.

    `symbols` are the kernel's, if the user gave them; `version` is the kernel's
    __NetBSD_Version__ (None: not known).
    """
    exact = symbols
    if exact is None and version is not None:
        exact = symbols_of(version, module.machine)
    for symbol in module.symbols:
        if symbol.special == "COMMON":
            yield finding("symbol-common", symbol.name, f"{symbol.size} bytes of COMMON")
        if not symbol.name_inside and symbol.kind != "FILE" and symbol.name_offset:
            message = (
                f"symbol {symbol.index}: st_name {symbol.name_offset:#x} leads out of the table"
            )
            yield finding("symbol-text", symbol.name, message)
    yield from _imports(module, targets, exact)
    yield from _clashes(module, targets, exact)
    if module.globals:
        names = ", ".join(module.globals[:_SHOWN])
        more = len(module.globals) - _SHOWN
        count = len(module.globals)
        message = f"{count} global name{'s' * (count > 1)}: {names}"
        message += f", {more} more" if more > 0 else ""
        yield finding("global-symbol", "", message)
    if _FPU_ENTER in module.imports:
        yield finding("fpu-enter", _FPU_ENTER, "code may use FPU and SIMD registers after it")


def may_use_fpu(module: Module) -> bool:
    """Whether the module calls fpu_kern_enter()."""
    return _FPU_ENTER in module.imports


def _imports(module: Module, targets: Targets, exact: KernelSymbols | None) -> Iterator[Finding]:
    exported = ExportedNames(targets.exports)
    machine = module.machine.value
    names = {
        symbol.name
        for symbol in module.symbols
        if symbol.special == "UNDEF" and symbol.name_offset and symbol.binding == "GLOBAL"
    }
    for name in sorted(names):
        message = f"symbol `{name}' not found"
        denied = exported.denied(name, machine) if exact is None else None
        if exact is not None and name not in exact.names:
            text = f"not among the kernel's {len(exact.names)} symbols ({exact.source})"
            yield finding("import-missing", name, text, message)
        elif denied is not None:
            yield finding("import-missing", name, f"NetBSD/{machine} exports no {name}: {denied}",
                          message)  # fmt: skip
        elif exact is None and not exported.is_listed(name, machine):
            yield finding("import-unknown", name, f"not known to be exported on {machine}")


def _clashes(module: Module, targets: Targets, exact: KernelSymbols | None) -> Iterator[Finding]:
    known = exact or nearest_symbols()
    for name in module.globals:
        if may_be_defined_twice(name):
            continue
        if name in known.names:
            builtin = name in targets.builtin_globals
            whose = "a driver that GENERIC has built in" if builtin else "the kernel"
            yield finding(
                "symbol-clash",
                name,
                f"{whose} defines {name} too",
                f"global symbol `{name}' redefined",
            )
