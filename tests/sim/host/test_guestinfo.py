"""Decoding of guest information: NICs in three layouts, OS details, disks, memory."""

import base64
import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtsim.host import nic
from vmtsim.host.guestinfo import ValueProblem, decode_disks
from vmtsim.host.xdr import XdrError

from .client import Guest

# One NIC, 192.0.2.10/24 preferred, 2001:db8::10/64 unknown, default route via 192.0.2.1.
WORKED = bytes.fromhex(
    "00000003 00000001 00000001 00000011 30303a30 633a3239 3a61613a 62623a63"
    "63000000 00000002 00000001 00000004 c000020a 00000018 00000000 00000001"
    "00000001 00000002 00000010 20010db8 00000000 00000000 00000010 00000040"
    "00000000 00000001 00000005 00000000 00000000 00000000 00000000 00000001"
    "00000001 00000004 00000000 00000000 00000001 00000001 00000004 c0000201"
    "00000000 00000004 00000000 00000000 00000000 00000000 00000000"
)


def test_worked_example_decodes_to_documented_values() -> None:
    assert len(WORKED) == 188
    nothing: dict[str, Any] = {"dns": None, "wins": None, "dhcp4": None, "dhcp6": None}
    assert nic.decode_v3(WORKED) == {
        "version": 3,
        "nics": [
            {
                "mac": "00:0c:29:aa:bb:cc",
                "ips": [
                    {"address": "192.0.2.10", "prefix": 24, "origin": None, "status": "preferred"},
                    {"address": "2001:db8::10", "prefix": 64, "origin": None, "status": "unknown"},
                ],
                **nothing,
            }
        ],
        "routes": [
            {
                "destination": "0.0.0.0",
                "prefix": 0,
                "next_hop": "192.0.2.1",
                "nic": 0,
                "type": "remote",
                "metric": 0,
            }
        ],
        **nothing,
    }


def test_worked_example_is_accepted_over_either_port() -> None:
    guest = Guest()
    for high in (True, False):
        assert guest.rpci(b"SetGuestInfo  10 " + WORKED, high=high) == b"1 "
    assert guest.host.guestinfo.decoded[10]["nics"][0]["mac"] == "00:0c:29:aa:bb:cc"
    assert guest.broken_rules() == []


@pytest.mark.parametrize("size", range(0, len(WORKED), 4))
def test_truncated_message_is_refused(size: int) -> None:
    with pytest.raises(XdrError):
        nic.decode_v3(WORKED[:size])


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 4, "version 4"),
        (4, 0, "absent"),
        (4, 2, "presence flag"),
        (8, 17, "17 NICs, at most 16"),
        (12, 19, "19 bytes of MAC"),
        (32, 0x63000001, "padding of MAC address is not zero"),
        (36, 2049, "2049 addresses"),
        (40, 9, "9 is not a valid address type"),
        (40, 0, "unknown address of 4 bytes"),
        (40, 2, "ipv6 address of 4 bytes"),
        (40, 3, "ipv4z address of 4 bytes"),
        (40, 4, "ipv6z address of 4 bytes"),
        (44, 5, "ipv4 address of 5 bytes|padding"),
        (52, 33, "prefix length 33"),
        (64, 9, "9 is not a valid address status"),
        (160, 1, "NIC index 1 of 1"),
        (164, 7, "7 is not a valid route type"),
        (184, 1, "expected 4 bytes, 0 left"),
    ],
)
def test_wrong_word_is_refused_at_its_offset(at: int, value: int, message: str) -> None:
    data = WORKED[:at] + struct.pack(">I", value) + WORKED[at + 4 :]
    with pytest.raises(XdrError, match=message):
        nic.decode_v3(data)


def _packed(name: bytes) -> bytes:
    return struct.pack(">I", len(name)) + name + bytes(-len(name) % 4)


def _with_dns(
    *, routes: int = 1, prefix: int = 0, host: bytes = b"h", domain: bytes = b"d",
    servers: int = 1, search: tuple[bytes, ...] = (b"s",),
) -> bytes:  # fmt: skip
    """The worked example with this many routes, and with a DNS part: DnsConfigInfo of nicinfo.x."""
    head, route = WORKED[:124], bytearray(WORKED[128:172])
    struct.pack_into(">I", route, 12, prefix)
    address = struct.pack(">II", 1, 4) + bytes([192, 0, 2, 53])
    return b"".join((
        head, struct.pack(">I", routes), bytes(route) * routes,
        struct.pack(">II", 1, 1), _packed(host), struct.pack(">I", 1), _packed(domain),
        struct.pack(">I", servers), address * servers,
        struct.pack(">I", len(search)), *map(_packed, search), bytes(12),
    ))  # fmt: skip


def test_routes_and_name_servers_are_limited_as_in_nicinfo_x() -> None:
    """NICINFO_MAX_ROUTES, DNSINFO_MAX_SERVERS, DNSINFO_MAX_SUFFIXES, DNSINFO_MAX_ADDRLEN."""
    name = b"n" * 255
    found = nic.decode_v3(
        _with_dns(routes=100, prefix=32, host=name, domain=name, servers=16, search=(name,) * 10)
    )
    assert len(found["routes"]) == 100
    assert found["dns"] == {
        "host": "n" * 255, "domain": "n" * 255, "servers": ["192.0.2.53"] * 16,
        "search": ["n" * 255] * 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"routes": 101}, "101 routes, at most 100"),
        ({"prefix": 33}, r"prefix length 33 of the route to 0\.0\.0\.0"),
        ({"servers": 17}, "17 name servers, at most 16"),
        ({"search": (b"s",) * 11}, "11 search suffixes, at most 10"),
        ({"search": (b"s" * 256,)}, "256 bytes of search suffix"),
        ({"host": b"h" * 256}, "256 bytes of host name"),
        ({"domain": b"d" * 256}, "256 bytes of domain name"),
        ({"domain": b"\xff"}, "domain name is not UTF-8"),
    ],
)
def test_values_that_open_vm_tools_never_sends_are_refused(
    how: dict[str, Any], message: str
) -> None:
    with pytest.raises(XdrError, match=message):
        nic.decode_v3(_with_dns(**how))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(XdrError, match="4 extra bytes"):
        nic.decode_v3(WORKED + bytes(4))


def test_key_9_takes_64_addresses_per_nic_and_key_10_takes_2048() -> None:
    one = struct.pack(">II", 1, 4) + bytes((192, 0, 2, 1)) + struct.pack(">III", 24, 0, 0)
    head = struct.pack(">IIII", 3, 1, 1, 0)
    tail = bytes(16) + bytes(20)
    data = head + struct.pack(">I", 65) + one * 65 + tail
    assert len(nic.decode(10, data)["nics"][0]["ips"]) == 65
    with pytest.raises(XdrError, match="65 addresses of one NIC, at most 64"):
        nic.decode(9, data)


# An independent encoder: the packer of the PyPI library xdrlib3 (the standard library's of old).


def _typed(packer: Any, address: bytes) -> None:
    packer.pack_enum(1 if len(address) == 4 else 2)
    packer.pack_opaque(address)


@given(
    nics=st.lists(
        st.tuples(
            st.binary(min_size=6, max_size=6),
            st.lists(
                st.tuples(
                    st.one_of(
                        st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
                    ),
                    st.integers(0, 32),
                    st.sampled_from([None, 1, 5]),
                ),
                max_size=5,
            ),
        ),
        max_size=16,
    ),
    host=st.one_of(st.none(), st.from_regex(r"[a-z]{1,20}", fullmatch=True)),
)
def test_other_xdr_library_output_is_decoded(nics: Any, host: str | None) -> None:
    xdrlib3 = pytest.importorskip("xdrlib3", reason="xdrlib3 is not installed (pip, dev extra)")
    packer = xdrlib3.Packer()
    packer.pack_enum(3)
    packer.pack_bool(True)
    packer.pack_uint(len(nics))
    for mac, ips in nics:
        packer.pack_string(mac.hex(":").encode())
        packer.pack_uint(len(ips))
        for address, prefix, status in ips:
            _typed(packer, address)
            packer.pack_uint(prefix)
            packer.pack_bool(False)
            packer.pack_bool(status is not None)
            if status is not None:
                packer.pack_enum(status)
        for _ in range(4):
            packer.pack_bool(False)
    packer.pack_uint(0)
    packer.pack_bool(host is not None)
    if host is not None:
        packer.pack_bool(True)
        packer.pack_string(host.encode())
        packer.pack_bool(False)
        packer.pack_uint(0)
        packer.pack_uint(0)
    for _ in range(3):
        packer.pack_bool(False)
    decoded = nic.decode_v3(packer.get_buffer())
    assert [n["mac"] for n in decoded["nics"]] == [mac.hex(":") for mac, _ in nics]
    assert [len(n["ips"]) for n in decoded["nics"]] == [len(ips) for _, ips in nics]
    assert (decoded["dns"] or {}).get("host") == host


# The old layouts.


def test_version_2_uses_one_word_per_character() -> None:
    def characters(text: str, size: int) -> bytes:
        return struct.pack(f">{size}I", *text.encode().ljust(size, b"\0"))

    data = struct.pack(">III", 2, 1, 1) + characters("00:0c:29:aa:bb:cc", 18)
    data += struct.pack(">III", 1, 0, 1) + characters("192.0.2.10", 64)
    data += characters("255.255.255.0", 64)
    assert nic.decode(9, data)["nics"] == [
        {
            "mac": "00:0c:29:aa:bb:cc",
            "ips": [
                {"address": "192.0.2.10", "family": "ipv4", "dhcp": True, "mask": "255.255.255.0"}
            ],
        }
    ]
    with pytest.raises(XdrError, match="no character"):
        nic.decode(9, data[:12] + struct.pack(">I", 256) + data[16:])


def test_version_1_is_c_structure_of_2436_bytes() -> None:
    entry = struct.pack("<I19s128sx", 1, b"00:0c:29:aa:bb:cc", b"192.0.2.10")
    data = struct.pack("<I", 1) + entry + bytes(152 * 15)
    assert len(data) == 2436
    assert nic.decode(2, data)["nics"] == [
        {"mac": "00:0c:29:aa:bb:cc", "ips": [{"address": "192.0.2.10"}]}
    ]
    with pytest.raises(XdrError, match="2435 bytes"):
        nic.decode(2, data[:-1])


# Other keys.


def _detailed(details: bytes, *, version: int = 1, short: bytes = b"other-64") -> bytes:
    return struct.pack("<I129s513s2x", version, short, b"NetBSD 11.0 x86_64") + details + b"\0"


def test_os_details_are_unescaped() -> None:
    guest = Guest()
    details = rb"architecture='X86' bitness='64' prettyName='it\'s a \\ NetBSD'"
    assert guest.rpci(b"SetGuestInfo  11 " + _detailed(details)) == b"1 "
    decoded = guest.host.guestinfo.decoded[11]
    assert decoded["short"] == "other-64"
    assert decoded["details"]["prettyName"] == r"it's a \ NetBSD"
    assert guest.broken_rules() == []


@pytest.mark.parametrize(
    "value",
    [
        _detailed(b"bitness='64'", version=2),
        _detailed(b"bitness=64"),
        _detailed(b"bitness='64' "),
        _detailed(b"bitness='64' architecture='X86'"),
        _detailed(b"colour='red'"),
        _detailed(b"bitness='64'") + b"x",
        _detailed(b"bitness='64'")[:-1],
        _detailed(b"", short=b"s" * 129),
        b"",
    ],
)
def test_malformed_os_details_are_refused(value: bytes) -> None:
    guest = Guest()
    assert guest.rpci(b"SetGuestInfo  11 " + value) == b"0 Invalid argument"
    assert guest.broken_rules() == ["guestinfo-value"]


def _disks(*entries: str) -> bytes:
    body = "},\n{".join(entries)
    return ('{\n"version":"1",\n"disks":[\n{' + body + "}\n]}").encode()


ROOT = base64.b64encode(b"/").decode()


def test_disks_are_decoded_from_json() -> None:
    guest = Guest()
    text = _disks(
        f'"name":"{ROOT}","free":"10","size":"20","fstype":"ffs","devices":["scsi0:0"]',
        f'"name":"{ROOT}","free":"1","size":"2"',
    )
    assert guest.rpci(b"SetGuestDiskInfo " + text + b"\0") == b"1 "
    assert guest.host.guestinfo.disks[0] == {
        "name": "/", "free": 10, "size": 20, "fstype": "ffs", "devices": ["scsi0:0"],
    }  # fmt: skip
    assert guest.broken_rules() == []


@pytest.mark.parametrize(
    "entry",
    [
        '"name":"/","free":"1","size":"2"',
        f'"name":"{ROOT}","free":"3","size":"2"',
        f'"free":"1","name":"{ROOT}","size":"2"',
        f'"name":"{ROOT}","free":"x","size":"2"',
        f'"name":"{ROOT}","free":"1"',
    ],
)
def test_malformed_disks_are_refused(entry: str) -> None:
    with pytest.raises(ValueProblem):
        decode_disks(_disks(entry))


def test_packed_disks_are_decoded() -> None:
    guest = Guest()
    value = b"\1" + struct.pack("<QQ100s", 5, 9, b"/")
    for spare in (b"", b"\0\0"):
        assert guest.rpci(b"SetGuestInfo  3 " + value + spare) == b"1 "
    assert guest.host.guestinfo.decoded[3] == [{"name": "/", "free": 5, "size": 9}]
    assert guest.rpci(b"SetGuestInfo  3 " + value[:-1]) == b"0 Invalid argument"


def test_memory_has_version_5_header() -> None:
    guest = Guest()
    block = struct.pack("<IIQ", 5, 1, 4096).ljust(112, b"\0")
    assert guest.rpci(b"SetGuestInfo  8 " + block) == b"1 "
    assert guest.host.guestinfo.decoded[8] == {"total": 4096}
    assert guest.rpci(b"SetGuestInfo  8 " + block[:-1]) == b"0 Invalid argument"


@pytest.mark.parametrize("key", range(1, 12))
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_do_not_crash_decoders(key: int, data: bytes) -> None:
    with contextlib.suppress(ValueProblem):
        Guest().host.guestinfo.decode(key, data)
