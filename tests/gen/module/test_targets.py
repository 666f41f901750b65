"""Releases and machines: by name, by number, all at once, and unsupported ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from vmtgen import cli
from vmtgen.kobj import read_module
from vmtgen.targets import load_targets

if TYPE_CHECKING:
    from pathlib import Path

MACHINES = ("amd64", "i386", "aarch64")


@pytest.mark.parametrize("machine", MACHINES)
def test_current_release_is_named_by_number(
    machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["build", "--release", "11.99.5", "--machine", machine, "--out", str(tmp_path)]
    assert cli.main(words) == 0
    module = tmp_path / "11.99.5" / machine / "vmt.kmod"
    info = read_module(module).modinfo
    assert (info.version, info.version_text) == (1_199_000_500, "11.99.5")
    assert info.accepted_by(1_199_000_500)
    assert not info.accepted_by(1_199_000_600)
    capsys.readouterr()
    assert cli.main(["lint", str(module)]) == 0
    assert capsys.readouterr().out.endswith(f"clean; for exactly NetBSD 11.99.5/{machine}\n")
    assert cli.main(["lint", "--release", "11.99.6", str(module)]) == 65
    out = capsys.readouterr().out
    assert "module `vmt' built for `1199000500', system `1199000600'" in out


@pytest.mark.parametrize("release", ["10.1", "10.99.2", "10.99.11"])
def test_aarch64_before_cpufeaturebus_is_refused_with_reason(
    release: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["build", "--release", release, "--machine", "aarch64", "--out", str(tmp_path)]
    assert cli.main(words) == 65
    printed = capsys.readouterr().err
    assert f"NetBSD {release} on aarch64 is not supported" in printed
    assert "has no cpufeaturebus" in printed
    assert "sits at fdt and cannot be detached" in printed
    assert "hint: build for 11.0" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("release", ["10.99.12", "11.0", "11.99.1"])
def test_aarch64_since_cpufeaturebus_is_built(release: str, tmp_path: Path) -> None:
    words = ["build", "--release", release, "--machine", "evbarm", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    assert (tmp_path / release / "aarch64" / "vmt.kmod").is_file()


@pytest.mark.parametrize(
    ("release", "printed"),
    [
        ("11.99", "any current release MM.99.pp by its number"),
        ("9.4", "no release '9.4'"),
        ("11.0.1", "no release '11.0.1'"),
        ("HEAD", "no release 'HEAD'"),
    ],
)
def test_other_release_is_usage_error(
    release: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "--release", release]) == 64
    assert printed in capsys.readouterr().err


def test_all_targets_are_printed_as_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "--all", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    targets = load_targets()
    lines = printed.out.splitlines()[1:]
    expected = [(r.name, m.name) for r in targets.releases for m in targets.machines]
    assert [tuple(line.split()[:2]) for line in lines] == expected
    for line, (release, machine) in zip(lines, expected, strict=True):
        reason = targets.machine(machine).unsupported(targets.release(release).version)
        if reason is None:
            assert " clean " in line
            assert f"building {release}/{machine} ..." in printed.err
        else:
            assert line.endswith(f"unsupported: {reason}")


def test_failed_target_does_not_hide_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.c").write_text(
        "#include <sys/param.h>\n#include <sys/module.h>\n"
        "MODULE(MODULE_CLASS_MISC, m, NULL);\n"
        "static int\nm_modcmd(modcmd_t cmd, void *arg)\n{\n\n\treturn 0;\n}\n"
        "#ifdef __i386__\n#error not here\n#endif\n"
    )
    words = ["build", "--all", "--source", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 65
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()[1:]]
    assert {line[1] for line in lines if line[2] == "failed:"} == {"i386"}
    assert {line[1] for line in lines if "clean" in line} == {"amd64", "aarch64"}
    assert "not here" in printed.err
    assert cli.main([*words, "--json"]) == 65
    rows = json.loads(capsys.readouterr().out)
    assert {row["machine"] for row in rows if "error" in row} == {"i386"}
    assert all(row["lint"] == {"errors": 0, "warnings": 0} for row in rows if "lint" in row)


def test_code_is_same_for_all_releases_except_version(tmp_path: Path) -> None:
    """Only data differs between releases; the driver needs nothing else from the kernel."""
    for release in ("10.1", "11.0", "11.99.5"):
        words = ["build", "--release", release, "--out", str(tmp_path)]
        assert cli.main(words) == 0
    texts = {
        release: read_module(tmp_path / release / "amd64" / "vmt.kmod").section(".text").data
        for release in ("10.1", "11.0", "11.99.5")
    }
    assert texts["11.0"] == texts["11.99.5"]
