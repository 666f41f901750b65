# SPDX-License-Identifier: BSD-2-Clause
# Not a kernel module: vmtgen reports that.

.include <bsd.init.mk>
VMTGEN_KIND=	subdir
