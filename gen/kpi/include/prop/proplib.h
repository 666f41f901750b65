/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property lists (NetBSD common/include/prop/proplib.h): dictionaries, arrays
 * and their values. The functions for XML are missing.
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
typedef struct _prop_data	*prop_data_t;
typedef struct _prop_array	*prop_array_t;
typedef struct _prop_dictionary	*prop_dictionary_t;
typedef struct _prop_dictionary_keysym *prop_dictionary_keysym_t;
typedef struct _prop_object_iterator *prop_object_iterator_t;

prop_type_t prop_object_type(prop_object_t);
void	prop_object_retain(prop_object_t);
void	prop_object_release(prop_object_t);
bool	prop_object_equals(prop_object_t, prop_object_t);
prop_object_t prop_object_iterator_next(prop_object_iterator_t);
void	prop_object_iterator_reset(prop_object_iterator_t);
void	prop_object_iterator_release(prop_object_iterator_t);

prop_bool_t prop_bool_create(bool);
bool	prop_bool_true(prop_bool_t);

prop_number_t prop_number_create_signed(intmax_t);
prop_number_t prop_number_create_unsigned(uintmax_t);
int	prop_number_size(prop_number_t);
bool	prop_number_unsigned(prop_number_t);
intmax_t prop_number_signed_value(prop_number_t);
uintmax_t prop_number_unsigned_value(prop_number_t);
bool	prop_number_equals_signed(prop_number_t, intmax_t);
bool	prop_number_equals_unsigned(prop_number_t, uintmax_t);

prop_string_t prop_string_create_copy(const char *);
prop_string_t prop_string_create_nocopy(const char *);
size_t	prop_string_size(prop_string_t);
const char *prop_string_value(prop_string_t);
bool	prop_string_equals_string(prop_string_t, const char *);

prop_data_t prop_data_create_copy(const void *, size_t);
prop_data_t prop_data_create_nocopy(const void *, size_t);
size_t	prop_data_size(prop_data_t);
const void *prop_data_value(prop_data_t);

prop_dictionary_t prop_dictionary_create(void);
prop_dictionary_t prop_dictionary_create_with_capacity(unsigned int);
prop_dictionary_t prop_dictionary_copy(prop_dictionary_t);
prop_dictionary_t prop_dictionary_copy_mutable(prop_dictionary_t);
unsigned int prop_dictionary_count(prop_dictionary_t);
void	prop_dictionary_make_immutable(prop_dictionary_t);
prop_object_iterator_t prop_dictionary_iterator(prop_dictionary_t);
prop_array_t prop_dictionary_all_keys(prop_dictionary_t);
prop_object_t prop_dictionary_get(prop_dictionary_t, const char *);
bool	prop_dictionary_set(prop_dictionary_t, const char *, prop_object_t);
void	prop_dictionary_remove(prop_dictionary_t, const char *);
prop_object_t prop_dictionary_get_keysym(prop_dictionary_t,
	    prop_dictionary_keysym_t);
bool	prop_dictionary_set_keysym(prop_dictionary_t,
	    prop_dictionary_keysym_t, prop_object_t);
void	prop_dictionary_remove_keysym(prop_dictionary_t,
	    prop_dictionary_keysym_t);
bool	prop_dictionary_equals(prop_dictionary_t, prop_dictionary_t);
const char *prop_dictionary_keysym_value(prop_dictionary_keysym_t);
bool	prop_dictionary_set_and_rel(prop_dictionary_t, const char *,
	    prop_object_t);
bool	prop_dictionary_get_dict(prop_dictionary_t, const char *,
	    prop_dictionary_t *);

prop_array_t prop_array_create(void);
prop_array_t prop_array_create_with_capacity(unsigned int);
prop_array_t prop_array_copy(prop_array_t);
prop_array_t prop_array_copy_mutable(prop_array_t);
unsigned int prop_array_capacity(prop_array_t);
unsigned int prop_array_count(prop_array_t);
bool	prop_array_ensure_capacity(prop_array_t, unsigned int);
void	prop_array_make_immutable(prop_array_t);
bool	prop_array_mutable(prop_array_t);
prop_object_iterator_t prop_array_iterator(prop_array_t);
prop_object_t prop_array_get(prop_array_t, unsigned int);
bool	prop_array_set(prop_array_t, unsigned int, prop_object_t);
bool	prop_array_add(prop_array_t, prop_object_t);
void	prop_array_remove(prop_array_t, unsigned int);
bool	prop_array_equals(prop_array_t, prop_array_t);
bool	prop_array_add_and_rel(prop_array_t, prop_object_t);

#define	_KPI_PROP_DICTIONARY(name, type)				\
bool	prop_dictionary_get_##name(prop_dictionary_t, const char *,	\
	    type *);							\
bool	prop_dictionary_set_##name(prop_dictionary_t, const char *,	\
	    type)
#define	_KPI_PROP_ARRAY(name, type)					\
bool	prop_array_get_##name(prop_array_t, unsigned int, type *);	\
bool	prop_array_set_##name(prop_array_t, unsigned int, type)
#define	_KPI_PROP_TYPE(name, type)					\
_KPI_PROP_DICTIONARY(name, type);					\
_KPI_PROP_ARRAY(name, type);						\
bool	prop_array_add_##name(prop_array_t, type)

_KPI_PROP_TYPE(int8, int8_t);
_KPI_PROP_TYPE(uint8, uint8_t);
_KPI_PROP_TYPE(int16, int16_t);
_KPI_PROP_TYPE(uint16, uint16_t);
_KPI_PROP_TYPE(int32, int32_t);
_KPI_PROP_TYPE(uint32, uint32_t);
_KPI_PROP_TYPE(int64, int64_t);
_KPI_PROP_TYPE(uint64, uint64_t);
_KPI_PROP_TYPE(string, const char *);
_KPI_PROP_DICTIONARY(bool, bool);
_KPI_PROP_DICTIONARY(int, int);
_KPI_PROP_DICTIONARY(uint, unsigned int);
_KPI_PROP_ARRAY(bool, bool);

bool	prop_dictionary_set_string_nocopy(prop_dictionary_t, const char *,
	    const char *);
bool	prop_dictionary_get_data(prop_dictionary_t, const char *,
	    const void **, size_t *);
bool	prop_dictionary_set_data(prop_dictionary_t, const char *,
	    const void *, size_t);

#endif	/* !_KPI_PROP_PROPLIB_H_ */
