/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code from QEMU's start of a PVH kernel (32 bits, paging off) to kmain()
 * in the upper half, for every vCPU; interrupts, and the switch of stacks.
 */

#define KERNBASE	0xffffffff80000000
#define PA(x)		((x) - KERNBASE)
#define TRAMPOLINE	0x8000
#define PRESENT		0x003		/* writable */
#define LARGE		0x083		/* 2 MB */

	.section .note.Xen, "a", @note
	.balign	4
	.long	4, 8, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.balign	4
	.quad	PA(start32)

	.text
	.code32
start32:
	cli
	cld
	movl	%ebx, PA(start_info)
	movl	$PA(boot_stack_top), %esp
	xorl	%ebp, %ebp
	jmp	to_long_mode
ap32:
	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$PA(ap_stack_top), %esp
	movl	$1, %ebp
to_long_mode:
	lgdt	PA(gdt_pointer)
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$PA(pml4), %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER */
	rdmsr
	orl	$0x900, %eax		/* LME, NXE */
	wrmsr
	movl	%cr0, %eax
	orl	$0x80010001, %eax	/* PG, WP, PE */
	movl	%eax, %cr0
	ljmp	$0x18, $PA(low64)

	.code64
low64:
	movabsq	$high64, %rax
	jmpq	*%rax
high64:
	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movabsq	$KERNBASE, %rax
	addq	%rax, %rsp
	movl	%ebp, %edi
	xorl	%ebp, %ebp
	call	kmain
1:	hlt
	jmp	1b

/* The entry point of the other vCPUs, in real mode; copied below 1 MB. */
	.globl	trampoline, trampoline_end
	.code16
trampoline:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	TRAMPOLINE + low_gdt_pointer - trampoline
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $PA(ap32)
	.balign	8
low_gdt_pointer:
	.word	31
	.long	PA(gdt)
trampoline_end:
	.code64

/* switch_stack(save, to): leave one stack and continue on another. */
	.globl	switch_stack
switch_stack:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

	.globl	thread_entry
thread_entry:
	andq	$-16, %rsp
	call	thread_main
	ud2

/* An inl that has nothing to do with the backdoor. */
	.globl	other_port, other_inl
	.type	other_port, @function
other_port:
	movl	%edi, %edx
	movl	$0xffffffff, %eax
other_inl:
	inl	%dx, %eax
	ret
	.size	other_port, . - other_port

/* The local timer's tick: it only ends a hlt. */
	.globl	tick
tick:
	pushq	%rax
	movl	$0xfee000b0, %eax
	movl	$0, (%rax)
	popq	%rax
	iretq

/* Exceptions: vector, error code if there is one, then the usual frame. */
	.globl	exceptions
	.balign	16
exceptions:
	.set	vector, 0
	.rept	32
	.balign	16
	.if	(vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17)
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	.set	vector, vector + 1
	.endr
exception:
	popq	%rdi
	popq	%rsi
	popq	%rdx
	movq	%cr2, %rcx
	andq	$-16, %rsp
	call	fault
	ud2

/* Functions that the driver imports and this guest lacks. */
	.globl	missing_stubs
	.balign	16
missing_stubs:
	.set	index, 0
	.rept	128
	.balign	16
	pushq	$index
	jmp	missing_one
	.set	index, index + 1
	.endr
missing_one:
	popq	%rdi
	subq	$8, %rsp
	call	missing
	addq	$8, %rsp
	xorl	%eax, %eax
	ret

	.data
	.globl	start_info
start_info:
	.quad	0
	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9a000000ffff	/* 0x08: code, 32 bits */
	.quad	0x00cf92000000ffff	/* 0x10: data */
	.quad	0x00af9a000000ffff	/* 0x18: code, 64 bits */
gdt_pointer:
	.word	31
	.long	PA(gdt), 0

/*
 * Low: the first 4 GB as they are.  High: 16 MB of kernel at KERNBASE, and a
 * gigabyte of small pages for modules after it.
 */
	.balign	4096
	.globl	pml4, module_directory
pml4:
	.quad	PA(low_pdpt) + PRESENT
	.fill	510, 8, 0
	.quad	PA(high_pdpt) + PRESENT
low_pdpt:
	.quad	PA(low_directories) + PRESENT
	.quad	PA(low_directories) + 0x1000 + PRESENT
	.quad	PA(low_directories) + 0x2000 + PRESENT
	.quad	PA(low_directories) + 0x3000 + PRESENT
	.fill	508, 8, 0
high_pdpt:
	.fill	510, 8, 0
	.quad	PA(kernel_directory) + PRESENT
	.quad	PA(module_directory) + PRESENT
low_directories:
	.set	page, 0
	.rept	2048
	.quad	(page << 21) + LARGE
	.set	page, page + 1
	.endr
kernel_directory:
	.set	page, 0
	.rept	8
	.quad	(page << 21) + LARGE
	.set	page, page + 1
	.endr
	.fill	504, 8, 0
module_directory:
	.fill	512, 8, 0

	.bss
	.balign	16
	.skip	16384
boot_stack_top:
	.skip	16384
ap_stack_top:
