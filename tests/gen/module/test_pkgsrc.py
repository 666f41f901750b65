"""pkgsrc's packages, built by bmake with small stubs of pkgsrc's mk files.

pkgsrc/ beside this file has the stubs; PKGSRC_TREE=/usr/pkgsrc asks that tree's own files for
the variables, too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen import __version__, cli, modules
from vmtgen.compiler.spec.load import load
from vmtgen.package.binary import recipe
from vmtgen.package.dist import common, driver_package

if TYPE_CHECKING:
    from collections.abc import Callable

STUBS = Path(__file__).parent / "pkgsrc"
PREFIX = "opt/pkg"
# A build on NetBSD leaves the module in kmod/.
BUILD = "sh -c 'echo module of \"$$*\" > {}.kmod' sh"
PACKAGES = (*(driver_package(name) for name in modules.known()), "vmtctl")


class Tree:
    """A pkgsrc tree of the project's packages and the stubs."""

    def __init__(self, place: Path, made: Path, bmake: str) -> None:
        self.place = place
        self.bmake = bmake
        self.made = made
        shutil.copytree(STUBS, place)
        shutil.copytree(made / "pkgsrc/sysutils", place / "sysutils")
        # Paths of packages have no blanks; that of this Python may have one.
        self.python = place / "python"
        self.python.symlink_to(sys.executable)

    def run(self, name: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "WRKDIR": str(self.place / "work" / name),
            "DESTDIR": str(self.place / "dest" / name),
            "DISTDIR": str(self.made),
            "PYTHONBIN": str(self.python),
            "PYTAG": sys.implementation.cache_tag,
            "MACHINE": "amd64",
            "MACHINE_PLATFORM": "NetBSD-10.1-x86_64",
            "OS_VERSION": "10.1_STABLE",
            "BUILD": BUILD.format(name.removeprefix("netbsd-")),
            **more,
        }
        return subprocess.run(
            [self.bmake, *(f"{key}={value}" for key, value in settings.items()), *words],
            cwd=self.place / "sysutils" / name,
            env={key: value for key, value in os.environ.items() if key != "MAKEFLAGS"},
            capture_output=True,
            text=True,
            check=False,
        )

    def value(self, name: str, variable: str) -> str:
        return self.run(name, "-V", f"${{{variable}}}").stdout.strip()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Tree:
    bmake = require_tool("bmake")
    out = tmp_path_factory.mktemp("dist")
    assert cli.main(["dist", "--release", "11.0", "--machine", "amd64", "--out", str(out)]) == 0
    return Tree(tmp_path_factory.mktemp("pkgsrc") / "tree", out, bmake)


@pytest.fixture(scope="module")
def installed(tree: Tree) -> dict[str, Path]:
    """The files that `make install` of each package installed; PLIST lists exactly these."""
    for name in PACKAGES:
        done = tree.run(name)
        assert done.returncode == 0, done.stdout + done.stderr
    return {name: tree.place / "dest" / name / PREFIX for name in PACKAGES}


def test_installed_files_match_plist(installed: dict[str, Path]) -> None:
    module = installed["netbsd-vmt"] / "stand/amd64/10.1/modules/vmt"
    assert sorted(path.name for path in module.iterdir()) == ["vmt.kmod", "vmt.plist"]
    assert (module / "vmt.kmod").read_text() == "module of S=/usr/src/sys\n"


def test_program_uses_interpreter_of_package(tree: Tree, installed: dict[str, Path]) -> None:
    program = installed["vmtctl"] / "bin/vmtctl"
    assert program.read_text().splitlines()[0] == f"#!{tree.python} -I"
    assert program.stat().st_mode & 0o777 == 0o555
    (site,) = installed["vmtctl"].glob("lib/python*/site-packages")
    done = subprocess.run(
        [sys.executable, str(program), "--version"],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"vmtctl {__version__}\n", done.stderr


def test_no_file_names_another_prefix(installed: dict[str, Path]) -> None:
    for path in installed["vmtctl"].rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert b"/usr/pkg" not in path.read_bytes(), path


def test_both_install_methods_give_same_files(installed: dict[str, Path], root: Path) -> None:
    """The packages differ only in vmtctl's Python code: an archive there, modules here."""
    shared = common(root, [load(root / "specs" / name) for name in modules.known()]).files
    for name, folder in installed.items():
        there = {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "site-packages" not in path.parts
        }
        ours = {entry.path.removeprefix("usr/pkg/") for entry in shared[name]}
        ours -= {"libexec/vmtctl.pyz"}
        if name != "vmtctl":
            module = name.removeprefix("netbsd-")
            ours |= {
                f"stand/amd64/10.1/modules/{module}/{module}.{kind}" for kind in ("kmod", "plist")
            }
        assert there == ours


def test_python_version_is_supported_by_vmtctl(tree: Tree) -> None:
    assert tree.value("vmtctl", "_PYTHON_VERSION") == "313"
    wrong = {"27", "38", "39"}
    assert set(tree.value("vmtctl", "PYTHON_VERSIONS_INCOMPATIBLE").split()) == wrong


@pytest.mark.parametrize(
    ("platform", "taken"),
    [
        ("NetBSD-10.1-x86_64", True), ("NetBSD-11.0-i386", True), ("NetBSD-11.0-aarch64", True),
        ("NetBSD-10.99.12-aarch64", True), ("NetBSD-10.99.11-aarch64", False),
        ("NetBSD-10.99.9-aarch64", False), ("NetBSD-10.1-aarch64", False),
        ("NetBSD-10.1_STABLE-aarch64", False), ("NetBSD-9.4-aarch64", False),
        ("NetBSD-11.0-sparc64", False), ("Linux-6.1-x86_64", False),
    ],
)  # fmt: skip
def test_driver_package_is_limited_to_supported_platforms(
    tree: Tree, platform: str, *, taken: bool
) -> None:
    done = tree.run("netbsd-vmt", "-V", "PKGNAME", MACHINE_PLATFORM=platform)
    assert (done.returncode == 0) is taken, done.stderr


def test_modified_distribution_file_is_refused(tree: Tree, tmp_path: Path) -> None:
    name = f"netbsd-vmt-{__version__}.tar.gz"
    (tmp_path / name).write_bytes((tree.made / name).read_bytes() + b"x")
    done = tree.run("netbsd-vmt", "checksum", DISTDIR=str(tmp_path))
    assert done.returncode != 0
    assert "FAILED" in done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_have_required_pkgsrc_variables(tree: Tree, root: Path, name: str) -> None:
    for variable in ("HOMEPAGE", "MAINTAINER", "COMMENT", "LICENSE", "CATEGORIES"):
        assert tree.value(name, variable), variable
    assert tree.value(name, "PKGNAME") == f"{name}-{__version__}"
    made = recipe(root, name)
    assert len(made.comment) <= 70
    assert not made.comment.endswith(".")
    files = {path.name for path in (tree.place / "sysutils" / name).iterdir()}
    assert {"DESCR", "MESSAGE", "Makefile", "PLIST", "distinfo"} <= files
    assert "man vmt\n" not in made.message


@pytest.mark.skipif(
    not os.environ.get("PKGSRC_TREE"), reason="no pkgsrc: PKGSRC_TREE=/usr/pkgsrc names one"
)
def test_makefiles_work_with_real_pkgsrc(tree: Tree, tmp_path: Path) -> None:
    place = tmp_path / "pkgsrc"
    place.mkdir()
    for path in Path(os.environ["PKGSRC_TREE"]).iterdir():
        if path.name != "sysutils":
            (place / path.name).symlink_to(path)
    shutil.copytree(tree.made / "pkgsrc/sysutils", place / "sysutils")

    tools = [f"PKG_TOOLS_BIN={os.environ['PKG_INSTALL']}"] if "PKG_INSTALL" in os.environ else []

    def value(name: str, variable: str) -> str:
        done = subprocess.run(
            [tree.bmake, "OPSYS=NetBSD", "OS_VERSION=10.1", "LOWER_OPSYS=netbsd",
             "MACHINE_ARCH=x86_64", "MACHINE=amd64", *tools, "-V", f"${{{variable}}}"],
            cwd=place / "sysutils" / name, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert value("vmtctl", "REPLACE_FILES.python") == "vmtctl.in"
    # Its value comes from an installed Python.
    assert re.search(r"\bPYSITELIB=", value("vmtctl", "PLIST_SUBST"))
    assert "vmtctl" in value("vmtctl", "RCD_SCRIPTS")
    assert "VMT_MODULEDIR=stand/amd64/10.1/modules/vmt" in value("netbsd-vmt", "PLIST_SUBST")
