# SPDX-License-Identifier: BSD-2-Clause
# The part of NetBSD's bsd.own.mk that a kernel module's Makefile may use.
#
# vmtgen passes MACHINE, MACHINE_ARCH, MACHINE_CPU, ACTIVE_CC and, with --sys, S.

.if !defined(_BSD_OWN_MK_)
_BSD_OWN_MK_=	1

.if defined(S)
NETBSDSRCDIR?=	${S:H}
.endif
.if ${ACTIVE_CC} == "clang"
HAVE_LLVM?=	yes
.else
HAVE_GCC?=	12
.endif
USETOOLS?=	no
HOST_SH?=	sh
TOOL_AWK?=	awk
TOOL_SED?=	sed

# Used by Makefiles of NetBSD's sys/modules.
COMPAT_USE_NETBSD32?=	yes
MKCOMPATMODULES?=	no
MACHINE_MIPS64?=	0
OBJECT_FMTS?=	elf64
MK_DM_TARGETS?=	no

.endif
