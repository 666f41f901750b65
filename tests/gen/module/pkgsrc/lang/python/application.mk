# A stub of pkgsrc lang/python/application.mk: only who includes it gets the
# interpreter of REPLACE_PYTHON replaced.

.include "../../lang/python/pyversion.mk"

.if defined(REPLACE_PYTHON)
REPLACE_FILES.python=	${REPLACE_PYTHON}
REPLACE.python.old=	.*python3\{0,1\}[^ ]*
REPLACE.python.new=	${PYTHONBIN}
.endif
