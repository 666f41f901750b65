# A stub of pkgsrc mk/bsd.pkg.mk: the phases of a package as far as the project's use
# them, each as pkgsrc documents it (mk/checksum, mk/subst.mk, mk/configure/
# replace-interpreter.mk, mk/pkginstall/bsd.pkginstall.mk, mk/plist).
# The test sets WRKDIR, DESTDIR, DISTDIR, PYTHONBIN, MACHINE_PLATFORM, MACHINE,
# OS_VERSION and BUILD (a command that replaces the system's make).

PKGNAME?=	${DISTNAME}
PREFIX?=	/opt/pkg
PKGMANDIR=	man
LOCALBASE=	${PREFIX}
BSDSRCDIR?=	/usr/src
WRKSRC=		${WRKDIR}/${DISTNAME}
FILESDIR=	${.CURDIR}/files
DISTFILE=	${DISTNAME}.tar.gz
INSTALLED=	${DESTDIR}${PREFIX}
CP=		cp
FIND=		find
SED=		sed
INSTALL_DATA_DIR=	install -d -m 755
INSTALL_DATA=		install -m 444
INSTALL_MAN=		install -m 444
INSTALL_SCRIPT=		install -m 555
EXAMPLES=		share/examples/rc.d

.for p in ${NOT_FOR_PLATFORM}
.  if !empty(MACHINE_PLATFORM:M${p})
.    error ${PKGNAME} is not available for ${MACHINE_PLATFORM}
.  endif
.endfor
_FOR=	# none
.for p in ${ONLY_FOR_PLATFORM}
.  if !empty(MACHINE_PLATFORM:M${p})
_FOR=	yes
.  endif
.endfor
.if empty(_FOR:Myes)
.  error ${PKGNAME} is only for ${ONLY_FOR_PLATFORM}
.endif

.MAIN: all
all: check-plist

checksum:
	cd ${DISTDIR} && \
	    grep '^SHA512 (${DISTFILE}) = ' ${.CURDIR}/distinfo | cksum -a sha512 -c
	test "$$(sed -n 's/^Size (${DISTFILE}) = \(.*\) bytes/\1/p' \
	    ${.CURDIR}/distinfo)" -eq "$$(wc -c < ${DISTDIR}/${DISTFILE})"

extract: checksum
	mkdir -p ${WRKDIR} && cd ${WRKDIR} && tar -xzf ${DISTDIR}/${DISTFILE}

post-extract: extract
.if !target(pre-configure)
pre-configure: post-extract
.endif
.for c in ${SUBST_CLASSES}
pre-configure: subst-${c}
subst-${c}: post-extract
	cd ${WRKSRC} && for f in ${SUBST_FILES.${c}}; do \
		test -f "$$f" || { echo "no file $$f"; exit 1; }; \
		${SED} ${SUBST_SED.${c}} "$$f" > "$$f.new" && \
		cat "$$f.new" > "$$f" && rm "$$f.new" || exit 1; \
	done
.endfor

configure: pre-configure
.if defined(REPLACE_FILES.python)
	cd ${WRKSRC} && for f in ${REPLACE_FILES.python}; do \
		${SED} -e '1s|^#![[:space:]]*\(/usr/bin/env[[:space:]][[:space:]]*\)\{0,1\}${REPLACE.python.old}|#!${REPLACE.python.new}|' \
		    "$$f" > "$$f.new" && mv "$$f.new" "$$f" || exit 1; \
	done
.endif

build: configure
.if empty(NO_BUILD:Uno:M[Yy][Ee][Ss])
.  for d in ${BUILD_DIRS}
	cd ${WRKSRC}/${d} && ${BUILD} ${MAKE_FLAGS}
.  endfor
.endif

makedirs: build
.for d in ${INSTALLATION_DIRS}
	mkdir -p ${INSTALLED}/${d}
.endfor

do-install: makedirs

install: do-install
.for s in ${RCD_SCRIPTS}
	mkdir -p ${INSTALLED}/${EXAMPLES}
	${INSTALL_SCRIPT} ${RCD_SCRIPT_SRC.${s}} ${INSTALLED}/${EXAMPLES}/${s}
.endfor

# What is installed is what PLIST lists; rc.d scripts are added by pkgsrc, and
# X.pyc is where this Python has it (lang/python/plist-python.awk).
check-plist: install
	{ ${SED} -e '/^@/d' -e 's,^\(.*/\)\([^/]*\)\.pyc$$,\1__pycache__/\2.${PYTAG:U}.pyc,' \
	    ${PLIST_SUBST:@v@-e 's|$${${v:C/=.*//}}|${v:C/^[^=]*=//}|g'@} \
	    ${.CURDIR}/PLIST; \
	${RCD_SCRIPTS:@s@echo ${EXAMPLES}/${s};@} } | sort > ${WRKDIR}/listed
	cd ${INSTALLED} && find . -type f | ${SED} 's,^\./,,' | sort > ${WRKDIR}/there
	diff ${WRKDIR}/listed ${WRKDIR}/there

.PHONY: all checksum extract post-extract pre-configure configure build makedirs
.PHONY: do-install install check-plist
