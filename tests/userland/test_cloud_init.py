"""Debian's real cloud-init reads and clears its data through vmtctl's vmware-rpctool.

``make check-cloud-init`` sets CLOUD_INIT to a directory below build/, into which the packages are
unpacked (apt-get download, dpkg-deb -x): they are not installed, and no part of this project.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from answers import Control
from fakeguest import USERLAND
from vmtctl.verbs import rpctool

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY = os.environ.get("CLOUD_INIT", "")
# Debian's own, for which the packages' compiled modules are.
PYTHON = "/usr/bin/python3"
PACKAGES = (
    "cloud-init", "python3-attr", "python3-certifi", "python3-chardet",
    "python3-charset-normalizer", "python3-configobj", "python3-idna", "python3-jinja2",
    "python3-jsonpatch", "python3-jsonschema", "python3-markupsafe", "python3-netifaces",
    "python3-oauthlib", "python3-pyrsistent", "python3-requests", "python3-serial", "python3-six",
    "python3-urllib3", "python3-yaml",
)  # fmt: skip
TRY = """\
import json, sys
from unittest import mock
from cloudinit import dmi, helpers, version
import cloudinit.sources.DataSourceVMware as module
paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]})
source = module.DataSourceVMware({}, None, paths)
with mock.patch.object(dmi, "read_dmi_data", return_value="VMware Virtual Platform"):
    good = source._get_data()
raw = source.userdata_raw
print(json.dumps({
    "version": version.version_string(), "tool": source.vmware_rpctool, "good": good,
    "metadata": source.metadata, "userdata": raw.decode() if isinstance(raw, bytes) else raw,
    "vendordata": source.vendordata_raw, "set": module.guestinfo_set_value("try", "it worked"),
}))
"""


def _run(*words: str, **how: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **how)
    if done.returncode != 0:
        pytest.skip(f"{words[0]} {words[1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


@pytest.fixture
def cloud_init() -> Path:
    """The directory of the unpacked packages; skips with the reason if they are missing."""
    if not DIRECTORY:
        pytest.skip("Debian's cloud-init is fetched by `make check-cloud-init` alone")
    for tool in ("apt-get", "dpkg-deb", PYTHON):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: this needs a Debian system")
    folder = Path(DIRECTORY).resolve()
    packages = folder / "usr/lib/python3/dist-packages"
    if not (packages / "cloudinit").is_dir():
        debs = folder / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "-q", "download", *PACKAGES, cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            _run("dpkg-deb", "-x", str(deb), str(folder))
    return packages


def test_cloud_init_reads_and_clears_host_data(
    cloud_init: Path,
    start: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    guest = start()
    vmtctl = Control(guest, capsys)
    noise = random.Random(20).randbytes(30_000).hex()
    userdata = f"#cloud-config\n# {noise}\nhostname: web01\n"
    metadata = "instance-id: i-1\nlocal-hostname: web01\nredact: [userdata]\n"
    variables = {
        "metadata": base64.b64encode(metadata.encode()).decode(), "metadata.encoding": "base64",
        "userdata": base64.b64encode(gzip.compress(userdata.encode())).decode(),
        "userdata.encoding": "gzip+base64",
    }  # fmt: skip
    assert 30_000 < len(variables["userdata"]) < 65_000
    for name, value in variables.items():
        assert vmtctl("guestinfo", "set", name, value).status == 0
    program = tmp_path / "bin/vmtctl"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={USERLAND}\nexport PYTHONPATH\nunset PYTHONHOME\nverb=$1 part=$2\n"
        f'shift 3\nexec "{sys.executable}" -m vmtctl "$verb" "$part" --tools-root {guest.root} '
        '-- "$@"\n'
    )
    tool = tmp_path / "bin/vmware-rpctool"
    tool.write_bytes(rpctool.SCRIPT.replace(b"/usr/pkg/bin/vmtctl", str(program).encode()))
    for path in (program, tool):
        path.chmod(0o755)
    path = f"{tool.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(cloud_init)}
    done = subprocess.run(
        [PYTHON, "-c", TRY, str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(f"cloud-init {found['version']} used {tool.name}")
    assert found["tool"] == str(tool)
    assert found["good"] is True
    assert found["metadata"]["local-hostname"] == "web01"
    assert found["userdata"] == userdata
    assert found["set"] is True
    # An unset variable gives None, and a variable to redact is cleared.
    assert found["vendordata"] is None
    assert vmtctl("guestinfo", "get", "try").out == "it worked"
    assert vmtctl("guestinfo", "get", "userdata").out == "---"
