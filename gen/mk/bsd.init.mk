# SPDX-License-Identifier: BSD-2-Clause
# As NetBSD's bsd.init.mk: the Makefile.inc of the directory above, once.

.if !defined(_BSD_INIT_MK_)
_BSD_INIT_MK_=	1
.-include "${.CURDIR}/../Makefile.inc"
.include <bsd.own.mk>
.endif
