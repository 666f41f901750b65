"""vmtgen reads a module's Makefile as make(1) does.

The forms in makefiles/ are those of intel/haxm, 3dl-dev/vms, kusumi/netbsd_hammer2,
smherwig/netbsd-sandbox and NetBSD's own sys/modules.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from vmtgen import cli
from vmtgen.build import makefile as reader
from vmtgen.build.compile import build_module
from vmtgen.build.makefile import read_makefile
from vmtgen.common.errors import ReportedError, UsageError
from vmtgen.resources import directory
from vmtgen.targets import load_targets

FORMS = Path(__file__).with_name("makefiles")
IOCONF_SYS = Path(__file__).with_name("ioconf") / "sys"
MACHINE = load_targets().machine("amd64")
GLUE = """#include <sys/param.h>
#include <sys/module.h>
MODULE(MODULE_CLASS_MISC, one, NULL);
static int
one_modcmd(modcmd_t cmd, void *arg)
{

	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? ONE : ENOTTY;
}
"""


@pytest.fixture
def make(require_tool: Any) -> str:
    return require_tool("bmake")


def module(path: Path, makefile: str, **files: str) -> Path:
    """Write a module's directory."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "Makefile").write_text(f"{makefile}\n.include <bsd.kmodule.mk>\n")
    for name, text in (
        {"one.c": GLUE} | {k.replace("_c", ".c"): v for k, v in files.items()}
    ).items():
        (path / name).write_text(text)
    return path


def recipe(path: Path, machine: str = "amd64", sys: Path | None = None) -> Any:
    return read_makefile(path / "Makefile", load_targets().machine(machine), "zig", sys)


@pytest.mark.parametrize("form", ["cond", "def", "path", "q", "var"])
def test_makefiles_of_other_projects_are_built(make: str, form: str, tmp_path: Path) -> None:
    """In a directory without a blank: make(1) has no way to write one in .PATH."""
    source = shutil.copytree(FORMS / form, tmp_path / form)
    built = build_module(source, out=tmp_path / "out", cache=tmp_path / "cache")
    assert built.path.name == "mkdrv.kmod"
    assert built.warnings == ""


def test_condition_can_test_machine(make: str) -> None:
    files = {each: recipe(FORMS / "cond", each).sources for each in ("amd64", "aarch64")}
    assert [source.path.name for source in files["amd64"]] == ["mkdrv.c"]
    assert [source.path.name for source in files["aarch64"]] == ["mkdrv.c", "arm.c"]


def test_flags_of_makefile_and_single_file_are_used(make: str, tmp_path: Path) -> None:
    path = module(
        tmp_path / "m",
        "KMOD=\tone\nSRCS=\tone.c two.c\nCPPFLAGS+=\t-Iinclude\nCOPTS.two.c=\t-DTWO='1 + 1'",
        two_c='#include "two.h"\nint one_two(void);\nint one_two(void) { return TWO + THREE; }\n',
    )
    (path / "one.c").write_text("#include <one.h>\n" + GLUE)
    (path / "include").mkdir()
    (path / "include/one.h").write_text("#define ONE 0\n")
    (path / "include/two.h").write_text("#define THREE 3\n")
    first = build_module(path, out=tmp_path / "out", cache=tmp_path / "cache")
    assert "one_two" in first.module.globals
    # A header below include/ is part of no key: such a module is compiled each time.
    (path / "include/one.h").write_text("#define ONE EBUSY\n")
    second = build_module(path, out=tmp_path / "out", cache=tmp_path / "cache")
    assert second.written


def test_builds_in_two_directories_are_identical(make: str, tmp_path: Path) -> None:
    bytes_of = []
    for name in ("a", "b/deeper"):
        path = module(
            tmp_path / name, "KMOD=one\nSRCS=one.c\n.PATH: ${.CURDIR}/src\nCPPFLAGS+=-Iinc"
        )
        (path / "src").mkdir()
        (path / "inc").mkdir()
        (path / "one.c").rename(path / "src/one.c")
        (path / "inc/h.h").write_text("static const char *where(void) { return __FILE__; }\n")
        text = "#include <h.h>\n#define ONE (where() == NULL)\n" + GLUE
        (path / "src/one.c").write_text(text)
        out = tmp_path / name / "out"
        built = build_module(path, out=out, cache=tmp_path / "cache")
        bytes_of.append((built.path.read_bytes(), built.debug.read_bytes()))
    assert bytes_of[0] == bytes_of[1]


def test_warnings_follow_warns_without_failing_build(
    make: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "#define ONE one_shadow(0)\nint one_shadow(int x) { { int x = 1; return x; } }\n" + GLUE
    for warns, expected in (("", set()), ("WARNS=1", {"missing-prototypes"}),
                            ("WARNS=3", {"missing-prototypes", "shadow"})):  # fmt: skip
        path = module(tmp_path / f"m{warns}", f"KMOD=one\nSRCS=one.c\n{warns}", one_c=text)
        status = cli.main(["build", "--source", str(path), "--out", str(tmp_path / "out")])
        printed = capsys.readouterr().err
        assert status == 0
        assert set(re.findall(r"\[-W([a-z-]+)\]", printed)) == expected
        assert not printed or f"{path}/one.c:2:" in printed or "one.c:2:" in printed


def test_warnings_are_repeated_for_cached_objects(tmp_path: Path) -> None:
    text = "#define ONE f(0)\nint f(int x) { { int x = 1; return x; } }\n" + GLUE
    shown = []
    for name in ("first", "second"):
        path = module(tmp_path / name, "KMOD=one\nSRCS=one.c\nWARNS=3", one_c=text)
        built = build_module(path, out=tmp_path / "out", cache=tmp_path / "cache")
        assert f"{name}/one.c:2:" in built.warnings
        shown.append((built.compiled, built.warnings.replace(f"{name}/", "X/")))
    assert shown[0] == (1, shown[1][1])
    assert shown[1][0] == 0


def test_warnings_disabled_by_netbsd_are_disabled(tmp_path: Path) -> None:
    """-Wno-pointer-sign: NetBSD's own sources do not compile without it."""
    built = build_module(FORMS / "psign.c", out=tmp_path, cache=tmp_path / "cache")
    assert built.warnings == ""


WRONG = {
    "KMOD=one\n.if ${NOTHING_SET} == 1\n.endif": r"line \d+: .*NOTHING_SET|NOTHING_SET",
    "SRCS=one.c": "KMOD is not set",
    "KMOD=one\nSRCS=one.h": "SRCS has no C file to build",
    "KMOD=one\nSRCS=one.c gone.c\n.PATH: /nowhere": r"no such file: gone\.c",
    "KMOD=one\nSRCS=one.c\nCPPFLAGS+=-DNAME='unclosed": "CPPFLAGS: No closing quotation",
    "KMOD=one\nSRCS=one.c table.awk": r"Makefile:2: SRCS: no way to build table\.awk",
}


@pytest.mark.parametrize("text", WRONG)
def test_makefile_errors_are_located(make: str, text: str, tmp_path: Path) -> None:
    path = module(tmp_path / "m", text)
    with pytest.raises(ReportedError, match=WRONG[text]):
        recipe(path)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (".include <bsd.prog.mk>", "includes <bsd.prog.mk>, so it builds no kernel module"),
        (".include <bsd.subdir.mk>", "builds the modules of other directories"),
        ("", "does not include <bsd.kmodule.mk>"),
    ],
)
def test_makefile_of_another_kind_is_refused(
    make: str, last: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(f"PROG=x\nSUBDIR=a b\n{last}\n")
    with pytest.raises(ReportedError, match=message):
        recipe(tmp_path)


def test_without_make_plain_makefiles_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "make_program", lambda: None)
    plain = recipe(FORMS / "def")
    assert (plain.name, plain.flags) == ("mkdrv", ("-DMKDRV_UNIT=3",))
    for form, line in (("cond", 3), ("path", 1), ("var", 2)):
        with pytest.raises(ReportedError, match=rf"Makefile:{line}: only make\(1\)") as error:
            recipe(FORMS / form)
        assert error.value.hint is not None
        assert "bmake" in error.value.hint


def test_own_driver_makefile_is_read_without_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "make_program", lambda: pytest.fail("make(1) was run"))
    ours = recipe(directory("kmod") / "vmt")
    assert ours.ours
    assert ours.sources


def test_name_missing_in_project_headers_is_attributed_to_netbsd(tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text(GLUE.replace("ONE", "autoconf_of_tomorrow(arg)"))
    with pytest.raises(ReportedError) as error:
        build_module(tmp_path / "m.c", out=tmp_path / "out", cache=tmp_path / "cache")
    assert error.value.hint is not None
    assert "may lack autoconf_of_tomorrow: --sys DIR" in error.value.hint


def test_includes_of_netbsd_hello_suffice(tmp_path: Path) -> None:
    text = GLUE.replace("? ONE", '? (printf("hello\\n"), 0)')
    (tmp_path / "m.c").write_text(text)
    built = build_module(tmp_path / "m.c", out=tmp_path / "out", cache=tmp_path / "cache")
    assert "printf" in built.module.imports


def test_driver_with_ioconf_needs_tree(make: str, tmp_path: Path) -> None:
    path = module(tmp_path / "m", "KMOD=one\nSRCS=one.c\nIOCONF=one.ioconf")
    (path / "one.ioconf").write_text("ioconf one\n")
    with pytest.raises(UsageError, match=r"one\.ioconf: config\(1\) reads") as error:
        build_module(path, out=tmp_path / "out", cache=tmp_path / "cache")
    assert error.value.hint is not None
    assert "--sys" in error.value.hint


def tree(path: Path) -> Path:
    """Return a small sys/ tree: headers in NetBSD's places, and the files of test_ioconf."""
    kpi = directory("kpi")
    (path / "sys").mkdir(parents=True)
    for header in (kpi / "include/sys").glob("*.h"):
        (path / "sys" / header.name).symlink_to(header)
    (path / "sys/param.h").unlink()
    (path / "sys/param.h").write_text(
        "#ifndef __NetBSD_Version__\n#define __NetBSD_Version__ 1100000000\n#endif\n"
        + (kpi / "include/sys/param.h").read_text()
    )
    for name in ("dev", "lib", "net", "netinet", "netinet6", "prop", "x86"):
        (path / name).symlink_to(kpi / "include" / name)
    for machine in ("amd64", "i386", "x86"):
        (path / "arch" / machine).mkdir(parents=True)
    (path / "arch/amd64/include").mkdir()
    for header in [*(kpi / "amd64/machine").iterdir(), *(kpi / "include/machine").iterdir()]:
        (path / "arch/amd64/include" / header.name).symlink_to(header)
    (path / "arch/i386/include").symlink_to(kpi / "i386/machine")
    (path / "arch/x86/include").symlink_to(kpi / "include/x86")
    (path / "conf").symlink_to(IOCONF_SYS / "conf")
    (path.parent / "common/include").mkdir(parents=True)
    (path.parent / "common/include/prop").symlink_to(kpi / "include/prop")
    return path


DRIVER = """#include <sys/param.h>
#include <sys/device.h>
#include <sys/module.h>
#include "ioconf.c"
struct softc { int unused; };
static int leaf_match(device_t parent, cfdata_t match, void *aux) { return 1; }
static void leaf_attach(device_t parent, device_t self, void *aux) { }
CFATTACH_DECL_NEW(leaf, sizeof(struct softc), leaf_match, leaf_attach, NULL, NULL);
MODULE(MODULE_CLASS_DRIVER, leaf, NULL);
static int
leaf_modcmd(modcmd_t cmd, void *arg)
{

	if (cmd != MODULE_CMD_INIT)
		return ENOTTY;
	return config_init_component(cfdriver_ioconf_leaf, cfattach_ioconf_leaf, cfdata_ioconf_leaf);
}
"""


def test_ioconf_tables_are_built_in(
    make: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = module(tmp_path / "m", "KMOD=leaf\nSRCS=leaf.c\nIOCONF=leaf.ioconf", leaf_c=DRIVER)
    (path / "leaf.ioconf").write_text(
        'ioconf leaf\ninclude "conf/files"\npseudo-root slotbus*\nleaf* at slotbus? line 4\n'
    )
    status = cli.main(
        ["build", "--source", str(path), "--out", str(tmp_path / "out"),
         "--sys", str(tree(tmp_path / "src/sys"))]
    )  # fmt: skip
    printed = capsys.readouterr().err
    assert status == 0, printed
    assert "leaf.ioconf:4: leaf*: slotbus has no locator 'line'" in printed
    assert (tmp_path / "out/11.0/amd64/leaf.kmod").is_file()
