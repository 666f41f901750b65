# A stub of pkgsrc lang/python/extension.mk: PYSITELIB of a PLIST is only
# replaced for a package that sets PY_PATCHPLIST.

.include "../../lang/python/pyversion.mk"

.if defined(PY_PATCHPLIST)
PLIST_SUBST+=	PYSITELIB=${PYSITELIB}
.endif
