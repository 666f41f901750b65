"""The files that vmtctl installs: beside the package in a checkout, inside it elsewhere."""

from __future__ import annotations

import os

from vmtctl.exits import SOFTWARE, Failure


def read(name: str) -> bytes:
    """Return the file ``name`` ("powerd/hook"). Raises Failure when the package lacks it."""
    import vmtctl

    package = os.path.dirname(vmtctl.__file__)
    places = (os.path.join(package, "data", name), os.path.join(os.path.dirname(package), name))
    loader = getattr(vmtctl, "__loader__", None)
    get_data = getattr(loader, "get_data", None)
    for place in places:
        try:
            # The loader of a zipapp reads from the archive, others from the disk.
            if get_data is not None:
                return bytes(get_data(place))
            with open(place, "rb") as stream:
                return stream.read()
        except OSError:
            continue
    raise Failure(
        f"this installation of vmtctl lacks its file {name}",
        hint="install it again",
        status=SOFTWARE,
    )
