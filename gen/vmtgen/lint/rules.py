"""The linter's rules: the problem, what the kernel does, and the remedy.

An `error` is refused by the kernel or would crash it; a `warning` loads and causes
problems; a `note` is information. `kernel` is the loader's own text as a regular expression where
the rule is one of its refusals, and `source` names the kernel function behind the rule.
"""

from __future__ import annotations

import re
from typing import Literal

from vmtgen.common.dataclass import dataclass

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

_SUBR = "NetBSD sys/kern/subr_kobj.c"
_LOAD = f"{_SUBR}, kobj_load()"
_CHECKSYMS = f"{_SUBR}, kobj_checksyms()"
_SYM_LOOKUP = f"{_SUBR}, kobj_sym_lookup()"
_RELOCATE = f"{_SUBR}, kobj_relocate()"
_AFFIX = f"{_SUBR}, kobj_affix()"
_READ = "NetBSD sys/kern/subr_kobj_vfs.c, kobj_read_vfs()"
_FIND_SECTION = f"{_SUBR}, kobj_find_section()"
_MODULE = "NetBSD sys/kern/kern_module.c"
_FETCH = f"{_MODULE}, module_fetch_info()"
_DO_LOAD = f"{_MODULE}, module_do_load()"
_MACHDEP = "NetBSD sys/arch/*/*/kobj_machdep.c, kobj_reloc()"
_FLAGS = "NetBSD sys/arch/amd64/include/Makefile.inc"


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
        """Whether `text`, a message of the loader, is this rule's refusal."""
        return self.kernel is not None and re.match(self.kernel, text) is not None


_WHOLE = "build it again, or copy it again: the file is damaged"
_NOT_A_MODULE = "give the .kmod that the linker made with -r, not a program or an archive"

RULES: tuple[Rule, ...] = (
    # -- the file's structure ----------------------------------------------------------------
    Rule("elf-short", "error", "The file is shorter than its headers state.", _WHOLE, _READ,
         r"read failed"),
    Rule("elf-magic", "error", "The file does not begin as an ELF file does.", _NOT_A_MODULE,
         _LOAD, r"not an ELF object"),
    Rule("elf-version", "error", "The ELF version is not 1.", _WHOLE, _LOAD,
         r"unsupported file version"),
    Rule("elf-type", "error", "Only relocatable files (ET_REL) can be loaded.",
         "link with ld -r, not into a program or a shared object", _LOAD,
         r"unsupported file type"),
    Rule("elf-machine", "error", "The file is for a machine that the kernel does not run on.",
         "build for the kernel's machine: vmtgen build --machine", _LOAD,
         r"unsupported machine"),
    Rule("section-table", "error",
         "The section header table is missing, too long, or has entries of another size.",
         _WHOLE, _LOAD, r"bad sizes"),
    Rule("no-contents", "error", "There is no section to load.", _NOT_A_MODULE, _LOAD,
         r"file has no contents"),
    Rule("symbol-table", "error", "There must be exactly one symbol table: a stripped module "
         "cannot be loaded.", "strip no more than debug sections (strip -g)", _LOAD,
         r"file has no valid symbol table"),
    Rule("symbol-strings", "error", "The symbol table names no string table.", _WHOLE, _LOAD,
         r"file has invalid symbol strings"),
    Rule("symbol-table-empty", "error", "The symbol table has no entry.", _WHOLE, _LOAD,
         r"no symbol table"),
    Rule("symbol-table-size", "error",
         "The symbol table's size is no multiple of an entry: the rest is not read.", _WHOLE,
         _LOAD),
    Rule("symbol-strings-empty", "error", "The symbol string table is empty.", _WHOLE, _LOAD,
         r"no symbol strings"),
    Rule("section-names", "error", "The index of the section name table is out of range.",
         _WHOLE, _LOAD, r"bad shstrndx"),
    Rule("no-text", "error", "There is no code.", "add the object with the modcmd function",
         _LOAD, r"no text"),
    Rule("module-size", "error",
         "The kernel's map for modules is too small for it, or the allocation never ends.",
         "make its data smaller: allocate large memory when it is needed", _LOAD,
         r"out of memory|modctl\(2\) does not return|the file has more than"),
    Rule("section-overlap", "error",
         "Section headers claim the same bytes of the file.", _WHOLE, _LOAD,
         r"the relocation tables share bytes"),
    # -- sections ----------------------------------------------------------------------------
    Rule("section-align", "error",
         "The loader aligns its three regions to pages and cannot align a section to more; with "
         "sh_addralign 0 it computes address 0.",
         "use an alignment of 1 to 4096 bytes", _LOAD,
         r"kobj_read_vfs: not in a dedicated segment|kobj_load: map_"),
    Rule("section-name", "error",
         "The section's name lies outside of the table of names; looking for the link sets, the "
         "kernel reads what happens to be there.", _WHOLE, _FIND_SECTION,
         r"fatal page fault in supervisor mode: strcmp"),
    Rule("section-kind", "error",
         "A section of this name gets its contents and its protection from its type and flags, "
         "and these differ from the System V ABI.",
         "leave type and flags of the usual sections as the compiler sets them", _LOAD),
    Rule("section-ignored", "error",
         "The loader silently skips a section of this type.",
         "let the linker script put it into .data or .rodata, or drop it", _LOAD),
    Rule("debug-sections", "warning", "The loader puts debug sections into wired kernel memory.",
         "strip -g, or ship the .kmod and not its .debug twin", _LOAD),
    Rule("stray-section", "warning",
         "The loader puts every PROGBITS section into memory, also one without SHF_ALLOC.",
         "compile with -fno-ident, or drop the section in the linker script", _LOAD),
    Rule("eh-frame", "warning", "Unwind tables are loaded and relocated, and nothing reads them.",
         "compile with -fno-asynchronous-unwind-tables -fno-unwind-tables", _LOAD),
    # -- relocations -------------------------------------------------------------------------
    Rule("relocation-lost", "error",
         "The loader applies no relocation of this table, or not all of them: the code and data "
         "keep the numbers of the file.", _WHOLE, _LOAD),
    Rule("relocation-base", "error",
         "The section that is relocated has no address, because its region is empty.",
         _WHOLE, _RELOCATE, r"kobj_relocate:\d+: lost base"),
    Rule("relocation-symbol", "error",
         "The loader silently skips a relocation whose symbol index is out of range.",
         _WHOLE, _RELOCATE),
    Rule("relocation-outside", "error",
         "A relocation lies outside its section; the loader still writes there.",
         _WHOLE, _RELOCATE, r"fatal page fault in supervisor mode: write"),
    Rule("relocation-none", "warning",
         "A relocation of type NONE names a symbol: the kernel changes nothing there.",
         "find out which relocation was intended", _MACHDEP),
    Rule("relocation-width", "error",
         "A relocation writes more bytes than the instruction's field has: it destroys the next "
         "instruction.", _WHOLE, _MACHDEP),
    Rule("relocation-target", "error",
         "A relocation's target is neither in the module's loaded sections nor in the kernel.",
         _WHOLE, _SYM_LOOKUP),
    Rule("relocation-type", "error", "The machine's loader does not support this relocation.",
         "compile without -fpic, -fpie, -mcmodel=large and thread-local data; on i386 with "
         "-fno-plt, on aarch64 with -mgeneral-regs-only", _MACHDEP,
         r"kobj_reloc: (unexpected|unsupported) relocation type"),
    Rule("relocation-rel", "error", "The aarch64 loader accepts relocations with addend only.",
         "use a compiler that makes RELA sections", _MACHDEP,
         r"kobj_reloc: REL relocations not supported"),
    Rule("relocation-align", "error",
         "The target's address does not have the alignment that the instruction needs.",
         "align the object to the size of the access", _MACHDEP, r"kobj_reloc: .* unaligned"),
    Rule("relocation-range", "error", "The target is too far away for the instruction.",
         "make the module smaller, or compile without -mcmodel=tiny", _MACHDEP,
         r"kobj_reloc: .* too far"),
    # -- symbols -----------------------------------------------------------------------------
    Rule("symbol-text", "error",
         "A symbol's name does not end inside the string table: the kernel reads beyond it.",
         _WHOLE, _CHECKSYMS),
    Rule("symbol-unloaded", "error",
         "A symbol that is used is in a section that the loader does not load: it keeps its "
         "value in the file as its address.", _WHOLE, _SYM_LOOKUP),
    Rule("symbol-local", "error", "A local symbol that is used is not defined.", _WHOLE,
         _SYM_LOOKUP, r"local symbol @\d+ undefined"),
    Rule("symbol-name", "error", "An undefined symbol has no name.", _WHOLE, _SYM_LOOKUP,
         r"bad symbol @\d+ name"),
    Rule("symbol-weak", "error", "The loader does not resolve weak undefined symbols.",
         "declare the function without __weak, or find it another way", _SYM_LOOKUP,
         r"weak symbol @\d+ not supported"),
    Rule("symbol-binding", "error", "The binding is not local, global or weak.", _WHOLE,
         _SYM_LOOKUP, r"bad binding"),
    Rule("symbol-common", "error",
         "The loader gives COMMON symbols no memory; uses of it get the alignment as address.",
         "compile with -fno-common", _LOAD),
    Rule("symbol-clash", "error",
         "The kernel defines a global symbol of this name, and the loader refuses a second one.",
         "make it static, or give it a prefix of its own", _CHECKSYMS,
         r"global symbol `.*' redefined"),
    Rule("global-symbol", "warning",
         "The module defines global names. Loaded a second time, by mistake, it is refused with "
         "ENOEXEC and one line for each of them, and not with `already loaded'.",
         "make them static, in one source file if need be",
         _CHECKSYMS),
    Rule("import-missing", "error", "The kernel exports no such symbol.",
         "use what the release exports, or give the symbols of your kernel: "
         "nm /netbsd > FILE; vmtgen lint --symbols FILE", _CHECKSYMS, r"symbol `.*' not found"),
    Rule("import-unknown", "warning",
         "The linter has no list of exported symbols with this name.",
         "give the symbols of your kernel: nm /netbsd > FILE; vmtgen lint --symbols FILE",
         _CHECKSYMS),
    # -- the module's information ------------------------------------------------------------
    Rule("module-info", "error", "MODULE() is missing: the kernel finds no module information.",
         'add MODULE(MODULE_CLASS_DRIVER, name, "requires")', _FETCH,
         r"WARNING: module error: `link_set_modules' section not present"),
    Rule("module-info-size", "error", "A module has exactly one MODULE().",
         "keep one MODULE() in all of the module's files", _FETCH,
         r"WARNING: module error: `link_set_modules' section wrong size"),
    Rule("module-info-local", "error",
         "The kernel reads modinfo before it resolves global symbols, and would follow a wild "
         "pointer.", "make modinfo, its strings and its function static", _FETCH,
         r"the pointer to .* outside the module"),
    Rule("module-info-place", "error",
         "A pointer of modinfo leads into the module, but not to what the kernel expects there.",
         _WHOLE, _DO_LOAD),
    Rule("module-modcmd", "error",
         "mi_modcmd leads to no function in an executable section; the kernel calls it at once.",
         "let MODULE() name the module's own NAME_modcmd()", _DO_LOAD),
    Rule("module-name", "error", "A module's name has at most 31 characters.",
         "choose a shorter name", _DO_LOAD, r"module name `.*' longer than"),
    Rule("module-name-odd", "warning",
         "The kernel accepts such a name, but no tool can then name the module or its device.",
         "use letters, digits and underscores", _DO_LOAD),
    Rule("module-builtin", "error",
         "The kernel has a module of this name built in, and refuses another (EEXIST).",
         "choose another name", _DO_LOAD, r"module with name `.*' already loaded"),
    Rule("module-replaces", "note",
         "The kernel has a built-in module of this name that can be replaced.",
         "modunload it first: docs/guest.md", _DO_LOAD),
    Rule("module-class", "error", "The class in MODULE() is invalid for a module.",
         "use MODULE_CLASS_DRIVER or one of its neighbours", _DO_LOAD,
         r"module `.*' has invalid class"),
    Rule("module-requires", "error",
         "A required module cannot be loaded: its name is too long, or the module's own, or of no "
         "module; or the kernel stops reading the list before it.",
         "correct the names in the last argument of MODULE(): commas between them, no blanks",
         _DO_LOAD,
         r"(required module name|self-dependency|recursive load failed)"),
    Rule("module-requires-unknown", "warning",
         "The linter has no list of modules with the required module.",
         "look for it in the system's module directory", _DO_LOAD),
    Rule("module-version", "error", "The module was built for another release (EPROGMISMATCH).",
         "build for the kernel's release: vmtgen build --release",
         f"{_MODULE}, module_compatible()",
         r"module `.*' built for"),
    # -- code --------------------------------------------------------------------------------
    Rule("code-unrelocated", "error",
         "A call, a jump or an access that needs a relocation has none: it leads to the next "
         "instruction.", _WHOLE, _RELOCATE),
    Rule("code-read-only", "error",
         "The code writes to a section that the loader maps read-only: a page fault.",
         "take const off the variable, or give its section the write flag", _AFFIX),
    Rule("fpu-code", "error",
         "The kernel does not save FPU and SIMD registers: the running program's would change.",
         "compile x86 with -mno-sse -mno-sse2 -mno-mmx -mno-avx -msoft-float, aarch64 with "
         "-mgeneral-regs-only; or bracket the code with fpu_kern_enter() and fpu_kern_leave()",
         _FLAGS),
    Rule("fpu-enter", "note",
         "The module imports fpu_kern_enter(): code between it and fpu_kern_leave() may use FPU "
         "and SIMD registers. The linter does not check that they are between the two calls.",
         "check that each such function is called between the two",
         "NetBSD sys/arch/x86/x86/fpu.c, fpu_kern_enter()"),
    Rule("system-instruction", "note",
         "The instruction reads or changes the processor itself, and no import shows it.",
         "vmtsim models FILE says whether the simulator has a model of it",
         "the processor's manual"),
    Rule("red-zone", "error",
         "Data below the stack pointer is overwritten by the next interrupt.",
         "compile amd64 with -mno-red-zone", _FLAGS),
)  # fmt: skip

BY_ID = {rule.id: rule for rule in RULES}


def rule_for(kernel_text: str) -> Rule | None:
    """Return the rule for a message of the loader, None for an unknown message."""
    return next((rule for rule in RULES if rule.matches(kernel_text)), None)
