# A stub of NetBSD's bsd.kmodule.mk, for tests on other systems: it takes
# the same variables, builds KMOD.kmod from SRCS with CC, and installs it below
# DESTDIR.  The test gives CPPFLAGS and CFLAGS of its own.

.if !defined(KMOD) || !defined(SRCS) || !defined(WARNS)
.error bsd.kmodule.mk needs KMOD, SRCS and WARNS
.endif
.if !exists($S/sys/param.h)
.error $S is no kernel source tree: make S=/path/to/sys
.endif

OBJS=	${SRCS:R:S/$/.o/g}
PROG=	${KMOD}.kmod

.SUFFIXES:
.SUFFIXES: .o .c

all: ${PROG}

.c.o:
	${CC} ${CPPFLAGS} ${CFLAGS} -I${.CURDIR} -c ${.IMPSRC} -o ${.TARGET}

${PROG}: ${OBJS}
	${LD} -r ${LDFLAGS} -T ${KMODSCRIPT} -o ${.TARGET} ${OBJS}

install:
	mkdir -p ${DESTDIR}${KMODULEDIR}
	install -m 444 ${PROG} ${DESTDIR}${KMODULEDIR}/${PROG}

clean:
	rm -f ${PROG} ${OBJS}

.PHONY: all install clean
