"""Messages that no well-meaning host would send, for the TCLO faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmtsim.host.faults import Faults
    from vmtsim.host.power import Power
    from vmtsim.host.tclo import Tclo

# Commands of other features, of other systems, and near misses of real ones.
STRANGE = (
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


def play(name: str, tclo: Tclo, faults: Faults, power: Power) -> None:
    """Queue what the fault ``name`` means."""
    rng = faults.rng
    size = faults.arguments.get("size")
    if name == "garbage-message":
        tclo.send(rng.bytes(rng.between(1, 300) if size is None else size))
    elif name == "unknown-message":
        tclo.send(rng.choice(STRANGE))
    elif name == "long-message":
        length = rng.choice((255, 256, 1024, 4095, 4096, 4097, 16384, 65535, 65536))
        tclo.send(b"ping ".ljust(length if size is None else size, b"x"))
    elif name == "nul-message":
        tclo.send(b"ping" + bytes(rng.between(1, 3)))
    elif name == "empty-message":
        tclo.send(b"")
    elif name == "burst":
        for _ in range(rng.between(10, 80) if size is None else size):
            tclo.send(rng.choice(_BURST))
    elif name == "power-request":
        power.request(rng.choice(_POWER))
