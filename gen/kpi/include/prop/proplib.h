/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property lists (NetBSD common/include/prop/proplib.h): what reads a
 * module's properties.
 */
#ifndef _KPI_PROP_PROPLIB_H_
#define _KPI_PROP_PROPLIB_H_

#include <sys/types.h>

typedef enum {
	PROP_TYPE_UNKNOWN	= 0,
	PROP_TYPE_BOOL		= 0x626f6f6c,
	PROP_TYPE_NUMBER	= 0x6e6d6272,
	PROP_TYPE_STRING	= 0x73746e67,
	PROP_TYPE_DATA		= 0x64617461,
	PROP_TYPE_ARRAY		= 0x61726179,
	PROP_TYPE_DICTIONARY	= 0x64696374,
	PROP_TYPE_DICT_KEYSYM	= 0x646b6579
} prop_type_t;

typedef void			*prop_object_t;
typedef struct _prop_bool	*prop_bool_t;
typedef struct _prop_number	*prop_number_t;
typedef struct _prop_string	*prop_string_t;
typedef struct _prop_dictionary	*prop_dictionary_t;
typedef struct _prop_dictionary_keysym *prop_dictionary_keysym_t;
typedef struct _prop_object_iterator *prop_object_iterator_t;

prop_type_t prop_object_type(prop_object_t);
bool	prop_bool_true(prop_bool_t);
int64_t	prop_number_signed_value(prop_number_t);
const char *prop_string_value(prop_string_t);

prop_object_iterator_t prop_dictionary_iterator(prop_dictionary_t);
prop_object_t prop_object_iterator_next(prop_object_iterator_t);
void	prop_object_iterator_release(prop_object_iterator_t);
const char *prop_dictionary_keysym_value(prop_dictionary_keysym_t);
prop_object_t prop_dictionary_get_keysym(prop_dictionary_t,
	    prop_dictionary_keysym_t);
prop_object_t prop_dictionary_get(prop_dictionary_t, const char *);

bool	prop_dictionary_get_bool(prop_dictionary_t, const char *, bool *);
bool	prop_dictionary_get_int64(prop_dictionary_t, const char *, int64_t *);
bool	prop_dictionary_get_uint64(prop_dictionary_t, const char *, uint64_t *);
bool	prop_dictionary_get_string(prop_dictionary_t, const char *,
	    const char **);

#endif	/* !_KPI_PROP_PROPLIB_H_ */
