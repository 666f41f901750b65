"""Modules in C that break one rule of the linter each."""

from __future__ import annotations

MODULE = """#include <sys/param.h>
#include <sys/systm.h>
#include <sys/module.h>
MODULE({class_}, {name}, {required});
{before}
static int
{name}_modcmd(modcmd_t cmd, void *arg)
{{
	{body}
	return cmd == MODULE_CMD_INIT ? 0 : ENOTTY;
}}
"""


def source(
    name: str = "sample",
    *,
    class_: str = "MODULE_CLASS_DRIVER",
    required: str = "NULL",
    before: str = "",
    body: str = "",
) -> str:
    return MODULE.format(name=name, class_=class_, required=required, before=before, body=body)


def function(name: str) -> str:
    return f"int {name}(void);\nint\n{name}(void)\n{{\n\n\treturn 1;\n}}\n"


C_CASES: list[tuple[str, str, str, str]] = [
    ("symbol-clash", "vmt_ca", "amd64", source(before=function("vmt_ca"))),
    ("symbol-clash", "uuidgen", "amd64", source(before=function("uuidgen"))),
    ("global-symbol", "", "amd64", source(before=function("other_name"))),
    ("import-missing", "strtol", "amd64",
     source(before="long strtol(const char *, char **, int);",
            body='if (strtol("1", NULL, 0)) return 1;')),
    ("import-missing", "x86_curcpu", "aarch64",
     source(before="void x86_curcpu(void);", body="x86_curcpu();")),
    ("import-missing", "__udivdi3", "amd64",
     source(before="void __udivdi3(void);", body="__udivdi3();")),
    ("import-unknown", "no_such_thing", "amd64",
     source(before="void no_such_thing(void);", body="no_such_thing();")),
    ("module-info", "", "amd64", "#include <sys/param.h>\n" + function("lonely")),
    ("module-name", "MODULE()", "amd64", source("a_name_that_is_longer_than_31_chars")),
    ("module-class", "MODULE()", "amd64", source(class_="MODULE_CLASS_ANY")),
    ("module-requires", "MODULE()", "amd64", source("me", required='"sysmon_power,me"')),
    ("module-requires", "MODULE()", "amd64",
     source(required='"a_name_that_is_longer_than_31_chars"')),
    ("module-requires", "MODULE()", "amd64", source(required='"ffs, md"')),
    ("module-requires", "MODULE()", "amd64", source(required='"ffs,,sysmon"')),
    ("module-requires-unknown", "MODULE()", "amd64", source(required='"warp_drive"')),
    ("module-builtin", "MODULE()", "amd64", source("ffs")),
    ("module-replaces", "MODULE()", "amd64", source("vmt")),
    ("system-instruction", "sample_modcmd", "amd64",
     source(body='__asm volatile("wbinvd");')),
    ("system-instruction", "sample_modcmd", "i386",
     source(body='unsigned int v; __asm volatile("rdtsc" : "=A"(v));')),
    ("system-instruction", "sample_modcmd", "aarch64",
     source(body='unsigned long v; __asm volatile("mrs %0, cntvct_el0" : "=r"(v));')),
    ("code-read-only", "sample_modcmd", "amd64",
     source(before="static const int fixed[2] = { 1, 2 };",
            body="*(volatile int *)(uintptr_t)&fixed[1] = (int)cmd;")),
    ("fpu-enter", "fpu_kern_enter", "amd64",
     source(before="void fpu_kern_enter(void);\nvoid fpu_kern_leave(void);",
            body='fpu_kern_enter(); __asm volatile("pxor %xmm0, %xmm0"); fpu_kern_leave();')),
    ("fpu-code", "sample_modcmd", "amd64", source(body='__asm volatile("vzeroupper");')),
    ("fpu-code", "sample_modcmd", "amd64", source(body='__asm volatile("kmovw %k1, %k2");')),
    ("stray-section", ".stray", "amd64",
     source(before='__asm(".section .stray,\\"\\",@progbits\\n.ascii \\"x\\"\\n.previous");')),
    ("eh-frame", ".eh_frame_hdr", "i386",
     source(before='__asm(".section .eh_frame_hdr,\\"a\\",@progbits\\n.long 1\\n.previous");')),
    ("fpu-code", "sample_modcmd", "amd64", source(body='__asm volatile("movaps %xmm0, %xmm1");')),
    ("fpu-code", "sample_modcmd", "i386", source(body='__asm volatile("fninit");')),
    ("fpu-code", "sample_modcmd", "i386", source(body='__asm volatile("movq %mm0, %mm1");')),
    ("fpu-code", "sample_modcmd", "aarch64", source(body='__asm volatile(".inst 0x1e604020");')),
]  # fmt: skip
