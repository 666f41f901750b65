"""vmtgen kpi check reports differences between the project's headers and a tree's."""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen import cli, resources
from vmtgen.build.compile import build_module
from vmtgen.build.kpi_code import compare_code
from vmtgen.targets import load_targets

from tests import kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGETS = load_targets()
MACHINES = ("amd64", "i386", "aarch64")
VERSION = "#define\t__NetBSD_Version__\t1199000500\n"  # 11.99.5
# What is compared where a header differs: a build with a tree is not cached, and the driver has
# fifteen files.
SMALL = """\
#include <sys/param.h>
#include <sys/errno.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/power.h>
#include <sys/systm.h>
#include <net/if.h>

MODULE(MODULE_CLASS_DRIVER, small, NULL);

int	small_count(struct ifnet *const *, int);
void	*small_buffer(size_t);
int	small_switch(int);

int
small_count(struct ifnet *const *ifps, int n)
{
	int up = 0;

	for (int i = 0; i < n; i++) {
		if ((ifps[i]->if_flags & (IFF_UP | IFF_LOOPBACK)) != IFF_UP)
			continue;
		up += ifps[i]->if_index;
	}
	return up;
}

void *
small_buffer(size_t size)
{

	return kmem_alloc(size, KM_SLEEP);
}

int
small_switch(int type)
{

	return type == PSWITCH_TYPE_RESET ? 0 : EIO;
}

static int
small_modcmd(modcmd_t cmd, void *arg)
{

	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
}
"""


@pytest.fixture(autouse=True)
def _kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "concurrent" not in request.node.name:
        kept.use(monkeypatch)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project's headers where a sys/ tree has them: the same contents, another way to them."""
    kpi = resources.directory("kpi")
    sys = tmp_path / "src" / "sys"
    shutil.copytree(kpi / "include", sys)
    (sys / "arch").mkdir()
    for machine in TARGETS.machines:
        for target in machine.links.values():
            (sys / target).mkdir(parents=True, exist_ok=True)
        target = sys / machine.links["machine"]
        shutil.copytree(kpi / machine.name / "machine", target, dirs_exist_ok=True)
    shutil.copytree(sys / "x86", sys / "arch" / "x86" / "include", dirs_exist_ok=True)
    shutil.rmtree(sys / "x86")
    common = tmp_path / "src" / "common" / "include"
    common.mkdir(parents=True)
    (sys / "prop").rename(common / "prop")
    edit(sys / "sys" / "param.h", lambda text: text + VERSION)
    return sys


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The sources of a small module."""
    source = tmp_path / "small"
    source.mkdir()
    (source / "small.c").write_text(SMALL, encoding="utf-8")
    return source


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


@pytest.mark.parametrize("machine", MACHINES)
def test_identical_headers_give_identical_code(tree: Path, root: Path, machine: str) -> None:
    release = TARGETS.release("11.99.5")
    found = compare_code(TARGETS, release, TARGETS.machine(machine), tree, root / "kmod" / "vmt")
    assert [str(difference) for difference in found.differences] == []
    assert found.functions > 50


@pytest.mark.parametrize("machine", MACHINES)
def test_differing_function_is_reported_with_line_and_reason(
    tree: Path, small: Path, machine: str
) -> None:
    edit(tree / "net" / "if.h", lambda text: text.replace("IFF_UP\t\t0x0001", "IFF_UP\t\t0x0002"))
    release = TARGETS.release("11.99.5")
    found = compare_code(TARGETS, release, TARGETS.machine(machine), tree, small)
    assert [difference.name for difference in found.differences] == ["small_count"]
    reason = found.differences[0].reason
    line = int(reason.partition("kmod/small/small.c:")[2].partition(":")[0])
    source = SMALL.splitlines()
    if machine == "aarch64":
        # There the constant is loaded outside the loop, and the registers shift.
        found_in = next(
            text.partition("(")[0]
            for text in reversed(source[:line])
            if text.startswith("small_") and "(" in text
        )
        assert found_in == "small_count"
    else:
        assert "IFF_UP" in source[line - 1]
    assert "with the project's headers" in reason


def test_different_macro_expansion_is_named(tree: Path, small: Path) -> None:
    edit(
        tree / "sys" / "kmem.h",
        lambda text: text.replace(
            "#endif\t/* !_KPI_SYS_KMEM_H_ */",
            "void\t*kmem_other(size_t, km_flag_t);\n#define\tkmem_alloc\tkmem_other\n#endif",
        ),
    )
    release = TARGETS.release("11.99.5")
    found = compare_code(TARGETS, release, TARGETS.machine("amd64"), tree, small)
    assert found.differences
    for difference in found.differences:
        assert "only ours refers to kmem_alloc" in difference.reason
        assert "only the tree's refers to kmem_other" in difference.reason


def test_differing_data_is_reported_by_section(tree: Path, small: Path) -> None:
    """The module's version is data that no function reads."""
    before, after = "DRIVER, MODULE_CLASS_EXEC", "EXEC, MODULE_CLASS_DRIVER"
    edit(tree / "sys" / "module.h", lambda text: text.replace(before, after))
    release = TARGETS.release("11.99.5")
    found = compare_code(TARGETS, release, TARGETS.machine("amd64"), tree, small)
    assert [difference.name for difference in found.differences] == ["section .rodata"]


def test_command_reports_layouts_and_code(
    tree: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["kpi", "check", "--sys", str(tree), "--code", "--machine", "amd64"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    functions = re.search(r"^11\.99\.5/amd64: (\d+) functions", out, re.MULTILINE)
    assert functions is not None
    assert int(functions[1]) > 50
    assert out.count(", 0 differ") == 2
    edit(
        tree / "sys" / "power.h",
        lambda text: text.replace("PSWITCH_TYPE_RESET\t3", "PSWITCH_TYPE_RESET\t4"),
    )
    assert cli.main([*words, "--source", str(small), "--json"]) == 65
    (row,) = json.loads(capsys.readouterr().out)["machines"]
    assert row["messages"] == [
        "sys/power.h: PSWITCH_TYPE_RESET is 3 in the project's headers and 4 in NetBSD's"
    ]
    assert row["code"]["differences"]


def test_installed_headers_need_no_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kpi", "check", "--machine", "i386"]) == 0
    printed = capsys.readouterr().out
    found = re.fullmatch(r"11\.0/i386: (\d+) sizes, offsets and constants, 0 differ\n", printed)
    assert found is not None, printed
    assert int(found[1]) > 400


@pytest.mark.parametrize(
    ("words", "status", "printed"),
    [
        (["--code"], 64, "--code needs --sys DIR"),
        (["--source", "x"], 64, "--source needs --code"),
        (["--release", "10.1"], 69, "hint: pip install --no-deps --target DIR ziglang==0.16.0"),
        (["--release", "10.99.12"], 69, "no package carries the headers"),
        (["--installed", "/nowhere"], 64, "no directory generic-netbsd"),
        (["--machine", "vax"], 64, "no machine 'vax'"),
        (["--sys", "/nowhere"], 66, "no NetBSD sys/ tree"),
    ],
)
def test_impossible_comparison_is_reported_with_remedy(
    words: list[str], status: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["kpi", "check", *words]) == status
    assert printed in capsys.readouterr().err


@pytest.mark.parametrize("machine", MACHINES)
def test_driver_is_identical_with_real_tree(
    machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every function is compared, and everything that the loader loads."""
    given = os.environ.get("NETBSD_SYS")
    if not given:
        pytest.skip("NETBSD_SYS=/usr/src/sys is not set")
    words = ["kpi", "check", "--sys", given, "--code", "--machine", machine, "--json"]
    status = cli.main(words)
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    (row,) = printed["machines"]
    assert row["messages"] == []
    assert row["code"].get("differences", []) == []
    assert status == 0


def test_concurrent_builds_with_two_trees_do_not_mix(
    tree: Path, small: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "src" / "sys"
    shutil.copytree(tree.parent, other.parent)
    edit(other / "sys" / "errno.h", lambda text: re.sub(r"(EIO\s+)5\b", r"\g<1>105", text))
    cache = tmp_path / "cache"

    def built(sys: Path, out: Path) -> bytes:
        made = build_module(small, sys=sys, out=out, cache=cache)
        return made.path.read_bytes()

    alone = {sys: built(sys, tmp_path / "alone" / str(n)) for n, sys in enumerate((tree, other))}
    assert alone[tree] != alone[other]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(built, sys, tmp_path / str(n)) for n, sys in enumerate((tree, other))]
        assert [each.result() for each in both] == [alone[tree], alone[other]]
