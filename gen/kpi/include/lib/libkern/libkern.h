/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's small C library (NetBSD sys/lib/libkern/libkern.h).
 */
#ifndef _KPI_LIB_LIBKERN_LIBKERN_H_
#define _KPI_LIB_LIBKERN_LIBKERN_H_

#include <sys/types.h>

int	memcmp(const void *, const void *, size_t);
void	*memcpy(void *, const void *, size_t);
void	*memmove(void *, const void *, size_t);
void	*memset(void *, int, size_t);
void	*memchr(const void *, int, size_t);
char	*strchr(const char *, int);
char	*strrchr(const char *, int);
char	*strstr(const char *, const char *);
int	strcmp(const char *, const char *);
int	strncmp(const char *, const char *, size_t);
int	strcasecmp(const char *, const char *);
int	strncasecmp(const char *, const char *, size_t);
size_t	strlen(const char *);
size_t	strnlen(const char *, size_t);
size_t	strlcpy(char *, const char *, size_t);
size_t	strlcat(char *, const char *, size_t);
unsigned long strtoul(const char *, char **, int);
unsigned int popcount32(uint32_t) __attribute__((__const__));

/* The compiler may know better, also with -ffreestanding. */
#define	memcmp(a, b, size)	__builtin_memcmp(a, b, size)
#define	memcpy(to, from, size)	__builtin_memcpy(to, from, size)
#define	memset(to, byte, size)	__builtin_memset(to, byte, size)
#define	strcmp(a, b)		__builtin_strcmp(a, b)
#define	strlen(text)		__builtin_strlen(text)

void	kern_assert(const char *, ...) __printflike(1, 2);

#define	CTASSERT(e)	_Static_assert(e, #e)

/*
 * Assertions count in DIAGNOSTIC kernels only; elsewhere the expression is
 * compiled and never evaluated.
 */
#ifdef DIAGNOSTIC
#define	__KASSERTSTR							\
	"kernel %sassertion \"%s\" failed: file \"%s\", line %d "
#define	KASSERTMSG(e, msg, ...)						\
	(__predict_true((e)) ? (void)0 : kern_assert(__KASSERTSTR msg,	\
	    "diagnostic ", #e, __FILE__, __LINE__, ## __VA_ARGS__))
#define	KASSERT(e)							\
	(__predict_true((e)) ? (void)0 : kern_assert(__KASSERTSTR,	\
	    "diagnostic ", #e, __FILE__, __LINE__))
#else
#define	KASSERTMSG(e, msg, ...)	((void)sizeof((long)(e)))
#define	KASSERT(e)		((void)sizeof((long)(e)))
#endif

#endif	/* !_KPI_LIB_LIBKERN_LIBKERN_H_ */
