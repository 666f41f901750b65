/* SPDX-License-Identifier: BSD-2-Clause */
/* What config(1) writes for GENERIC64 (NetBSD sys/arch/evbarm/conf/std.generic64). */
#define	ARM_INTR_IMPL	<arch/arm/fdt/fdt_intr.h>
