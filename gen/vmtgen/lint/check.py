"""The linter checks a module for load errors and likely problems.

The load errors come from vmtgen.kobj, which the simulator uses too, in the order of the loader's
steps. The other rules check properties that the loader does not check, that depend on a list of
symbols, or that depend on the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.files import expect_file
from vmtgen.kobj import KobjError, Loading, Machine, Module, inspect_module
from vmtgen.lint.findings import Finding, finding, refusal
from vmtgen.lint.info import info_findings
from vmtgen.lint.kept import kept_code_problems
from vmtgen.lint.relocations import relocation_findings
from vmtgen.lint.rules import SEVERITIES
from vmtgen.lint.sections import section_findings
from vmtgen.lint.symbols import may_use_fpu, symbol_findings
from vmtgen.targets import Targets, load_targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmtgen.kobj.known import KernelSymbols

__all__ = ["Finding", "accepting_kernels", "lint_file"]


def lint_file(
    path: Path,
    *,
    targets: Targets | None = None,
    release: str | None = None,
    machine: Machine | None = None,
    symbols: KernelSymbols | None = None,
) -> tuple[Finding, ...]:
    """Lint the module at `path`, errors first.

    `release` is the kernel's `uname -r` (None: the release in the module's modinfo), `machine` the
    kernel's machine (None: the file's own), `symbols` the kernel's exported names (None: the
    built-in list). Raises MissingInputError where there is no such file, UsageError for an
    invalid release.
    """
    targets = targets or load_targets()
    version = None if release is None else targets.kernel(release)
    expect_file(path, hint="vmtgen lint takes a .kmod, as vmtgen build makes it")
    seen = inspect_module(path, machine)
    findings = [refusal(error, seen.module) for error in seen.refusals]
    if seen.module is not None:
        findings += section_findings(seen.module)
    if seen.loading is not None:
        findings += _module_findings(seen.loading, targets, version, symbols)
    # The loader may report one reason at two places, and two rules may report the same place.
    unique: dict[tuple[str, str], Finding] = {}
    for found in findings:
        unique.setdefault((found.rule, found.where or found.message), found)
    return tuple(sorted(unique.values(), key=lambda found: SEVERITIES.index(found.severity)))


def _module_findings(
    loading: Loading, targets: Targets, version: int | None, symbols: KernelSymbols | None
) -> Iterator[Finding]:
    module = loading.module
    yield from relocation_findings(module, loading)
    built_for = version if version is not None else _version(module)
    yield from symbol_findings(module, targets, built_for, symbols)
    yield from info_findings(module, loading, version)
    fpu = may_use_fpu(module)
    for rule, where, message in kept_code_problems(module, loading, may_use_fpu=fpu):
        yield finding(rule, where, message)


def _version(module: Module) -> int | None:
    try:
        return module.modinfo.version
    except KobjError:
        return None


def accepting_kernels(module: Module) -> str:
    """Describe the kernels that load the module, by version (module_compatible()) and machine.

    Raises KobjError where its modinfo cannot be read.
    """
    info = module.modinfo
    kernel = f"NetBSD {info.version_text}/{module.machine.value}"
    if info.version // 1_000_000 % 100 == 99:
        return f"exactly {kernel}"
    return f"{kernel} and its patch levels"
