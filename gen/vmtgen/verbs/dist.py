"""``vmtgen dist``: the files of a release, for every target."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import __version__, resources
from vmtgen.common.errors import VmtgenError
from vmtgen.common.files import shown, write

if TYPE_CHECKING:
    import argparse

    from vmtgen.package.dist import Archive
    from vmtgen.targets import MachineTarget, Release

SUMMARY = "make the archives of a release, with check sums, manifest and SBOM"

_EXAMPLES = """\
examples:
  vmtgen dist                                  dist/, every release and machine
  vmtgen dist --release 11.0 --machine amd64   one archive
  vmtgen dist --release 11.99.5 --out /tmp/d   for a current kernel

Unpack with: tar -xpzf vmt-VERSION-netbsd-RELEASE-MACHINE.tgz -C /
The same checkout and compiler give the same bytes; SOURCE_DATE_EPOCH sets the files' time.
Archives of earlier runs are removed from DIR: SHA512 names all that is there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--release", metavar="R", help="only this NetBSD release")
    parser.add_argument("--machine", metavar="M", help="only this machine")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write there (default: dist)")
    parser.add_argument("--json", action="store_true", help="print the manifest")


def run(args: argparse.Namespace) -> int:
    """Make and write all files; nothing is written where one target fails."""
    from vmtgen.compiler.spec.load import load  # noqa: PLC0415
    from vmtgen.package import dist, dist_records  # noqa: PLC0415 - keeps --help fast
    from vmtgen.targets import load_targets  # noqa: PLC0415

    top = dist.checkout()
    targets = load_targets()
    seconds = dist.epoch()
    releases = [targets.release(args.release)] if args.release else list(targets.releases)
    machines = [targets.machine(args.machine)] if args.machine else list(targets.machines)
    wanted: list[tuple[Release, MachineTarget]] = []
    unsupported: list[tuple[str, str, str]] = []
    for release in releases:
        for machine in machines:
            reason = machine.unsupported(release.version)
            if reason is None:
                wanted.append((release, machine))
            else:
                unsupported.append((release.name, machine.name, reason))
    if not wanted:
        raise VmtgenError(
            "; ".join(f"NetBSD {r} on {m} is not supported: {why}" for r, m, why in unsupported),
            hint="vmtgen dist without --release and --machine makes what there is",
        )
    common = dist.common_entries(top)
    plist = dist.properties(load(resources.directory("specs")))

    def made(target: tuple[Release, MachineTarget]) -> Archive:
        return dist.make_archive(targets, *target, common=common, plist=plist, top=top)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        archives = list(pool.map(made, wanted))
    manifest = dist_records.manifest(top, targets, archives, unsupported)
    files = {archive.path.name: archive.data for archive in archives}
    files["manifest.json"] = dist_records.as_json(manifest)
    bill = dist_records.bill_of_materials(archives, seconds)
    files[f"netbsd-vmt-{__version__}.spdx.json"] = dist_records.as_json(bill)
    files["SHA512"] = dist_records.check_sums(files)
    out = args.out or top / "dist"
    for name, data in files.items():
        write(out / name, data)
    _clear(out, set(files))
    if args.json:
        print(json.dumps(manifest, indent=2))
        return 0
    for name, data in sorted(files.items()):
        print(f"{len(data):>8}  {shown(out / name)}")
    for release_name, machine_name, reason in unsupported:
        print(f"no archive for NetBSD {release_name} on {machine_name}: {reason}")
    return 0


def _clear(out: Path, kept: set[str]) -> None:
    """Remove archives of earlier runs, so that SHA512 names all that is there."""
    for path in sorted(out.glob("vmt-*-netbsd-*.tgz")) + sorted(out.glob("netbsd-vmt-*.spdx.json")):
        if path.name not in kept and path.is_file():
            path.unlink()
            print(f"removed {shown(path)}, of an earlier run", file=sys.stderr)
