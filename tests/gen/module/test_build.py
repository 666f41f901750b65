"""The builder: reproducible output, a fast second build, clear errors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from vmtgen import cli
from vmtgen.build import toolchain
from vmtgen.build.compile import build_module
from vmtgen.common.errors import MissingInputError, ReportedError, UnavailableError, UsageError
from vmtgen.kobj import read_module
from vmtgen.targets import load_targets, version_of

HELLO = Path(__file__).parent / "fixtures" / "hello.c"
MACHINES = ("amd64", "i386", "aarch64")


def _in(folder: Path, machine: str, **options: Any) -> tuple[bytes, bytes]:
    """Copy the source to `folder`, build there without a cache of others, return both files."""
    sources = folder / "some module"
    sources.mkdir(parents=True)
    shutil.copy(HELLO, sources)
    built = build_module(
        sources,
        machine=machine,
        out=folder / "out",
        cache=folder / "cache",
        name="hello",
        **options,
    )
    assert built.compiled == 1
    return built.path.read_bytes(), built.debug.read_bytes()


@pytest.mark.parametrize("machine", MACHINES)
def test_builds_in_two_directories_are_identical(
    tmp_path: Path, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _in(tmp_path / "one", machine, diagnostic=True)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.chdir(tmp_path)
    old = os.umask(0o077)
    try:
        second = _in(tmp_path / "another one" / "deeper", machine, diagnostic=True)
    finally:
        os.umask(old)
    assert first == second
    for content in first:
        assert str(tmp_path).encode() not in content
        assert b"another one" not in content


@pytest.mark.parametrize("machine", MACHINES)
def test_module_matches_debug_twin_without_debug_sections(build: Any, machine: str) -> None:
    built = build("hello.c", machine)
    module, twin = built.module, read_module(built.debug)
    assert not [section for section in module.sections if "debug" in section.name]
    assert [section for section in twin.sections if section.name == ".debug_line"]
    for name in (".text", ".rodata", ".data"):
        assert module.section(name).data == twin.section(name).data
    assert module.symbol("hello_modcmd").size > 0, "the symbol table is kept"


def test_second_build_compiles_and_writes_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    first = build_module([HELLO], **options)
    stamp = first.path.stat().st_mtime_ns
    second = build_module([HELLO], **options)
    assert (first.compiled, first.written) == (1, True)
    assert (second.compiled, second.reused, second.written) == (0, 1, False)
    assert second.path.stat().st_mtime_ns == stamp


def test_changed_header_triggers_rebuild(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "m.c").write_text(
        '#include "m.h"\nint vmtk_f(void);\nint vmtk_f(void) { return N; }\n'
    )
    (source / "m.h").write_text("#define N 1\n")
    options: dict[str, Any] = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    before = build_module(source, **options).path.read_bytes()
    (source / "m.h").write_text("#define N 2\n")
    after = build_module(source, **options)
    assert after.compiled == 1
    assert after.path.read_bytes() != before


@pytest.mark.parametrize("name", ["part.c", "deep/part.h", "../src/part.c"])
def test_changed_or_removed_include_triggers_rebuild(tmp_path: Path, name: str) -> None:
    """NetBSD's modules include an ioconf.c, which is not compiled separately."""
    source = tmp_path / "src"
    (source / "deep").mkdir(parents=True)
    (source / "Makefile").write_text("KMOD=\tm\nSRCS=\tm.c\n.include <bsd.kmodule.mk>\n")
    (source / "m.c").write_text(
        f'# include "{name}"\nint vmtk_f(void);\nint vmtk_f(void) {{ return N; }}\n'
    )
    part = source / name
    part.write_text("#ifndef N\n#define N 1\n#endif\n")
    options: dict[str, Any] = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    before = build_module(source, **options).path.read_bytes()
    part.write_text("#ifndef N\n#define N 2\n#endif\n")
    after = build_module(source, **options)
    assert after.compiled == 1
    assert after.path.read_bytes() != before
    part.unlink()
    with pytest.raises(ReportedError, match="file not found"):
        build_module(source, **options)


def test_mutual_includes_are_read_once(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "m.c").write_text(
        '#ifndef N\n#define N 1\n#include "../src/m.c"\nint vmtk_n(void);\n'
        "int vmtk_n(void) { return N; }\n#endif\n"
    )
    built = build_module(source, name="m", out=tmp_path / "out", cache=tmp_path / "cache")
    assert built.compiled == 1


def test_makefile_lists_sources(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "# a comment\nKMOD=\tthing\nSRCS=\ta.c \\\n\tb.c\nSRCS+= c.c\n.include <bsd.kmodule.mk>\n"
    )
    for name in "abcd":
        text = f"int vmtk_{name}(void);\nint vmtk_{name}(void) {{ return 1; }}\n"
        (tmp_path / f"{name}.c").write_text(text)
    built = build_module(tmp_path, out=tmp_path / "out")
    assert built.path.name == "thing.kmod"
    assert built.module.globals == ("vmtk_a", "vmtk_b", "vmtk_c")


def test_missing_source_in_makefile_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("KMOD=thing\nSRCS=gone.c\n.include <bsd.kmodule.mk>\n")
    with pytest.raises(MissingInputError, match=r"no such file: gone\.c"):
        build_module(tmp_path, out=tmp_path / "out")


def test_compiler_messages_have_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int x = ;\n")
    (tmp_path / "worse.c").write_text("#include <sys/param.h>\n\nfoo bar;\n")
    with pytest.raises(ReportedError) as caught:
        build_module(tmp_path, out=tmp_path / "out")
    assert f"{tmp_path / 'bad.c'}:1:9: error: expected expression" in str(caught.value)
    assert f"{tmp_path / 'worse.c'}:3:1: error: unknown type name 'foo'" in str(caught.value)


@pytest.mark.parametrize("here", [".", "kmod"])
def test_linker_messages_name_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    (tmp_path / "kmod").mkdir()
    for name in "ab":
        text = "int vmtk_f(void);\n\nint vmtk_f(void) { return 1; }\n"
        (tmp_path / "kmod" / f"{name}.c").write_text(text)
    monkeypatch.chdir(tmp_path / here)
    before = "kmod/" if here == "." else ""
    with pytest.raises(ReportedError) as caught:
        build_module(
            Path("kmod" if here == "." else "."), out=tmp_path / "out", cache=tmp_path / "cache"
        )
    message = str(caught.value)
    assert message.startswith(f"cannot link {before}a.c, {before}b.c:\n")
    assert "duplicate symbol: vmtk_f" in message
    assert f"({before}a.c:3)" in message
    assert f" {before}b.c:(" in message
    assert ".o" not in message
    assert caught.value.hint is None


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("here", [".", "kmod"])
def test_compiler_messages_for_generated_files_name_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, generated: bool
) -> None:
    (tmp_path / "kmod").mkdir()
    head = "/* Generated by `vmtgen generate` from specs. */" if generated else "/* Mine. */"
    (tmp_path / "kmod" / "bad.h").write_text(f"{head} int x = ;\n")
    (tmp_path / "kmod" / "bad.c").write_text('#include "bad.h"\n')
    monkeypatch.chdir(tmp_path / here)
    with pytest.raises(ReportedError) as caught:
        build_module(Path("kmod" if here == "." else "."), out=tmp_path / "out")
    before = "kmod/" if here == "." else ""
    assert str(caught.value).startswith(f"cannot compile {before}bad.c:\n")
    assert f"{before}bad.h:1:" in str(caught.value)
    hint = "bad.h is generated: change specs/ or templates/, then vmtgen generate"
    assert caught.value.hint == (hint if generated else None)


def test_unknown_header_is_not_taken_from_host_system(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#include <sys/bswap.h>\n")
    with pytest.raises(ReportedError, match=r"'sys/bswap\.h' file not found"):
        build_module(tmp_path, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#include <sys/bswap.h>", "gen/kpi has no sys/bswap.h: --sys DIR"),
        ('#include "ioconf.h"', "config(1) makes ioconf.h from the driver's .ioconf"),
        ("int x = ;", None),
    ],
)
def test_missing_header_message_names_its_origin(
    tmp_path: Path, line: str, words: str | None
) -> None:
    (tmp_path / "a.c").write_text(f"{line}\n")
    with pytest.raises(ReportedError) as caught:
        build_module(tmp_path, out=tmp_path / "out")
    hint = caught.value.hint
    assert hint is None if words is None else hint is not None and hint.startswith(words)


def test_config_tables_are_compiled_where_included(
    tmp_path: Path,
) -> None:
    """Laid out as NetBSD usr.bin/config/mkioconf.c writes them: a parent with an attribute."""
    (tmp_path / "ioconf.h").write_text("#include <sys/device.h>\nextern struct cfdriver tick_cd;\n")
    (tmp_path / "ioconf.c").write_text(
        '#include "ioconf.h"\n#include <sys/param.h>\n#include <sys/conf.h>\n'
        "#include <sys/device.h>\n#include <sys/mount.h>\n"
        "static const struct cfiattrdata buscf_iattrdata = {\n"
        '\t"bus", 1, { { "addr", "-1", -1 }, }\n};\n'
        "static const struct cfiattrdata * const tick_attrs[] = { &buscf_iattrdata, NULL };\n"
        "CFDRIVER_DECL(tick, DV_DULL, tick_attrs);\n"
        "static struct cfdriver * const cfdriver_ioconf_tick[] = { &tick_cd, NULL };\n"
    )
    (tmp_path / "tick.c").write_text(
        '#include "ioconf.c"\nconst void *tick_tables(void);\n'
        "const void *\ntick_tables(void)\n{\n\treturn cfdriver_ioconf_tick;\n}\n"
    )
    built = build_module(tmp_path, name="tick", out=tmp_path / "out", cache=tmp_path / "cache")
    assert built.compiled == 1
    assert built.module.globals == ("tick_cd", "tick_tables")


def test_missing_compiler_message_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain.zig_program.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    try:
        with pytest.raises(UnavailableError) as caught:
            toolchain.zig_program()
    finally:
        toolchain.zig_program.cache_clear()
    assert "ziglang is not installed" in str(caught.value)
    assert caught.value.hint is not None
    assert "netbsd-vmt[gen]" in caught.value.hint


def test_compiler_not_in_path_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="clang is not in PATH"):
        build_module([HELLO], out=tmp_path, compiler="clang")


@pytest.mark.parametrize("machine", ["amd64", "i386"])
def test_system_gcc_builds_module(tmp_path: Path, machine: str, require_tool: Any) -> None:
    if shutil.which(load_targets().machine(machine).gcc_command) is None:
        pytest.skip("no gcc that makes x86 code")
    built = build_module([HELLO], machine=machine, out=tmp_path, compiler="gcc")
    assert built.module.modinfo.version_text == "11.0"


def test_non_kernel_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no NetBSD sys/ tree"):
        build_module([HELLO], out=tmp_path, sys=tmp_path)
    nested = tmp_path / "src" / "sys" / "sys"
    nested.mkdir(parents=True)
    (nested / "param.h").touch()
    with pytest.raises(MissingInputError) as caught:
        build_module([HELLO], out=tmp_path, sys=tmp_path / "src")
    assert caught.value.hint == f"give {tmp_path / 'src' / 'sys'}"


def test_tree_of_another_release_is_refused(tmp_path: Path) -> None:
    """Its sys/param.h determines the module's version."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "param.h").write_text("#define\t__NetBSD_Version__\t1199000500\t/* */\n")
    with pytest.raises(
        UsageError, match=r"--release 11\.0, but the tree at .* is NetBSD 11\.99\.5"
    ):
        build_module([HELLO], release="11.0", out=tmp_path, sys=tmp_path)


def test_sources_may_be_in_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _in(tmp_path / "one", "amd64", diagnostic=True)
    monkeypatch.chdir(tmp_path / "one" / "some module")
    options: dict[str, Any] = {"out": tmp_path / "out", "cache": tmp_path / "other cache"}
    built = build_module(Path(), name="hello", diagnostic=True, **options)
    assert (built.path.read_bytes(), built.debug.read_bytes()) == first


def test_real_tree_gives_same_imports(tmp_path: Path) -> None:
    tree = os.environ.get("NETBSD_SYS")
    if not tree:
        pytest.skip("NETBSD_SYS=/usr/src/sys is not set")
    for machine in MACHINES:
        theirs = build_module([HELLO], machine=machine, out=tmp_path, sys=Path(tree))
        ours = build_module([HELLO], machine=machine, out=tmp_path / "ours")
        assert theirs.module.imports == ours.module.imports
        assert theirs.module.modinfo.version_text == theirs.release


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("10.1", 1_001_000_000),
        ("11.0", 1_100_000_000),
        ("10.99.12", 1_099_001_200),
        ("11.99.5", 1_199_000_500),
        ("11.99", None),
        ("11.0.1", None),
        ("eleven", None),
        ("11", None),
    ],
)
def test_release_name_determines_version(name: str, version: int | None) -> None:
    assert version_of(name) == version


def test_module_contains_its_target_release(build: Any) -> None:
    for release in (*load_targets().releases.names, "11.99.5"):
        assert build("hello.c", release=release).module.modinfo.version_text == release


@pytest.mark.parametrize(
    ("release", "hint"),
    [
        ("11", "did you mean 11.0?"),
        # The module of another minor release would be refused.
        ("11.1", "add it to specs/netbsd.yaml with its source"),
        ("11.0_STABLE", "a kernel that says 11.0_STABLE takes what is built for 11.0"),
        ("11.0.1", "a kernel that says 11.0.1 takes what is built for 11.0"),
        ("11.1_STABLE", "add it to specs/netbsd.yaml with its source"),
    ],
)
def test_unknown_release_is_usage_error_with_hint(tmp_path: Path, release: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no release '{release}'") as caught:
        build_module([HELLO], release=release, out=tmp_path)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("machine", "meant"),
    [("arm64", "aarch64"), ("x86_64", "amd64"), ("i686", "i386"), ("aarch46", "aarch64")],
)
def test_machine_name_of_another_system_is_accepted(
    tmp_path: Path, machine: str, meant: str
) -> None:
    with pytest.raises(UsageError, match=f"no machine '{machine}'") as caught:
        build_module([HELLO], machine=machine, out=tmp_path)
    assert caught.value.hint == f"did you mean {meant}?"


def test_port_name_is_accepted_as_machine() -> None:
    assert load_targets().machine("evbarm").name == "aarch64"


def test_unsupported_target_is_refused_with_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--release", "10.1", "--machine", "aarch64"]) == 65
    err = capsys.readouterr().err
    assert "NetBSD 10.1 on aarch64 is not supported: before 10.99.12" in err


def test_all_targets_are_printed_as_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", "--all", "--source", str(HELLO.parent), "--out", str(tmp_path)]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    targets = load_targets()
    assert len(lines) == 1 + len(targets.releases) * len(targets.machines)
    assert all("clean" in line for line in lines[1:])


def test_failed_target_does_not_stop_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    text = HELLO.read_text(encoding="utf-8") + "#ifdef __i386__\n#error not here\n#endif\n"
    (source / "hello.c").write_text(text, encoding="utf-8")
    arguments = ["build", "--all", "--json", "--source", str(source), "--out", str(tmp_path)]
    assert cli.main(arguments) == 65
    rows = json.loads(capsys.readouterr().out)
    assert {row["machine"] for row in rows if "error" in row} == {"i386"}
    assert {row["machine"] for row in rows if "size" in row} == {"amd64", "aarch64"}


def test_command_writes_release_and_machine_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", "--source", str(HELLO.parent), "--out", str(tmp_path), "--json"]
    assert cli.main([*arguments, "--release", "10.1", "--machine", "i386", "--diagnostic"]) == 0
    facts = json.loads(capsys.readouterr().out)
    path = tmp_path / "10.1" / "i386" / "diagnostic" / "fixtures.kmod"
    assert facts["path"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert "kern_assert" in facts["imports"]


def test_unwritable_output_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportedError, match="cannot write") as caught:
        build_module([HELLO], out=tmp_path / "file")
    assert caught.value.exit_status == 73


ASSEMBLY = """	.text
	.globl low_number
	.type low_number,@function
low_number:
	movl $FORTY_TWO, %eax
	ret
	.size low_number,.-low_number
"""
CALLER = """#include <sys/param.h>
#include <sys/module.h>
int low_number(void);
MODULE(MODULE_CLASS_MISC, low, NULL);
static int
low_modcmd(modcmd_t cmd, void *arg)
{

	return cmd == MODULE_CMD_INIT ? low_number() : ENOTTY;
}
"""


@pytest.mark.parametrize(
    "makefile", ["KMOD=\tlow\nSRCS=\tmain.c low.S\n.include <bsd.kmodule.mk>\n", None]
)
def test_assembly_is_preprocessed_and_assembled(tmp_path: Path, makefile: str | None) -> None:
    """Every file is compiled: an omitted one would give a module that cannot be loaded."""
    source = tmp_path / "low"
    source.mkdir()
    if makefile is not None:
        (source / "Makefile").write_text(makefile)
    (source / "main.c").write_text(CALLER)
    (source / "low.S").write_text(f"#define FORTY_TWO 42\n{ASSEMBLY}")
    module = build_module(source, out=tmp_path / "out", cache=tmp_path / "cache").module
    assert module.imports == ()
    function = module.symbol("low_number")
    assert function.section is not None
    code = module.sections[function.section].data[function.value :][: function.size]
    assert code == b"\xb8\x2a\0\0\0\xc3", "mov $42, %eax; ret"


def test_assembly_without_preprocessor_is_assembled(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(CALLER)
    (tmp_path / "low.s").write_text(ASSEMBLY.replace("FORTY_TWO", "42"))
    module = build_module(
        [tmp_path / "main.c", tmp_path / "low.s"], out=tmp_path / "out", cache=tmp_path / "cache"
    ).module
    assert module.imports == ()


def test_source_in_unsupported_language_is_refused_with_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text(
        "KMOD=\tlow\nSRCS=\tmain.c\nSRCS+=\temulate_ops.asm\n.include <bsd.kmodule.mk>\n"
    )
    (tmp_path / "main.c").write_text(CALLER)
    assert cli.main(["build", "--source", str(tmp_path), "--out", str(tmp_path / "out")]) == 65
    printed = capsys.readouterr().err
    assert "Makefile:3: SRCS: no way to build emulate_ops.asm" in printed
    assert "hint: C (.c) and assembly" in printed
    assert not (tmp_path / "out").exists()
