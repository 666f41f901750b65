/* SPDX-License-Identifier: BSD-2-Clause */
/* Strings and printing. */

#include <sys/syslog.h>

#include "guest.h"

#undef memcmp
#undef memcpy
#undef memset
#undef strcmp
#undef strlen

void *
memcpy(void *to, const void *from, size_t size)
{
	void *const start = to;

	__asm volatile("cld; rep movsb" : "+D" (to), "+S" (from), "+c" (size)
	    : : "memory");
	return start;
}

void *
memmove(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;

	if (t <= f || t >= f + size)
		return memcpy(to, from, size);
	while (size-- > 0)
		t[size] = f[size];
	return to;
}

void *
memset(void *to, int byte, size_t size)
{
	void *const start = to;

	__asm volatile("cld; rep stosb" : "+D" (to), "+c" (size) : "a" (byte)
	    : "memory");
	return start;
}

int
memcmp(const void *a, const void *b, size_t size)
{
	const u_char *x = a, *y = b;

	for (; size > 0; x++, y++, size--) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t
strlen(const char *text)
{
	size_t n;

	for (n = 0; text[n] != '\0'; n++)
		continue;
	return n;
}

size_t
strnlen(const char *text, size_t most)
{
	size_t n;

	for (n = 0; n < most && text[n] != '\0'; n++)
		continue;
	return n;
}

int
strncmp(const char *a, const char *b, size_t size)
{

	for (; size > 0; a++, b++, size--) {
		if (*a != *b || *a == '\0')
			return (u_char)*a - (u_char)*b;
	}
	return 0;
}

int
strcmp(const char *a, const char *b)
{

	return strncmp(a, b, ~(size_t)0);
}

void *
memchr(const void *from, int byte, size_t size)
{
	const u_char *p = from;

	for (; size > 0; p++, size--) {
		if (*p == (u_char)byte)
			return __UNCONST(p);
	}
	return NULL;
}

char *
strchr(const char *text, int c)
{

	for (; *text != (char)c; text++) {
		if (*text == '\0')
			return NULL;
	}
	return __UNCONST(text);
}

size_t
strlcpy(char *to, const char *from, size_t size)
{
	const size_t length = strlen(from);

	if (size > 0) {
		memcpy(to, from, MIN(length, size - 1));
		to[MIN(length, size - 1)] = '\0';
	}
	return length;
}

size_t
strlcat(char *to, const char *from, size_t size)
{
	const size_t before = strnlen(to, size);

	return before + strlcpy(to + before, from, size - before);
}

unsigned long
strtoul(const char *text, char **end, int base)
{
	unsigned long value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (*text - '0');
	if (end != NULL)
		*end = __UNCONST(text);
	return value;
}

struct sink {
	char		*s_to;
	size_t		s_size, s_length;
};

static void
put(struct sink *s, char c)
{

	if (s->s_length + 1 < s->s_size)
		s->s_to[s->s_length] = c;
	s->s_length++;
}

static void
put_padded(struct sink *s, const char *text, int length, int width, bool left,
    char pad)
{

	for (int i = length; !left && i < width; i++)
		put(s, pad);
	for (int i = 0; i < length; i++)
		put(s, text[i]);
	for (int i = length; left && i < width; i++)
		put(s, ' ');
}

int
vsnprintf(char *to, size_t size, const char *format, va_list ap)
{
	struct sink sink = { to, size, 0 };
	char digits[32], pad;
	bool alternate, left, negative;
	int longs, n, precision, width;
	const char *text;
	uint64_t value;
	u_int base;

	for (; *format != '\0'; format++) {
		if (*format != '%') {
			put(&sink, *format);
			continue;
		}
		left = alternate = false;
		pad = ' ';
		for (format++; ; format++) {
			if (*format == '-')
				left = true;
			else if (*format == '#')
				alternate = true;
			else if (*format == '0')
				pad = '0';
			else
				break;
		}
		width = longs = 0;
		precision = -1;
		if (*format == '*') {
			width = va_arg(ap, int);
			format++;
		}
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (*format - '0');
		if (*format == '.') {
			precision = 0;
			if (*++format == '*') {
				precision = va_arg(ap, int);
				format++;
			}
			for (; *format >= '0' && *format <= '9'; format++)
				precision = precision * 10 + (*format - '0');
		}
		for (; strchr("lhjzt", *format) != NULL && *format != '\0';
		    format++)
			longs += *format != 'h';
		negative = false;
		base = 10;
		switch (*format) {
		case '%':
			put(&sink, '%');
			continue;
		case 'c':
			digits[0] = va_arg(ap, int);
			put_padded(&sink, digits, 1, width, left, ' ');
			continue;
		case 's':
			text = va_arg(ap, const char *);
			if (text == NULL)
				text = "(null)";
			n = strnlen(text, precision < 0 ? ~(size_t)0 :
			    (size_t)precision);
			put_padded(&sink, text, n, width, left, ' ');
			continue;
		case 'd':
		case 'i':
			value = longs ? (uint64_t)va_arg(ap, long) :
			    (uint64_t)va_arg(ap, int);
			negative = (int64_t)value < 0;
			if (negative)
				value = -value;
			break;
		case 'p':
			alternate = true;
			longs = 1;
			/* FALLTHROUGH */
		case 'x':
		case 'X':
			base = 16;
			/* FALLTHROUGH */
		case 'u':
			value = longs ? va_arg(ap, unsigned long) :
			    va_arg(ap, unsigned int);
			break;
		default:
			panic("printf: %%%c", *format);
		}
		n = sizeof(digits);
		do
			digits[--n] = "0123456789abcdef"[value % base];
		while ((value /= base) != 0);
		while ((int)sizeof(digits) - n < precision && n > 3)
			digits[--n] = '0';
		if (alternate && base == 16) {
			digits[--n] = 'x';
			digits[--n] = '0';
		}
		if (negative)
			digits[--n] = '-';
		put_padded(&sink, digits + n, sizeof(digits) - n, width, left,
		    pad);
	}
	if (size > 0)
		to[MIN(sink.s_length, size - 1)] = '\0';
	return sink.s_length;
}

int
snprintf(char *to, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(to, size, format, ap);
	va_end(ap);
	return n;
}

/* One call, one line: no other vCPU's words in between. */
static void
say(const char *before, const char *format, va_list ap)
{
	char text[512];
	size_t length;

	length = strlcpy(text, before, sizeof(text));
	length += vsnprintf(text + length, sizeof(text) - length, format, ap);
	console(text, MIN(length, sizeof(text) - 1));
}

void
printf(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say("", format, ap);
	va_end(ap);
}

void
panic(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say("panic: ", format, ap);
	va_end(ap);
	printf("\n");
	stop_machine();
}

#define SAYS(name)							\
void									\
name(const char *format, ...)						\
{									\
	va_list ap;							\
									\
	va_start(ap, format);						\
	say("", format, ap);						\
	va_end(ap);							\
}

#define SAYS_OF_DEVICE(name)						\
void									\
name(device_t device, const char *format, ...)				\
{									\
	char before[24];						\
	va_list ap;							\
									\
	snprintf(before, sizeof(before), "%s: ", device_xname(device));	\
	va_start(ap, format);						\
	say(before, format, ap);					\
	va_end(ap);							\
}

SAYS(aprint_normal)
SAYS(aprint_verbose)
SAYS(aprint_error)
SAYS(kern_assert)
SAYS_OF_DEVICE(aprint_normal_dev)
SAYS_OF_DEVICE(aprint_verbose_dev)
SAYS_OF_DEVICE(aprint_error_dev)
SAYS_OF_DEVICE(device_printf)

void
aprint_naive(const char *format, ...)
{
}

void
log(int level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say("", format, ap);
	va_end(ap);
}
