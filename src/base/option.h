/* One table describes each option: key, type, range, default, help. The parser, the man page,
 * the example configuration and --check-config all read the same table. */
#ifndef CLEAT_BASE_OPTION_H
#define CLEAT_BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum option_type {
    OPTION_INT,    /* field: int64_t; min..max */
    OPTION_BOOL,   /* field: bool; true | false */
    OPTION_CHOICE, /* field: int, the index in choices; choices is "a|b|c" */
    OPTION_STRING, /* field: char *, owned; min..max is its length, max 0: any */
    OPTION_LIST, /* field: char **, owned, NULL-ended, never NULL; the value is comma-separated
                    text */
};

struct option {
    const char *key;
    enum option_type type;
    int64_t min, max;
    const char *choices;
    const char *fallback; /* default, as text; NULL: zero, NULL or the empty list */
    const char *help;     /* one or two sentences */
    size_t offset;        /* of the field in the struct that the table describes */
    bool live; /* may change while its owner runs: nobody keeps a pointer to the field's text */
};

/* Tables end with a NULL key. target is the struct; its strings are owned by it. */
void option_defaults(const struct option *table, void *target);
enum error_code option_set(const struct option *table, void *target, const char *key,
                           const char *value,
                           struct error *e); /* ERR_CONFIG, says what is allowed */
void option_swap(const struct option *o, void *a, void *b); /* the values of two structs */
void option_release(const struct option *table, void *target);
const struct option *option_find(const struct option *table, const char *key);
char *option_range(const struct option *o); /* "1..3600", "auto | bwrap | none"; free() */
char *option_value(const struct option *o,
                   const void *target); /* current value as text; free() */

#endif
