"""The packages of a release, tested with NetBSD's own pkg_install.

`make check-packages PKG_INSTALL=DIR` runs pkg_add, pkg_info, pkg_admin, pkg_delete and pkg_create
of DIR in an empty root. recordings/pkg_install.json holds their output: without the tools the
packages are compared with it.  UPDATE_GOLDEN=1 records it again.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen import __version__, cli
from vmtgen.common.dataclass import replace
from vmtgen.package import binary
from vmtgen.package.binary import Entry, Recipe, package
from vmtgen.package.dist import pack

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDING = Path(__file__).parent / "recordings/pkg_install.json"
UPDATE = os.environ.get("UPDATE_GOLDEN", "") not in {"", "0"}
TOOLS = ("pkg_add", "pkg_admin", "pkg_create", "pkg_delete", "pkg_info")
# The programs that the packages' scripts run, and the shell for the scripts.
SMALL = ("sh", "cp", "cmp", "chmod", "mkdir", "rm")
VMTCTL, DRIVER = f"vmtctl-{__version__}", f"netbsd-vmt-{__version__}"
NEXT = "99.0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory to copy to a guest of 11.0/amd64."""
    out = tmp_path_factory.mktemp("dist")
    assert cli.main(["dist", "--release", "11.0", "--machine", "amd64", "--out", str(out)]) == 0
    return out / "11.0/amd64"


def members(path: Path) -> dict[str, bytes]:
    """The files of a package in their order."""
    with tarfile.open(path) as archive:
        return {
            member.name: stream.read()
            for member in archive
            for stream in [archive.extractfile(member)]
            if stream is not None
        }


def write_package(
    folder: Path, name: str, version: str, files: tuple[Entry, ...] = (), **more: Any
) -> None:
    """Write a package with pkg_install's names for its parts."""
    recipe = Recipe(name, "A package", "2-clause-bsd", "lang", "For a test.\n", "", **more)
    one = package(
        recipe, files, machine="amd64", directory="amd64", release="11.0", seconds=1_767_225_600
    )
    renamed = one.members[0].data.replace(
        f"@name {one.name}\n".encode(), f"@name {name}-{version}\n".encode()
    )
    (folder / f"{name}-{version}.tgz").write_bytes(
        pack((replace(one.members[0], data=renamed), *one.members[1:]))
    )


class EmptyRoot:
    """A root with pkg_install and a shell; each command is recorded."""

    def __init__(self, path: Path, tools: Path) -> None:
        self.path = path
        self.runs: list[dict[str, Any]] = []
        found = [(str(tools / name), f"usr/sbin/{name}") for name in TOOLS]
        found += [(shutil.which(name) or name, f"bin/{name}") for name in SMALL]
        for source, place in found:
            self._copy(Path(source), place)
            done = subprocess.run(["ldd", source], capture_output=True, text=True, check=False)
            for library in re.findall(r"(?:^|\s)(/\S+)", done.stdout):
                self._copy(Path(library), library[1:])
        for name in ("etc/rc.d", "tmp", "dev", "usr/pkg", "var/db"):
            (path / name).mkdir(parents=True, exist_ok=True)
        (path / "dev/null").touch()

    def _copy(self, source: Path, place: str) -> None:
        target = self.path / place
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source.resolve(), target)

    def run(self, *words: str, packages: bool = False) -> str:
        """Run a command in /guest; with `packages`, pkg_add finds others in /packages."""
        environment = {"PATH": f"/usr/sbin:/bin:{os.environ['PATH']}", "PKG_DBDIR": "/var/db/pkg"}
        if packages:
            environment["PKG_PATH"] = "/packages"
        done = subprocess.run(
            ["chroot", str(self.path), "/bin/sh", "-c", 'cd /guest && exec "$@"', "sh", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        # A guest is NetBSD of the package's release; this system is not.
        err = re.sub(
            r"(pkg_add: Warning: package `\S+' was built for a platform:\n"
            r"pkg_add: .* \(this host\)\n)",
            "", done.stderr,
        )  # fmt: skip
        self.runs.append({
            "command": _steady(" ".join(words)), "status": done.returncode,
            "stdout": _steady(done.stdout), "stderr": _steady(err),
        })  # fmt: skip
        return done.stdout

    def tree(self) -> dict[str, bytes]:
        """Every file that packages bring; not the tools, and not the database."""
        return {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for folder in ("usr/pkg", "etc")
            for path in sorted((self.path / folder).rglob("*"))
            if path.is_file()
        }


def _steady(text: str) -> str:
    """Omit values that change with each line of code: checksums and sizes."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "DIGEST", text)
    text = re.sub(r"(SIZE\S*=)\d+", r"\1N", text)
    return re.sub(rf"(?<=-){re.escape(__version__)}\b", "VERSION", text)


def _play(root: EmptyRoot, made: Path) -> None:
    """The administrator's use of the packages, from installation to deletion."""
    (root.path / "guest").mkdir()
    for path in made.iterdir():
        shutil.copy(path, root.path / "guest")
    (root.path / "packages").mkdir()
    for name, version in (("python39", "3.9.19"), ("python311", "3.11.9"), ("python313", "3.13.1")):
        entry = Entry(f"usr/pkg/bin/{name}", 0o555, b"#!/bin/sh\n")
        write_package(root.path / "packages", name, version, (entry,))
    for name, text in (("etc/rc.conf", "mine=YES\n"), ("etc/rc.d/mine", "#!/bin/sh\n"),
                       ("usr/pkg/bin/mine", "#!/bin/sh\n")):  # fmt: skip
        path = root.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = root.tree()
    for python in ("python310-3.10.14", "python314-3.14.0", "python39-3.9.19", "python315-3.15.0"):
        root.run("pkg_admin", "pmatch", binary.PYTHON, python)
    root.run("pkg_add", f"./{VMTCTL}.tgz")
    assert root.tree() == before
    root.run("pkg_add", f"./{DRIVER}.tgz", f"./{VMTCTL}.tgz", packages=True)
    root.run("pkg_info", "-a")
    for name in ("netbsd-vmt", "vmtctl"):
        root.run("pkg_info", "-qL", name)
        root.run("pkg_info", "-qc", "-qd", name)
        root.run("pkg_info", "-qX", name)
    root.run("pkg_info", "-qN", "vmtctl")
    root.run("pkg_admin", "check")
    script = root.path / "etc/rc.d/vmtctl"
    assert script.stat().st_mode & 0o777 == 0o555
    assert script.read_bytes() == members(made / f"{VMTCTL}.tgz")["share/examples/rc.d/vmtctl"]
    program = root.path / "usr/pkg/bin/vmtctl"
    program.write_bytes(program.read_bytes() + b"# edited\n")
    root.run("pkg_admin", "check", "vmtctl")
    program.write_bytes(members(made / f"{VMTCTL}.tgz")["bin/vmtctl"])
    # The next version, with another script, takes the place of this one.
    inside = members(made / f"{VMTCTL}.tgz")
    files = tuple(
        Entry(f"usr/pkg/{name}", 0o555, data + (b"# next\n" if "rc.d/vmtctl" in name else b""))
        for name, data in inside.items()
        if not name.startswith("+")
    )
    write_package(
        root.path / "guest", "vmtctl", NEXT, files, depends=(binary.PYTHON,),
        install=inside["+INSTALL"], deinstall=inside["+DEINSTALL"],
    )  # fmt: skip
    root.run("pkg_add", "-u", f"./vmtctl-{NEXT}.tgz")
    assert script.read_bytes().endswith(b"# next\n")
    root.run("pkg_info", "-e", "vmtctl")
    root.run("pkg_delete", "vmtctl", "netbsd-vmt", "python313")
    assert root.tree() == before
    # An image in a directory: the script of the running system is none of its files.
    root.run("pkg_add", f"./{VMTCTL}.tgz", packages=True)
    root.run("pkg_add", "-P", "/image", f"./{VMTCTL}.tgz", packages=True)
    assert (root.path / "image/etc/rc.d/vmtctl").exists()
    root.run("pkg_delete", "-P", "/image", "vmtctl", "python313")
    assert not (root.path / "image/etc/rc.d/vmtctl").exists()
    assert script.exists()
    root.run("pkg_delete", "vmtctl", "python313")
    assert root.tree() == before
    # A file that the administrator edited stays.
    root.run("pkg_add", f"./{VMTCTL}.tgz", packages=True)
    script.chmod(0o755)
    script.write_text("#!/bin/sh\n# mine\n")
    root.run("pkg_delete", "vmtctl", "python313")
    assert root.tree() == {**before, "etc/rc.d/vmtctl": b"#!/bin/sh\n# mine\n"}
    root.run("pkg_info", "-a")
    # pkg_create makes the same of the same files.
    for name in (VMTCTL, DRIVER):
        _create(root, made / f"{name}.tgz", name)


def _create(root: EmptyRoot, path: Path, name: str) -> None:
    stage = root.path / "guest" / name
    listed: list[str] = []
    for member, data in members(path).items():
        target = stage / ("meta" if member.startswith("+") else "stage") / member
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if not member.startswith("+"):
            listed.append(member)
    depends = re.findall(rb"^@pkgdep .*$", members(path)["+CONTENTS"], re.MULTILINE)
    lines = [f"@name {name}", *(line.decode() for line in depends), *listed, ""]
    (stage / "list").write_text("\n".join(lines))
    options = [
        word
        for option, file in (
            ("-c", "+COMMENT"), ("-d", "+DESC"), ("-i", "+INSTALL"), ("-k", "+DEINSTALL"),
            ("-D", "+DISPLAY"), ("-B", "+BUILD_INFO"), ("-s", "+SIZE_PKG"), ("-S", "+SIZE_ALL"),
        )
        if file in members(path)
        for word in (option, f"{name}/meta/{file}")
    ]  # fmt: skip
    root.run(
        "pkg_create", *options, "-f", f"{name}/list", "-I", "/usr/pkg",
        "-p", f"/guest/{name}/stage", f"made-{name}.tgz",
    )  # fmt: skip
    theirs = members(root.path / "guest" / f"made-{name}.tgz")
    assert theirs == members(path)
    assert list(theirs) == list(members(path))
    root.runs[-1]["contents"] = _steady(theirs["+CONTENTS"].decode())


@pytest.fixture(scope="module")
def transcript(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The output of pkg_install: run now if PKG_INSTALL names it, otherwise the recording."""
    place = os.environ.get("PKG_INSTALL")
    recorded: dict[str, Any] = json.loads(RECORDING.read_text()) if RECORDING.exists() else {}
    if not place:
        assert recorded, "PKG_INSTALL=DIR UPDATE_GOLDEN=1 make check-packages records it"
        return recorded
    root = EmptyRoot(tmp_path_factory.mktemp("root"), Path(place))
    _play(root, made)
    version = root.run("pkg_add", "-V")
    now = {"pkg_install": version.strip(), "runs": root.runs[:-1]}
    if UPDATE:
        RECORDING.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    return now


def runs(transcript: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    found = [run for run in transcript["runs"] if run["command"].startswith(prefix)]
    assert found, f"{prefix} was never run"
    return found


@pytest.mark.skipif(
    not os.environ.get("PKG_INSTALL"),
    reason="no pkg_install: PKG_INSTALL=DIR names the directory of pkg_add, pkg_info, pkg_admin, "
    "pkg_delete and pkg_create (on NetBSD /usr/sbin); root is needed for chroot(8)",
)
def test_pkg_install_output_matches_recording(transcript: dict[str, Any]) -> None:
    assert transcript["runs"] == json.loads(RECORDING.read_text())["runs"]


def test_python_from_3_10_satisfies_dependency(transcript: dict[str, Any]) -> None:
    answers = {
        run["command"].split()[-1]: run["status"]
        for run in runs(transcript, f"pkg_admin pmatch {binary.PYTHON}")
    }
    assert answers == {
        "python310-3.10.14": 0, "python314-3.14.0": 0, "python39-3.9.19": 1, "python315-3.15.0": 1,
    }  # fmt: skip


def test_missing_python_stops_pkg_add_with_its_name(transcript: dict[str, Any]) -> None:
    first = runs(transcript, "pkg_add ./vmtctl")[0]
    assert first["status"] == 1
    assert f"Can't install dependency {binary.PYTHON}" in first["stderr"]


def test_both_packages_are_added_checked_and_deleted(transcript: dict[str, Any]) -> None:
    (both,) = runs(transcript, "pkg_add ./netbsd-vmt")
    assert (both["status"], both["stderr"]) == (0, "")
    assert "vmtctl doctor" in both["stdout"]
    assert "netbsd-vmt(4)" in both["stdout"]
    whole, edited = runs(transcript, "pkg_admin check")
    assert whole["status"] == 0
    assert "fails" not in whole["stdout"] + whole["stderr"]
    assert "/usr/pkg/bin/vmtctl fails MD5 checksum" in edited["stdout"] + edited["stderr"]
    for run in runs(transcript, "pkg_delete"):
        assert run["status"] == 0
    assert "was edited and stays" in runs(transcript, "pkg_delete")[-1]["stdout"]
    assert runs(transcript, "pkg_info -a")[-1]["stdout"] == ""


@pytest.mark.parametrize("database", ["/var/db/pkg", "/usr/pkg/pkgdb", "/opt/elsewhere"])
@pytest.mark.parametrize("image", [False, True])
def test_deletion_removes_script_of_its_own_root(
    root: Path, tmp_path: Path, require_tool: Callable[[str], str], database: str, *, image: bool
) -> None:
    """pkg_delete passes the path of the database, not its -P argument."""
    live, other = tmp_path / "live", tmp_path / "live/image"
    for place in (live, other):
        for name in ("etc/rc.d/vmtctl", "usr/pkg/share/examples/rc.d/vmtctl"):
            path = place / name
            path.parent.mkdir(parents=True)
            path.write_text("#!/bin/sh\n")
    # Absolute paths of the script are those of the live system.
    text = (root / "userland/package/deinstall").read_text()
    script = tmp_path / "deinstall"
    script.write_text(re.sub(r"\$root(?=/|\$)", f"{live}$root", text))
    done = subprocess.run(
        [require_tool("dash"), str(script), "vmtctl-1", "DEINSTALL"],
        env={"PATH": os.environ["PATH"], "PKG_PREFIX": "/usr/pkg",
             "PKG_METADATA_DIR": f"{'/image' if image else ''}{database}/vmtctl-1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    known = database != "/opt/elsewhere"
    assert (live / "etc/rc.d/vmtctl").exists() is (image or not known)
    assert (other / "etc/rc.d/vmtctl").exists() is (not image or not known)
    assert ("remove /etc/rc.d/vmtctl yourself" in done.stdout) is not known


def test_update_installs_new_version(transcript: dict[str, Any]) -> None:
    (update,) = runs(transcript, "pkg_add -u")
    assert update["status"] == 0
    (installed,) = runs(transcript, "pkg_info -e vmtctl")
    assert installed["stdout"] == f"vmtctl-{NEXT}\n"


@pytest.mark.parametrize("name", ["netbsd-vmt", "vmtctl"])
def test_packages_match_recorded_packages(
    made: Path, transcript: dict[str, Any], name: str
) -> None:
    """Another list of files, description or build information needs another recording."""
    inside = members(made / f"{name}-{__version__}.tgz")
    (listed,) = runs(transcript, f"pkg_info -qL {name}")
    assert listed["stdout"].split() == [
        f"/usr/pkg/{path}" for path in inside if not path.startswith("+")
    ]
    (info,) = runs(transcript, f"pkg_info -qc -qd {name}")
    assert info["stdout"].split() == (inside["+COMMENT"] + inside["+DESC"]).decode().split()
    (summary,) = runs(transcript, f"pkg_info -qX {name}")
    for line in inside["+BUILD_INFO"].decode().splitlines():
        if not line.startswith(("LOCALBASE", "MAINTAINER")):
            assert line in summary["stdout"].splitlines()


@pytest.mark.parametrize("name", [VMTCTL, DRIVER])
def test_contents_matches_pkg_create(made: Path, transcript: dict[str, Any], name: str) -> None:
    (run,) = [
        run
        for run in runs(transcript, "pkg_create")
        if run["command"].endswith(f" made-{_steady(name)}.tgz")
    ]
    assert (run["status"], run["stderr"]) == (0, "")
    assert _steady(members(made / f"{name}.tgz")["+CONTENTS"].decode()) == run["contents"]


def test_member_order_is_required_order(made: Path) -> None:
    """pkg_install files/add/perform.c: pkg_meta_descriptors, then what +CONTENTS lists."""
    order = ["+CONTENTS", "+COMMENT", "+DESC", "+INSTALL", "+DEINSTALL", "+DISPLAY", "+MTREE_DIRS",
             "+BUILD_VERSION", "+BUILD_INFO", "+SIZE_PKG", "+SIZE_ALL", "+PRESERVE",
             "+REQUIRED_BY", "+INSTALLED_INFO"]  # fmt: skip
    for path in made.glob("*.tgz"):
        names = list(members(path))
        meta = [name for name in names if name.startswith("+")]
        assert names[: len(meta)] == meta == sorted(meta, key=order.index)
        lines = members(path)["+CONTENTS"].decode().splitlines()
        files = [
            line
            for before, line in zip(["", *lines], lines, strict=False)
            if not line.startswith("@") and before != "@ignore"
        ]
        assert names[len(meta) :] == files


def test_checksums_list_exactly_the_packages(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    balloon = f"netbsd-vmmemctl-{__version__}.tgz"
    assert names == {f"{VMTCTL}.tgz", f"{DRIVER}.tgz", balloon, "SHA512"}
    done = subprocess.run(
        ["sha512sum", "-c", "SHA512"], cwd=made, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^SHA512 \((.*)\) =", (made / "SHA512").read_text(), re.MULTILINE)) == (
        names - {"SHA512"}
    )


def test_package_is_readable_by_tar(made: Path) -> None:
    for path in made.glob("*.tgz"):
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
            assert {(m.uid, m.gid, m.uname, m.gname) for m in archive} == {(0, 0, "root", "wheel")}
