/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Byte order (NetBSD sys/sys/endian.h). All machines here are little-endian.
 */
#ifndef _KPI_SYS_ENDIAN_H_
#define _KPI_SYS_ENDIAN_H_

#include <sys/types.h>

#define	_LITTLE_ENDIAN	1234
#define	_BIG_ENDIAN	4321
#define	_BYTE_ORDER	_LITTLE_ENDIAN

#define	htole16(x)	((uint16_t)(x))
#define	htole32(x)	((uint32_t)(x))
#define	htole64(x)	((uint64_t)(x))
#define	le16toh(x)	((uint16_t)(x))
#define	le32toh(x)	((uint32_t)(x))
#define	le64toh(x)	((uint64_t)(x))
#define	htobe16(x)	__builtin_bswap16(x)
#define	htobe32(x)	__builtin_bswap32(x)
#define	htobe64(x)	__builtin_bswap64(x)
#define	be16toh(x)	__builtin_bswap16(x)
#define	be32toh(x)	__builtin_bswap32(x)
#define	be64toh(x)	__builtin_bswap64(x)
#define	htons(x)	htobe16(x)
#define	htonl(x)	htobe32(x)
#define	ntohs(x)	be16toh(x)
#define	ntohl(x)	be32toh(x)

static __inline __unused void
be16enc(void *buf, uint16_t v)
{

	v = htobe16(v);
	__builtin_memcpy(buf, &v, sizeof(v));
}

static __inline __unused void
be32enc(void *buf, uint32_t v)
{

	v = htobe32(v);
	__builtin_memcpy(buf, &v, sizeof(v));
}

static __inline __unused void
be64enc(void *buf, uint64_t v)
{

	v = htobe64(v);
	__builtin_memcpy(buf, &v, sizeof(v));
}

static __inline __unused void
le32enc(void *buf, uint32_t v)
{

	__builtin_memcpy(buf, &v, sizeof(v));
}

static __inline __unused void
le64enc(void *buf, uint64_t v)
{

	__builtin_memcpy(buf, &v, sizeof(v));
}

static __inline __unused uint32_t
le32dec(const void *buf)
{
	uint32_t v;

	__builtin_memcpy(&v, buf, sizeof(v));
	return v;
}

static __inline __unused uint32_t
be32dec(const void *buf)
{

	return be32toh(le32dec(buf));
}

#endif	/* !_KPI_SYS_ENDIAN_H_ */
