"""The actions of operator and administrator on a VMware Tools driver in the first phase of a run.

Each action draws its verbs and arguments.  They are those of scenarios, so that everything a
campaign does can be written as a scenario.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass

from vmtsim.core.trace import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vmtsim.core.rng import Rng

Verbs = list[tuple[str, Any]]

_MESSAGES = (
    b"ping",
    b"Time_Synchronize 0",
    b"Time_Synchronize 1",
    b"Set_Option synctime 1",
    b"Set_Option synctime 0",
    b"Set_Option synctime.period 5",
    b"Set_Option broadcastIP 1",
    b"Set_Option time.synchronize.tools.startup.backward 1",
    b"Set_Option time.synchronize.tools.startup 1",
    b"Set_Option time.synchronize.tools.slewCorrection 0",
    b"Set_Option time.synchronize.tools.percentCorrection 30",
    b"Capabilities_Register",
    b"reset",
)
_COMMANDS = (
    "info-get guestinfo.name",
    "info-set guestinfo.name value",
    "log from the guest",
    "vmx.set_option synctime 0 1",
    "nonsense",
    "x" * 4000,
    "info-set guestinfo.long " + "y" * 20_000,
    "info-get guestinfo.long",
)
_ADDRESSES: tuple[Any, ...] = (
    [],
    ["192.0.2.7"],
    ["192.0.2.7", "2001:db8::7"],
    ["2001:db8::7", "fe80::1"],
    ["169.254.3.4"],
    {"wm0": ["192.0.2.7", "198.51.100.9"], "wm1": ["203.0.113.1", "2001:db8::8"]},
)
# Below machdep.DEVICE.
_SETTINGS: tuple[Mapping[str, Any], ...] = (
    {"clock_sync.period": 0},
    {"clock_sync.period": 1},
    {"clock_sync.period": 60},
    {"clock_sync.period": -1},
    {"clock_sync.period": 2_147_483},
    {"clock_sync.follow_host": 1},
    {"clock_sync.follow_host": 0},
    {"clock_sync.now": 1},
)
_FROZEN: Mapping[str, Any] = {"backup.freeze": "/", "backup.scripts": 3}
_QUIESCE: tuple[Mapping[str, Any], ...] = (
    {"backup.freeze": "/"},
    {"backup.freeze": "/tmp"},
    {"backup.freeze": "/nowhere"},
    {"backup.freeze": ""},
    _FROZEN,
    {"backup.scripts": 3, "backup.require_scripts": 0},
)
_MEMORY: tuple[Mapping[str, Any], ...] = (
    {"info.memory_period": 0},
    {"info.memory_period": 1},
    {"info.memory_period": 7},
    {"info.memory_period": 20},
    {"info.memory_period": 3600},
    {"info.memory_period": 3601},
)
# Usual figures, swap that is removed while in use, sums below 0, and counters that restart at 0.
_USAGE: tuple[Mapping[str, Any], ...] = (
    {"files": 20000, "programs": 3000, "swap": 32768, "swap_used": 100, "switches": 50000},
    {"files": 0, "programs": 0, "swap": 0, "page_in": 4000, "page_out": 4000},
    {"files": 65536, "programs": 65536, "swap": 32768, "swap_used": 32768},
    {"files": 0x7FFFFFFF, "programs": 0x7FFFFFFF, "switches": 0x7FFFFFFF},
    {"page_in": 0x7FFFFFFF, "page_out": 0x7FFFFFFF, "switches": 0x7FFFFFFF},
)
# Within their time limit, after it, and failing.
_SITE_SCRIPTS: tuple[Mapping[str, Any], ...] = (
    {"seconds": 0.5}, {"seconds": 2.5}, {"seconds": 6}, {"seconds": 0.5, "fail": True},
)  # fmt: skip
_JUMPS = (0.003, -0.003, 0.4, -0.4, 5.0, -5.0, 3600.0, -3600.0)


@dataclass(frozen=True)
class Action:
    """A kind of action: ``draw`` draws its details, ``most`` limits how often it occurs in one run.

    ``load`` marks actions that keep the driver busy while it is detached.
    """

    draw: Callable[[Rng], Verbs]
    most: int = 3
    load: bool = False


def _messages(rng: Rng) -> Verbs:
    return [("host.tclo", printable(rng.choice(_MESSAGES))) for _ in range(rng.between(1, 12))]


def _commands(rng: Rng) -> Verbs:
    return [("guest.rpc", rng.choice(_COMMANDS)) for _ in range(rng.between(1, 4))]


def _abandoned(device: str) -> Callable[[Rng], Verbs]:
    """Leave replies uncollected, more than the driver keeps, and read every node meanwhile.

    A node without a handler, which is read without a lock, is read first: a handler takes the
    driver's lock, which orders all later reads.
    """
    alone = f"machdep.{device}.clock_sync.steps"

    def draw(rng: Rng) -> Verbs:
        verbs: Verbs = [("guest.request", rng.choice(_COMMANDS)) for _ in range(rng.between(1, 10))]
        looks: Verbs = [("guest.look", alone), ("guest.look", None)]
        return [*verbs, *looks, ("guest.rpc", rng.choice(_COMMANDS))]

    return draw


def _suspend(rng: Rng) -> Verbs:
    return [
        (
            "host.power",
            {
                "operation": "suspend",
                "seconds": rng.choice((1, 60, 3600)),
                "lose_channels": rng.chance(1, 2),
            },
        )
    ]


def _backup(device: str) -> Callable[[Rng], Verbs]:
    """Take a quiesced snapshot, half of the time one that freezes the root and runs scripts."""
    prepared = {f"machdep.{device}.{name}": value for name, value in _FROZEN.items()}

    def draw(rng: Rng) -> Verbs:
        start: dict[str, Any] = {"do": "start", "snapshot": rng.choice((0.5, 2.0, 8.0))}
        if rng.chance(1, 3):
            start |= {"version": rng.between(1, 2), "timeout": rng.choice((0, 5))}
        verbs: Verbs = [("guest.write", "/"), ("host.backup", start)]
        if rng.chance(1, 4):
            verbs.append(("host.backup", {"do": "abort"}))
        if rng.chance(1, 2):
            scripts = ("guest.scripts", rng.choice(_SITE_SCRIPTS))
            verbs = [scripts, ("guest.sysctl", prepared), *verbs]
        return verbs

    return draw


def _ifconfig(rng: Rng) -> Verbs:
    """Change the network while the driver reads its lists, then restore it."""
    point = [rng.below(120), rng.between(1, 30)]
    change: dict[str, Any] = {"interface": "wm0", "reading": point}
    change |= rng.choice(({"do": "destroy"}, {"do": "down"}))
    back = {"wm0": ["192.0.2.10/24", "2001:db8::10/64"]}
    return [
        ("guest.addresses", back),
        ("guest.ifconfig", change),
        ("host.tclo", "Set_Option broadcastIP 1"),
    ]


def _routes(device: str) -> Callable[[Rng], Verbs]:
    """Change the default route and the name servers."""

    def draw(rng: Rng) -> Verbs:
        gateway = rng.choice(("192.0.2.1", "192.0.2.254"))
        dns = rng.choice(("", "nameserver 192.0.2.53 search example.org", "nonsense"))
        return [
            ("guest.route", {"do": "delete"}),
            ("guest.sysctl", {f"machdep.{device}.net.dns": dns}),
            ("guest.route", {"do": "add", "gateway": gateway, "interface": "wm0"}),
            ("host.tclo", "Set_Option broadcastIP 1"),
        ]

    return draw


def _host_name(rng: Rng) -> Verbs:
    names = ("a", "new.example", "", "n" * 63 + ".example", "h" * 255)
    return [("guest.hostname", rng.choice(names))]


def _moved(verb: str, **more: Any) -> Callable[[Rng], Verbs]:
    """Draw a migration of the machine: channels survive it, or they do not."""
    return lambda rng: [
        (verb, {name: rng.choice(values) for name, values in more.items()}
         | {"lose_channels": rng.chance(1, 2)})
    ]  # fmt: skip


def _one(verb: str, *arguments: Any) -> Callable[[Rng], Verbs]:
    return lambda rng: [(verb, rng.choice(arguments))]


def _set(device: str, settings: Iterable[Mapping[str, Any]]) -> Callable[[Rng], Verbs]:
    """Set one of ``settings`` of the driver's device."""
    return _one(
        "guest.sysctl",
        *({f"machdep.{device}.{name}": each[name] for name in each} for each in settings),
    )


_ACTIONS: Mapping[str, Action] = {
    "lose": Action(_one("host.lose", "tclo", "rpci", "all"), load=True),
    "close": Action(_one("host.close", "tclo", "rpci"), load=True),
    "steal": Action(_one("host.steal", 0.5, 3.0, 40.0), load=True),
    "checkpoint": Action(_one("host.checkpoint", True), most=6, load=True),
    "migrate": Action(_moved("host.migrate", now=(True,)), load=True),
    "revert": Action(_moved("host.revert", seconds=(0.0, 30.0, 3600.0),
                            time_synchronize=(True, True, False))),
    "jump": Action(lambda rng: [("host.clock", {"jump": rng.choice(_JUMPS)})]),
    "lag": Action(_one("host.clock", {"lag_us": 500}, {"lag_us": 2_000_000}, {"lag_us": 0})),
    "drift": Action(_one("host.clock", {"drift_ppm": 400}, {"drift_ppm": -400})),
    "messages": Action(_messages, most=6, load=True),
    "power": Action(_one("host.power", *({"operation": name} for name in
                                         ("halt", "reboot", "suspend", "resume"))),
                    load=True),
    "suspend": Action(_suspend, load=True),
    "synctime": Action(_one("host.synctime", True, False)),
    "variables": Action(_one("host.guestinfo", {"name": "value"}, {"name": "v" * 3000})),
    "hostname": Action(_host_name),
    "addresses": Action(_one("guest.addresses", *_ADDRESSES), most=4),
    "ifconfig": Action(_ifconfig, most=3),
    "commands": Action(_commands, most=4, load=True),
    "guest-clock": Action(lambda rng: [("guest.clock", rng.choice(_JUMPS))]),
    "guest-sleep": Action(lambda _rng: [("guest.suspend", True), ("guest.resume", True)]),
    "usage": Action(_one("guest.usage", *_USAGE), most=4),
    "scripts": Action(_one("guest.scripts", *_SITE_SCRIPTS), most=2),
}  # fmt: skip


@cache
def actions(device: str) -> Mapping[str, Action]:
    """Return the actions by name; ``device`` is the name of the driver's first device."""
    return {
        **_ACTIONS,
        "settings": Action(_set(device, _SETTINGS), most=6, load=True),
        "abandoned": Action(_abandoned(device), load=True),
        # The host refuses a second one while the first is in progress.
        "backup": Action(_backup(device), most=2),
        "quiesce": Action(_set(device, _QUIESCE), most=3, load=True),
        "memory": Action(_set(device, _MEMORY), most=3, load=True),
        "routes": Action(_routes(device), most=2),
    }
