/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A boot sector with the prompts of NetBSD's boot loader: first on the screen,
 * through the BIOS, then, after `consdev com0`, directly on the serial line,
 * with interrupts off (sys/arch/i386/stand/lib/bootmenu.c, pcio.c and
 * comio_direct.c).  The test checks how SeaBIOS's serial console handles
 * that.
 */
	.code16
	.globl _start
_start:
	ljmp $0, $1f
1:	xor %ax,%ax
	mov %ax,%ds
	mov %ax,%es
	mov %ax,%ss
	mov $0x7c00,%sp
	sti
	mov $3,%ax
	int $0x10
	mov $menu,%si
	call puts
	/* awaitkey */
2:	mov $1,%ah
	int $0x16
	jnz 3f
	xor %ah,%ah
	int $0x1a
	jmp 2b
3:	xor %ah,%ah
	int $0x16
	cmp $' ',%al
	jne 2b
4:	mov $option,%si
	call puts
	call gets
	cmpb $'5',line
	jne 4b
	mov $help,%si
	call puts
5:	mov $gt,%si
	call puts
	call gets
	cmpb $'c',line
	jne 5b
	/* consdev com0: polled UART, interrupts off */
	cli
	movb $1,serial
	mov $banner,%si
	call puts
6:	mov $gt,%si
	call puts
	call gets
	cmpb $'b',line
	jne 6b
	mov $kern,%si
	call puts
7:	hlt
	jmp 7b
putc:
	cmpb $0,serial
	jne 1f
	mov $0x0e,%ah
	mov $7,%bx
	int $0x10
	ret
1:	mov %al,%cl
2:	mov $0x3fd,%dx
	inb %dx,%al
	test $0x20,%al
	jz 2b
	mov %cl,%al
	mov $0x3f8,%dx
	outb %al,%dx
	ret
puts:
	lodsb
	test %al,%al
	jz 1f
	call putc
	jmp puts
1:	ret
getc:
	cmpb $0,serial
	jne 1f
	xor %ah,%ah
	int $0x16
	ret
1:	mov $0x3fd,%dx
	inb %dx,%al
	test $1,%al
	jz 1b
	mov $0x3f8,%dx
	inb %dx,%al
	ret
gets:
	mov $line,%di
1:	call getc
	cmp $13,%al
	je 2f
	stosb
	call putc
	jmp 1b
2:	movb $0,(%di)
	mov $crlf,%si
	call puts
	ret
menu:	.asciz "\r\n     1. Boot normally\r\n     5. Drop to boot prompt\r\n\r\nChoose an option; RETURN for default; SPACE to stop countdown.\r\nOption 1 will be chosen in 5 seconds."
option:	.asciz "\r\nOption: [1]:"
help:	.asciz "type ? for help\r\n"
gt:	.asciz "> "
crlf:	.asciz "\r\n"
banner:	.asciz "\r\n>> NetBSD/x86 BIOS\r\n"
kern:	.asciz "Copyright (c) 1996, 1997, 1998\r\nroot device: "
serial:	.byte 0
	.org 510
	.word 0xaa55
line:
