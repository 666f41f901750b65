#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The actions of vmtsim accept inside the guest: one verb per call, with
# NetBSD's own tools only.  It is unpacked beside the module under test.
#
# Paths of the tools: distrib/sets/lists/base/mi; their arguments: modload(8),
# drvctl(8), sysctl(8), ifconfig(8), date(1), powerd(8) of NetBSD 10.

PATH=/sbin:/usr/sbin:/bin:/usr/bin:/usr/pkg/sbin:/usr/pkg/bin
export PATH
here=${0%/*}
scripts=/etc/powerd/scripts
verb=$1
[ $# -gt 0 ] && shift

have() {
	command -v "$1" >/dev/null 2>&1
}

# The device of a driver: its unit is autoconf's choice.
device() {
	drvctl -l cpu0 | while read -r line; do
		case ${line##* } in
		"$1"[0-9]*)
			echo "${line##* }"
			;;
		esac
	done
}

# The first Ethernet card; tap(4) if there is none.
card() {
	for name in $(ifconfig -l 2>/dev/null); do
		case $name in
		lo*|bridge*|vlan*|gif*|stf*|tun*|ppp*|agr*|lagg*|npflog*|wg*|tap*)
			;;
		*)
			echo "$name"
			return 0
			;;
		esac
	done
	ifconfig tap0 >/dev/null 2>&1 || ifconfig tap0 create >/dev/null 2>&1 || return 1
	echo tap0
}

# "PREFIXLEN ADDRESS" of the first address of a family, except link-local ones.
first() {
	ifconfig "$(card)" 2>/dev/null | while read -r family address rest; do
		[ "$family" = "$1" ] || continue
		case $address in
		fe80:*)
			continue
			;;
		*/*)
			echo "${address##*/} ${address%%/*}"
			exit 0
			;;
		esac
		# NetBSD 7 and before: netmask 0xffffff00, prefixlen 64.
		case " $rest " in
		*" prefixlen "*)
			rest=${rest##*prefixlen }
			echo "${rest%% *} ${address%%\%*}"
			;;
		*" netmask 0x"*)
			rest=${rest##*netmask 0x}
			rest=${rest%% *}
			bits=0
			while [ -n "$rest" ]; do
				case $rest in
				f*) bits=$((bits + 4)) ;;
				e*) bits=$((bits + 3)) ;;
				c*) bits=$((bits + 2)) ;;
				8*) bits=$((bits + 1)) ;;
				esac
				rest=${rest#?}
			done
			echo "$bits $address"
			;;
		esac
		exit 0
	done
}

fact() {
	case $1 in
	hostname)
		sysctl -n kern.hostname
		;;
	release)
		uname -r
		;;
	address)
		first inet | while read -r _ value; do echo "$value"; done
		;;
	prefix)
		first inet | while read -r value _; do echo "$value"; done
		;;
	address6)
		first inet6 | while read -r _ value; do echo "$value"; done
		;;
	prefix6)
		first inet6 | while read -r value _; do echo "$value"; done
		;;
	esac
}

# powerd's scripts, replaced by ones that report on the console and do nothing.
# powerd(8) looks in scripts/TYPE first, TYPE being acpi or apm.
reporters() {
	have powerd || return 1
	mkdir -p $scripts/acpi $scripts/apm || return 1
	for name in power_button reset_button sleep_button; do
		for folder in $scripts $scripts/acpi $scripts/apm; do
			if [ -f "$folder/$name" ] && [ ! -f "$here/reporting" ]; then
				mv "$folder/$name" "$here/$name.${folder##*/}" || return 1
			fi
			cp "$here/reporter.sh" "$folder/$name" || return 1
			chmod 755 "$folder/$name"
		done
	done
	: >"$here/reporting"
	powerd_on
}

# The administrator's own scripts again.
originals() {
	[ -f "$here/reporting" ] || return 0
	for name in power_button reset_button sleep_button; do
		for folder in $scripts $scripts/acpi $scripts/apm; do
			rm -f "$folder/$name"
			if [ -f "$here/$name.${folder##*/}" ]; then
				mv "$here/$name.${folder##*/}" "$folder/$name" || return 1
			fi
		done
	done
	rm -f "$here/reporting"
}

powerd_pid() {
	ps -ax -o pid,comm 2>/dev/null | while read -r pid name; do
		[ "${name##*/}" = powerd ] && echo "$pid" && exit 0
	done
}

powerd_on() {
	[ -n "$(powerd_pid)" ] && return 0
	powerd || return 1
	sleep 1
	[ -n "$(powerd_pid)" ]
}

powerd_off() {
	pid=$(powerd_pid)
	[ -z "$pid" ] || kill "$pid"
}

# Set the addresses of the card, except link-local ones.
addresses() {
	name=$(card) || return 1
	ifconfig "$name" up
	ifconfig "$name" | while read -r family address rest; do
		case $family$address in
		inet6fe80:*)
			;;
		inet6*)
			ifconfig "$name" inet6 "${address%%/*}" delete
			;;
		inet*)
			ifconfig "$name" inet "${address%%/*}" delete
			;;
		esac
	done
	for address in "$@"; do
		case $address in
		*:*)
			ifconfig "$name" inet6 "${address%%/*}" prefixlen "${address##*/}" alias \
			    || return 1
			;;
		*)
			ifconfig "$name" inet "$address" alias || return 1
			;;
		esac
	done
	# The kernel checks whether another machine has them (RFC 4862, RFC 5227).
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		case $(ifconfig "$name") in
		*TENTATIVE*|*tentative*)
			sleep 1
			;;
		*)
			break
			;;
		esac
	done
}

# Where the module of this name comes from: builtin, filesys, boot; nothing if it is not loaded.
source_of() {
	modstat "$1" 2>/dev/null | while read -r name _ from _; do
		[ "$name" = "$1" ] && echo "$from"
	done
}

case $verb in
facts)
	echo "system=$(uname -s)"
	echo "release=$(uname -r)"
	echo "machine=$(uname -m)"
	echo "arch=$(uname -p)"
	sysctl -n kern.version | {
		read -r version
		echo "version=$version"
	}
	echo "cpus=$(sysctl -n hw.ncpu)"
	echo "hostname=$(sysctl -n kern.hostname)"
	echo "card=$(card)"
	for tool in modload modunload modstat drvctl sysctl ifconfig powerd python3; do
		have $tool || echo "missing=$tool"
	done
	for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
		if have $python && $python -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
			echo "python=$(command -v $python)"
			break
		fi
	done
	;;
named)
	# The facts ${hostname}, ${address} ... of scenarios
	for name in hostname release address prefix address6 prefix6; do
		echo "$name=$(fact $name)"
	done
	;;
quiet)
	# No other program sets addresses of the card, or the clock.
	for name in dhcpcd ntpd; do
		[ -x /etc/rc.d/$name ] && /etc/rc.d/$name onestop >/dev/null 2>&1
	done
	true
	;;
reporters|originals)
	$verb
	;;
load)
	modload -b force=true "$here/$1.kmod" || exit 1
	modstat -k "$1" 2>/dev/null || modstat "$1" || true
	;;
free)
	# GENERIC has a built-in vmt(4), whose name must be freed first.
	[ -z "$(source_of "$1")" ] || modunload "$1"
	;;
unload)
	modunload "$1"
	;;
detach)
	drvctl -d "$1"
	;;
rescan)
	drvctl -r -a cpufeaturebus "$1"
	;;
device)
	device "$1"
	;;
suspend)
	drvctl -S "$(device vmt)"
	;;
resume)
	drvctl -Q "$(device vmt)"
	;;
hostname)
	sysctl -w "kern.hostname=$1" >/dev/null
	;;
addresses)
	addresses "$@"
	;;
route)
	route -n "$@"
	;;
powerd)
	if [ "$1" = on ]; then powerd_on; else powerd_off; fi
	;;
clock)
	now=$(($(date +%s) + $1))
	date "$(date -r $now +%Y%m%d%H%M.%S)" >/dev/null
	;;
sysctl)
	sysctl -w "$1"
	;;
node)
	sysctl -n "$1"
	;;
rpc)
	node=machdep.$(device vmt).rpc
	sent=$(sysctl -w "$node.request=$1") || exit
	number=${sent#*: }
	number=${number%% *}
	while got=$(sysctl -n "$node.reply.$number"); do
		if [ "$got" != "$number pending" ]; then
			echo "$got"
			exit 0
		fi
		sleep 1
	done
	exit 1
	;;
shutdown)
	shutdown -p now
	;;
vmtctl)
	python=$1
	shift
	"$python" "$here/vmtctl.pyz" "$@"
	;;
*)
	echo "unknown verb $verb" >&2
	exit 64
	;;
esac
