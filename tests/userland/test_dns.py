"""The name servers of resolv.conf(5) reach the driver, also after a change by resolvconf(8)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from answers import Control
from hypothesis import given
from hypothesis import strategies as st
from vmtctl import exits, resolver
from vmtctl.verbs import dns

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = "machdep.vmt0.net.dns"
LIBC = "libexec/resolvconf/libc.d"
CONF = "nameserver 192.0.2.53\nsearch example.org example.net\n"
EXPECTED = "nameserver 192.0.2.53 domain example.org search example.org example.net"

# The result of NetBSD's resolver for a file: lib/libc/resolv/res_init.c, resolv.conf(5).
FILES = [
    ("", ""),
    (CONF, EXPECTED),
    ("nameserver 192.0.2.53\n", "nameserver 192.0.2.53"),
    ("domain example.org\n", "domain example.org search example.org"),
    ("search a.example\ndomain b.example\n", "domain b.example search b.example"),
    ("domain b.example\nsearch a.example c.example\n",
     "domain a.example search a.example c.example"),
    ("\tnameserver 192.0.2.1\n;nameserver 192.0.2.2\n# nameserver 192.0.2.3\n", ""),
    ("nameserver\t2001:db8::53 # home\n", "nameserver 2001:db8::53"),
    ("nameserver fe80::1%wm0\n", "nameserver fe80::1"),
    ("nameserver example.org\nnameserver 1.2.3\nnameserver\noptions edns0\nlookup file\n", ""),
    ("".join(f"nameserver 192.0.2.{n}\n" for n in range(5)),
     "nameserver 192.0.2.0 192.0.2.1 192.0.2.2"),
    ("search a b c d e f g\n", "domain a search a b c d e f"),
    ("search a\u00e9 b\n", "search b"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), FILES)
def test_resolver_configuration_is_passed_to_driver(text: str, value: str) -> None:
    assert resolver.words(text) == value


def test_without_search_domain_host_domain_is_used() -> None:
    assert resolver.words("", "web01.example.org") == "domain example.org search example.org"
    assert resolver.words("search a.example\n", "web01.example.org").startswith("domain a.example")
    assert resolver.words("", "web01") == ""


@given(st.text(max_size=3000))
def test_file_content_is_passed_within_node_limits(text: str) -> None:
    value = resolver.words(text)
    assert len(value) <= 1023
    assert value.isascii()
    assert "\n" not in value


@pytest.fixture
def ours(guest: Any) -> Any:
    guest.set(attached="ours", module="/x/vmt.kmod")
    (guest.root / "etc/resolv.conf").write_text(CONF)
    return guest


def test_update_is_idempotent_and_a_dry_run_changes_nothing(vmtctl: Control, ours: Any) -> None:
    assert EXPECTED in vmtctl("dns", "update", "-n").out
    assert NODE not in ours.get()["nodes"]
    done = vmtctl("dns", "update", "--json").json
    assert (done["changed"], done["dns"]) == (True, EXPECTED)
    assert ours.get()["nodes"][NODE] == EXPECTED
    assert vmtctl("dns", "update", "--json").json["changed"] is False
    (ours.root / "etc/resolv.conf").unlink()
    assert vmtctl("dns", "update").status == 0
    assert ours.get()["nodes"][NODE] == ""


def test_driver_without_node_is_reported(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("dns", "update")
    assert done.status == exits.UNAVAILABLE
    assert "does not support name servers" in done.err
    assert "vmtctl load" in done.err
    guest.set(attached=None)
    assert "vmt0 is not attached" in vmtctl("dns", "update").err


def test_attach_passes_name_servers(vmtctl: Control, ours: Any) -> None:
    ours.set(attached=None, nodes={})
    assert "name servers" in vmtctl("attach", "-n").out
    assert vmtctl("attach").status == 0
    assert ours.get()["nodes"].get(NODE) == EXPECTED


def test_resolvconf_hook_is_installed_and_removed(vmtctl: Control, guest: Any) -> None:
    done = vmtctl("dns", "install")
    assert done.status == exits.DATA
    assert "no resolvconf(8)" in done.err
    (guest.root / LIBC).mkdir(parents=True)
    assert vmtctl("dns", "install").status == 0
    hook = guest.root / LIBC / "vmtctl"
    assert hook.read_bytes() == dns.SCRIPT
    assert hook.stat().st_mode & 0o777 == 0o755
    assert vmtctl("dns", "install", "--json").json["changed"] is False
    assert vmtctl("dns", "uninstall").status == 0
    assert list((guest.root / LIBC).iterdir()) == []
    assert vmtctl("dns", "uninstall", "--json").json["changed"] is False


def test_foreign_hook_script_is_kept(vmtctl: Control, guest: Any) -> None:
    (guest.root / LIBC).mkdir(parents=True)
    hook = guest.root / LIBC / "vmtctl"
    hook.write_text("#!/bin/sh\necho mine\n")
    for verb in ("install", "uninstall"):
        done = vmtctl("dns", verb)
        assert done.status == exits.DATA
        assert "is not vmtctl's file" in done.err
    assert hook.read_text() == "#!/bin/sh\necho mine\n"


@pytest.mark.parametrize("there", [False, True])
def test_hook_never_fails_resolvconf(tmp_path: Any, there: bool) -> None:
    """openresolv's libc.in adds up the exit statuses of the scripts in libc.d."""
    program = tmp_path / "vmtctl"
    if there:
        program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit 70\n')
        program.chmod(0o755)
    script = tmp_path / "hook"
    script.write_bytes(dns.SCRIPT.replace(b"/usr/pkg/bin/vmtctl", str(program).encode()))
    assert subprocess.run(["/bin/sh", script], check=False).returncode == 0
    assert (tmp_path / "arguments").exists() == there
    if there:
        assert (tmp_path / "arguments").read_text() == "-q dns update\n"


def test_real_driver_accepts_name_servers(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    guest = start()
    (guest.root / "etc/resolv.conf").write_text(CONF)
    assert Control(guest, capsys)("dns", "update").status == 0
    assert guest.tool("sbin/sysctl", "-n", NODE).stdout == f"{EXPECTED}\n"
