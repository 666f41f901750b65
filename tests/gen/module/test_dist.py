"""The files of a release: reproducible, and complete for an administrator."""

from __future__ import annotations

import hashlib
import io
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen import __version__, cli, modules, resources
from vmtgen.build.compile import build_module
from vmtgen.common.errors import UsageError
from vmtgen.compiler.spec.load import load, unsupported
from vmtgen.kobj import read_module
from vmtgen.lint.check import lint_file
from vmtgen.package.binary import Entry
from vmtgen.package.dist import pack, properties
from vmtgen.targets import load_targets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGETS = load_targets()
# The files of a checkout that are in an archive or needed to make one.
NEEDED = ("gen", "specs", "templates", "kmod", "userland", "pkgsrc", "docs", "LICENSE",
          "BUILDING.md", "pyproject.toml")  # fmt: skip


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all targets, made once."""
    out = tmp_path_factory.mktemp("dist")
    assert cli.main(["dist", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive for 11.0/amd64, unpacked by tar."""
    place = tmp_path_factory.mktemp("guest")
    archive = next(dist.glob("vmt-*-netbsd-11.0-amd64.tgz"))
    subprocess.run(["tar", "-xpzf", str(archive), "-C", str(place)], check=True)
    return place


def _supported() -> dict[str, tuple[str, str, str]]:
    """(module, release, machine) by the archive's name without version."""
    return {
        f"{name}-netbsd-{release.name}-{machine.name}.tgz": (name, release.name, machine.name)
        for name in modules.known()
        for release in TARGETS.releases
        for machine in TARGETS.machines
        if unsupported(name, release, machine) is None
    }


def _without_version(path: Path) -> str:
    return path.name.replace(f"-{__version__}", "")


def test_archive_and_packages_exist_for_every_target(dist: Path) -> None:
    supported = _supported()
    assert {_without_version(path) for path in dist.glob("*.tgz")} == set(supported)
    for release, machine in {target[1:] for target in supported.values()}:
        names = {path.name for path in (dist / release / machine).iterdir()}
        packages = {
            f"netbsd-{name}" for name, *target in supported.values() if target == [release, machine]
        }
        assert names == {
            "SHA512", *(f"{name}-{__version__}.tgz" for name in (*packages, "vmtctl"))
        }  # fmt: skip
    manifest = json.loads((dist / "manifest.json").read_text())
    gaps = {
        (gap["module"], gap["release"], gap["machine"]): gap["reason"]
        for gap in manifest["unsupported"]
    }
    assert "cpufeaturebus" in gaps.pop(("vmt", "10.1", "aarch64"))
    assert {(name, machine) for name, _release, machine in gaps} == {("vmmemctl", "aarch64")}
    assert "vmmemctl is for amd64 and i386" in gaps["vmmemctl", "11.0", "aarch64"]


def test_module_is_in_default_path_of_its_release(dist: Path, tmp_path: Path) -> None:
    for path in dist.glob("*.tgz"):
        module_name, release, machine = _supported()[_without_version(path)]
        with tarfile.open(path) as archive:
            (name,) = [n for n in archive.getnames() if n.endswith(".kmod")]
            directory = TARGETS.machine(machine).directory
            assert name == (
                f"usr/pkg/stand/{directory}/{release}/modules/{module_name}/{module_name}.kmod"
            )
            stream = archive.extractfile(name)
            assert stream is not None
            module = tmp_path / "vmt.kmod"
            module.write_bytes(stream.read())
        found = lint_file(module, release=release)
        assert [finding for finding in found if finding.severity != "note"] == []
        assert read_module(module).machine.value == machine


def test_archive_members_belong_to_root_and_are_sorted(dist: Path) -> None:
    for path in dist.glob("*.tgz"):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "root", "wheel")}
        assert {m.mtime for m in members} == {1_767_225_600}
        assert all(m.isreg() and m.mode in (0o444, 0o555) for m in members)
        assert all(m.name.startswith("usr/pkg/") for m in members)


def test_property_list_holds_driver_defaults() -> None:
    specs = load(resources.directory("specs") / "vmt")
    text = properties(specs)
    assert plistlib.loads(text) == {item.name: False for item in specs.driver.module.properties}
    assert len(text) < 8191, "module_load_plist_vfs takes no more"


@pytest.fixture
def installed(unpacked: Path, tmp_path: Path) -> Path:
    """The archive's /usr/pkg, with a stub of Python that prints its arguments."""
    prefix = tmp_path / "usr/pkg"
    shutil.copytree(unpacked / "usr/pkg", prefix)
    python = prefix / "bin/python3.15"
    python.write_text(f'#!/bin/sh\necho "$1" >&2\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return prefix


def _version(*command: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, "--version"],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_vmtctl_runs_from_unpacked_archive(
    installed: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    dash = require_tool("dash")
    program = installed / "bin/vmtctl"
    for where, name in ((tmp_path, str(program)), (program.parent, "vmtctl")):
        done = _version(dash, name, where=where)
        assert done.stdout.startswith("vmtctl "), done.stderr
        assert done.stderr == "-I\n"


def test_vmtctl_runs_through_symbolic_link(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/first").symlink_to("../second")
    (tmp_path / "second").symlink_to(installed / "bin/vmtctl")
    done = _version(str(tmp_path / "bin/first"), where=tmp_path)
    assert done.stdout.startswith("vmtctl "), done.stderr


def test_environment_does_not_select_python_for_root(installed: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    (hostile / "vmtctl").mkdir(parents=True)
    (hostile / "vmtctl/__init__.py").write_text("print('hostile')\n")
    (hostile / "sitecustomize.py").write_text("print('hostile')\n")
    for name in ("python3.15", "python3.14", "dirname", "readlink"):
        (hostile / name).write_text("#!/bin/sh\necho hostile\n")
        (hostile / name).chmod(0o755)
    (tmp_path / "link").symlink_to(installed / "bin/vmtctl")
    done = _version(
        str(tmp_path / "link"), where=hostile, PATH=str(hostile), PYTHONPATH=str(hostile)
    )
    assert done.stdout.startswith("vmtctl "), done.stderr
    assert "hostile" not in done.stdout + done.stderr


def test_without_python_vmtctl_names_package(
    installed: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    (installed / "bin/python3.15").unlink()
    program = installed / "bin/vmtctl"
    text = program.read_text()
    # This machine has a Python.
    assert " /usr/pkg/bin /usr/local/bin /usr/bin;" in text
    program.chmod(0o755)
    program.write_text(text.replace(" /usr/pkg/bin /usr/local/bin /usr/bin;", ";"))
    done = _version(require_tool("dash"), str(program), where=tmp_path)
    assert done.returncode == 69
    assert "pkg_add python" in done.stderr


@pytest.mark.parametrize("name", ["bin/vmtctl", "package/install", "package/deinstall"])
def test_shellcheck_passes(root: Path, name: str, require_tool: Callable[[str], str]) -> None:
    tool = require_tool("shellcheck")
    done = subprocess.run(
        [tool, "-s", "sh", str(root / "userland" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["man4/netbsd-vmt.4", "man8/vmtctl.8"])
def test_man_pages_use_names_unused_by_netbsd(
    unpacked: Path, name: str, require_tool: Callable[[str], str]
) -> None:
    (page,) = (unpacked / "usr/pkg/man" / name).parent.iterdir()
    assert page.name == name.rpartition("/")[2]
    done = subprocess.run(
        [require_tool("mandoc"), "-Tlint", "-Wwarning", str(page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_checksums_are_correct_and_complete(dist: Path) -> None:
    lines = (dist / "SHA512").read_text().splitlines()
    reported = dict(re.fullmatch(r"SHA512 \((.*)\) = ([0-9a-f]{128})", line).groups()  # type: ignore[union-attr]
                for line in lines)  # fmt: skip
    files = {
        path.relative_to(dist).as_posix(): path
        for path in dist.rglob("*")
        if path.is_file() and path != dist / "SHA512"
    }
    assert reported == {
        name: hashlib.sha512(path.read_bytes()).hexdigest() for name, path in files.items()
    }


def test_checking_one_archive_needs_no_other_file(
    dist: Path, root: Path, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """The command of BUILDING.md, where the archive and SHA512 were copied and nothing else."""
    (line,) = re.findall(r"^grep .*cksum.*$", (root / "BUILDING.md").read_text(), re.MULTILINE)
    require_tool("cksum")
    archive = f"vmt-{__version__}-netbsd-11.0-amd64.tgz"
    for name in ("SHA512", archive):
        shutil.copy(dist / name, tmp_path)
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{archive}: OK\n"), done.stderr


def test_distribution_file_builds_module_of_package(dist: Path, tmp_path: Path) -> None:
    origin = next(dist.glob("*.tar.gz"))
    subprocess.run(["tar", "-xzf", str(origin), "-C", str(tmp_path)], check=True)
    (source,) = tmp_path.iterdir()
    built = build_module(
        source / "kmod" / "vmt",
        release="11.0",
        machine="amd64",
        out=tmp_path / "out",
        targets=TARGETS,
    )
    with tarfile.open(next(dist.glob("11.0/amd64/netbsd-vmt-*.tgz"))) as archive:
        packed = archive.extractfile("stand/amd64/11.0/modules/vmt/vmt.kmod")
        assert packed is not None
        assert built.path.read_bytes() == packed.read()


def test_manifest_lists_inputs(dist: Path, root: Path) -> None:
    manifest: dict[str, Any] = json.loads((dist / "manifest.json").read_text())
    for name, digest in manifest["specs"]["files"].items():
        assert hashlib.sha256((root / "specs" / name).read_bytes()).hexdigest() == digest
    assert set(manifest["specs"]["files"]) == {
        p.relative_to(root / "specs").as_posix() for p in (root / "specs").rglob("*.yaml")
    }
    assert manifest["compiler"].startswith("ziglang ")
    for target in manifest["targets"]:
        assert f"-D__NetBSD_Version__={target['version']}" in target["flags"]
        own = {"vmt": "sysmon_pswitch_event", "vmmemctl": "uvm_pglistalloc"}
        assert own[target["module"]] in target["imports"]
        assert len(target["packages"]) == 2
        for packed in (*target["packages"], target["archive"]):
            data = (dist / packed["file"]).read_bytes()
            assert packed["sha512"] == hashlib.sha512(data).hexdigest()
            with tarfile.open(fileobj=io.BytesIO(data)) as inside:
                assert [file["path"] for file in packed["files"]] == inside.getnames()
    assert str(root) not in json.dumps(manifest)


def test_sbom_is_valid_spdx(dist: Path) -> None:
    (path,) = dist.glob("*.spdx.json")
    bill = json.loads(path.read_text())
    assert bill["spdxVersion"] == "SPDX-2.3"
    names = {package["SPDXID"]: package for package in bill["packages"]}
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name) for name in names)
    for relation in bill["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= {
            *names, "SPDXRef-DOCUMENT",
        }  # fmt: skip
    for archive in dist.rglob("*.tgz"):
        name = archive.relative_to(dist).as_posix().replace("/", "-")
        (sum_,) = names[f"SPDXRef-{name}"]["checksums"]
        assert sum_["checksumValue"] == hashlib.sha512(archive.read_bytes()).hexdigest()
    assert names["SPDXRef-tool-ziglang"]["versionInfo"]


def _made_in(checkout: Path, umask: int, environment: dict[str, str]) -> bytes:
    """The archive and packages that a checkout makes, with nothing compiled before."""
    words = ["dist", "--release", "11.0", "--machine", "aarch64", "--out", "files"]
    done = subprocess.run(
        [sys.executable, "-m", "vmtgen", *words],
        cwd=checkout,
        env={**os.environ, **environment, "PYTHONPATH": str(checkout / "gen")},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (checkout / "build").is_dir(), "the build directory is in the checkout"
    return b"".join(path.read_bytes() for path in sorted((checkout / "files").rglob("*gz")))


def test_archives_do_not_depend_on_directory_zone_locale_umask(root: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "somewhere else" / "deeper"
    for name in NEEDED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, one / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, one / name)
    shutil.copytree(one, two)
    first = _made_in(one, 0o022, {"TZ": "UTC", "LANG": "C"})
    other = {
        "TZ": "Pacific/Kiritimati",
        "LANG": "de_DE.UTF-8",
        "USER": "builder",
        "LOGNAME": "builder",
        "HOME": str(tmp_path),
        "PYTHONHASHSEED": "7",
    }
    assert _made_in(two, 0o077, other) == first


def test_archive_of_earlier_run_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "vmt-0.0.9-netbsd-9.4-amd64.tgz"
    old.touch()
    lost = tmp_path / "9.4/amd64/vmtctl-0.0.9.tgz"
    lost.parent.mkdir(parents=True)
    lost.touch()
    (tmp_path / "notes").touch()
    words = ["dist", "--release", "11.0", "--machine", "amd64", "--out", str(tmp_path)]
    assert cli.main([*words, "--json"]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["targets"]) == len(modules.known())
    assert "removed" in printed.err
    assert not old.exists()
    assert not lost.exists()
    assert (tmp_path / "notes").exists()


def test_unsupported_target_is_refused_with_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dist", "--release", "10.1", "--machine", "aarch64", "--out", str(tmp_path)]
    assert cli.main(words) == 65
    assert "NetBSD 10.1 on aarch64 is not supported: before 10.99.12" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_source_date_epoch_sets_file_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with tarfile.open(fileobj=io.BytesIO(pack([Entry("a", 0o444, b"x")]))) as archive:
        assert archive.getmember("a").mtime == 1_700_000_000


@pytest.mark.parametrize("epoch", ["today", "-1", "99999999999", "1e9", ""])
def test_invalid_source_date_epoch_is_usage_error(
    epoch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        pack([Entry("a", 0o444, b"x")])
