"""A module that travels: for workers that do not see this machine's files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vmtgen.common.errors import ReportedError

from vmtsim.core import fingerprint


class VersionMismatchError(ReportedError):
    """A worker whose vmtsim is not the campaign's: a seed would mean something else to it."""


@dataclass(frozen=True)
class ModuleBundle:
    """A module and its debug twin (where it has one) as bytes, compressed.

    The twin travels along because a finding names source lines, which it alone knows; the two
    are some 150 kB, and go out with every seed.  ``code`` is what the sender's vmtsim is.
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

        The files of the last few modules are kept, for the next seeds of the same campaign.
        Raises VersionMismatchError where this process runs another vmtsim than the sender's.
        """
        if self.code != fingerprint.digest():
            raise VersionMismatchError(
                f"its vmtsim is another ({fingerprint.digest()[:12]}) than here ({self.code[:12]})"
            )
        return _unpack(self).path


class _Unpacked:
    """The files of a bundle in a directory of their own, which goes with this object."""

    def __init__(self, bundle: ModuleBundle) -> None:
        directory = Path(tempfile.mkdtemp(prefix="vmtsim-"))
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.path = directory / bundle.name
        self.path.write_bytes(zlib.decompress(bundle.module))
        if bundle.twin is not None:
            twin = self.path.with_name(f"{bundle.name}.debug")
            twin.write_bytes(zlib.decompress(bundle.twin))


# A campaign plays one module, and its canary.
@lru_cache(maxsize=2)
def _unpack(bundle: ModuleBundle) -> _Unpacked:
    return _Unpacked(bundle)
