/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UUIDs (NetBSD sys/sys/uuid.h).
 */
#ifndef _KPI_SYS_UUID_H_
#define _KPI_SYS_UUID_H_

#include <sys/types.h>

#define	_UUID_NODE_LEN	6
#define	_UUID_STR_LEN	38
#define	UUID_STR_LEN	_UUID_STR_LEN

struct uuid {
	uint32_t	time_low;
	uint16_t	time_mid;
	uint16_t	time_hi_and_version;
	uint8_t		clock_seq_hi_and_reserved;
	uint8_t		clock_seq_low;
	uint8_t		node[_UUID_NODE_LEN];
};

int	uuid_snprintf(char *, size_t, const struct uuid *);
void	uuid_dec_be(const void *, struct uuid *);
void	uuid_dec_le(const void *, struct uuid *);
void	uuid_enc_be(void *, const struct uuid *);
void	uuid_enc_le(void *, const struct uuid *);

#endif	/* !_KPI_SYS_UUID_H_ */
