/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers of hardware (NetBSD sys/sys/bus.h; sys/arch/x86/include/bus_defs.h
 * and bus_funcs.h): on amd64 and i386.
 */
#ifndef _KPI_SYS_BUS_H_
#define _KPI_SYS_BUS_H_

#include <sys/types.h>

#if defined(__x86_64__) || defined(__i386__)

typedef struct bus_space_tag	*bus_space_tag_t;
typedef vaddr_t			bus_space_handle_t;
typedef paddr_t			bus_addr_t;
typedef psize_t			bus_size_t;

#define	BUS_SPACE_MAP_CACHEABLE		0x01
#define	BUS_SPACE_MAP_LINEAR		0x02
#define	BUS_SPACE_MAP_PREFETCHABLE	0x04
#define	BUS_SPACE_BARRIER_READ		0x01
#define	BUS_SPACE_BARRIER_WRITE		0x02

extern bus_space_tag_t x86_bus_space_io, x86_bus_space_mem;

int	bus_space_map(bus_space_tag_t, bus_addr_t, bus_size_t, int,
	    bus_space_handle_t *);
void	bus_space_unmap(bus_space_tag_t, bus_space_handle_t, bus_size_t);
int	bus_space_subregion(bus_space_tag_t, bus_space_handle_t, bus_size_t,
	    bus_size_t, bus_space_handle_t *);
bool	bus_space_is_equal(bus_space_tag_t, bus_space_tag_t);
void	bus_space_barrier(bus_space_tag_t, bus_space_handle_t, bus_size_t,
	    bus_size_t, int);

#define	_KPI_BUS_SPACE(n, type)						\
type	bus_space_read_##n(bus_space_tag_t, bus_space_handle_t,		\
	    bus_size_t);						\
void	bus_space_write_##n(bus_space_tag_t, bus_space_handle_t,	\
	    bus_size_t, type);						\
void	bus_space_read_multi_##n(bus_space_tag_t, bus_space_handle_t,	\
	    bus_size_t, type *, size_t);				\
void	bus_space_write_multi_##n(bus_space_tag_t, bus_space_handle_t,	\
	    bus_size_t, const type *, size_t);				\
void	bus_space_read_region_##n(bus_space_tag_t, bus_space_handle_t,	\
	    bus_size_t, type *, size_t);				\
void	bus_space_write_region_##n(bus_space_tag_t, bus_space_handle_t,	\
	    bus_size_t, const type *, size_t)

_KPI_BUS_SPACE(1, uint8_t);
_KPI_BUS_SPACE(2, uint16_t);
_KPI_BUS_SPACE(4, uint32_t);

#endif

#endif	/* !_KPI_SYS_BUS_H_ */
