/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of physical memory: page numbers without memory.  Only one thread
 * allocates and frees them.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/errno.h>

#include <uvm/uvm_extern.h>
#include <uvm/uvm_page.h>

#include "guest.h"

#define PAGES		8192
#define OTHERS		65536		/* free too, for a floor of 256 MB */
#define FIRST		0x100000	/* beyond the guest's memory */
#define KERNBASE	0xffffffff80000000UL

const char *panicstr;
int cpuid_level;			/* no CPUID: modload -b force=true */
struct pmap *const kernel_pmap_ptr = NULL;

/* 64 MB, half of it free; nothing changes them. */
struct uvmexp uvmexp = {
	.pagesize = PAGE_SIZE, .npages = 16384, .free = 8192, .freemin = 64
};

static struct vm_page pages[PAGES];
static struct pglist freed = TAILQ_HEAD_INITIALIZER(freed);
static u_int fresh, taken;

void
uvm_update_uvmexp(void)
{
}

int
uvm_availmem(bool cached)
{

	return OTHERS + PAGES - taken;
}

int
uvm_pglistalloc(psize_t size, paddr_t low, paddr_t high, paddr_t alignment,
    paddr_t boundary, struct pglist *list, int nsegs, int waitok)
{
	struct vm_page *page;
	u_int number = size / PAGE_SIZE;

	TAILQ_INIT(list);
	if (number > PAGES - taken)
		return ENOMEM;
	for (; number > 0; number--, taken++) {
		if ((page = TAILQ_FIRST(&freed)) != NULL)
			TAILQ_REMOVE(&freed, page, pageq.queue);
		else
			page = &pages[fresh++];
		TAILQ_INSERT_TAIL(list, page, pageq.queue);
	}
	return 0;
}

void
uvm_pglistfree(struct pglist *list)
{
	struct vm_page *page;

	for (; (page = TAILQ_FIRST(list)) != NULL; taken--) {
		TAILQ_REMOVE(list, page, pageq.queue);
		TAILQ_INSERT_TAIL(&freed, page, pageq.queue);
	}
}

paddr_t
uvm_vm_page_to_phys(const struct vm_page *page)
{

	return (paddr_t)(FIRST + (page - pages)) << PAGE_SHIFT;
}

/* The heap is a part of the kernel's image (boot.S). */
bool
pmap_extract(struct pmap *pmap, vaddr_t address, paddr_t *pa)
{

	*pa = address - KERNBASE;
	return true;
}
