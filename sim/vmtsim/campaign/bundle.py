"""A module as data, for workers that cannot read this machine's files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zlib
from functools import lru_cache
from pathlib import Path

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import ReportedError

from vmtsim.core import fingerprint


class VersionMismatchError(ReportedError):
    """A worker whose vmtsim differs from the campaign's: a seed would give another run there."""


@dataclass(frozen=True)
class ModuleBundle:
    """A module and its debug twin (where it has one) as bytes, compressed.

    The debug twin is included because only it contains the source lines that a finding names.  Both
    together are some 150 kB, sent with every seed.  ``code`` identifies the sender's vmtsim.
    """

    name: str
    module: bytes
    twin: bytes | None
    code: str

    @classmethod
    def of(cls, path: Path) -> ModuleBundle:
        """Pack the module in ``path``; raises OSError."""
        twin = path.with_name(f"{path.name}.debug")
        return cls(
            path.name,
            zlib.compress(path.read_bytes()),
            zlib.compress(twin.read_bytes()) if twin.exists() else None,
            fingerprint.digest(),
        )

    def unpacked(self) -> Path:
        """Return the path of the module, with the twin beside it, until the process ends.

        The files of the most recent modules are kept, for the next seeds of the same campaign.
        Raises VersionMismatchError if this process runs another vmtsim than the sender.
        """
        if self.code != fingerprint.digest():
            raise VersionMismatchError(
                f"its vmtsim ({fingerprint.digest()[:12]}) is not that of the campaign "
                f"({self.code[:12]})"
            )
        return _unpack(self).path


class _Unpacked:
    """The files of a bundle in a temporary directory, removed with this object."""

    def __init__(self, bundle: ModuleBundle) -> None:
        directory = Path(tempfile.mkdtemp(prefix="vmtsim-"))
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.path = directory / bundle.name
        self.path.write_bytes(zlib.decompress(bundle.module))
        if bundle.twin is not None:
            twin = self.path.with_name(f"{bundle.name}.debug")
            twin.write_bytes(zlib.decompress(bundle.twin))


# A campaign has one module, and its canary.
@lru_cache(maxsize=2)
def _unpack(bundle: ModuleBundle) -> _Unpacked:
    return _Unpacked(bundle)
