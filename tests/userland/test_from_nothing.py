"""The commands of docs/guest.md, typed in order on a simulated guest of 11.0/amd64."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakeguest import SHEBANG, require
from vmtgen import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from simguest import SimGuest

    Start = Callable[..., SimGuest]

PAGE = Path(__file__).parents[2] / "docs/guest.md"
MOST = 6
# Stubs of pkgin(1) and pkg_add(1) for these commands; what the real pkg_add does with these
# packages is recorded in tests/gen/module/recordings/pkg_install.json.
PKGIN = """\
[ "$1" = install ] || exit 64
mkdir -p {root}/var/db/pkg/$2-3.13.1
"""
PKG_ADD = """\
import os, re, subprocess, sys, tarfile
ROOT = {root!r}
for name in sys.argv[1:]:
    meta = {{}}
    with tarfile.open(name) as archive:
        for member in archive:
            data = archive.extractfile(member).read()
            if member.name.startswith("+"):
                meta[member.name] = data.decode()
                for some in re.findall(r"@pkgdep python{{(.*)}}>=", meta["+CONTENTS"]):
                    there = os.listdir(ROOT + "/var/db/pkg")
                    assert {{d.partition("-")[0][6:] for d in there}} & {{*some.split(",")}}
                continue
            path = os.path.join(ROOT, "usr/pkg", member.name)
            # The guest's vmtctl runs the package's, with the guest for its system.
            path += ".packaged" if member.name == "bin/vmtctl" else ""
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(data)
            os.chmod(path, member.mode)
    if "+INSTALL" in meta:
        words = ["sh", "-c", meta["+INSTALL"], "+INSTALL", "vmtctl-0", "POST-INSTALL"]
        environment = {{**os.environ, "PKG_DESTDIR": ROOT, "PKG_PREFIX": "/usr/pkg"}}
        subprocess.run(words, env=environment, check=True)
    print(meta["+DISPLAY"])
"""
# The package's program finds its Python and its archive beside itself.
VMTCTL = 'exec sh {root}/usr/pkg/bin/vmtctl.packaged --tools-root {root} "$@"'


def commands() -> list[str]:
    """The first block of the page that is for NetBSD."""
    found = re.search(r"^```sh netbsd\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_six_commands_install_a_guest_with_orderly_shutdown(start: Start, tmp_path: Path) -> None:
    lines = commands()
    assert len(lines) <= MOST
    assert lines[0] == "pkgin install python313"
    out = tmp_path / "dist"
    assert cli.main(["dist", "--release", "11.0", "--machine", "amd64", "--out", str(out)]) == 0
    sim_guest = start("--kernel", "builtin")
    root, tools = sim_guest.root, tmp_path / "tools"
    tools.mkdir()
    (root / "usr/pkg/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/pkg/bin/python3.13").symlink_to(sys.executable)
    program(tools, "pkgin", PKGIN.format(root=root))
    program(tools, "pkg_add", f"{SHEBANG}{PKG_ADD.format(root=str(root))}")
    program(tools, "service", f'exec {root}/usr/sbin/service "$@"')
    program(root / "usr/pkg/bin", "vmtctl", VMTCTL.format(root=root))
    require("cksum")
    environment = {**os.environ, "PATH": f"{tools}:{root}/usr/pkg/bin:{os.environ['PATH']}"}
    for line in lines:
        here = line.replace(" /etc/", f" {root}/etc/")
        done = subprocess.run(
            [require("dash"), "-c", here],
            cwd=out / "11.0/amd64",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        if line.startswith("pkg_add"):
            _for_this_guest(root)
    sim_guest.advance(3)

    def vmtctl(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [root / "usr/pkg/bin/vmtctl", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = vmtctl("doctor")
    assert done.returncode == 0, done.stdout
    # Only the driver of the package answers, and powerd's scripts run.
    status: Any = sim_guest.status
    assert status["channel"] is not None
    sim_guest.host("power", "halt")
    sim_guest.advance(5)
    (shutdown,) = sim_guest.commands("shutdown")
    assert shutdown.startswith("shutdown -p now ")
    assert "vmt0: the host asks for a shutdown" in sim_guest.messages  # the hook's words
    assert sim_guest.status["machine"] == "power off"


def _for_this_guest(root: Path) -> None:
    """The guest is a directory: its rc.d scripts name it."""
    script = root / "etc/rc.d/vmtctl"
    assert script.stat().st_mode & 0o777 == 0o555
    text = re.sub(r"/(etc/rc\.subr|usr/pkg/)", rf"{root}/\1", script.read_text())
    script.chmod(0o755)
    script.write_text(text.replace("#!/bin/sh\n", f"#!/bin/sh\nroot={root}\n", 1))
