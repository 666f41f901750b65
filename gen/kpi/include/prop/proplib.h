/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property lists (NetBSD common/include/prop/proplib.h): what reads a
 * module's properties.
 */
#ifndef _KPI_PROP_PROPLIB_H_
#define _KPI_PROP_PROPLIB_H_

#include <sys/types.h>

typedef struct _prop_dictionary	*prop_dictionary_t;

bool	prop_dictionary_get_bool(prop_dictionary_t, const char *, bool *);
bool	prop_dictionary_get_int64(prop_dictionary_t, const char *, int64_t *);
bool	prop_dictionary_get_uint64(prop_dictionary_t, const char *, uint64_t *);
bool	prop_dictionary_get_string(prop_dictionary_t, const char *,
	    const char **);

#endif	/* !_KPI_PROP_PROPLIB_H_ */
