"""Linking: regions, symbols, relocations and link sets, on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.kobj import KobjError, KobjPanicError, LineTable, Machine, link, read_module
from vmtgen.kobj.link import Loading

if TYPE_CHECKING:
    from collections.abc import Callable

BASES = {
    "amd64": 0xFFFFFFFF_83000000,
    "i386": 0xC3000000,
    "aarch64": 0xFFFFC000_03000000,
}
MACHINES = tuple(BASES)


def _linked(module: Any, machine: str, **extra: int) -> Any:
    base = BASES[machine]
    kernel = {
        name: base - 0x10000 + 16 * number for number, name in enumerate(module.imports)
    } | extra
    bases = {"text": base, "data": base + 0x10000, "rodata": base + 0x20000}
    return link(module, bases, kernel.get), kernel


@pytest.mark.parametrize("machine", MACHINES)
def test_modinfo_matches_module_macro(build: Any, machine: str) -> None:
    info = build("hello.c", machine).module.modinfo
    assert (info.name, info.class_name, info.version) == ("hello", "driver", 1_100_000_000)
    assert info.required == ("sysmon_power", "sysmon_taskq")
    assert info.version_text == "11.0"


@pytest.mark.parametrize("machine", MACHINES)
def test_link_set_points_to_modinfo_and_modcmd(build: Any, machine: str) -> None:
    module = build("hello.c", machine).module
    linked, _ = _linked(module, machine)
    assert linked.link_sets["modules"] == (linked.address_of("hello_modinfo"),)
    size = module.machine.pointer_size
    at = linked.address_of("hello_modinfo") - linked.bases["rodata"] + 8
    pointer = int.from_bytes(linked.images["rodata"][at : at + size], "little")
    assert pointer == linked.address_of("hello_modcmd")
    for distance in (0, 5, linked.module.symbol("hello_modcmd").size - 1):
        symbol, found = linked.symbol_at(pointer + distance)
        assert (symbol.name, found) == ("hello_modcmd", distance)
    assert linked.symbol_at(linked.bases["text"] - 1) is None


@pytest.mark.parametrize("machine", MACHINES)
def test_result_of_linking_is_kept_by_all_it_depends_on(
    build: Any, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build("hello.c", machine).module
    base, names = BASES[machine], module.imports

    def linked(offset: int, moved: int) -> dict[str, bytes]:
        kernel = {name: base - 0x10000 + 16 * at for at, name in enumerate(names)}
        kernel[names[0]] += moved
        bases = {"text": base + offset, "data": base + 0x10000, "rodata": base + 0x20000}
        return {name: bytes(each) for name, each in link(module, bases, kernel.get).images.items()}

    ways = [(0, 0), (0x1000, 0), (0, 4)]
    module.relocated.clear()
    first = []
    for way in ways:
        first.append(linked(*way))
        module.relocated.clear()
    assert all(first.count(each) == 1 for each in first)
    for way in ways:
        linked(*way)
    monkeypatch.setattr(Loading, "_relocate_one", None)
    assert [linked(*way) for way in ways] == first
    with pytest.raises(TypeError):
        linked(0, 8)


def test_few_results_of_linking_are_kept(build: Any) -> None:
    module = build("hello.c", "amd64").module
    for number in range(100):
        _linked(module, "amd64", **{module.imports[0]: BASES["amd64"] - 0x10000 + 16 * number})
    assert len(module.relocated) <= 64


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_call_reaches_kernel_function(build: Any, machine: str) -> None:
    module = build("hello.c", machine).module
    linked, kernel = _linked(module, machine)
    (place,) = [
        r.offset
        for r in module.relocations
        if r.symbol.name == "printf" and module.sections[r.section].name == ".text"
    ]
    distance = int.from_bytes(linked.images["text"][place : place + 4], "little", signed=True)
    assert linked.bases["text"] + place + 4 + distance == kernel["printf"]


def test_arm_branch_reaches_kernel_function(build: Any) -> None:
    module = build("hello.c", "aarch64").module
    linked, kernel = _linked(module, "aarch64")
    (place,) = [r.offset for r in module.relocations if r.symbol.name == "printf"]
    word = int.from_bytes(linked.images["text"][place : place + 4], "little")
    assert word >> 26 == 0b100101, "a BL instruction"
    distance = word & 0x3FFFFFF
    distance -= (distance & 0x2000000) << 1
    assert linked.bases["text"] + place + 4 * distance == kernel["printf"]


def test_bss_is_zero_and_stored_in_file(build: Any) -> None:
    module = build("hello.c").module
    assert not [section for section in module.sections if section.type == "NOBITS"]
    linked, _ = _linked(module, "amd64")
    at = linked.address_of("zeros") - linked.bases["data"]
    assert linked.images["data"][at : at + 100] == bytes(100)


@pytest.mark.parametrize("machine", MACHINES)
def test_all_missing_imports_are_named(build: Any, machine: str) -> None:
    module = build("hello.c", machine).module
    base = BASES[machine]
    bases = {"text": base, "data": base + 0x10000, "rodata": base + 0x20000}
    with pytest.raises(KobjError) as caught:
        link(module, bases, {"printf": base - 64}.get)
    missing = sorted(set(module.imports) - {"printf"})
    assert sorted(str(caught.value).splitlines()) == [f"symbol `{n}' not found" for n in missing]
    assert caught.value.errno == "ENOEXEC"


def test_clash_with_kernel_global_is_refused(build: Any) -> None:
    text = "#include <sys/param.h>\nint vmt_ca(void);\nint vmt_ca(void) { return 1; }\n"
    module = build(text).module
    bases = dict.fromkeys(("text", "data", "rodata"), BASES["amd64"])
    with pytest.raises(KobjError) as caught:
        link(module, bases, {"vmt_ca": 0x1000}.get)
    assert caught.value.console("%Mvmt.kmod") == (
        "kobj_checksyms, 1045: [%Mvmt.kmod]: linker error: global symbol `vmt_ca' redefined",
    )


def test_duplicate_definition_of_some_names_is_allowed(build: Any) -> None:
    text = "#include <sys/param.h>\nint _end(void);\nint _end(void) { return 1; }\n"
    bases = dict.fromkeys(("text", "data", "rodata"), BASES["amd64"])
    assert link(build(text).module, bases, {"_end": 0x1000}.get)


def test_import_at_address_zero_is_invalid(build: Any) -> None:
    module = build("hello.c").module
    with pytest.raises(KobjError, match=r"printf @[0-9]+: bad value"):
        _linked(module, "amd64", printf=0)


def test_alignment_above_page_is_reported(build: Any, edit: Callable[..., Any]) -> None:
    editor = edit("amd64")
    editor.section(".data", align=0x4000)
    module = read_module(editor.write())
    bases = {"text": 0x1000, "data": 0x5000, "rodata": 0x9000}
    with pytest.raises(KobjPanicError, match="not in a dedicated segment"):
        link(module, bases, lambda _: 0x100)


def test_common_symbol_resolves_to_its_alignment(build: Any, edit: Callable[..., Any]) -> None:
    editor = edit("amd64")
    editor.symbol("hz", shndx=0xFFF2, value=4)
    module = read_module(editor.write())
    linked, _ = _linked(module, "amd64")
    assert linked.address_of("hz") == 4


@pytest.mark.parametrize(
    ("built_for", "kernel", "taken"),
    [
        (1_000_000_000, 1_000_000_000, True),
        (1_001_000_000, 1_001_000_300, True),
        (1_000_000_000, 1_001_000_000, False),
        (1_100_000_000, 1_001_000_000, False),
        (1_199_000_500, 1_199_000_500, True),
        (1_199_000_500, 1_199_000_600, False),
    ],
)
def test_accepted_kernel_versions(built_for: int, kernel: int, taken: bool) -> None:
    from vmtgen.kobj import ModInfo

    assert ModInfo(built_for, 3, "x", ()).accepted_by(kernel) is taken


@pytest.mark.parametrize("machine", MACHINES)
def test_line_table_maps_code_to_source(build: Any, machine: str) -> None:
    built = build("hello.c", machine)
    table = LineTable.read(built.debug)
    function = built.module.symbol("hello_modcmd")
    lines = {table.lookup(function.value + i) for i in range(function.size)}
    assert ("kmod/hello/hello.c", 21) in lines, "the line of sysctl_createv"
    assert all(line > 0 for _, line in table.lines())
    assert table.lookup(built.module.sizes["text"] + 100) is None
    assert Machine(machine) is built.module.machine


def test_without_debug_sections_there_is_no_line_table(build: Any) -> None:
    with pytest.raises(ValueError, match=r"use the \.debug twin"):
        LineTable.read(build("hello.c").path)
