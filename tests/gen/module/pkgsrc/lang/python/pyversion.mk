# A stub of pkgsrc lang/python/pyversion.mk: the first accepted version.

PYTHON_VERSIONS_ACCEPTED?=	313 312 311 310 27
.for v in ${PYTHON_VERSIONS_ACCEPTED}
.  if empty(PYTHON_VERSIONS_INCOMPATIBLE:M${v})
_PYTHON_VERSION?=	${v}
.  endif
.endfor
PYVERSSUFFIX=	${_PYTHON_VERSION:C/^3/3./}
PYSITELIB=	lib/python${PYVERSSUFFIX}/site-packages
# PYTHONBIN comes from the test
