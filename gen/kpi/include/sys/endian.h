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

/*
 * Constants are swapped by the compiler, everything else by an instruction
 * that it cannot see into, as in NetBSD (machine/byte_swap.h).
 */
#ifdef __aarch64__
#define	__KPI_SWAP_VARIABLE(bits, type, x86_insn, arm_insn)		\
static __inline __unused type						\
__kpi_swap##bits(type v)						\
{									\
									\
	if (__builtin_constant_p(v))					\
		return __builtin_bswap##bits(v);			\
	__asm(arm_insn : "=r" (v) : "0" (v));				\
	return v;							\
}
#else
#define	__KPI_SWAP_VARIABLE(bits, type, x86_insn, arm_insn)		\
static __inline __unused type						\
__kpi_swap##bits(type v)						\
{									\
									\
	__asm volatile(x86_insn : "=r" (v) : "0" (v));			\
	return v;							\
}
#endif

__KPI_SWAP_VARIABLE(16, uint16_t, "rorw $8, %w1", "rev16\t%w0, %w1")
__KPI_SWAP_VARIABLE(32, uint32_t, "bswap %1", "rev\t%w0, %w1")
#ifdef _LP64
__KPI_SWAP_VARIABLE(64, uint64_t, "bswap %1", "rev\t%x0, %x1")
#else
#define	__kpi_swap64(v)	__builtin_bswap64(v)
#endif

#define	__KPI_SWAP(bits, x)						\
	((uint##bits##_t)(__builtin_constant_p(x) ?			\
	    __builtin_bswap##bits(x) : __kpi_swap##bits(x)))

#define	htole16(x)	((uint16_t)(x))
#define	htole32(x)	((uint32_t)(x))
#define	htole64(x)	((uint64_t)(x))
#define	le16toh(x)	((uint16_t)(x))
#define	le32toh(x)	((uint32_t)(x))
#define	le64toh(x)	((uint64_t)(x))
#define	htobe16(x)	__KPI_SWAP(16, x)
#define	htobe32(x)	__KPI_SWAP(32, x)
#define	htobe64(x)	__KPI_SWAP(64, x)
#define	be16toh(x)	htobe16(x)
#define	be32toh(x)	htobe32(x)
#define	be64toh(x)	htobe64(x)
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
	uint32_t v;

	__builtin_memcpy(&v, buf, sizeof(v));
	return be32toh(v);
}

#endif	/* !_KPI_SYS_ENDIAN_H_ */
