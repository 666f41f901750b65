# SPDX-License-Identifier: BSD-2-Clause
# Replaces NetBSD's bsd.ioconf.mk: vmtgen makes ioconf.c from the file in IOCONF.

.include <bsd.own.mk>
