/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page of physical memory, as far as its owner uses it (NetBSD
 * sys/uvm/uvm_page.h, uvm_pglist.h): the list that it is on.
 */
#ifndef _KPI_UVM_UVM_PAGE_H_
#define _KPI_UVM_UVM_PAGE_H_

#include <sys/queue.h>

#include <uvm/uvm_extern.h>

TAILQ_HEAD(pglist, vm_page);

struct vm_page {
	union {
		TAILQ_ENTRY(vm_page) queue;
	} pageq;
	/* and more */
};

paddr_t	uvm_vm_page_to_phys(const struct vm_page *);
#define	VM_PAGE_TO_PHYS(page)	uvm_vm_page_to_phys(page)

#endif	/* !_KPI_UVM_UVM_PAGE_H_ */
