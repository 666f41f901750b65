"""Trap instructions are found, and no other instruction counts as one."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtsim.gdb import locate, sites

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guestkit import Guest

MODSTAT = """\
NAME                 CLASS      SOURCE   FLAG REFS ADDRESS          SIZE    REQUIRES
vmt                  driver     filesys  -    0    {first} 18096   sysmon_power
vmtx                 driver     filesys  -    0    ffffffff81111000 18096   -
"""


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_driver_traps_match_objdump(
    machine: str, root: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    objdump = require_tool("objdump")
    module = build_module(root / "kmod" / "vmt", machine=machine, out=tmp_path).path
    program = sites.of_module(module)
    shown = subprocess.run(
        [objdump, "-d", "-j", ".text", str(module)], capture_output=True, text=True, check=True
    ).stdout
    seen = {
        int(match.group(1), 16)
        for match in re.finditer(
            r"^\s*([0-9a-f]+):\t[0-9a-f ]+\t(?:in +\(%dx\),%eax|rep ins|rep outs|vmcall|vmmcall)",
            shown,
            re.MULTILINE,
        )
    }
    assert {site.address for site in program.sites} == seen
    assert {sites.LOW, sites.IN, sites.OUT} <= {site.kind for site in program.sites}
    assert all(site.name.startswith("vmt_trap_") for site in program.sites)


def test_aarch64_traps_are_found(root: Path, tmp_path: Path) -> None:
    program = sites.of_module(
        build_module(root / "kmod" / "vmt", machine="aarch64", out=tmp_path).path
    )
    assert program.machine == "aarch64"
    assert {site.kind for site in program.sites} == {sites.ARM}
    assert len(program.sites) == 3


def test_trap_byte_inside_other_instruction_is_no_trap() -> None:
    # xor %ebp,%ebp; mov $0x6cf3ed,%eax; in (%dx),%eax
    code = bytes.fromhex("31ed b8edf36c00 ed")
    assert [site.address for site in sites.traps(code, "amd64")] == [7]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ed", (sites.LOW, 1)),
        ("ef", (sites.LOW_OUT, 1)),
        ("f36c", (sites.IN, 2)),
        ("f36e", (sites.OUT, 2)),
        ("0f01c1", (sites.HYPERCALL, 3)),
        ("0f01d9", (sites.HYPERCALL, 3)),
        ("6c", None),
        ("ec", None),
        ("90ed", None),
    ],
)
def test_instruction_is_recognised_by_bytes(code: str, kind: tuple[str, int] | None) -> None:
    assert sites.kind_of(bytes.fromhex(code).ljust(4, b"\x90"), "amd64") == kind


def test_module_without_backdoor_calls_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text(
        "#include <sys/param.h>\n#include <sys/module.h>\n"
        "MODULE(MODULE_CLASS_MISC, plain, NULL);\n"
        "static int\nplain_modcmd(modcmd_t c, void *a)\n{\n\n\treturn 0;\n}\n",
        encoding="utf-8",
    )
    module = build_module([source], out=tmp_path).path
    with pytest.raises(sites.SitesError, match="no backdoor call"):
        sites.of_module(module)


def test_program_without_backdoor_calls_is_refused(guest: Guest) -> None:
    with pytest.raises(sites.SitesError, match="no function that calls the backdoor") as caught:
        sites.of_elf(guest.kernel)
    assert "--sites" in str(caught.value.hint)


def test_function_with_magic_number_is_searched(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    source = tmp_path / "tool.c"
    source.write_text(
        "__attribute__((noinline)) unsigned ask(void)\n{\n"
        "\tunsigned a = 0x564d5868, b = ~a, c = 10, d = 0x5658;\n"
        '\t__asm volatile("inl %%dx, %%eax" : "+a" (a), "+b" (b), "+c" (c), "+d" (d));\n'
        "\treturn a;\n}\n"
        "__attribute__((noinline)) unsigned other(void)\n{\n\tunsigned a;\n"
        '\t__asm volatile("inl %%dx, %%eax" : "=a" (a) : "d" (0xcf8));\n\treturn a;\n}\n'
        "int main(void)\n{\n\treturn ask() + other();\n}\n",
        encoding="utf-8",
    )
    program = tmp_path / "tool"
    command = [require_tool("gcc"), "-O1", "-no-pie", "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    found = sites.of_elf(program)
    assert [(site.kind, site.name) for site in found.sites] == [(sites.LOW, "ask")]
    subprocess.run([*command, "-s"], check=True)
    stripped = sites.of_elf(program)
    assert found.sites[0].address in {site.address for site in stripped.sites}


def test_non_elf_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("nothing", encoding="utf-8")
    with pytest.raises(sites.SitesError, match="not an ELF file"):
        sites.of_elf(path)


def test_last_column_of_modstat_counts() -> None:
    log = (
        MODSTAT.format(first="ffffffff82000000") + "\r\n" + MODSTAT.format(first="ffffffff83000000")
    )
    assert locate.from_modstat(log, "vmt") == 0xFFFFFFFF83000000


def test_modstat_without_addresses_gives_nothing() -> None:
    assert (
        locate.from_modstat("vmt    driver   filesys  -    0    18096   sysmon_power", "vmt")
        is None
    )
    assert locate.from_modstat("vmt    driver   builtin  -    0    0   -     sysmon", "vmt") is None
