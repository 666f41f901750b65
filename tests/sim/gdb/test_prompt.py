"""The commands at the prompt, against the real host and no guest."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from vmtsim.core.rng import Rng
from vmtsim.core.trace import Trace
from vmtsim.gdb.clock import WallClock
from vmtsim.gdb.prompt import COMMANDS, CommandError, Prompt, deed, execute
from vmtsim.host import Host, HostOptions


@dataclass
class Bench:
    """As much of a session as commands touch."""

    said: list[str] = field(default_factory=list)
    ended: str = ""

    def __post_init__(self) -> None:
        self.trace = Trace(keep=True)
        self.clock = WallClock()
        self.host = Host(now=self.clock, rng=Rng(1), options=HostOptions(), trace=self.trace)
        self.server = SimpleNamespace(
            armed={}, served={"foreign": 0}, client=SimpleNamespace(running=True)
        )
        self.commands: list[Any] = []
        self.say = self.said.append

    def end(self, why: str) -> None:
        self.ended = why


@pytest.fixture
def session() -> Any:
    return Bench()


def test_halt_is_not_offered_before_the_guest_says_that_it_can(session: Any) -> None:
    assert "tools.capability.statechange" in execute(session, "halt")
    assert not session.host.tclo.queue


def test_a_message_goes_to_the_queue(session: Any) -> None:
    execute(session, "ping")
    execute(session, "set synctime 1")
    execute(session, "send Time_Synchronize 1")
    assert [message.text for message in session.host.tclo.queue] == [
        b"ping",
        b"Set_Option synctime 1",
        b"Time_Synchronize 1",
    ]


def test_a_guestinfo_key_is_a_variable(session: Any) -> None:
    execute(session, "set guestinfo.role web server")
    assert session.host.guestinfo.variables["role"] == b"web server"


def test_the_clock_jumps(session: Any) -> None:
    before = session.host.clock.now()
    execute(session, "time +3600")
    assert session.host.clock.now() - before >= 3600 * 10**9


def test_high_bandwidth_goes_and_comes_back(session: Any) -> None:
    execute(session, "nohb")
    assert not session.host.transport._context.options.high_bandwidth
    execute(session, "nohb")
    assert session.host.transport._context.options.high_bandwidth


def test_a_checkpoint_waits_for_a_payload(session: Any) -> None:
    execute(session, "checkpoint")
    assert session.host.faults.armed == ("checkpoint",)


def test_quit_ends_the_session(session: Any) -> None:
    execute(session, "quit")
    assert "goes on" in session.ended


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hlat", "did you mean 'halt'"),
        ("time soon", "time \\+SECONDS"),
        ("time 1e99", "three centuries"),
        ("time nan", "three centuries"),
        ("set key", "set KEY VALUE"),
        ("drop everything", "drop all"),
        ("halt now", "no arguments"),
        ("send", "send MESSAGE"),
    ],
)
def test_a_wrong_command_says_what_is_right(session: Any, line: str, text: str) -> None:
    with pytest.raises(CommandError, match=text):
        execute(session, line)


def test_a_wrong_command_does_not_end_the_session(session: Any) -> None:
    deed("hlat")(session)
    assert "did you mean" in session.said[0]
    assert not session.ended


def test_help_names_every_command(session: Any) -> None:
    text = execute(session, "help")
    assert all(command.usage in text for command in COMMANDS.values())


def test_status_says_how_things_stand(session: Any) -> None:
    text = execute(session, "status")
    assert "0 served" in text
    assert "violations 0" in text


def test_commands_are_in_the_trace(session: Any) -> None:
    execute(session, "ping")
    assert [json.loads(e.json())["command"] for e in session.trace.events] == ["ping"]


def test_piped_commands_are_read_to_their_end_and_the_session_goes_on(session: Any) -> None:
    prompt = Prompt(session, io.StringIO("ping\n\nstatus\n"))
    prompt._read()
    for act in session.commands:
        act(session)
    assert session.said[0] == "sent ping"
    assert not session.ended
