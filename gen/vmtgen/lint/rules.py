"""The linter's rules: what each is about, what the kernel does, what to do.

An `error` is refused by the kernel or would crash it; a `warning` loads and hurts. `kernel` is
the loader's own text as a regular expression where the rule is one of its refusals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

_KOBJ = "NetBSD sys/kern/subr_kobj.c"
_MODULE = "NetBSD sys/kern/kern_module.c"
_MACHDEP = "NetBSD sys/arch/*/*/kobj_machdep.c"


@dataclass(frozen=True)
class Rule:
    """One rule: `why` says what the kernel does, `remedy` what to do about it."""

    id: str
    severity: Severity
    why: str
    remedy: str
    source: str
    kernel: str | None = None

    def matches(self, text: str) -> bool:
        """Whether `text`, what the loader said, is this rule's refusal."""
        return self.kernel is not None and re.match(self.kernel, text) is not None


_WHOLE = "build it again, or copy it again: the file is damaged"
_NOT_A_MODULE = "give the .kmod that the linker made with -r, not a program or an archive"

RULES: tuple[Rule, ...] = (
    Rule("elf-short", "error", "The file ends before what its headers promise.", _WHOLE, _KOBJ,
         r"read failed"),
    Rule("elf-magic", "error", "The file does not begin as an ELF file does.", _NOT_A_MODULE,
         _KOBJ, r"not an ELF object"),
    Rule("elf-version", "error", "Another version of ELF than 1.", _WHOLE, _KOBJ,
         r"unsupported file version"),
    Rule("elf-type", "error", "Only relocatable files (ET_REL) can be loaded.",
         "link with ld -r, not into a program or a shared object", _KOBJ,
         r"unsupported file type"),
    Rule("elf-machine", "error", "The file is for a machine that the kernel does not run on.",
         "build for the kernel's machine: vmtgen build --machine", _KOBJ,
         r"unsupported machine"),
    Rule("section-table", "error",
         "The section header table is missing, too long, or has entries of another size.",
         _WHOLE, _KOBJ, r"bad sizes"),
    Rule("no-contents", "error", "There is no section to load.", _NOT_A_MODULE, _KOBJ,
         r"file has no contents"),
    Rule("symbol-table", "error", "There must be exactly one symbol table: a stripped module "
         "cannot be loaded.", "strip no more than debug sections (strip -g)", _KOBJ,
         r"file has no valid symbol table"),
    Rule("symbol-strings", "error", "The symbol table names no string table.", _WHOLE, _KOBJ,
         r"file has invalid symbol strings"),
    Rule("symbol-table-empty", "error", "The symbol table has no entry.", _WHOLE, _KOBJ,
         r"no symbol table"),
    Rule("symbol-strings-empty", "error", "The symbol string table is empty.", _WHOLE, _KOBJ,
         r"no symbol strings"),
    Rule("section-names", "error", "The index of the section name table is out of range.",
         _WHOLE, _KOBJ, r"bad shstrndx"),
    Rule("no-text", "error", "There is no code.", "add the object with the modcmd function",
         _KOBJ, r"no text"),
    Rule("section-align-zero", "error",
         "With sh_addralign 0 the loader computes a wrong size and writes to address 0.",
         "set the alignment to 1 or more; no compiler makes this", _KOBJ,
         r"section .*sh_addralign 0"),
    Rule("section-align-page", "error",
         "The loader aligns its three regions to pages and cannot align a section to more.",
         "use an alignment of at most 4096 bytes", _KOBJ, r"section .* wants an alignment"),
    Rule("relocation-section", "error",
         "A relocation section belongs to a section that does not exist; the loader does not look.",
         _WHOLE, _KOBJ, r"relocation section .* is for section"),
    Rule("relocation-outside", "error",
         "A relocation lies outside its section; the loader writes there all the same.",
         _WHOLE, _KOBJ, r"relocation at .* lies outside"),
    Rule("relocation-symbol", "warning",
         "A relocation whose symbol index is out of range is passed over without a word.",
         _WHOLE, _KOBJ),
    Rule("relocation-type", "error", "The machine's loader does not know this relocation.",
         "compile without -fpic, -fpie, -mcmodel=large and thread-local data; on i386 with "
         "-fno-plt, on aarch64 with -mgeneral-regs-only", _MACHDEP,
         r"kobj_reloc: (unexpected|unsupported) relocation type"),
    Rule("relocation-rel", "error", "The aarch64 loader takes relocations with addend only.",
         "use a compiler that makes RELA sections", _MACHDEP,
         r"kobj_reloc: REL relocations not supported"),
    Rule("relocation-align", "error",
         "The target's address has not the alignment that the instruction needs.",
         "align the object to the size of the access", _MACHDEP, r"kobj_reloc: .* unaligned"),
    Rule("relocation-range", "error", "The target is too far away for the instruction.",
         "make the module smaller, or compile without -mcmodel=tiny", _MACHDEP,
         r"kobj_reloc: .* too far"),
    Rule("symbol-local", "error", "A local symbol that is used is not defined.", _WHOLE, _KOBJ,
         r"local symbol @\d+ undefined"),
    Rule("symbol-name", "error", "An undefined symbol has no name.", _WHOLE, _KOBJ,
         r"bad symbol @\d+ name"),
    Rule("symbol-weak", "error", "The loader resolves no weak undefined symbol.",
         "declare the function without __weak, or look for it another way", _KOBJ,
         r"weak symbol @\d+ not supported"),
    Rule("symbol-binding", "error", "The binding is none of local, global and weak.", _WHOLE,
         _KOBJ, r"bad binding"),
    Rule("symbol-common", "error",
         "The loader gives COMMON symbols no memory; uses of it get the alignment as address.",
         "compile with -fno-common", _KOBJ),
    Rule("symbol-clash", "error",
         "The kernel defines a global symbol of this name, and the loader refuses a second one.",
         "make it static, or give it the driver's own prefix", _KOBJ,
         r"global symbol `.*' redefined"),
    Rule("symbol-prefix", "warning",
         "A global name without the driver's prefix may clash with a kernel's one day.",
         "make it static, or give it the prefix vmtk_ as the others have it", _KOBJ),
    Rule("import-missing", "error", "The kernel exports no such symbol.",
         "use what the release exports: see exports in specs/netbsd.yaml", _KOBJ,
         r"symbol `.*' not found"),
    Rule("import-unknown", "warning",
         "No table or list of specs/netbsd.yaml says that the release exports it.",
         "find out, and add it to exports in specs/netbsd.yaml with its source", _KOBJ),
    Rule("module-info", "error", "MODULE() is missing, so that the kernel finds no name.",
         'add MODULE(MODULE_CLASS_DRIVER, name, "requires")', _MODULE,
         r"WARNING: module error: `link_set_modules' section not present"),
    Rule("module-info-size", "error", "A module holds exactly one MODULE().",
         "leave one MODULE() in all of the module's files", _MODULE,
         r"WARNING: module error: `link_set_modules' section wrong size"),
    Rule("module-info-local", "error",
         "The kernel reads modinfo before it resolves global symbols, and would follow a wild "
         "pointer.", "make modinfo, its strings and its function static", _MODULE,
         r"the pointer to .* outside the module"),
    Rule("module-name", "error", "A module's name has at most 31 characters.",
         "choose a shorter name", _MODULE, r"module name `.*' longer than"),
    Rule("module-class", "error", "The class in MODULE() is none that a module can have.",
         "use MODULE_CLASS_DRIVER or one of its neighbours", _MODULE,
         r"module `.*' has invalid class"),
    Rule("module-requires", "error",
         "The name of a required module is too long, or the module's own.",
         "put the names right that MODULE() gives last", _MODULE,
         r"(required module name|self-dependency)"),
    Rule("module-version", "error", "The module was built for another release (EPROGMISMATCH).",
         "build for the kernel's release: vmtgen build --release", _MODULE,
         r"module `.*' built for"),
    Rule("debug-sections", "warning", "The loader puts debug sections into wired kernel memory.",
         "strip -g, or ship the .kmod and not its .debug twin", _KOBJ),
    Rule("stray-section", "warning",
         "The loader puts every PROGBITS section into memory, also one without SHF_ALLOC.",
         "compile with -fno-ident, or drop the section in the linker script", _KOBJ),
    Rule("eh-frame", "warning", "Unwind tables are loaded and relocated, and nobody reads them.",
         "compile with -fno-asynchronous-unwind-tables -fno-unwind-tables", _KOBJ),
    Rule("fpu-code", "error",
         "The kernel does not save FPU and SIMD registers: the running program's would change.",
         "compile x86 with -mno-sse -mno-sse2 -mno-mmx -msoft-float, aarch64 with "
         "-mgeneral-regs-only", "NetBSD sys/arch/amd64/include/Makefile.inc"),
    Rule("red-zone", "error",
         "Data below the stack pointer is overwritten by the next interrupt.",
         "compile amd64 with -mno-red-zone", "NetBSD sys/arch/amd64/include/Makefile.inc"),
)  # fmt: skip

BY_ID = {rule.id: rule for rule in RULES}


def rule_for(kernel_text: str) -> Rule | None:
    """Return the rule whose refusal the loader's words are, None for other words."""
    return next((rule for rule in RULES if rule.matches(kernel_text)), None)
