/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers on the serial line as a NetBSD does from its boot loader to a root
 * shell, as far as vmtsim accept asks: the loader's prompt, getty and login,
 * and a shell that knows the lines which sim/vmtsim/accept/shell.py types and
 * the verbs of guest.sh.  Nothing of vmtsim accept is made for this guest.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/sysctl.h>

#include "guest.h"

#define LINE	512

extern char hostname[];

static enum { LOADER, LOGIN, SHELL } state;
static char prompt[64] = "# ";
static int status;
static bool active, crashes, reports;

bool
shell_active(void)
{

	return active;
}

/* Whether powerd's scripts are replaced by ones that only report. */
bool
shell_reports(void)
{

	return active && reports;
}

static bool
begins(const char *text, const char *with)
{

	return strncmp(text, with, strlen(with)) == 0;
}

static char *
find(char *in, const char *what)
{

	for (; *in != '\0'; in++)
		if (begins(in, what))
			return in;
	return NULL;
}

static void
ask(void)
{

	printf("%s", state == LOADER ? "> " : state == LOGIN ? "login: " :
	    prompt);
}

void
shell_begin(const char *words)
{

	if (words == NULL || !begins(words, "shell"))
		return;
	active = true;
	crashes = begins(words, "shell,crash");
	printf("\n>> NetBSD/x86 BIOS Boot, Revision 5.11\n"
	    "type \"?\" or \"help\" for help.\n");
	ask();
}

static void
loader(const char *line)
{

	printf("%s\n", line);
	if (strcmp(line, "boot") != 0)
		return;
	printf("Copyright (c) 1996, 1997, 1998, 1999, 2000, 2001, 2002\n"
	    "NetBSD 11.0 (GUEST) #0\n\nNetBSD/amd64 (guest) (constty)\n\n");
	state = LOGIN;
}

/* As sim/vmtsim/accept/guest.sh: the reply with its number and status. */
static int
rpc(const char *words)
{
	static char reply[16384];
	char message[LINE];

	if (*words == '\'')
		words++;
	strlcpy(message, words, sizeof(message));
	if (find(message, "'") != NULL)
		*find(message, "'") = '\0';
	if (write_rpc(message, reply, sizeof(reply)) != 0)
		return 1;
	printf("%s\n", reply);
	return 0;
}

/* The node of machdep.DEVICE.NAME, by the last part of its name. */
static const struct node *
node_of(const char *name)
{
	const struct node *each;
	const char *last = name;

	for (; *name != '\0'; name++)
		if (*name == '.')
			last = name + 1;
	for (each = nodes; each < &nodes[node_count]; each++)
		if (strcmp(each->n_name, last) == 0 && the_device != NULL)
			return each;
	printf("sysctl: second level name '%s' is invalid\n", last);
	return NULL;
}

static int
node(const char *name)
{
	static union { int i; uint64_t q; char s[512]; } value;
	const struct node *found = node_of(name);
	size_t size = sizeof(value);

	if (found == NULL || use_node(found, &value, &size, NULL, 0) != 0)
		return 1;
	if (found->n_type == CTLTYPE_STRING)
		printf("%s\n", value.s);
	else if (found->n_type == CTLTYPE_INT)
		printf("%d\n", value.i);
	else
		printf("%lu\n", value.q);
	return 0;
}

/* NAME=NUMBER */
static int
set_node(const char *words)
{
	char name[LINE];
	const struct node *found;
	char *equals;
	int value;

	strlcpy(name, words, sizeof(name));
	if ((equals = find(name, "=")) == NULL)
		return 1;
	*equals = '\0';
	value = strtoul(equals + 1, NULL, 10);
	if ((found = node_of(name)) == NULL || found->n_type != CTLTYPE_INT ||
	    use_node(found, NULL, NULL, &value, sizeof(value)) != 0)
		return 1;
	printf("%s: -> %d\n", name, value);
	return 0;
}

/* Do the words name this action on the driver, or on its device? */
static bool
of_driver(const char *words, const char *action, const char *unit)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "%s %s%s", action, module_name(),
	    unit);
	return strcmp(words, expected) == 0;
}

static int
facts(void)
{

	printf("system=NetBSD\nrelease=11.0\nmachine=amd64\narch=x86_64\n"
	    "version=NetBSD 11.0 (GUEST) #0\ncpus=%u\nhostname=%s\n"
	    "card=wm0\n", cpus, hostname);
	return 0;
}

static int
named(void)
{

	printf("hostname=%s\nrelease=11.0\naddress=192.0.2.10\nprefix=24\n"
	    "address6=\nprefix6=\n", hostname);
	return 0;
}

static int
detach(void)
{

	if (the_device == NULL) {
		printf("drvctl: DRVDETACHDEV: Device not configured\n");
		return 1;
	}
	if (crashes) {
		printf("panic: kernel diagnostic assertion \"detached\" failed\n"
		    "cpu0: Begin traceback...\n"
		    "vpanic() at netbsd:vpanic+0x183\n"
		    "Stopped in pid 0.3 (system) at  netbsd:breakpoint+0x5:"
		    "  leave\n");
		snprintf(prompt, sizeof(prompt), "db{0}> ");
		return 0;
	}
	return detach_device();
}

/* One verb of guest.sh. */
static int
verb(const char *words)
{

	if (strcmp(words, "facts") == 0)
		return facts();
	if (strcmp(words, "named") == 0)
		return named();
	if (strcmp(words, "reporters") == 0 || strcmp(words, "originals") == 0) {
		reports = begins(words, "reporters");
		return 0;
	}
	if (strcmp(words, "quiet") == 0 ||
	    begins(words, "powerd ") || begins(words, "addresses "))
		return 0;
	if (of_driver(words, "free", "")) {
		module_unload();
		return 0;
	}
	if (begins(words, "hostname ")) {
		strlcpy(hostname, words + 9, 256);
		return 0;
	}
	if (of_driver(words, "load", "")) {
		module_load(0);
		return !module_loaded();
	}
	if (of_driver(words, "unload", "")) {
		module_unload();
		return module_loaded();
	}
	if (of_driver(words, "detach", "0"))
		return detach();
	if (strcmp(words, "rescan cpu0") == 0) {
		rescan();
		return 0;
	}
	if (of_driver(words, "device", "")) {
		if (the_device != NULL)
			printf("%s\n", device_xname(the_device));
		return 0;
	}
	if (begins(words, "rpc "))
		return rpc(words + 4);
	if (begins(words, "node "))
		return node(words + 5);
	if (begins(words, "sysctl "))
		return set_node(words + 7);
	printf("unknown command %s\n", words);
	return 64;
}

/* One command. */
static int
command(const char *line)
{
	const char *script;

	if (begins(line, "PATH=") || begins(line, "mkdir ") ||
	    begins(line, "tar xpf "))
		return 0;
	if (strcmp(line, "id -u") == 0) {
		printf("0\n");
		return 0;
	}
	if (strcmp(line, "uname -s -r -m") == 0) {
		printf("NetBSD 11.0 amd64\n");
		return 0;
	}
	if (begins(line, "wc -c ")) {
		/* The size is the rest of the kernel's command line. */
		script = find((char *)module_words(), "size=");
		printf("%s\n", script == NULL ? "0" : script + 5);
		return script == NULL;
	}
	if (begins(line, "for d in ")) {
		printf("DISK wd1\n");
		return 0;
	}
	for (script = line; *script != '\0'; script++)
		if (begins(script, "/guest.sh "))
			return verb(script + 10);
	printf("sh: %s: not found\n", line);
	return 127;
}

/* echo(1) of a word with "" and $r in it. */
static void
say(const char *word)
{

	for (; *word != '\0'; word++) {
		if (begins(word, "$r")) {
			printf("%d", status);
			word++;
		} else if (*word != '"')
			printf("%c", *word);
	}
	printf("\n");
}

static void
shell(char *line)
{
	char *end, *next;

	while (*line != '\0') {
		if (*line == ' ' || *line == ';') {
			line++;
			continue;
		}
		if (begins(line, "{ ") &&
		    (end = find(line, "; } </dev/null")) != NULL) {
			*end = '\0';
			status = command(line + 2);
			line = end + strlen("; } </dev/null");
			continue;
		}
		end = find(line, "; ");
		next = end == NULL ? line + strlen(line) : end + 2;
		if (end != NULL)
			*end = '\0';
		if (begins(line, "echo "))
			say(line + 5);
		else if (begins(line, "PS1='")) {
			strlcpy(prompt, line + 5, sizeof(prompt));
			if (find(prompt, "'") != NULL)
				*find(prompt, "'") = '\0';
		}
		line = next;
	}
}

void
shell_line(const char *given)
{
	char line[LINE];

	strlcpy(line, given, sizeof(line));
	switch (state) {
	case LOADER:
		loader(line);
		break;
	case LOGIN:
		if (line[0] != '\0') {
			printf("\nWelcome to NetBSD!\n\n");
			state = SHELL;
		}
		break;
	case SHELL:
		if (begins(prompt, "db{"))
			printf("breakpoint() at netbsd:breakpoint+0x5\n");
		else
			shell(line);
		break;
	}
	ask();
}
