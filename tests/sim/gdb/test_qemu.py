"""End to end: the shipped driver in a real virtual machine, served through QEMU's stub."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from guestkit import BASES, Guest, Machine, running
from vmtgen.common.dataclass import dataclass, field, replace
from vmtsim.gdb import sites
from vmtsim.gdb.clock import WallClock
from vmtsim.gdb.prompt import action_of
from vmtsim.gdb.rsp import Client, StubRefusedError, connect
from vmtsim.gdb.server import Patience
from vmtsim.gdb.session import Session, Settings
from vmtsim.gdb.target import describe
from vmtsim.host.options import NANOSECONDS
from vmtsim.report import chart
from vmtsim.report.session_text import Findings
from vmtsim.scenario.script import parse

from bench import remote
from tests.patience import HANG

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.core.trace import Event


@dataclass
class Play:
    """A session in its own thread, with its output and events so far."""

    session: Session
    machine: Machine
    findings: Findings
    printed: list[str]
    events: list[Event] = field(default_factory=list)
    error: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        try:
            self.session.run()
        except BaseException as error:
            self.error.append(error)

    def type(self, line: str) -> None:
        self.session.commands.append(action_of(line))

    def until(self, what: Callable[[], object], why: str) -> None:
        deadline = time.monotonic() + HANG
        while not what():
            if self.error:
                raise self.error[0]
            if time.monotonic() > deadline:
                talk = "\n".join(chart.text(list(self.events)))
                printed = "\n".join(self.printed)
                raise AssertionError(f"never: {why}\n{printed}\n{talk}\n{self.machine.text()}")
            time.sleep(0.01)

    def says(self, text: str, times: int = 1) -> None:
        self.until(lambda: sum(text in line for line in self.printed) >= times, f"printed {text!r}")

    def sees(self, kind: str, times: int = 1, **fields: object) -> None:
        def enough() -> bool:
            fits = [
                event
                for event in list(self.events)
                if event.kind == kind and all(event.get(k) == v for k, v in fields.items())
            ]
            return len(fits) >= times

        self.until(enough, f"{times} times {kind} {fields}")

    def ready(self, times: int = 1) -> None:
        """Wait until the guest has sent its capabilities, this many times."""
        self.sees("tclo.reply", times, message=b"Capabilities_Register", reply=b"OK ")

    def rules(self) -> list[dict[str, Any]]:
        return self.findings.of(self.session)


@pytest.fixture(scope="module")
def qemu(require_tool: Callable[[str], str]) -> str:
    return require_tool("qemu-system-x86_64")


Start = Callable[..., contextlib.AbstractContextManager[Play]]


@pytest.fixture
def start(qemu: str, guest: Guest, tmp_path: Path) -> Start:
    """Start the guest and a session with it."""

    @contextlib.contextmanager
    def started(
        *, cpus: int = 1, words: str = "load=0", text: int | None = BASES[0], **settings: Any
    ) -> Iterator[Play]:
        with running(qemu, guest, tmp_path, cpus=cpus, words=words) as machine:
            printed: list[str] = []
            chosen = Settings(
                **{
                    "program": sites.of_module(guest.module),
                    "text": text,
                    "serial": machine.log,
                    "keep": True,
                    "patience": Patience(look=0.2, quiet=8.0),
                    **settings,
                }
            )
            session = Session(Client(connect(machine.gdb)), chosen, printed.append)
            # This test does not check the other messages of a current host.  The host's time
            # limits are long, because its clock is real time.
            quiet = replace(
                session.host.options,
                option_burst=(),
                power_on=False,
                ping=0,
                broadcast_ip=0,
                reply_timeout=int(HANG),
                heartbeat_timeout=0,
                power_timeout=int(HANG),
            )
            session.host.options = session.host.context.options = quiet
            play = Play(session, machine, Findings(session.trace), printed)
            session.trace.subscribe(play.events.append)
            thread = threading.Thread(target=play.run, daemon=True)
            thread.start()
            try:
                yield play
            finally:
                session.done = True
                thread.join(HANG)
                assert not thread.is_alive(), "the session does not end"
            if play.error:
                raise play.error[0]

    return started


def test_driver_connects_reports_guest_info_and_halts(start: Start) -> None:
    with start() as play:
        play.ready()
        for item in ("1 guest.example",):
            play.sees("rpci", request=f"SetGuestInfo  {item}".encode(), reply=b"1 ")
        play.type("options broadcastIP=1")
        play.sees("rpci", request=b"info-set guestinfo.ip 192.0.2.10")
        play.type("power halt")
        play.sees("rpci", request=b"tools.os.statechange.status 1 1")
        play.says("QEMU has quit")
        assert play.machine.process.wait(HANG) == 0
        served = play.session.server.served
    text = play.machine.text()
    assert "powerd: power_button pressed of vmt0" in text
    assert "clock: set to" in text
    assert set(play.session.host.tools.capabilities) >= {"statechange", "unified_loop"}
    # Every kind of trap was served, and no other instruction.
    assert served[sites.LOW] > 30
    assert min(served[sites.IN], served[sites.OUT]) > 5
    assert not served["foreign"]
    assert play.rules() == []


def test_concurrent_calls_of_two_vcpus_get_their_own_replies(start: Start) -> None:
    # The module's text is searched for in memory: its address is unknown.
    with start(cpus=2, text=None, serial=None) as play:
        play.says(f"text at {BASES[0]:#x}")
        play.ready()
        play.machine.type("busy 120")
        assert (
            play.machine.wait_for("busy: .*,") == "busy: 120 of 120 commands, 120 times in order,"
        )
        play.type("power halt")
        play.says("QEMU has quit")
        served = play.session.server.served
    assert served["vCPU 01"] > 120
    assert served["vCPU 02"] > 30
    assert play.rules() == []


def test_bench_counts_what_guest_is_served(qemu: str, guest: Guest, tmp_path: Path) -> None:
    found = remote.served(qemu, guest, tmp_path, commands=5)
    # A command alone takes 7 calls, one more on the same channel 5; each stops the guest once.
    assert found.calls >= 5 * 5
    assert found.packets >= found.calls
    assert found.seconds > 0


def test_driver_survives_lost_channels_and_checkpoints(start: Start) -> None:
    with start(cpus=2) as play:
        play.ready()

        def arm(session: Session) -> None:
            for point in ("hb-out", "hb-in", "recvstatus"):
                session.host.faults.arm("checkpoint", at=point)

        play.session.commands.append(arm)
        play.type("tclo ping")
        play.sees("tclo.reply", message=b"ping", reply=b"OK ")
        play.until(
            lambda: play.session.host.faults.injected["checkpoint"] == 3, "three checkpoints"
        )
        play.type("lose all")
        play.ready(2)
        play.type("high-bandwidth false")
        play.type("tclo ping")
        play.sees("tclo.reply", 2, message=b"ping", reply=b"OK ")
        play.type("power halt")
        play.sees("rpci", request=b"tools.os.statechange.status 1 1")
        play.says("QEMU has quit")
    text = play.machine.text()
    assert "vmt0: lost the channel to the host (5); opening it again" in text
    assert "vmt0: the channel to the host is open again" in text
    assert play.rules() == []


def test_module_at_another_address_is_found_again(start: Start) -> None:
    with start(text=None, patience=Patience(look=0.2, quiet=1.2)) as play:
        play.ready()
        play.machine.type("unload")
        play.machine.wait_for("modunload: 0")
        play.says(f"was unloaded: it is gone from {BASES[0]:#x}")
        play.machine.type("load 1")
        # Found by the output of modstat on the serial line.
        play.says(f"text at {BASES[1]:#x}")
        play.ready(2)
    assert play.rules() == []


def test_reset_guest_is_served_again(start: Start) -> None:
    with start(text=None, patience=Patience(look=0.2, quiet=0.4)) as play:
        play.ready()
        play.machine.type("reset")
        play.says("the guest was reset")
        play.says(f"text at {BASES[0]:#x}", 2)
        play.ready(2)
    assert play.machine.text().count("guest: up with") == 2


def test_end_of_qemu_is_reported_in_one_line(start: Start) -> None:
    with start() as play:
        play.ready()
        before = len(play.printed)
        play.machine.quit()
        play.says("QEMU has quit")
    assert play.printed[before:] == ["QEMU has quit: the virtual machine is gone"]


def test_lost_breakpoint_is_set_again(start: Start) -> None:
    def lose(session: Session) -> None:
        client = session.server.client
        client.interrupt()
        for address, site in session.server.armed.items():
            if site.kind == sites.LOW:
                assert client.remove_breakpoint(address, site.size)
        client.resume()

    with start(patience=Patience(look=0.2, quiet=1.2)) as play:
        play.ready()
        play.session.commands.append(lose)
        play.says("was lost; set again")
        play.ready(2)


def test_guest_continues_when_session_ends(start: Start) -> None:
    with start(cpus=2) as play:
        play.ready()
        play.type("quit")
        play.until(lambda: play.session.done, "the end")
        play.machine.type("hello")
        play.machine.wait_for("hello: no such command")
        # Without a host a trap is an ordinary instruction, and the guest does not stop there.
        play.machine.type("rpc info-get guestinfo.ip")
        play.machine.wait_for('rpc: 0 "[0-9]+ error [0-9]+"')


def test_administrator_command_reaches_host(start: Start) -> None:
    with start() as play:
        play.ready()
        play.type("guestinfo 'role=web server'")
        play.machine.type("rpc info-get guestinfo.role")
        play.machine.wait_for('rpc: 0 "[0-9]+ ok 1 web server"')
    assert play.rules() == []


def test_read_of_another_port_is_executed(start: Start, guest: Guest) -> None:
    other = guest.symbols["other_inl"]
    traps = [site.address for site in sites.of_module(guest.module).at(BASES[0])]
    program = sites.of_addresses([*traps, other])
    with start(cpus=2, program=program, text=None) as play:
        play.ready()
        play.machine.type("inl")
        # The value that SeaBIOS left in the PCI bus's address register, not the earlier one.
        play.machine.wait_for("inl: 0x8[0-9a-f]{7}\n")
        play.until(lambda: play.session.server.served["foreign"] == 1, "one foreign stop")
        play.type("tclo ping")
        play.sees("tclo.reply", message=b"ping", reply=b"OK ")
    assert play.rules() == []


def test_address_without_trap_is_abandoned(start: Start, guest: Guest) -> None:
    program = sites.of_addresses([guest.symbols["other_port"]])
    with start(program=program, text=None) as play:
        play.machine.wait_for("modload: 0")
        play.machine.type("inl")
        play.says("no backdoor call at")
        play.machine.wait_for("inl: ")


SCENARIO = """\
summary: shutdown, in seconds
host: {option_burst: [], power_on: false, broadcast_ip: 0, ping: 0}
steps:
  - expect.reply: {message: reset, reply: OK ATR toolbox}
    within: 900
  - expect.reply: Capabilities_Register
    within: 900
  - at: 3.0
    guest.detach: vmt0
  - expect.console: "vmt0: detached"
  - at: 3.0
    host.power: halt
  - expect.console: "powerd: power_button pressed of vmt0"
    within: 900
"""


class HeldClock(WallClock):
    """Stops after two seconds until ``go``: later steps run after that."""

    def __init__(self) -> None:
        super().__init__()
        self.go = False

    def __call__(self) -> int:
        return super().__call__() if self.go else min(super().__call__(), 2 * NANOSECONDS)


def test_scenario_runs_in_real_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmtgen.common.located import load_yaml

    monkeypatch.setattr("vmtsim.gdb.session.WallClock", HeldClock)
    path = tmp_path / "halt.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    with start(scenario=parse(load_yaml(path))) as play:
        play.ready()
        assert isinstance(play.session.clock, HeldClock)
        play.session.clock.go = True
        play.says("QEMU has quit")
    skipped_steps = [each.verb for each in play.session.skipped_steps]
    assert skipped_steps == ["guest.detach", "expect.console"]
    assert play.rules() == []


def test_unmet_scenario_is_reported(start: Start, tmp_path: Path) -> None:
    from vmtgen.common.located import load_yaml

    path = tmp_path / "never.yaml"
    path.write_text("summary: never\nsteps:\n  - expect.rpci: never sent\n    within: 1\n", "utf-8")
    with start(scenario=parse(load_yaml(path))) as play:
        play.says("the scenario never is over")
        play.until(lambda: play.session.failures, "failures")
    assert "never sent" in play.rules()[0]["message"]


def _verb(*words: str) -> list[str]:
    return [sys.executable, "-m", "vmtsim", "host", *words]


def test_guest_in_mid_conversation_violates_nothing(
    qemu: str, guest: Guest, tmp_path: Path
) -> None:
    program = sites.of_module(guest.module)

    def session(machine: Machine, printed: list[str]) -> Play:
        settings = Settings(program, text=BASES[0], serial=machine.log)
        new = Session(Client(connect(machine.gdb)), settings, printed.append)
        play = Play(new, machine, Findings(new.trace), printed)
        new.trace.subscribe(play.events.append)
        return play

    with running(qemu, guest, tmp_path, words="load=0") as machine:
        for killed in (True, False):
            play = session(machine, [])
            thread = threading.Thread(target=play.run, daemon=True)
            thread.start()
            play.ready()
            if killed:
                # As after SIGKILL: the connection ends, the breakpoints stay.
                play.session.server.client.connection.shutdown(socket.SHUT_RDWR)
            else:
                play.type("power halt")
                play.says("QEMU has quit")
            thread.join(HANG)
            assert not thread.is_alive()
    assert play.findings.inherited > 0
    assert play.rules() == []


def test_terminated_vmtsim_leaves_running_guest(qemu: str, guest: Guest, tmp_path: Path) -> None:
    with running(qemu, guest, tmp_path, words="load=0") as machine:
        command = _verb("--gdb", machine.gdb, "--kmod", str(guest.module), "--text", hex(BASES[0]))
        svg, trace = tmp_path / "talk.svg", tmp_path / "talk.jsonl"
        command += ["--svg", str(svg), "--trace", str(trace)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                if "Capabilities_Register" in line:
                    break
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
            assert process.wait(HANG) == 128 + signal.SIGTERM
        assert '"k":"open"' in trace.read_text(encoding="ascii")
        machine.type("hello")
        machine.wait_for("hello: no such command")


def test_piped_commands_halt_guest_and_write_outcome(
    qemu: str, guest: Guest, tmp_path: Path
) -> None:
    with running(qemu, guest, tmp_path, words="load=0") as machine:
        out, svg = tmp_path / "outcome.json", tmp_path / "talk.svg"
        command = _verb("--gdb", machine.gdb, "--kmod", str(guest.module), "--text", hex(BASES[0]))
        command += ["--json", str(out), "--svg", str(svg)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            asked = False
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "SetGuestInfo  1 " in line and not asked:
                    asked = True
                    process.stdin.write("power halt\n")
            assert process.wait(HANG) == 0, "".join(lines)
        assert any("OS_Halt" in line for line in lines)
        assert lines[-1].startswith("verdict  ok")
    import json

    outcome = json.loads(out.read_text(encoding="utf-8"))
    assert (outcome["format"], outcome["status"]) == ("vmtsim-outcome", 0)
    assert svg.read_text(encoding="utf-8").startswith("<svg")


def test_unreachable_address_is_unavailable(guest: Guest, tmp_path: Path) -> None:
    command = _verb("--gdb", str(tmp_path / "missing"), "--kmod", str(guest.module))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "-gdb tcp:127.0.0.1:1234" in done.stderr


def test_client_works_with_qemu_stub(qemu: str, guest: Guest, tmp_path: Path) -> None:
    with running(qemu, guest, tmp_path, cpus=2) as machine:
        client = Client(connect(machine.gdb))
        client.start()
        target = describe(client)
        assert target.machine.name == "amd64"
        assert len(client.threads()) == 2
        place = guest.symbols["kmain"]
        client.insert_breakpoint(place, 1)
        client.resume()
        stop = client.wait(HANG)
        assert stop is not None
        registers = client.registers()
        assert target.value(registers, "rip") == place
        # One vCPU takes one step; the register that is written is the one that is read.
        assert client.remove_breakpoint(place, 1)
        assert not client.remove_breakpoint(place, 1)
        client.resume(stop.thread)
        assert client.wait(HANG) is not None
        after = target.value(client.registers(), "rip") or 0
        assert place < after < place + 16
        client.order(target.set("rbx", 0x123456789ABCDEF0), "rbx")
        assert target.value(client.registers(), "rbx") == 0x123456789ABCDEF0
        # More than a packet's worth of memory, there and back.
        scratch = 0x1000000
        data = bytes(range(256)) * 40
        client.write(scratch, data)
        assert client.read(scratch, len(data)) == data
        with client.physical() as able:
            assert able
            assert client.read(scratch, 16) == data[:16]
        with pytest.raises(StubRefusedError, match="0xffffffffd0000000"):
            client.read(0xFFFFFFFF_D0000000, 4)
        client.order(b"Hg" + client.threads()[1].encode(), "the second vCPU")
        assert "paused" in client.monitor("info status")
        client.detach()
        client.close()
        machine.wait_for("guest: up with 2 vCPUs")
