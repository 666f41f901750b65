# SPDX-License-Identifier: BSD-2-Clause
# Replaces NetBSD's bsd.kmodule.mk: lists the files to compile; vmtgen compiles them.
#
# NetBSD share/mk/bsd.kmodule.mk and bsd.sys.mk give the names: SRCS, and for one file
# CPPFLAGS.file, CPUFLAGS.file, COPTS.file, CWARNFLAGS.file.

.include <bsd.init.mk>

VMTGEN_KIND=	kmodule
CWARNFLAGS+=	${CWARNFLAGS.${ACTIVE_CC}}
.for f in ${SRCS:N*.h}
VMTGEN_SOURCES+=	@@ ${f} ${CPPFLAGS.${f:T}} ${CPUFLAGS.${f:T}} ${COPTS.${f:T}} ${CWARNFLAGS.${f:T}}
.endfor
