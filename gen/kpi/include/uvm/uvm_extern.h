/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of physical memory (NetBSD sys/uvm/uvm_extern.h, uvm_pmap.h).  The
 * structure of counters has only the members that drivers read.
 */
#ifndef _KPI_UVM_UVM_EXTERN_H_
#define _KPI_UVM_UVM_EXTERN_H_

#include <sys/types.h>

struct pglist;
struct pmap;

struct uvmexp {
	int	pagesize;
	int	pagemask;
	int	pageshift;
	int	npages;
	int	free;
	int	paging;
	int	wired;
	int	ncolors;
	int	colormask;
	int	zeropages;
	int	reserve_pagedaemon;
	int	reserve_kernel;
	unsigned anonpages;
	unsigned filepages;
	unsigned execpages;
	int	freemin;
	int	freetarg;
	int	wiredmax;
	int	nswapdev;
	int	swpages;
	int	swpgavail;
	int	swpginuse;
	int	swpgonly;
	int	nswget;
	int	faults;
	int	traps;
	int	intrs;
	int	swtch;
	int	softs;
	int	syscalls;
	int	pageins;
	int	_unused1;
	int	_unused2;
	int	pgswapin;
	int	pgswapout;
};

#define	PAGE_SHIFT	12
#ifndef PAGE_SIZE
#define	PAGE_SIZE	(1 << PAGE_SHIFT)
#endif

extern struct uvmexp uvmexp;
extern struct pmap *const kernel_pmap_ptr;
#define	pmap_kernel()	kernel_pmap_ptr

int	uvm_availmem(bool);
void	uvm_update_uvmexp(void);
int	uvm_pglistalloc(psize_t, paddr_t, paddr_t, paddr_t, paddr_t,
	    struct pglist *, int, int);
void	uvm_pglistfree(struct pglist *);
bool	pmap_extract(struct pmap *, vaddr_t, paddr_t *);

#endif	/* !_KPI_UVM_UVM_EXTERN_H_ */
