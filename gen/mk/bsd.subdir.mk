# SPDX-License-Identifier: BSD-2-Clause
# Not a kernel module: vmtgen says so.

.include <bsd.init.mk>
VMTGEN_KIND=	subdir
