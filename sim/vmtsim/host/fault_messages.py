"""Messages that no correct host sends, for the TCLO faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.host.fault_effects import Details
    from vmtsim.host.power import Power
    from vmtsim.host.tclo import Tclo

# Commands of other features, of other systems, and almost correct ones.
UNKNOWN_MESSAGES = (
    b"Time_Synchronize",
    b"Time_Synchronize x",
    b"Set_Option",
    b"Set_Option ",
    b"Set_Option broadcastIP",
    b"Set_Option broadcastIP 2",
    b"Set_Option  1",
    b"Set_Option synctime.period -1",
    b"Set_Option synctime.period 4294967296",
    b"Set_Option time.synchronize.tools.percentCorrection 101",
    b"OS_Halt now",
    b"OS_halt",
    b" OS_Halt",
    b"OS_HaltOS_Halt",
    b"Capabilities_RegisterX",
    b"vmbackup.snapshotDone",
    b"vmbackup.abort",
    b"vmbackup.start",
    b"Resolution_Set 800 600",
    b"DisplayTopology_Set 1 , 0 0 800 600",
    b'Vix_1_Relayed_Command "1" \x00\x01\x02',
    b'Vix_1_Get_ToolsProperties "1"',
    b"f \x00\x00\x00\x00",
    b"vmsupport.start",
    b"deployPkg.begin",
    b"TimeInfo_Update",
    b"ping ping",
    b" ",
    b"\x00",
    b"%s%n%x",
)
_BURST = (b"ping", b"Set_Option copypaste 1", b"Set_Option enableDnD 0", b"ping")
_POWER = ("halt", "reboot", "suspend", "resume", "power-on")


def garbage(details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue random bytes."""
    size = details.arguments.get("size")
    tclo.send(details.rng.bytes(details.rng.between(1, 300) if size is None else size))


def unknown(details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue an unknown command."""
    tclo.send(details.rng.choice(UNKNOWN_MESSAGES))


def long(details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue a message of a boundary size, or close to one."""
    size = details.arguments.get("size")
    length = details.rng.choice((255, 256, 1024, 4095, 4096, 4097, 16384, 65535, 65536))
    tclo.send(b"ping ".ljust(length if size is None else size, b"x"))


def with_nul(details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue a ping with NUL bytes at its end."""
    tclo.send(b"ping" + bytes(details.rng.between(1, 3)))


def empty(_details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue a message of no bytes."""
    tclo.send(b"")


def burst(details: Details, tclo: Tclo, _power: Power) -> None:
    """Queue many messages at once."""
    rng, size = details.rng, details.arguments.get("size")
    for _ in range(rng.between(10, 80) if size is None else size):
        tclo.send(rng.choice(_BURST))


def power(details: Details, _tclo: Tclo, power: Power) -> None:
    """Request one of the power operations."""
    power.request(details.rng.choice(_POWER))
