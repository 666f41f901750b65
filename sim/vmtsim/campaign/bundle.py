"""A module that travels: for workers that do not see this machine's files."""

from __future__ import annotations

import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import ReportedError

from vmtsim.core import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator


class VersionMismatchError(ReportedError):
    """A worker whose vmtsim is not the campaign's: a seed would mean something else to it."""


@dataclass(frozen=True)
class ModuleBundle:
    """A module and its debug twin (where it has one) as bytes, compressed.

    The twin travels along because a finding names source lines, which it alone knows; the two
    are some 150 kB, and go out with every few seeds.  ``code`` is what the sender's vmtsim is.
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

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Give the path of the module, with the twin beside it, for as long as it is wanted.

        Raises VersionMismatchError where this process runs another vmtsim than the sender's.
        """
        if self.code != fingerprint.digest():
            raise VersionMismatchError(
                f"its vmtsim is another ({fingerprint.digest()[:12]}) than here ({self.code[:12]})"
            )
        with tempfile.TemporaryDirectory(prefix="vmtsim-") as directory:
            path = Path(directory, self.name)
            path.write_bytes(zlib.decompress(self.module))
            if self.twin is not None:
                path.with_name(f"{path.name}.debug").write_bytes(zlib.decompress(self.twin))
            yield path
