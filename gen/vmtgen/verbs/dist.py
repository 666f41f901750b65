"""``vmtgen dist``: the files of a release, for every target."""

from __future__ import annotations

import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import __version__, modules, resources
from vmtgen.common.errors import ReportedError
from vmtgen.common.files import shown, write

if TYPE_CHECKING:
    import argparse

    from vmtgen.package.dist import Product
    from vmtgen.targets import MachineTarget, Release

SUMMARY = "make packages for pkg_add, archives, checksums, manifest and SBOM"

_EXAMPLES = """\
examples:
  vmtgen dist                                  dist/, every module, release and machine
  vmtgen dist --release 11.0 --machine amd64   one target
  vmtgen dist --module NAME                    one module
  vmtgen dist --release 11.99.5 --out /tmp/d   for a current kernel

Copy DIR/RELEASE/MACHINE to a guest: the packages and their SHA512. On the guest:
  cksum -a sha512 -c SHA512
  pkg_add ./netbsd-NAME-VERSION.tgz ./vmtctl-VERSION.tgz
DIR/NAME-VERSION-netbsd-RELEASE-MACHINE.tgz has the files of both, for tar -xpzf FILE -C /.
DIR/pkgsrc has the packages for pkgsrc; DIR/netbsd-vmt-VERSION.tar.gz is their distribution file.
The same checkout and compiler give the same bytes; SOURCE_DATE_EPOCH sets the files' time.
Files of earlier runs are removed from DIR: its SHA512 lists all its files.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = _EXAMPLES
    modules.add_argument(parser, "all")
    parser.add_argument("--release", metavar="R", help="only this NetBSD release")
    parser.add_argument("--machine", metavar="M", help="only this machine")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write there (default: dist)")
    parser.add_argument("--json", action="store_true", help="print the manifest")


def run(args: argparse.Namespace) -> int:
    """Make all files and write them; write nothing if a target fails."""
    from vmtgen.compiler.spec.load import load, unsupported  # noqa: PLC0415
    from vmtgen.package import dist, dist_records, source  # noqa: PLC0415 - keeps --help fast
    from vmtgen.targets import load_targets  # noqa: PLC0415

    top = dist.checkout()
    targets = load_targets()
    seconds = dist.epoch()
    releases = [targets.release(args.release)] if args.release else list(targets.releases)
    machines = [targets.machine(args.machine)] if args.machine else list(targets.machines)
    names = modules.chosen(args.module)
    selected: list[tuple[str, Release, MachineTarget]] = []
    missing: list[tuple[str, str, str, str]] = []
    for name, release, machine in itertools.product(names, releases, machines):
        reason = unsupported(name, release, machine)
        if reason is None:
            selected.append((name, release, machine))
        else:
            missing.append((name, release.name, machine.name, reason))
    if not selected:
        reasons = (f"NetBSD {r} on {m} is not supported: {why}" for _, r, m, why in missing)
        raise ReportedError(
            "; ".join(dict.fromkeys(reasons)),
            hint="vmtgen dist without --release and --machine makes all supported targets",
        )
    specs = resources.directory("specs")
    shared = dist.common(top, [load(specs / name) for name in names])

    def made(target: tuple[str, Release, MachineTarget]) -> Product:
        return dist.make(targets, *target, shared=shared, top=top)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        products = list(pool.map(made, selected))
    inside = source.source_entries(top, shared.plists)
    origin = dist.Packed(Path(f"{source.DISTNAME}.tar.gz"), dist.pack(inside), inside)
    manifest = dist_records.manifest(top, targets, products, origin, missing)
    # vmtctl's package is the same for each module of a target.
    by_path = {one.path: one for product in products for one in product.files}
    packed = [*by_path.values(), origin]
    files = {one.path.as_posix(): one.data for one in packed}
    for folder in {product.packages[0].path.parent for product in products}:
        files[f"{folder.as_posix()}/SHA512"] = dist_records.checksums(
            {path.name: one.data for path, one in by_path.items() if path.parent == folder}
        )
    files |= source.pkgsrc_files(top, origin.data)
    files["manifest.json"] = dist_records.as_json(manifest)
    bill = dist_records.bill_of_materials(packed, seconds)
    files[f"netbsd-vmt-{__version__}.spdx.json"] = dist_records.as_json(bill)
    files["SHA512"] = dist_records.checksums(files)
    out = args.out or top / "dist"
    for name, data in files.items():
        write(out / name, data)
    _clear(out, set(files))
    if args.json:
        print(json.dumps(manifest, indent=2))
        return 0
    for name, data in sorted(files.items()):
        print(f"{len(data):>8}  {shown(out / name)}")
    for name, release_name, machine_name, reason in missing:
        print(f"no {name} for NetBSD {release_name} on {machine_name}: {reason}")
    return 0


_OURS = ("netbsd-vmt-*.tar.gz", "netbsd-vmt-*.spdx.json", "*/*/vmtctl-*.tgz", "*/*/SHA512")
_OF_MODULE = ("{name}-[0-9]*-netbsd-*.tgz", "*/*/netbsd-{name}-[0-9]*.tgz")


def _clear(out: Path, kept: set[str]) -> None:
    """Remove files of earlier runs, so that SHA512 lists all files."""
    patterns = [*_OURS, *(p.format(name=name) for p in _OF_MODULE for name in modules.known())]
    for path in sorted(path for pattern in patterns for path in out.glob(pattern)):
        if path.relative_to(out).as_posix() not in kept and path.is_file():
            path.unlink()
            print(f"removed {shown(path)}, of an earlier run", file=sys.stderr)
