"""The view of a management client, such as vSphere's, on a guest with this driver.

Each test is a row of docs/peers.md; the host's interpretation follows VMware's logs and
public clients (docs/host-evidence.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.host.heartbeat import RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rig import Rig

    Make = Callable[..., Rig]

# vm_tools_version.h of open-vm-tools: tools that come with the operating system.
OSP = 3


def test_tools_are_shown_as_running_and_guest_managed(rig: Make) -> None:
    machine = rig()
    tools = machine.host.tools
    assert (tools.status, tools.version) == ("running, unmanaged", 0x7FFFFFFF)
    machine.leave()


def test_tools_type_is_operating_system_packages(rig: Make) -> None:
    machine = rig()
    assert machine.host.tools.version_type == OSP
    machine.leave()


def test_heartbeat_continues_during_idle_hour(rig: Make) -> None:
    machine = rig()
    machine.run(3600)
    assert machine.host.tools.heartbeat.status == RUNNING
    assert not [e for e in machine.events("tools") if e.get("running") is False]
    machine.leave()


def test_host_name_and_guest_os_are_shown(rig: Make) -> None:
    machine = rig()
    info = machine.host.guestinfo
    assert info.decoded[1] == "guest.example"
    # The client has its own name for this system: "Other (64-bit)".
    assert info.system == ("other-64", "NetBSD 11.0 x86_64")
    machine.leave()


def test_shutdown_and_restart_are_available_until_detach(rig: Make) -> None:
    machine = rig()
    assert machine.host.tools.power_operations
    assert machine.do("detach", "vmt0") == 0
    machine.run(60)
    assert not machine.host.tools.power_operations
    machine.leave()


def test_guest_operations_are_not_offered(rig: Make) -> None:
    machine = rig(vix_probe=1.0)
    machine.run(60)
    assert machine.host.tools.running
    assert not machine.host.tools.guest_operations
    machine.leave()


@pytest.mark.parametrize("name", ["copypaste_version", "dnd_version", "resolution_set"])
def test_copy_paste_and_screen_resize_are_not_offered(rig: Make, name: str) -> None:
    machine = rig()
    assert name not in machine.host.tools.capabilities
    machine.leave()


def test_shared_folders_client_is_announced_and_answers_with_error(rig: Make) -> None:
    machine = rig()
    assert machine.requests("tools.capability.hgfs_server") == [
        b"tools.capability.hgfs_server toolbox 1"
    ]
    assert machine.ask(b"f \1\0\0\0").startswith(b"ERROR")
    machine.leave()
