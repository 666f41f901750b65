/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A partition of a disk (NetBSD sys/sys/disklabel.h).
 */
#ifndef _KPI_SYS_DISKLABEL_H_
#define _KPI_SYS_DISKLABEL_H_

#include <sys/types.h>

struct partinfo {
	uint64_t	pi_offset;
	uint64_t	pi_size;
	uint32_t	pi_secsize;
	uint32_t	pi_bsize;
	uint8_t		pi_fstype;
	uint8_t		pi_frag;
	uint16_t	pi_cpg;
	uint32_t	pi_fsize;
};

#endif	/* !_KPI_SYS_DISKLABEL_H_ */
