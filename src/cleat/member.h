/* Members of the API's documents; whatever is missing or of another type is simply not there.
 */
#ifndef CLEAT_CLEAT_MEMBER_H
#define CLEAT_CLEAT_MEMBER_H

#include <jansson.h>
#include <stdint.h>

static inline const char *member_text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* -1: none */
static inline int64_t member_number(const json_t *o, const char *key)
{
    const json_t *n = json_object_get(o, key);
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

#endif
