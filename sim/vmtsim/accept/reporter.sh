#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Replaces a script of powerd(8) while vmtsim accept runs scenarios: prints its
# arguments on the console.  powerd passes the device and the event
# (usr.sbin/powerd/powerd.c, dispatch_power_event_state_change).
# Twice, under one number: the kernel may write into the middle of a line.
line="vmt-accept: powerd ${0##*/} $2 $1 $$"
echo "$line" >/dev/console
(
	sleep 1
	echo "$line" >/dev/console
) >/dev/null 2>&1 &
