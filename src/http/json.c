#include "http/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/log.h"
#include "base/mem.h"

enum { MAX_DEPTH = 32, NAME_SIZE = 64 };

/* A name from outside as it may stand in a message: short, printable ASCII. */
static const char *printable(char out[NAME_SIZE], const char *name, size_t len)
{
    size_t n = len < NAME_SIZE - 1 ? len : NAME_SIZE - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
    out[n] = '\0';
    return out;
}

static const char *reason(const json_error_t *problem)
{
    switch (json_error_code(problem)) {
    case json_error_premature_end_of_input:
        return "the text ends too early";
    case json_error_end_of_input_expected:
        return "more text after the end";
    case json_error_invalid_utf8:
        return "not UTF-8";
    case json_error_duplicate_key:
        return "a key is there twice";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a NUL character";
    case json_error_numeric_overflow:
        return "a number is too large";
    default:
        return "not valid JSON";
    }
}

/* jansson recurses once per level; its own cap is far above ours. */
static bool too_deep(const char *text, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* The key of the number that ends at end, by reading backwards; false when it has none. */
static bool key_before(const char *text, size_t end, char out[NAME_SIZE])
{
    size_t i = end;
    while (i > 0 && strchr("0123456789+-.eE \t\r\n", text[i - 1]) && text[i - 1])
        i--;
    if (i == 0 || text[i - 1] != ':')
        return false;
    for (i--; i > 0 && strchr(" \t\r\n", text[i - 1]) && text[i - 1];)
        i--;
    if (i < 2 || text[i - 1] != '"')
        return false;
    size_t close = i - 1, open = close;
    while (open > 0 && (text[open - 1] != '"' || (open > 1 && text[open - 2] == '\\')))
        open--;
    printable(out, text + open, close - open);
    return true;
}

static void set_parse_error(struct error *e, const char *text, size_t len,
                            const json_error_t *problem)
{
    char name[NAME_SIZE];
    size_t end = problem->position > 0 ? (size_t)problem->position : 0;
    if (json_error_code(problem) == json_error_numeric_overflow &&
        key_before(text, end < len ? end : len, name))
        error_set(e, ERR_INVALID, "line %d, column %d: the number in '%s' is too large",
                  problem->line, problem->column, name);
    else
        error_set(e, ERR_INVALID, "line %d, column %d: %s", problem->line, problem->column,
                  reason(problem));
}

json_t *js_parse_object(const void *text, size_t len, struct error *e)
{
    if (len == 0) {
        error_set(e, ERR_INVALID, "a JSON object is due, nothing came");
        return NULL;
    }
    if (too_deep(text, len)) {
        error_set(e, ERR_INVALID, "JSON is nested deeper than %d levels", MAX_DEPTH);
        return NULL;
    }
    json_error_t problem;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!root) {
        set_parse_error(e, text, len, &problem);
        return NULL;
    }
    if (memchr(text, '\0', len)) { /* jansson overlooks one behind a number or a word */
        json_decref(root);
        error_set(e, ERR_INVALID, "not valid JSON: a NUL character");
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        error_set(e, ERR_INVALID, "line 1, column 1: a JSON object is due");
        return NULL;
    }
    return root;
}

char *js_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        log_error("json.dump_failed");
        abort();
    }
    return text;
}

void js_set_bytes(json_t *o, const char *key, const void *bytes, size_t len)
{
    json_t *text = memchr(bytes, '\0', len) ? NULL : json_stringn(bytes, len);
    if (text) {
        json_object_set_new(o, key, text);
        return;
    }
    char *encoded = base64_encode(bytes, len), *encoded_key = mem_printf("%s_base64", key);
    json_object_set_new(o, encoded_key, json_string(encoded));
    free(encoded_key);
    free(encoded);
}

/* The value to read, or NULL: nothing more to do. */
static const json_t *find(const json_t *o, const char *key, bool required, struct error *e)
{
    if (e->code != ERR_NONE)
        return NULL;
    const json_t *value = json_object_get(o, key);
    if (!value && required)
        error_set(e, ERR_INVALID, "'%s' is missing", key);
    return value;
}

void js_string(const json_t *o, const char *key, bool required, size_t max_len,
               const char **out, struct error *e)
{
    const json_t *value = find(o, key, required, e);
    if (!value)
        return;
    if (!json_is_string(value))
        error_set(e, ERR_INVALID, "'%s' must be a string", key);
    else if (json_string_length(value) > max_len)
        error_set(e, ERR_INVALID, "'%s' is longer than %zu bytes", key, max_len);
    else
        *out = json_string_value(value);
}

void js_int(const json_t *o, const char *key, bool required, int64_t min, int64_t max,
            int64_t *out, struct error *e)
{
    const json_t *value = find(o, key, required, e);
    if (!value)
        return;
    if (!json_is_integer(value))
        error_set(e, ERR_INVALID, "'%s' must be an integer", key);
    else if (json_integer_value(value) < min || json_integer_value(value) > max)
        error_set(e, ERR_INVALID, "'%s' must be within %" PRId64 "..%" PRId64, key, min, max);
    else
        *out = json_integer_value(value);
}

void js_bool(const json_t *o, const char *key, bool required, bool *out, struct error *e)
{
    const json_t *value = find(o, key, required, e);
    if (!value)
        return;
    if (!json_is_boolean(value))
        error_set(e, ERR_INVALID, "'%s' must be true or false", key);
    else
        *out = json_is_true(value);
}

void js_object(const json_t *o, const char *key, bool required, json_t **out, struct error *e)
{
    const json_t *value = find(o, key, required, e);
    if (!value)
        return;
    if (!json_is_object(value))
        error_set(e, ERR_INVALID, "'%s' must be an object", key);
    else
        *out = json_object_get(o, key);
}

void js_array(const json_t *o, const char *key, bool required, size_t max_len, json_t **out,
              struct error *e)
{
    const json_t *value = find(o, key, required, e);
    if (!value)
        return;
    if (!json_is_array(value))
        error_set(e, ERR_INVALID, "'%s' must be an array", key);
    else if (json_array_size(value) > max_len)
        error_set(e, ERR_INVALID, "'%s' has more than %zu elements", key, max_len);
    else
        *out = json_object_get(o, key);
}

static bool listed(const char *const *keys, const char *key)
{
    for (; *keys; keys++)
        if (strcmp(*keys, key) == 0)
            return true;
    return false;
}

void js_only(const json_t *o, const char *const *keys, struct error *e)
{
    if (e->code != ERR_NONE)
        return;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)o, key, value) {
        if (!listed(keys, key)) {
            char name[NAME_SIZE];
            error_set(e, ERR_INVALID, "unknown field '%s'", printable(name, key, strlen(key)));
            return;
        }
    }
}
