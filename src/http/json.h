/* Strict JSON over jansson: duplicate keys, trailing bytes, NUL and bad UTF-8 are refused,
 * depth and size are capped. Readers name the field that is wrong. */
#ifndef CLEAT_HTTP_JSON_H
#define CLEAT_HTTP_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* An object, or NULL and *e (ERR_INVALID, with line and column). New reference. */
json_t *js_parse_object(const void *text, size_t len, struct error *e);

/* Compact text; free(). Keys stay in insertion order. */
char *js_text(const json_t *);

/* Bytes as a string under the key where JSON can say them, else as base64 under KEY_base64. */
void js_set_bytes(json_t *o, const char *key, const void *bytes, size_t len);

/* Reading: a missing optional field leaves *out alone and is fine. The first problem is kept in
 * *e and later calls on the same *e do nothing, so that a reader checks once at the end. */
void js_string(const json_t *o, const char *key, bool required, size_t max_len,
               const char **out, struct error *e);
void js_int(const json_t *o, const char *key, bool required, int64_t min, int64_t max,
            int64_t *out, struct error *e);
void js_bool(const json_t *o, const char *key, bool required, bool *out, struct error *e);
void js_object(const json_t *o, const char *key, bool required, json_t **out,
               struct error *e); /* borrowed */
void js_array(const json_t *o, const char *key, bool required, size_t max_len, json_t **out,
              struct error *e);
/* Refuses a key that is not in the NULL-ended list. */
void js_only(const json_t *o, const char *const *keys, struct error *e);

#endif
