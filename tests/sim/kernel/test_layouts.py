"""The simulator's own layouts, compared with the headers that NetBSD installs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.kpi import _ZIG_NAMES
from vmtgen.build.toolchain import zig_headers, zig_program
from vmtgen.targets import load_targets
from vmtsim.kernel import evcnt, fslayout, netlayout

from .guestcode import MACHINES

if TYPE_CHECKING:
    from pathlib import Path

# struct ifaddr and struct ifnet end, for a user program, before the members of pslist(9).
_KERNEL_PART = {8: 32, 4: 16}


def _expected(machine: str) -> dict[str, int]:
    word = 4 if machine == "i386" else 8
    ifnet, ifaddr = netlayout.IFNET[word], netlayout.IFADDR[word]
    route = netlayout.RTENTRY[word]
    mount, counter = fslayout.MOUNT[word], evcnt._LAYOUT[word]
    cut = _KERNEL_PART[word]
    return {
        "sizeof(struct statvfs)": fslayout.STATVFS_SIZE[word],
        "offsetof(struct mount, mnt_op)": mount.op,
        "offsetof(struct mount, mnt_flag)": mount.flag,
        "offsetof(struct mount, mnt_iflag)": mount.iflag,
        "offsetof(struct mount, mnt_refcnt)": mount.refcnt,
        "offsetof(struct mount, mnt_stat)": mount.stat,
        "sizeof(struct mount)": mount.size,
        "MNT_RDONLY": fslayout.MNT_RDONLY,
        "MNT_LOCAL": fslayout.MNT_LOCAL,
        "MNT_ROOTFS": fslayout.MNT_ROOTFS,
        "IMNT_GONE": fslayout.IMNT_GONE,
        "MNT_WAIT": fslayout.MNT_WAIT,
        "MNT_NOWAIT": fslayout.MNT_NOWAIT,
        "offsetof(struct ifnet, if_xname)": ifnet.xname,
        "offsetof(struct ifnet, if_index)": ifnet.index,
        "offsetof(struct ifnet, if_flags)": ifnet.flags,
        "offsetof(struct ifnet, if_type)": ifnet.type,
        "offsetof(struct ifnet, if_addrlen)": ifnet.addrlen,
        "offsetof(struct ifnet, if_mtu)": ifnet.mtu,
        "offsetof(struct ifnet, if_dl)": ifnet.dl,
        "offsetof(struct ifnet, if_sadl)": ifnet.sadl,
        "sizeof(struct ifaddr)": ifaddr.size - cut,
        "offsetof(struct in_ifaddr, ia_addr)": ifaddr.in_addr - cut,
        "offsetof(struct in_ifaddr, ia_dstaddr)": ifaddr.in_addr + 16 - cut,
        "offsetof(struct in_ifaddr, ia_sockmask)": ifaddr.in_addr + 32 - cut,
        "offsetof(struct in_ifaddr, ia4_flags)": ifaddr.in_flags - cut,
        "offsetof(struct in6_ifaddr, ia_addr)": ifaddr.in6_addr - cut,
        "offsetof(struct in6_ifaddr, ia_net)": ifaddr.in6_addr + 28 - cut,
        "offsetof(struct in6_ifaddr, ia_dstaddr)": ifaddr.in6_addr + 56 - cut,
        "offsetof(struct in6_ifaddr, ia_prefixmask)": ifaddr.in6_addr + 84 - cut,
        "offsetof(struct in6_ifaddr, ia6_flags)": ifaddr.in6_flags - cut,
        "offsetof(struct radix_node, rn_mask)": route.mask,
        "offsetof(struct rtentry, rt_gateway)": route.gateway,
        "offsetof(struct rtentry, rt_flags)": route.flags,
        "offsetof(struct rtentry, rt_ifp)": route.ifp,
        "offsetof(struct rtentry, rt_ifa)": route.ifa,
        "offsetof(struct rtentry, _rt_key)": route.key,
        "sizeof(struct sockaddr_in)": len(netlayout.sockaddr(bytes(4))),
        "sizeof(struct sockaddr_in6)": len(netlayout.sockaddr(bytes(16))),
        "AF_INET": netlayout.AF_INET,
        "AF_INET6": netlayout.AF_INET6,
        "AF_LINK": netlayout.AF_LINK,
        "IFT_ETHER": netlayout.IFT_ETHER,
        "IFT_LOOP": netlayout.IFT_LOOP,
        "IFT_TUNNEL": netlayout.IFT_TUNNEL,
        **{
            name: getattr(netlayout, name)
            for name in (
                "IFF_UP",
                "IFF_BROADCAST",
                "IFF_LOOPBACK",
                "IFF_POINTOPOINT",
                "IFF_RUNNING",
                "IFF_SIMPLEX",
                "IFF_MULTICAST",
                "RTF_UP",
                "RTF_GATEWAY",
                "RTF_HOST",
                "RTF_REJECT",
                "RTF_STATIC",
                "RTF_BLACKHOLE",
                "IN_IFF_TENTATIVE",
                "IN_IFF_DUPLICATED",
                "IN_IFF_DETACHED",
                "IN6_IFF_TENTATIVE",
                "IN6_IFF_DUPLICATED",
                "IN6_IFF_DETACHED",
                "IN6_IFF_DEPRECATED",
            )
        },
        "offsetof(struct evcnt, ev_count)": 0,
        "offsetof(struct evcnt, ev_list)": 8,
        "offsetof(struct evcnt, ev_type)": counter.type,
        "offsetof(struct evcnt, ev_grouplen)": counter.grouplen,
        "offsetof(struct evcnt, ev_namelen)": counter.namelen,
        "offsetof(struct evcnt, ev_parent)": counter.parent,
        "offsetof(struct evcnt, ev_group)": counter.group,
        "offsetof(struct evcnt, ev_name)": counter.name,
    }


def _complaints(expected: dict[str, int], machine: str, directory: Path) -> list[str]:
    include = zig_headers().parent
    source = directory / "layout.c"
    lines = [
        "#include <sys/param.h>",
        "#include <sys/evcnt.h>",
        "#include <sys/mount.h>",
        "#include <sys/socket.h>",
        "#include <sys/statvfs.h>",
        "#include <net/if.h>",
        "#include <net/if_dl.h>",
        "#include <net/if_types.h>",
        "#include <net/route.h>",
        "#include <netinet/in.h>",
        "#include <netinet/in_var.h>",
        "#include <netinet6/in6_var.h>",
        "#undef offsetof",
        "#define offsetof(type, member) __builtin_offsetof(type, member)",
    ]
    lines += [
        f'_Static_assert(({what}) == {value}, "{what} is not {value}");'
        for what, value in expected.items()
    ]
    source.write_text("\n".join(lines) + "\n", encoding="ascii")
    target = load_targets().machine(machine).triple
    headers = (include / f"{_ZIG_NAMES[machine]}-netbsd-none", include / "generic-netbsd")
    done = subprocess.run(
        [
            zig_program(),
            "clang",
            f"--target={target}",
            "-D_KMEMUSER",
            "-D__EXPOSE_MOUNT",
            "-w",
            "-fsyntax-only",
            "-ferror-limit=0",
            "-nostdinc",
            *(flag for folder in headers for flag in ("-isystem", str(folder))),
            str(source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stderr.splitlines() if "error:" in line]
    assert bool(found) == (done.returncode != 0), done.stderr
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_match_netbsd_headers(machine: str, tmp_path: Path) -> None:
    assert _complaints(_expected(machine), machine, tmp_path) == []


def test_wrong_number_is_detected(tmp_path: Path) -> None:
    wrong = {**_expected("amd64"), "offsetof(struct ifnet, if_flags)": 78}
    (text,) = _complaints(wrong, "amd64", tmp_path)
    assert "offsetof(struct ifnet, if_flags) is not 78" in text


@pytest.mark.parametrize("machine", MACHINES)
def test_statvfs_name_offsets_match_netbsd_headers(machine: str, tmp_path: Path) -> None:
    word = 4 if machine == "i386" else 8
    figures = fslayout.Figures(2048, 16384, 0x1111, 0x2222, 0, 0x3333, 0x4444, 0x5555)
    content = fslayout.pack_statvfs(word, figures, 0x6666, 0x7777, "KIND", "DIRECTORY", "SOURCE")

    def number(value: int, size: int) -> int:
        return content.index(value.to_bytes(size, "little"))

    expected = {
        "f_flag": number(0x6666, word),
        "f_frsize": number(2048, word),
        "f_bsize": number(16384, word),
        "f_blocks": number(0x1111, 8),
        "f_bfree": number(0x2222, 8),
        "f_files": number(0x3333, 8),
        "f_ffree": number(0x4444, 8),
        "f_syncwrites": number(0x5555, 8),
        "f_fsidx": number(0x7777, 4),
        "f_fstypename": content.index(b"KIND"),
        "f_mntonname": content.index(b"DIRECTORY"),
        "f_mntfromname": content.index(b"SOURCE"),
    }
    asked = {f"offsetof(struct statvfs, {name})": at for name, at in expected.items()}
    assert _complaints(asked, machine, tmp_path) == []
