"""The settings that vmtctl restores in a driver are all settings of the specs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML
from vmtctl import guest, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = Path(__file__).parents[2] / "specs/vmt/driver.yaml"
# Nodes that start something, and the one that follows resolv.conf(5).
OTHERS = {"clock_sync.now", "backup.done", "net.dns"}


def writable(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, node in tree.items():
        if not isinstance(node, dict):
            continue
        if node.get("access") == "write":
            yield prefix + name
        elif "access" not in node:
            yield from writable(node, f"{prefix}{name}.")


def test_settings_are_the_writable_nodes_of_the_specs() -> None:
    spec: Any = YAML(typ="safe").load(SPEC)
    names = {name.replace(".children.", ".") for name in writable(spec["sysctl"])}
    assert names - OTHERS == set(settings.NAMES[guest.TREE])
    assert names >= OTHERS


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("machdep.vmt0.backup.freeze=/", {"backup.freeze": "/"}),
        ("machdep.vmt0.backup.freeze ?= /home # the data", {"backup.freeze": "/home"}),
        ("machdep.vmt0.net.exclude=tap* bridge0", {"net.exclude": "tap* bridge0"}),
        ("machdep.vmt0.clock_sync.period=1\nmachdep.vmt0.clock_sync.period=2",
         {"clock_sync.period": "2"}),
        ("#machdep.vmt0.backup.freeze=/", {}),
        ("backup.freeze=/", {}),
        ("machdep.vmt0.clock_sync.now=1", {}),
        ("machdep.vmt0.backup.freeze", {}),
        ("kern.hostname=x", {}),
    ],
)  # fmt: skip
def test_sysctl_conf_is_read_as_at_boot(line: str, found: dict[str, str]) -> None:
    assert settings.persisted(line) == found


@pytest.mark.parametrize(
    ("given", "shown", "same"),
    [
        ("30", "30", True), ("0x1e", "30", True), ("036", "30", True), ("+30", "30", True),
        ("-1", "-1", True), ("31", "30", False), ("08", "8", False), ("x", "30", False),
        ("/home", "/home", True), ("", "", True), ("", "0", False),
    ],
)  # fmt: skip
def test_number_is_compared_as_sysctl_reads_it(given: str, shown: str, same: bool) -> None:
    """In any base of C: strtouq(3), which sysctl(8) of NetBSD uses (write_number)."""
    assert settings._same(given, shown) is same
