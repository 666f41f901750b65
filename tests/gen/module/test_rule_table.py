"""The linter's rules compared with the kernel's own refusals, each with a file that causes it.

The kernel's list is written here from its sources, not taken from the linter: a refusal without a
rule, and a rule that no file breaks, both fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from c_cases import C_CASES, source
from elftools.elf import enums
from refusal_cases import CASES, CORRUPTIONS, HARMFUL
from vmtgen.kobj import Machine, inspect_module
from vmtgen.kobj.relocations import RULES as RELOCATIONS
from vmtgen.lint.check import lint_file
from vmtgen.lint.rules import BY_ID, RULES, rule_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Golden

KOBJ, MACHDEP, MODULE = "subr_kobj.c", "kobj_machdep.c", "kern_module.c"


@dataclass(frozen=True)
class Message:
    """A refusal: its place in the kernel, an example of the message, the errno of modload.

    `rule` is the linter's rule; without a rule, `why` has the reason.
    """

    place: str
    words: str
    errno: str
    rule: str = ""
    why: str = ""


# NetBSD 10.99.12, in the order of the source: kobj_load() to kobj_relocate(), kobj_reloc() of
# the three machines, module_fetch_info() and module_do_load().
KERNEL: tuple[Message, ...] = (
    Message(KOBJ, "read failed 22", "EINVAL", "elf-short"),
    Message(KOBJ, "not an ELF object", "ENOEXEC", "elf-magic"),
    Message(KOBJ, "unsupported file version 2", "ENOEXEC", "elf-version"),
    Message(KOBJ, "unsupported file type 2", "ENOEXEC", "elf-type"),
    Message(KOBJ, "unsupported machine 8", "ENOEXEC", "elf-machine"),
    Message(KOBJ, "bad sizes", "ENOEXEC", "section-table"),
    Message(KOBJ, "file has no contents", "ENOEXEC", "no-contents"),
    Message(KOBJ, "file has no valid symbol table", "ENOEXEC", "symbol-table"),
    Message(KOBJ, "file has invalid symbol strings", "ENOEXEC", "symbol-strings"),
    Message(KOBJ, "out of memory", "ENOMEM", "module-size"),
    Message(KOBJ, "no symbol table", "ENOEXEC", "symbol-table-empty"),
    Message(KOBJ, "no symbol strings", "ENOEXEC", "symbol-strings-empty"),
    Message(KOBJ, "renamespace failed 1", "-", why="only in rump kernels, which rename symbols"),
    Message(KOBJ, "bad shstrndx", "ENOEXEC", "section-names"),
    Message(KOBJ, "no text", "ENOEXEC", "no-text"),
    Message(KOBJ, "machine dependent init failed (text) 12", "-", why="about the running machine"),
    Message(KOBJ, "symbol index 9 out of range", "-",
         why="never reached: kobj_relocate() skips such a relocation before"),
    Message(KOBJ, "local symbol @3 undefined", "ENOEXEC", "symbol-local"),
    Message(KOBJ, "bad symbol @3 name", "ENOEXEC", "symbol-name"),
    Message(KOBJ, "kobj_read_vfs: not in a dedicated segment", "panic", "section-align"),
    Message(KOBJ, "kobj_load: map_data_base 0x2 != address 1", "panic", "section-align"),
    Message(KOBJ, "kobj_relocate:1119: lost base for e_relatab[3] sec 2", "panic",
            "relocation-base"),
    Message(KOBJ, "hz @3: bad value", "ENOEXEC", why="about the address that the kernel gives it"),
    Message(KOBJ, "weak symbol @3 not supported", "ENOEXEC", "symbol-weak"),
    Message(KOBJ, "bad binding 0x5 for symbol @3", "ENOEXEC", "symbol-binding"),
    Message(KOBJ, "symbol `nothing' not found", "ENOEXEC", "import-missing"),
    Message(KOBJ, "global symbol `vmt_ca' redefined", "ENOEXEC", "symbol-clash"),
    Message(MACHDEP, "kobj_reloc: unexpected relocation type 9", "ENOEXEC", "relocation-type"),
    Message(MACHDEP, "kobj_reloc: unsupported relocation type 299", "ENOEXEC", "relocation-type"),
    Message(MACHDEP, "kobj_reloc: REL relocations not supported", "ENOEXEC", "relocation-rel"),
    Message(MACHDEP, "kobj_reloc: Relocation 0x1 unaligned at 0x2", "ENOEXEC", "relocation-align"),
    Message(MACHDEP, "kobj_reloc: Relocation 0x1 too far from 0x2", "ENOEXEC", "relocation-range"),
    Message(MODULE, "WARNING: module error: `link_set_modules' section not present, error 2",
         "ENOENT", "module-info"),
    Message(MODULE, "WARNING: module error: `link_set_modules' section wrong size (2 different "
         "MODULE declarations?)", "ENOEXEC", "module-info-size"),
    Message(MODULE, "module name `x' longer than 32", "EINVAL", "module-name"),
    Message(MODULE, "module `x' has invalid class 0", "EINVAL", "module-class"),
    Message(MODULE, "module `x' built for `1', system `2'", "EPROGMISMATCH", "module-version"),
    Message(MODULE, "dependency name mismatch (`a' != `b')", "ENOENT",
         why="about another module's file"),
    Message(MODULE, "module with name `x' already loaded", "EEXIST", "module-builtin"),
    Message(MODULE, "circular dependency detected for `x'", "EDEADLK", why="about other modules"),
    Message(MODULE, "required module name `x' longer than 32", "EINVAL", "module-requires"),
    Message(MODULE, "self-dependency detected for `x'", "EDEADLK", "module-requires"),
    Message(MODULE, "recursive load failed for `x' (`y' required), error 2", "ENOENT",
         "module-requires"),
)  # fmt: skip

# The cases of each kobj_machdep.c; the numbers are the psABIs'.
ACCEPTED = {
    "amd64": "NONE 64 PC32 PLT32 32 32S GLOB_DAT JUMP_SLOT RELATIVE",
    "i386": "NONE 32 PC32 GLOB_DAT RELATIVE",
    "aarch64": "NONE ABS64 ABS32 ABS16 ADD_ABS_LO12_NC LDST8_ABS_LO12_NC LDST16_ABS_LO12_NC "
    "LDST32_ABS_LO12_NC LDST64_ABS_LO12_NC ADR_PREL_PG_HI21 ADR_PREL_PG_HI21_NC JUMP26 CALL26 "
    "PREL64 PREL32 PREL16",
}
TYPES = {
    "amd64": ("R_X86_64_", enums.ENUM_RELOC_TYPE_x64),
    "i386": ("R_386_", enums.ENUM_RELOC_TYPE_i386),
    "aarch64": ("R_AARCH64_", enums.ENUM_RELOC_TYPE_AARCH64),
}
# R_AARCH64_NONE has two numbers: 0 in the kernel's header, 256 in the psABI.
ALSO_NONE = {"amd64": set[int](), "i386": set[int](), "aarch64": {0, 256}}


@pytest.mark.parametrize(
    "message", [message for message in KERNEL if message.rule], ids=lambda s: s.words[:40]
)
def test_kernel_message_maps_to_rule(message: Message) -> None:
    rule = rule_for(message.words)
    assert rule is not None
    assert rule.id == message.rule
    assert rule.severity == "error"
    assert message.place.removesuffix(".c") in rule.source or "kobj_machdep.c" in rule.source


@pytest.mark.parametrize(("rule", "errno", "words"), [(c[0], c[3], c[4]) for c in CASES])
def test_errno_matches_kernel(rule: str, errno: str, words: str) -> None:
    assert errno in {message.errno for message in KERNEL if message.rule == rule}, words


def test_every_refusal_rule_is_in_kernel_list() -> None:
    own = {
        # Defects that the kernel does not check, and that crash it or load at a wrong place: the
        # simulator's loader reports them with messages of its own.
        "section-name", "section-overlap", "relocation-outside", "module-info-local",
    }  # fmt: skip
    listed = {message.rule for message in KERNEL if message.rule}
    assert {rule.id for rule in RULES if rule.kernel} - listed == own


def _types(machine: str) -> dict[str, int]:
    prefix, numbers = TYPES[machine]
    return {
        name.removeprefix(prefix): number
        for name, number in numbers.items()
        if name.startswith(prefix) and isinstance(number, int)
    }


@pytest.mark.parametrize("machine", ACCEPTED)
def test_loader_accepts_exactly_relocations_of_machine(
    machine: str, edit: Callable[..., Any]
) -> None:
    """Each type of the psABI, which replaces an existing relocation of a module."""
    numbers = _types(machine)
    taken = {numbers[name] for name in ACCEPTED[machine].split()} | ALSO_NONE[machine]
    assert taken == set(RELOCATIONS[Machine(machine)])
    section = ".rel.text" if machine == "i386" else ".rela.text"
    refused = 0
    for name, number in numbers.items():
        if machine == "i386" and number > 255:
            continue
        editor = edit(machine)
        editor.relocation(section, lambda _: True, type=number)
        path = editor.write()
        words = [str(error) for error in inspect_module(path).refusals]
        unknown = [text for text in words if "relocation type" in text]
        assert bool(unknown) is (number not in taken), name
        if unknown:
            refused += 1
            (finding,) = [f for f in lint_file(path) if f.rule == "relocation-type"]
            assert finding.where.startswith(".text+0x")
            assert f"{number}" in finding.kernel
    assert refused > 20


def _fixtures(build: Any, edit: Callable[..., Any]) -> dict[str, list[str]]:
    """Lint every file; return by rule which files broke it."""
    found: dict[str, list[str]] = {}

    def look(rule: str, name: str, path: Any, **options: Any) -> None:
        assert rule in {finding.rule for finding in lint_file(path, **options)}, (rule, name)
        names = found.setdefault(rule, [])
        if name not in names:
            names.append(name)

    for rule, machine, change, *_ in (*CASES, *CORRUPTIONS, *HARMFUL):
        editor = edit(machine)
        change(editor)
        look(rule, f"edited module ({machine})", editor.write())
    for rule, _, machine, text in C_CASES:
        look(rule, f"C ({machine})", build(text, machine).path)
    look("debug-sections", "debug twin (amd64)", build("hello.c").debug)
    look("module-version", "built for 11.0, kernel 10.1", build("hello.c").path, release="10.1")
    body = "{\n\tvolatile int a[4];\n\n\ta[n & 3] = n;\n\treturn a[0];\n}\n"
    leaf = f"int leaf(int);\nint\nleaf(int n)\n{body}"
    flags = ("-mred-zone", "-fomit-frame-pointer")
    path = build(source(before=leaf), extra_flags=flags).path
    look("red-zone", f"C, {' '.join(flags)} (amd64)", path)
    return found


def test_every_rule_has_a_violating_file(
    build: Any, edit: Callable[..., Any], golden: Golden
) -> None:
    """The table: the kernel's message, the rule, and the files. Shown with pytest -rP."""
    files = _fixtures(build, edit)
    assert set(files) == set(BY_ID)
    lines = ["The kernel's refusals (NetBSD 10.99.12) and the linter's rules for them", ""]
    for message in KERNEL:
        shown = message.words if len(message.words) <= 58 else f"{message.words[:55]}..."
        head = f"{message.place:<15}{shown:<60}{message.errno:<15}"
        if message.rule:
            lines.append(f"{head}{message.rule:<22}{', '.join(files[message.rule])}")
        else:
            lines.append(f"{head}no rule: {message.why}")
    lines += ["", "Rules about what the kernel does not refuse", ""]
    listed = {message.rule for message in KERNEL}
    for rule in RULES:
        if rule.id not in listed:
            names = ", ".join(files[rule.id])
            lines.append(f"{rule.id:<22}{rule.severity:<9}{names}\n{'':<22}{rule.why}")
    lines += ["", "Relocations that are taken", ""]
    lines += [f"{machine:<9}{names}" for machine, names in ACCEPTED.items()]
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    print(text)
    golden.check("rules.txt", text)
