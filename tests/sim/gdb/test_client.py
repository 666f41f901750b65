"""The GDB client with recorded sessions: broken packets, refusals, silence."""

from __future__ import annotations

import pytest
from fakestub import FakeStub, packet
from vmtsim.gdb.rsp import (
    RemoteError,
    Stop,
    StubGoneError,
    StubRefusedError,
    StubSilentError,
    connect,
    parse_stop,
)
from vmtsim.gdb.target import describe

from tests.patience import HANG

OK = b"+$OK#9a"


def test_wrong_checksum_is_requested_again() -> None:
    turns = [(b"$g#67", b"+$11#00"), (b"-", b"$1122#ff"), (b"-", packet(b"1122"))]
    with FakeStub(turns) as stub:
        assert stub.client.registers() == b"\x11\x22"
        assert stub.received == b"$g#67--"


def test_command_rejected_by_stub_is_resent() -> None:
    turns = [(b"$g#67", b"-"), (b"$g#67", b"-"), (b"$g#67", b"+" + packet(b"33"))]
    with FakeStub(turns) as stub:
        assert stub.client.registers() == b"\x33"
        assert stub.received == b"$g#67" * 3


def test_persistent_broken_replies_are_an_error() -> None:
    turns = [(b"$g#67", b"+$1#00"), *[(b"-", b"$1#00")] * 3]
    with FakeStub(turns) as stub, pytest.raises(StubSilentError, match="broken packets"):
        stub.client.registers()


def test_silent_stub_error_names_command() -> None:
    turns = [(b"$g#67", b"+"), (b"never", b"")]
    with (
        FakeStub(turns, timeout=0.2, ends=False) as stub,
        pytest.raises(StubSilentError, match="'g'"),
    ):
        stub.client.registers()


def test_closed_connection_means_qemu_has_quit() -> None:
    with FakeStub([(b"$g#67", b"")]) as stub, pytest.raises(StubGoneError):
        stub.client.registers()


def test_unmapped_address_is_refused_with_errno() -> None:
    turns = [(packet(b"m1000,4"), b"+" + packet(b"E14"))]
    with FakeStub(turns) as stub:
        with pytest.raises(StubRefusedError, match="0x1000") as caught:
            stub.client.read(0x1000, 4)
        assert caught.value.code == 0x14


def test_registers_starting_with_e_are_no_error() -> None:
    with FakeStub([(b"$g#67", b"+" + packet(b"e123"))]) as stub:
        assert stub.client.registers() == b"\xe1\x23"


def test_unsupported_stub_feature_is_reported() -> None:
    turns = [(packet(b"Z1,1000,1"), b"+$#00")]
    with FakeStub(turns) as stub, pytest.raises(StubRefusedError, match=r"cannot do this.*0x1000"):
        stub.client.insert_breakpoint(0x1000, 1)


def test_acknowledgement_is_sent_with_next_command() -> None:
    # Any byte that comes while the guest runs would stop it.
    turns = [(b"$g#67", b"+" + packet(b"00")), (b"+$vCont;c#a8", b"")]
    with FakeStub(turns) as stub:
        stub.client.registers()
        assert stub.received == b"$g#67"
        stub.client.resume()
        assert stub.client.running


def test_replies_before_resume_are_no_stop() -> None:
    first = [b"P0=01", b"P10=02"]
    wire = packet(first[0]) + packet(first[1]) + b"$vCont;c#a8"
    turns = [(wire, OK + OK + b"+" + packet(b"T05thread:02;"))]
    with FakeStub(turns) as stub:
        stub.client.resume(first=first)
        assert stub.client.wait(HANG) == Stop(5, "02")
        assert stub.received == wire


def test_failed_register_write_is_reported_at_next_stop() -> None:
    turns = [(b"$vCont;c#a8", b"+" + packet(b"E22") + packet(b"T05thread:01;"))]
    with FakeStub(turns) as stub:
        stub.client.resume(first=[b"P99=01"])
        with pytest.raises(StubRefusedError, match="P99=01"):
            stub.client.wait(HANG)


def test_broken_stop_reply_is_requested_again() -> None:
    turns = [(b"$vCont;c#a8", b"+$T05thread:01;#00"), (b"-", packet(b"T05thread:01;"))]
    with FakeStub(turns) as stub:
        stub.client.resume()
        assert stub.client.wait(HANG) == Stop(5, "01")


def test_step_moves_one_vcpu() -> None:
    turns = [(packet(b"vCont;s:02"), b"+" + packet(b"T05thread:02;"))]
    with FakeStub(turns) as stub:
        stub.client.resume("02")
        assert stub.client.wait(HANG) == Stop(5, "02")


def test_late_interrupt_returns_earlier_stop() -> None:
    turns = [(b"$vCont;c#a8", b"+" + packet(b"T05thread:01;"))]
    with FakeStub([*turns, (b"\x03", b"")]) as stub:
        stub.client.resume()
        assert stub.client.interrupt() == Stop(5, "01")


def test_batch_with_broken_reply_is_retried_one_by_one() -> None:
    a, b = packet(b"m0,1"), packet(b"m1,1")
    turns = [
        (a + b, b"+" + packet(b"aa") + b"+$bb#00"),
        (b, b"+" + packet(b"bb")),
    ]
    with FakeStub(turns) as stub:
        assert stub.client.probe([0, 1], 1) == [b"\xaa", b"\xbb"]


def test_commands_are_refused_while_guest_runs() -> None:
    with FakeStub([(b"$vCont;c#a8", b"")]) as stub:
        stub.client.resume()
        with pytest.raises(StubRefusedError, match="runs"):
            stub.client.registers()


def test_stop_caused_by_connection_is_no_reply() -> None:
    answer = b"+" + packet(b"T02thread:01;") + packet(b"PacketSize=1000;vContSupported+")
    with FakeStub([(b"qSupported", answer)]) as stub:
        stub.client.start()
        assert stub.client.packet_size == 0x1000


def test_acknowledgements_are_disabled_if_supported() -> None:
    turns = [
        (b"qSupported", b"+" + packet(b"PacketSize=400;QStartNoAckMode+")),
        (b"QStartNoAckMode", OK),
        (b"$g#67", packet(b"00")),
        (b"$g#67", packet(b"01")),
    ]
    with FakeStub(turns) as stub:
        stub.client.start()
        assert stub.client.registers() + stub.client.registers() == b"\0\x01"
        assert stub.received.endswith(b"$g#67$g#67")


def test_monitor_output_is_joined() -> None:
    command = packet(b"qRcmd," + b"info status".hex().encode())
    answer = b"+" + packet(b"O" + b"paused".hex().encode()) + packet(b"O0a") + packet(b"OK")
    with FakeStub([(command, answer)]) as stub:
        assert stub.client.monitor("info status") == "paused\n"


def _document(name: str, text: str) -> tuple[bytes, bytes]:
    return (b"read:" + name.encode(), b"+" + packet(b"l" + text.encode()))


def test_aarch64_is_detected_by_registers() -> None:
    names = [*(f"x{n}" for n in range(31)), "sp", "pc"]
    core = "".join(f'<reg name="{name}" bitsize="64"/>' for name in names)
    turns = [
        _document("target.xml", '<target><xi:include href="core.xml"/></target>'),
        _document("core.xml", f"<feature>{core}</feature>"),
    ]
    with FakeStub(turns) as stub:
        target = describe(stub.client)
    assert target.machine.name == "aarch64"
    data = bytes(range(256)) * 2
    assert target.value(data, "x1") == int.from_bytes(data[8:16], "little")
    assert target.set("pc", 0x1234) == b"P20=3412000000000000"


def test_unknown_machine_is_refused() -> None:
    turns = [_document("target.xml", '<target><reg name="r0" bitsize="32"/></target>')]
    with FakeStub(turns) as stub, pytest.raises(StubRefusedError, match="not amd64"):
        describe(stub.client)


@pytest.mark.parametrize(
    ("answer", "stop"),
    [
        (b"S05", Stop(5)),
        (b"T02thread:p01.02;core:1;", Stop(2, "p01.02")),
        (b"W00", Stop(0, over=True)),
        (b"X09", Stop(9, over=True)),
        (b"OK", None),
        (b"Tzz", None),
    ],
)
def test_stop_replies_are_parsed(answer: bytes, stop: Stop | None) -> None:
    assert parse_stop(answer) == stop


@pytest.mark.parametrize("target", ["127.0.0.1", "host:port", "127.0.0.1:99999"])
def test_invalid_address_is_refused_with_hint(target: str) -> None:
    with pytest.raises(RemoteError, match="not HOST:PORT") as caught:
        connect(target)
    assert "-gdb" in str(caught.value.hint)


def test_unreachable_address_is_an_error_with_hint(tmp_path: object) -> None:
    with pytest.raises(RemoteError, match="no GDB stub at") as caught:
        connect(f"{tmp_path}/missing")
    assert "-gdb" in str(caught.value.hint)
