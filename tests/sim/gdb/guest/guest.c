/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest just large enough for vmt(4): one or two vCPUs with paging,
 * interrupts and a serial console, on which it also takes commands.
 */

#include "guest.h"

#define LAPIC(reg)	(*(volatile uint32_t *)(0xfee00000UL + (reg)))
#define LAPIC_ID	0x020
#define LAPIC_SVR	0x0f0
#define LAPIC_ICR	0x300
#define LAPIC_TIMER	0x320
#define LAPIC_COUNT	0x380
#define LAPIC_DIVIDE	0x3e0
#define TICK_VECTOR	0x40
#define TICK_COUNT	2000000		/* at QEMU's 1 GHz: 2 ms */
#define SERIAL		0x3f8
#define TRAMPOLINE	0x8000

struct gate {
	uint16_t	low, selector, flags, middle;
	uint32_t	high, reserved;
};

volatile u_int cpus;
struct lwp worker, idle[2];
static struct gate gates[256] __aligned(16);
static uint64_t worker_stack[2048] __aligned(16);
static uint64_t cycles_per_ms, first_cycle;
static volatile int console_lock;

extern char exceptions[], tick[], trampoline[], trampoline_end[];
uint32_t other_port(uint16_t);
void	kmain(u_int);
void	thread_main(void);
void	fault(uint64_t, uint64_t, uint64_t, uint64_t) __dead;

/* The serial console. */

static void
transmit(char c)
{

	while ((inb(SERIAL + 5) & 0x20) == 0)
		__builtin_ia32_pause();
	outb(SERIAL, c);
}

void
console(const char *text, size_t length)
{
	size_t i;

	while (__atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	for (i = 0; i < length; i++) {
		if (text[i] == '\n')
			transmit('\r');
		transmit(text[i]);
	}
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
}

/* Returns a whole line that came over the serial line, or NULL. */
static char *
command_line(void)
{
	static char line[512];
	static u_int length;
	char c;

	while (inb(SERIAL + 5) & 1) {
		c = inb(SERIAL);
		if (c == '\r' && !shell_active())
			continue;
		if (c == '\n' || c == '\r') {
			line[length] = '\0';
			length = 0;
			return line;
		}
		if (length < sizeof(line) - 1)
			line[length++] = c;
	}
	return NULL;
}

/* Interrupts and time. */

static void
gate_set(u_int vector, const void *function)
{
	const uint64_t to = (uint64_t)function;

	gates[vector] = (struct gate){ .low = to & 0xffff, .selector = 0x18,
	    .flags = 0x8e00, .middle = to >> 16 & 0xffff, .high = to >> 32 };
}

static void
interrupts_begin(void)
{
	struct { uint16_t size; uint64_t base; } __packed idt = {
		sizeof(gates) - 1, (uint64_t)gates
	};

	__asm volatile("lidt %0" : : "m" (idt));
	LAPIC(LAPIC_SVR) = 0x1ff;
	LAPIC(LAPIC_DIVIDE) = 0xb;			/* by one */
	LAPIC(LAPIC_TIMER) = 0x20000 | TICK_VECTOR;	/* periodic */
	LAPIC(LAPIC_COUNT) = TICK_COUNT;
	__asm volatile("sti");
}

void
fault(uint64_t vector, uint64_t error, uint64_t pc, uint64_t address)
{

	printf("panic: exception %lu, error %#lx, at %#lx, address %#lx\n",
	    vector, error, pc, address);
	stop_machine();
}

/*
 * Measure the time stamp counter against 10 ms of the PIT's channel 2, some
 * times: the least is right where the machine was busy with something else.
 */
static void
clock_begin(void)
{
	uint64_t before, least = UINT64_MAX;

	for (u_int i = 0; i < 16; i++) {
		outb(0x61, (inb(0x61) & 0xfc) | 1);
		outb(0x43, 0xb0);
		outb(0x42, 11932 & 0xff);
		outb(0x42, 11932 >> 8);
		before = __builtin_ia32_rdtsc();
		while ((inb(0x61) & 0x20) == 0)
			continue;
		first_cycle = __builtin_ia32_rdtsc();
		least = MIN(least, first_cycle - before);
	}
	cycles_per_ms = MAX(least / 10, 1);
}

uint64_t
uptime_ns(void)
{
	const uint64_t cycles = __builtin_ia32_rdtsc() - first_cycle;

	return cycles / cycles_per_ms * 1000000 +
	    cycles % cycles_per_ms * 1000000 / cycles_per_ms;
}

/* vCPUs and the driver's thread. */

u_int
this_cpu(void)
{

	return (LAPIC(LAPIC_ID) >> 24) != 0;
}

void
thread_main(void)
{

	(*worker.l_function)(worker.l_argument);
	panic("a thread returned");
}

/* Let this vCPU do something else, or sleep until its next tick. */
void
give_way(void)
{
	const u_int cpu = this_cpu();

	if (worker.l_state == THREAD_ALIVE && worker.l_cpu == cpu) {
		if (worker.l_back != NULL) {
			/* We are the worker. */
			uint64_t *to = worker.l_back;
			worker.l_back = NULL;
			switch_stack(&worker.l_stack, to);
			return;
		}
		if (worker.l_stack == NULL) {
			uint64_t *top = worker_stack + __arraycount(worker_stack);
			*--top = 0;
			*--top = (uint64_t)thread_entry;
			worker.l_stack = top - 6;
			/* Modules came and went since. */
			__asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3"
			    : : : "rax", "memory");
		}
		switch_stack(&worker.l_back, worker.l_stack);
	}
	__asm volatile("hlt");
}

static void
processors_begin(void)
{
	const uint64_t end = uptime_ns() + 50 * 1000000;

	memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
	LAPIC(LAPIC_ICR) = 0xc4500;		/* INIT to all others */
	while (uptime_ns() < end - 40 * 1000000)
		continue;
	LAPIC(LAPIC_ICR) = 0xc4600 | TRAMPOLINE >> 12;
	while (cpus < 2 && uptime_ns() < end)
		__builtin_ia32_pause();
}

void
stop_machine(void)
{

	outw(0x604, 0x2000);	/* ACPI S5 on QEMU's machines */
	for (;;)
		__asm volatile("cli; hlt");
}

static void __dead
reset_machine(void)
{

	outb(0xcf9, 0x0e);
	outb(0x64, 0xfe);
	for (;;)
		__asm volatile("cli; hlt");
}

static void
obey(const char *line)
{

	if (strncmp(line, "load ", 5) == 0)
		module_load(line[5] - '0');
	else if (strcmp(line, "unload") == 0)
		module_unload();
	else if (strncmp(line, "busy ", 5) == 0)
		module_busy(strtoul(line + 5, NULL, 10));
	else if (strncmp(line, "rpc ", 4) == 0)
		module_rpc(line + 4);
	else if (strcmp(line, "inl") == 0)
		printf("inl: %#x\n", other_port(0xcf8));
	else if (strcmp(line, "reset") == 0)
		reset_machine();
	else if (line[0] != '\0')
		printf("%s: no such command\n", line);
}

void
kmain(u_int cpu)
{
	uint64_t looked = 0;
	const char *line;

	if (cpu != 0) {
		interrupts_begin();
		cpus++;
		for (;;)
			give_way();
	}
	cpus = 1;
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	for (u_int i = 0; i < 32; i++)
		gate_set(i, exceptions + 16 * i);
	gate_set(TICK_VECTOR, tick);
	clock_begin();
	interrupts_begin();
	processors_begin();
	printf("guest: up with %u vCPU%s\n", cpus, cpus == 1 ? "" : "s");
	module_begin();
	shell_begin(module_words());
	for (;;) {
		line = command_line();
		if (line != NULL && shell_active())
			shell_line(line);
		else if (line != NULL)
			obey(line);
		if (power_event != 0) {
			shutdown_hook();
			printf("syncing disks... done\n");
			if (power_event == 'r')
				reset_machine();
			stop_machine();
		}
		/* As an administrator would: drvctl -r -a cpufeaturebus cpu0. */
		if (module_loaded() && !shell_active() && uptime_ns() - looked > 100 * 1000000) {
			looked = uptime_ns();
			rescan();
		}
		give_way();
	}
}
