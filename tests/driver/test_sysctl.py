"""The tree machdep.vmt0 compared with the spec; counters; permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.common.located import load_yaml
from vmtsim.kernel.evcnt import EventCounters
from vmtsim.kernel.sysctltree import BOOL, INT, NODE, QUAD, STRING, SysctlTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .rig import Rig

    Make = Callable[..., Rig]

EPERM, EINVAL = 1, 22
KINDS = {"string": STRING, "int": INT, "bool": BOOL, "quad": QUAD, "node": NODE}
READWRITE = 0x00000070


@pytest.fixture(scope="session")
def spec(root: Path) -> dict[str, Any]:
    plain = load_yaml(root / "specs" / "vmt" / "driver.yaml").plain()
    assert isinstance(plain, dict)
    return plain


def _nodes(tree: dict[str, Any], spec: dict[str, Any], above: str = "") -> Iterator[
    tuple[str, dict[str, Any]]
]:  # fmt: skip
    for name, node in tree.items():
        path = f"{above}{name}"
        yield path, node
        yield from _nodes(node.get("children", {}), spec, f"{path}.")
        if "each" in node:
            for counter, text in spec[node["each"]].items():
                yield f"{path}.{counter}", {"type": "quad", "access": "read", "doc": text}


@pytest.mark.parametrize("name", ["clock_sync.period", "clock_sync.follow_host", "net.exclude"])
def test_zero_length_write_by_any_user_is_a_read(rig: Make, name: str) -> None:
    """sysctl_lookup() then checks no permission to write (sys/kern/kern_sysctl.c)."""
    machine = rig()
    woken: list[int] = []
    machine.kernel.dispatch.wrap(
        "cv_signal", lambda usual: lambda cv: (woken.append(cv), usual(cv))[1]
    )
    reply = machine.call(name, new=b"", uid=1000)
    assert reply.error == 0
    assert reply.data == machine.call(name).data
    assert woken == []
    machine.leave()


def test_tree_matches_spec_with_descriptions(rig: Make, spec: dict[str, Any]) -> None:
    machine = rig()
    tree = machine.kernel.subject(SysctlTree)
    expected = dict(_nodes(spec["sysctl"], spec))
    assert len(expected) > 20
    for path, node in expected.items():
        found = tree.find(f"machdep.vmt0.{path}")
        assert found is not None, path
        assert found.kind == KINDS[node["type"]], path
        assert tree.describe(found) == node["doc"], path
        writable = node.get("access") in {"write", "root"}
        assert (found.flags & READWRITE == READWRITE) == writable, path
    leaves = {node.path for node in tree.leaves("machdep.vmt0")}
    assert leaves == {f"machdep.vmt0.{path}" for path, node in expected.items()
                      if node["type"] != "node"}  # fmt: skip
    machine.leave()
    assert tree.find("machdep.vmt0") is None
    assert not tree.leaves("machdep.vmt0")


def test_public_nodes_are_readable_by_all_users(rig: Make, spec: dict[str, Any]) -> None:
    machine = rig()
    for path, node in _nodes(spec["sysctl"], spec):
        if node["type"] == "node":
            continue
        error = machine.call(path, uid=1000).error
        assert error == (EPERM if node["access"] in {"root", "root-read"} else 0), path
    machine.leave()


def test_only_root_writes_writable_nodes(rig: Make, spec: dict[str, Any]) -> None:
    machine = rig()
    for path, node in _nodes(spec["sysctl"], spec):
        if node["type"] == "node" or node["access"] == "root":
            continue
        value: Any = "1" if node["type"] == "string" else 1
        assert machine.write(path, value, uid=1000) == EPERM, path
        # backup.done expects no number now, and 1 is no address of a name server.
        taken = EINVAL if path in {"backup.done", "net.dns"} else 0
        assert machine.write(path, value) == (taken if node["access"] == "write" else EPERM), path
    machine.leave()


@pytest.mark.parametrize("name", ["period", "follow_host", "now"])
def test_value_of_wrong_size_is_refused(rig: Make, name: str) -> None:
    machine = rig()
    for size in (2, 3, 5, 8):
        assert machine.call(f"clock_sync.{name}", new=bytes(size)).error == EINVAL
    machine.leave()


@pytest.mark.parametrize("name", ["period", "follow_host", "now"])
def test_zero_length_new_value_changes_nothing(rig: Make, name: str) -> None:
    """sysctl_lookup() treats it as a read and checks no permission to write."""
    machine = rig()
    before = machine.read(f"clock_sync.{name}")
    assert machine.call(f"clock_sync.{name}", new=b"").error == 0
    assert machine.read(f"clock_sync.{name}") == before
    machine.leave()


def test_switch_accepts_0_and_1(rig: Make) -> None:
    machine = rig()
    assert machine.read("clock_sync.follow_host") == 0
    assert machine.write("clock_sync.follow_host", 1) == 0
    assert machine.read("clock_sync.follow_host") == 1
    assert machine.write("clock_sync.follow_host", 2) == EINVAL
    machine.leave()


def test_counters_count_events(rig: Make) -> None:
    machine = rig()
    before = {name: machine.stats(name) for name in _counters(machine)}
    machine.ask("ping")
    machine.ask("frobnicate")
    machine.host.faults.arm("reject", command="info-set")
    machine.option("broadcastIP", "1")
    machine.host.faults.arm("checkpoint", at="hb-in", protocol="tclo")
    machine.ask("ping")
    machine.host.faults.arm("no-reply", command="info-set")
    machine.option("broadcastIP", "1")
    machine.host.faults.arm("huge-length", protocol="tclo")
    machine.host.send("ping")
    machine.run(3)
    machine.host.faults.arm("closed", at="sendsize", protocol="tclo")
    machine.run(3)
    machine.settle()
    machine.host.faults.arm("closed", at="recvsize", protocol="tclo")
    machine.host.faults.arm("table-full", times=2)
    machine.run(30)
    machine.settle()
    counted = {name: machine.stats(name) - before[name] for name in before}
    assert counted["unknown"] == 1
    assert counted["refused"] == 1
    assert counted["retries"] == 1
    assert counted["resends"] == 1
    assert counted["aborts"] == 1
    assert counted["resets"] == 2
    assert counted["reopens"] == 2
    assert counted["refused_opens"] >= 1
    assert counted["send_errors"] == 1
    assert counted["receive_errors"] >= 1
    assert counted["messages"] == len(machine.events("tclo")) - before["messages"]
    assert counted["commands"] >= len(machine.requests()) - before["commands"] - 1
    assert counted["polls"] >= 30
    machine.leave()


def _counters(machine: Rig) -> list[str]:
    return [node.name for node in machine.kernel.subject(SysctlTree).leaves("machdep.vmt0.stats")]


def test_vmstat_shows_same_counters(rig: Make, spec: dict[str, Any]) -> None:
    machine = rig()
    machine.run(100)
    counters = machine.kernel.subject(EventCounters)
    ours = {each.name: each.count for each in counters.read() if each.group == "vmt0"}
    assert sorted(ours) == sorted(spec["statistics"])
    assert ours == {name: machine.stats(name) for name in ours}
    machine.leave()
    assert [each for each in counters.read() if each.group == "vmt0"] == []


def test_host_without_uuid_leaves_node_empty(rig: Make) -> None:
    machine = rig(uuid=(0xFFFFFFFF, 0, 0, 0))
    assert machine.read("uuid") == ""
    machine.leave()


def test_uuid_bytes_are_in_bios_order(rig: Make) -> None:
    machine = rig(uuid=(0x1A2B3C4D, 0, 0x80, 0xFF000000))
    assert machine.read("uuid") == "4d3c2b1a-0000-0000-8000-0000000000ff"
    machine.leave()
