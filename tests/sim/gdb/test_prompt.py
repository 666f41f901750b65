"""The commands at the prompt, with the real host and no guest."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.core.verb import ArgumentError
from vmtsim.gdb.clock import WallClock
from vmtsim.gdb.prompt import COMMANDS, Prompt, action_of, execute
from vmtsim.host import Host, HostOptions
from vmtsim.host.operator import OPERATIONS
from vmtsim.scenario.verbs import ACTIONS


@dataclass
class Bench:
    """The part of a session that commands use."""

    printed: list[str] = field(default_factory=list)
    ended: str = ""

    def __post_init__(self) -> None:
        self.trace = Trace(keep=True)
        self.clock = WallClock()
        self.host = Host(now=self.clock, rng=Rng(1), options=HostOptions(), trace=self.trace)
        self.server = SimpleNamespace(
            armed={}, served={"foreign": 0}, client=SimpleNamespace(running=True)
        )
        self.commands: list[Any] = []
        self.print_line = self.printed.append

    def end(self, why: str) -> None:
        self.ended = why


@pytest.fixture
def session() -> Any:
    return Bench()


def test_halt_is_offered_only_after_guest_announces_it(session: Any) -> None:
    assert "tools.capability.statechange" in execute(session, "power halt")
    assert not session.host.tclo.queue


def test_message_is_queued(session: Any) -> None:
    execute(session, "tclo ping")
    execute(session, "options synctime=1")
    execute(session, "tclo Time_Synchronize 1")
    assert [message.text for message in session.host.tclo.queue] == [
        b"ping",
        b"Set_Option synctime 1",
        b"Time_Synchronize 1",
    ]


def test_guestinfo_key_is_a_variable(session: Any) -> None:
    execute(session, "guestinfo 'role=web server'")
    assert session.host.guestinfo.variables["role"] == b"web server"


def test_argument_with_default_is_optional(session: Any) -> None:
    assert execute(session, "lose") == "the host forgot 0 channels"
    assert execute(session, "migrate") == "the machine is on another host"
    assert execute(session, "steal") == "no client in the guest has the channel"


def test_every_operation_is_scenario_verb_and_command(session: Any) -> None:
    help_text = execute(session, "help")
    for name, operation in OPERATIONS.items():
        assert f"host.{name}" in ACTIONS
        assert COMMANDS[name].usage == operation.usage
        assert operation.text in help_text
    assert {name for name in ACTIONS if name.startswith("host.")} == {
        f"host.{name}" for name in OPERATIONS
    }


def test_clock_can_jump(session: Any) -> None:
    before = session.host.clock.now()
    execute(session, "clock jump=3600")
    assert session.host.clock.now() - before >= 3600 * 10**9


def test_high_bandwidth_can_be_switched(session: Any) -> None:
    execute(session, "high-bandwidth false")
    assert not session.host.transport._context.options.high_bandwidth
    execute(session, "high-bandwidth true")
    assert session.host.transport._context.options.high_bandwidth


def test_fault_waits_for_its_opportunity(session: Any) -> None:
    assert execute(session, "fault checkpoint at=sendpayload times=2") == "armed: checkpoint"
    assert session.host.faults.armed == ("checkpoint",)
    assert execute(session, "fault none") == "armed: nothing"


def test_quit_ends_session(session: Any) -> None:
    execute(session, "quit")
    assert "continues" in session.ended


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("powre", "did you mean 'power'"),
        ("power hlat", "expected halt, reboot, suspend, resume or power-on, not the string 'hlat'"),
        ("power", "the key 'operation' is missing"),
        ("clock jump=soon", "expected a number, not the string 'soon'"),
        ("clock jump=1e99", "three centuries"),
        ("clock jump=nan", "expected a number"),
        ("clock jmup=5", "unknown key 'jmup'"),
        ("clock", "usage: clock"),
        ("options key", "usage: options NAME=VALUE"),
        ("lose everything", "expected tclo, rpci or all"),
        ("migrate now then", "usage: migrate"),
        ("tclo", "usage: tclo MESSAGE"),
        ("synctime", "usage: synctime ON"),
        ("fault bursst", "unknown fault 'bursst'"),
        ("fault burst at=rpci", "burst has no effect at rpci"),
        ("guestinfo 'a=b", "No closing quotation"),
    ],
)
def test_invalid_command_gets_suggestion(session: Any, line: str, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        execute(session, line)


def test_invalid_command_does_not_end_session(session: Any) -> None:
    action_of("powre")(session)
    assert "did you mean" in session.printed[0]
    assert not session.ended


def test_help_names_every_command(session: Any) -> None:
    text = execute(session, "help")
    assert all(command.usage in text for command in COMMANDS.values())


def test_status_shows_state(session: Any) -> None:
    text = execute(session, "status")
    assert "0 served" in text
    assert "violations 0" in text


def test_commands_appear_in_trace(session: Any) -> None:
    execute(session, "tclo ping")
    assert [json.loads(e.json())["command"] for e in session.trace.events] == ["tclo ping"]


def test_piped_commands_end_and_session_continues(session: Any) -> None:
    prompt = Prompt(session, io.StringIO("tclo ping\n\nstatus\n"))
    prompt._read()
    for act in session.commands:
        act(session)
    assert session.printed[0] == "sent ping"
    assert not session.ended
