"""The linter: says of a module what the kernel would refuse, and what would hurt.

The refusals come from vmtgen.kobj, which the simulator uses too; the rest are the rules that
need the specs (exported names, releases) or a look at the code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vmtgen.common.files import expect_file
from vmtgen.kobj import KobjError, Machine, Module, inspect_module
from vmtgen.kobj.link import may_be_defined_twice
from vmtgen.kobj.model import PAGE_SIZE, SHF_ALLOC
from vmtgen.lint.code import code_problems
from vmtgen.lint.rules import BY_ID, Rule, Severity, rule_for
from vmtgen.targets import ExportedNames, Targets, load_targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmtgen.kobj import ModInfo

_MAXMODNAME = 32  # with the NUL, NetBSD sys/sys/module.h
_OUR_MODULE = "vmt"
# Every global name in the templates begins with it; no kernel symbol does.
_OUR_PREFIX = "vmtk_"
_CLASSES = range(1, 7)  # MODULE_CLASS_MISC to MODULE_CLASS_BUFQ


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the rule, where, and what to do.

    `kernel` is what the kernel would print, '' where it would not notice.
    """

    rule: str
    severity: Severity
    where: str
    message: str
    remedy: str
    kernel: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return asdict(self)


def lint_file(
    path: Path,
    *,
    targets: Targets | None = None,
    release: str | None = None,
    machine: Machine | None = None,
) -> tuple[Finding, ...]:
    """Lint the module at `path`, errors first.

    `release` is the kernel's release (None: the one that the module says it was built for),
    `machine` the kernel's machine (None: the file's own). Raises MissingInputError where there
    is no such file, UsageError for a release that nobody knows.
    """
    targets = targets or load_targets()
    expect_file(path, hint="vmtgen lint takes a .kmod, as vmtgen build makes it")
    seen = inspect_module(path, machine)
    findings = [_refusal(error, seen.module) for error in seen.refusals]
    if seen.module is not None:
        findings += _module_findings(seen.module, targets, release)
    # The loader may stop for one reason at two places.
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.severity))


def _finding(rule_id: str, where: str, message: str, kernel: str = "") -> Finding:
    rule = BY_ID[rule_id]
    return Finding(rule.id, rule.severity, where, message, rule.remedy, kernel)


def _refusal(error: KobjError, module: Module | None) -> Finding:
    """Return the finding for what the loader refuses."""
    rule: Rule | None = None
    for said in error.messages:
        rule = rule or rule_for(said.text)
    assert rule is not None, f"no rule for the loader's words: {error}"
    where = ""
    relocation = error.relocation
    message = rule.why
    if relocation is not None and module is not None:
        where = f"{module.sections[relocation.section].name}+{relocation.offset:#x}"
        target = module.describe(relocation.symbol)
        message = f"{relocation.type_name} against {target}: {rule.why[0].lower()}{rule.why[1:]}"
    return Finding(rule.id, rule.severity, where, message, rule.remedy, str(error))


def _module_findings(module: Module, targets: Targets, release: str | None) -> Iterator[Finding]:
    yield from _section_findings(module)
    yield from _symbol_findings(module, targets)
    info: ModInfo | None = None
    try:
        info = module.modinfo
    except KobjError as error:
        if error.relocation is None:  # relocations are told one by one
            yield _refusal(error, None)
    if info is not None:
        yield from _info_findings(info, targets, release)
        if info.name == _OUR_MODULE:
            for name in module.globals:
                if not name.startswith(_OUR_PREFIX):
                    said = f"global name without the prefix {_OUR_PREFIX}"
                    yield _finding("symbol-prefix", name, said)
    for problem in code_problems(module):
        yield _finding(problem.rule, problem.where, problem.message)


def _section_findings(module: Module) -> Iterator[Finding]:
    debug = [s for s in module.sections if s.loaded and s.name.startswith(".debug") and s.size]
    if debug:
        total = sum(section.size for section in debug)
        said = f"{len(debug)} debug sections, {total} bytes, would be loaded"
        yield _finding("debug-sections", debug[0].name, said)
    for section in module.sections:
        if not section.loaded or section.size == 0 or section in debug:
            continue
        said = f"{section.size} bytes would be loaded as {section.region}"
        if section.align > PAGE_SIZE:
            text = f"wants an alignment of {section.align} bytes"
            yield _finding("section-align-page", section.name, text)
        if section.name.startswith(".eh_frame"):
            yield _finding("eh-frame", section.name, said)
        elif not section.flags & SHF_ALLOC:
            yield _finding("stray-section", section.name, said)
    for section_index, offset, symbol in module.skipped:
        where = f"{module.sections[section_index].name}+{offset:#x}"
        yield _finding("relocation-symbol", where, f"symbol index {symbol} is out of range")


def _symbol_findings(module: Module, targets: Targets) -> Iterator[Finding]:
    exported = ExportedNames(targets.exports)
    machine = module.machine.value
    for symbol in module.symbols:
        if symbol.special == "COMMON":
            yield _finding("symbol-common", symbol.name, f"{symbol.size} bytes of COMMON")
    for name in module.imports:
        denied = exported.denied(name, machine)
        if denied is not None:
            yield _finding(
                "import-missing",
                name,
                f"NetBSD/{machine} exports no {name}: {denied}",
                f"symbol `{name}' not found",
            )
        elif not exported.vouched(name, machine):
            yield _finding("import-unknown", name, f"not known to be exported on {machine}")
    for name in module.globals:
        if may_be_defined_twice(name):
            continue
        if name in targets.builtin_globals or name in exported.table:
            whose = "GENERIC's built-in vmt(4)" if name in targets.builtin_globals else "the kernel"
            yield _finding(
                "symbol-clash",
                name,
                f"{whose} defines {name} too",
                f"global symbol `{name}' redefined",
            )


def _info_findings(info: ModInfo, targets: Targets, release: str | None) -> Iterator[Finding]:
    def refused(rule: str, text: str) -> Finding:
        return _finding(rule, "MODULE()", f"{BY_ID[rule].why} Here: {text}", text)

    if len(info.name) >= _MAXMODNAME:
        yield refused("module-name", f"module name `{info.name}' longer than {_MAXMODNAME}")
    if info.module_class not in _CLASSES:
        yield refused("module-class", f"module `{info.name}' has invalid class {info.module_class}")
    for required in info.required:
        if len(required) + 1 >= _MAXMODNAME:
            yield refused(
                "module-requires", f"required module name `{required}' longer than {_MAXMODNAME}"
            )
        elif required == info.name:
            yield refused("module-requires", f"self-dependency detected for `{info.name}'")
    if release is not None:
        version = targets.release(release).version
        if not info.accepted_by(version):
            yield refused(
                "module-version",
                f"module `{info.name}' built for `{info.version}', system `{version}'",
            )


def accepting_kernels(module: Module) -> str:
    """Return in words which kernels take the module, by version (module_compatible()) and machine.

    Raises KobjError where it says nothing readable of itself.
    """
    info = module.modinfo
    kernel = f"NetBSD {info.version_text}/{module.machine.value}"
    if info.version // 1_000_000 % 100 == 99:
        return f"exactly {kernel}"
    return f"{kernel} and its patch levels"
