"""ioconf.c and its headers are those of config(1).

recorded.json holds what NetBSD's own config(1) (usr.bin/config, built for Linux) made of the files
in ioconf/; with NETBSD_CONFIG and NETBSD_SYS config(1) runs again, on every ioconf file of a tree.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ioconf_tables import tables
from vmtgen.build.ioconf import make_ioconf
from vmtgen.common.errors import ReportedError
from vmtgen.common.located import LocatedErrors

HERE = Path(__file__).with_name("ioconf")
SYS = HERE / "sys"
RECORDED = HERE / "recorded.json"


def config(program: str, file: Path, sys: Path, out: Path) -> tuple[dict[str, str], list[str]]:
    """Run NetBSD's config(1); the files that it made and its messages about ``file``."""
    out.mkdir(parents=True)
    done = subprocess.run(
        [program, "-b", str(out), "-s", str(sys), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    messages = [
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.startswith(f"{file}:")
    ]
    return {path.name: path.read_text() for path in out.iterdir()}, messages


def described(files: dict[str, str]) -> dict[str, object]:
    headers = {
        name: sorted(line for line in files[name].splitlines() if line.startswith(("#d", "e", "v")))
        for name in ("ioconf.h", "locators.h")
    }
    return json.loads(json.dumps({**tables(files["ioconf.c"]), **headers}))


@pytest.mark.parametrize("name", ["everything", "mistakes"])
def test_tables_match_config(name: str, tmp_path: Path) -> None:
    program = os.environ.get("NETBSD_CONFIG")
    recorded = json.loads(RECORDED.read_text())
    if program:
        files, messages = config(program, HERE / f"{name}.ioconf", SYS, tmp_path / "b")
        asked = {"files": described(files), "messages": messages}
        if os.environ.get("UPDATE_GOLDEN"):
            recorded[name] = asked
            RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        assert recorded[name] == asked
    made = make_ioconf(HERE / f"{name}.ioconf", SYS)
    assert described(made.files) == recorded[name]["files"]
    assert len(made.warnings) == len(recorded[name]["messages"])


def test_line_without_locator_is_skipped_with_config_warning() -> None:
    made = make_ioconf(HERE / "mistakes.ioconf", SYS)
    assert [str(each).split("mistakes.ioconf:")[1] for each in made.warnings] == [
        "5: leaf*: bus has no locator 'drive' (config(1) ignores it)",
        "6: strict*: cannot wildcard address (config(1) omits the line)",
        "6: strict*: must specify size (config(1) omits the line)",
        "7: strict0: must specify address (config(1) omits the line)",
    ]


BAD = {
    "ioconf a\nleaf* at bus?\n": "2: leaf*: unknown device 'leaf' (no device is defined here",
    "leaf* at bus?\n": "no ioconf statement names the tables",
    'ioconf a\ninclude "conf/files"\nleaf* at bus?\n': "3: leaf* at bus? is orphaned",
    'ioconf a\ninclude "conf/files"\npseudo-root bus*\nmany* at bus?\n': "4: 'many' cannot attach",
    'ioconf a\ninclude "conf/files"\npseudo-root net*\n': "3: pseudo-root net*: 'net' is no device",
    'ioconf a\ninclude "conf/files"\npseudo-root bus*\nleaf at bus?\n': "4: invalid device name",
    'ioconf a\ninclude "conf/files"\npseudo-root bus*\nleaf* bus?\n': "4: expected 'at', not 'bus'",
    'ioconf a\ninclude "conf/files"\npseudo-device leaf\n': "3: 'leaf' is a device, not a pseudo",
    'ioconf a\ninclude "conf/files"\nlooper0 at root\n': "3: looper0: 'looper' is a pseudo-device",
    'ioconf a\ninclude "conf/files"\nleaf0 at root\n': "3: 'leaf' cannot attach to the root",
    'ioconf a\ninclude "conf/gone"\n': "2: cannot open",
    "ioconf a\ndevice x {\n": "2: device: expected a locator at the end of the statement",
    "ioconf a\ndevice x\ndevice x\n": "3: device: 'x' is already defined",
    "ioconf a\nattach x at y\n": "2: attach: undefined attribute 'y'",
    "ioconf a\nifdef x\n": "2: no endif for this ifdef",
    "ioconf a\nendif\n": "2: endif without ifdef",
    "ioconf a\nprefix\n": "2: no prefix is open",
}


@pytest.mark.parametrize("text", BAD)
def test_error_is_reported_with_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.ioconf"
    file.write_text(text)
    with pytest.raises(LocatedErrors) as error:
        make_ioconf(file, SYS)
    assert f"bad.ioconf:{BAD[text]}" in str(error.value).replace("ioconf: ", "ioconf:")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportedError, match=r"gone\.ioconf"):
        make_ioconf(tmp_path / "gone.ioconf", SYS)


def test_every_ioconf_file_of_tree_matches_config(tmp_path: Path) -> None:
    program, sys = os.environ.get("NETBSD_CONFIG"), os.environ.get("NETBSD_SYS")
    if not program or not sys:
        pytest.skip("NETBSD_CONFIG names no config(1) of NetBSD's, or NETBSD_SYS no sys/ tree")
    compared = 0
    for number, file in enumerate(sorted(Path(sys).glob("modules/**/*.ioconf"))):
        files, messages = config(program, file, Path(sys), tmp_path / str(number))
        if any("unknown" in message for message in messages):
            # config(1) ends with status 0 even then.
            with pytest.raises(LocatedErrors, match="unknown"):
                make_ioconf(file, Path(sys))
            continue
        assert described(make_ioconf(file, Path(sys)).files) == described(files), file
        compared += 1
    assert compared > 150
