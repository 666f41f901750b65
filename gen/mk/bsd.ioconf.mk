# SPDX-License-Identifier: BSD-2-Clause
# In place of NetBSD's bsd.ioconf.mk: vmtgen makes ioconf.c from what IOCONF names.

.include <bsd.own.mk>
