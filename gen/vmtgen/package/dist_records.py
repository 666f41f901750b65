"""The records of a release: manifest, checksums, and a bill of materials."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

from vmtgen import __version__
from vmtgen.build.toolchain import toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vmtgen.package.dist import Packed, Product
    from vmtgen.targets import MachineTarget, Targets

_NAME = "netbsd-vmt"
_LICENSE = "BSD-2-Clause"
# The tools that made the files, with their licences; the files contain nothing of them.
_TOOLS: tuple[tuple[str, str], ...] = (
    ("ziglang", "MIT"),
    ("jinja2", "BSD-3-Clause"),
    ("ruamel.yaml", "MIT"),
    ("pyelftools", "Unlicense"),
)


def digest_of_files(directory: Path, pattern: str) -> dict[str, str]:
    """Return the SHA256 of each file below `directory` by its relative path, sorted."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob(pattern))
        if path.is_file()
    }


def _total(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def manifest(
    top: Path,
    targets: Targets,
    products: Sequence[Product],
    source: Packed,
    unsupported: Sequence[tuple[str, str, str, str]],
) -> dict[str, Any]:
    """Return the contents and the sources of the archives, without time, place or user.

    `unsupported` are (module, release, machine, reason).
    """
    specs = digest_of_files(top / "specs", "*.yaml")
    sources = digest_of_files(top / "kmod", "*/*.[ch]")
    return {
        "format": "netbsd-vmt manifest",
        "format_version": 1,
        "name": _NAME,
        "version": __version__,
        "license": _LICENSE,
        "compiler": f"ziglang {metadata.version('ziglang')}",
        "specs": {"sha256": _total(specs), "files": specs},
        "sources": {"sha256": _total(sources), "files": sources},
        "source": _listed(source),
        "targets": [_described(product, targets) for product in products],
        "unsupported": [
            {"module": module, "release": release, "machine": machine, "reason": reason}
            for module, release, machine, reason in unsupported
        ],
    }


def _described(product: Product, targets: Targets) -> dict[str, Any]:
    built, module = product.built, product.built.module
    return {
        "module": built.path.stem,
        "release": built.release,
        "machine": built.machine,
        "version": module.modinfo.version,
        "requires": list(module.modinfo.required),
        "flags": _flags(targets, targets.machine(built.machine), module.modinfo.version),
        "imports": list(module.imports),
        "memory": dict(module.sizes),
        "packages": [_listed(packed) for packed in product.packages],
        "archive": _listed(product.archive),
    }


def _listed(packed: Packed) -> dict[str, Any]:
    return {
        "file": packed.path.as_posix(),
        "sha512": packed.sha512,
        "size": len(packed.data),
        "files": [
            {
                "path": entry.path,
                "mode": f"{entry.mode:04o}",
                "size": len(entry.data),
                "sha256": hashlib.sha256(entry.data).hexdigest(),
            }
            for entry in packed.entries
        ],
    }


def _flags(targets: Targets, machine: MachineTarget, version: int) -> list[str]:
    """Return the compiler's flags that affect its output, without the program's path."""
    tool = toolchain("zig", machine, targets)
    return [*tool.compile[1:], f"-D__NetBSD_Version__={version}"]


def bill_of_materials(files: Sequence[Packed], seconds: int) -> dict[str, Any]:
    """Return an SPDX 2.3 document: packages, archives and source, and the tools that made them.

    See https://spdx.github.io/spdx-spec/v2.3/. `seconds` is the time of creation since 1970.
    """
    total = hashlib.sha256("".join(packed.sha512 for packed in files).encode()).hexdigest()
    created = datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    packages = [_package(f"SPDXRef-{_NAME}", _NAME, __version__, _LICENSE)]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", f"SPDXRef-{_NAME}")]
    for packed in files:
        identifier = f"SPDXRef-{packed.path.as_posix().replace('/', '-')}"
        package = _package(identifier, packed.path.name, __version__, _LICENSE)
        package["packageFileName"] = packed.path.as_posix()
        package["checksums"] = [{"algorithm": "SHA512", "checksumValue": packed.sha512}]
        packages.append(package)
        relations.append(_relation(identifier, "GENERATED_FROM", f"SPDXRef-{_NAME}"))
    for name, license_ in _TOOLS:
        identifier = f"SPDXRef-tool-{name}"
        packages.append(_package(identifier, name, metadata.version(name), license_))
        relations.append(_relation(identifier, "BUILD_TOOL_OF", f"SPDXRef-{_NAME}"))
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{_NAME}-{__version__}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{_NAME}-{__version__}-{total[:32]}",
        "creationInfo": {"created": created, "creators": [f"Tool: vmtgen-{__version__}"]},
        "packages": packages,
        "relationships": relations,
    }


def _package(identifier: str, name: str, version: str, license_: str) -> dict[str, Any]:
    return {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": license_,
        "licenseDeclared": license_,
        "copyrightText": "NOASSERTION",
    }


def _relation(source: str, kind: str, target: str) -> dict[str, str]:
    return {
        "spdxElementId": source,
        "relationshipType": kind,
        "relatedSpdxElement": target,
    }


def as_json(document: Mapping[str, Any]) -> bytes:
    """Return the document as indented JSON with a final newline."""
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def checksums(files: Mapping[str, bytes]) -> bytes:
    """Return the SHA512 of each file by name, as `cksum -a sha512` of NetBSD writes them.

    `cksum -c` there and `sha512sum -c` elsewhere read it.
    """
    lines = [
        f"SHA512 ({name}) = {hashlib.sha512(data).hexdigest()}\n"
        for name, data in sorted(files.items())
    ]
    return "".join(lines).encode("ascii")
