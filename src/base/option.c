#include "base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

static void *field(const struct option *o, void *target)
{
    return (char *)target + o->offset;
}

static const void *const_field(const struct option *o, const void *target)
{
    return (const char *)target + o->offset;
}

const struct option *option_find(const struct option *table, const char *key)
{
    for (const struct option *o = table; o->key; o++)
        if (strcmp(o->key, key) == 0)
            return o;
    return NULL;
}

/* Start and length of the choice with that index; NULL: there are not so many. */
static const char *choice_at(const char *choices, int index, size_t *len)
{
    for (const char *s = choices;; s += *len + 1) {
        *len = strcspn(s, "|");
        if (index-- == 0)
            return s;
        if (s[*len] == '\0')
            return NULL;
    }
}

static int choice_index(const char *choices, const char *value)
{
    size_t len;
    const char *choice;
    for (int i = 0; (choice = choice_at(choices, i, &len)); i++)
        if (strlen(value) == len && memcmp(choice, value, len) == 0)
            return i;
    return -1;
}

static char *choices_text(const char *choices)
{
    struct buf text = {0};
    size_t len;
    const char *choice;
    for (int i = 0; (choice = choice_at(choices, i, &len)); i++)
        buf_printf(&text, "%s%.*s", i > 0 ? " | " : "", (int)len, choice);
    return buf_take(&text);
}

char *option_range(const struct option *o)
{
    switch (o->type) {
    case OPTION_INT:
        return mem_printf("%" PRId64 "..%" PRId64, o->min, o->max);
    case OPTION_BOOL:
        return mem_strdup("true | false");
    case OPTION_CHOICE:
        return choices_text(o->choices);
    case OPTION_STRING:
        if (o->max == 0)
            return mem_strdup("text");
        return mem_printf("text of %" PRId64 "..%" PRId64 " bytes", o->min, o->max);
    case OPTION_LIST:
        return mem_strdup("comma-separated list");
    }
    abort();
}

static bool has_control(const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        if (*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static enum error_code set_int(const struct option *o, int64_t *to, const char *value,
                               struct error *e)
{
    char *end;
    const char *first = value + (*value == '-');
    errno = 0;
    int64_t number = strtoll(value, &end, 10);
    if (*first < '0' || *first > '9' || *end)
        return error_set(e, ERR_CONFIG,
                         "%s: \"%s\" is not a whole number within %" PRId64 "..%" PRId64,
                         o->key, value, o->min, o->max);
    if (errno != 0 || number < o->min || number > o->max)
        return error_set(e, ERR_CONFIG, "%s: %s is not within %" PRId64 "..%" PRId64, o->key,
                         value, o->min, o->max);
    *to = number;
    return ERR_NONE;
}

static enum error_code refuse_choice(const struct option *o, const char *value, struct error *e)
{
    char *allowed = option_range(o);
    error_set(e, ERR_CONFIG, "%s: \"%s\" is not one of %s", o->key, value, allowed);
    free(allowed);
    return ERR_CONFIG;
}

static enum error_code set_bool(const struct option *o, bool *to, const char *value,
                                struct error *e)
{
    bool yes = strcmp(value, "true") == 0;
    if (!yes && strcmp(value, "false") != 0)
        return refuse_choice(o, value, e);
    *to = yes;
    return ERR_NONE;
}

static enum error_code set_choice(const struct option *o, int *to, const char *value,
                                  struct error *e)
{
    int index = choice_index(o->choices, value);
    if (index < 0)
        return refuse_choice(o, value, e);
    *to = index;
    return ERR_NONE;
}

static enum error_code set_string(const struct option *o, char **to, const char *value,
                                  struct error *e)
{
    size_t len = strlen(value);
    if (o->max > 0 && (len > (uint64_t)o->max || len < (uint64_t)o->min))
        return error_set(e, ERR_CONFIG,
                         "%s: %zu bytes is not a length within %" PRId64 "..%" PRId64, o->key,
                         len, o->min, o->max);
    if (has_control(value))
        return error_set(e, ERR_CONFIG, "%s: control characters are not allowed", o->key);
    free(*to);
    *to = mem_strdup(value);
    return ERR_NONE;
}

static void list_free(char **list)
{
    for (char **item = list; item && *item; item++)
        free(*item);
    free(list);
}

/* The next entry without the spaces around it; *rest moves behind its comma, NULL at the end.
 */
static char *next_entry(const char **rest)
{
    const char *start = *rest + strspn(*rest, " ");
    size_t len = strcspn(start, ",");
    *rest = start[len] == ',' ? start + len + 1 : NULL;
    while (len > 0 && start[len - 1] == ' ')
        len--;
    return mem_strndup(start, len);
}

static enum error_code set_list(const struct option *o, char ***to, const char *value,
                                struct error *e)
{
    if (has_control(value))
        return error_set(e, ERR_CONFIG, "%s: control characters are not allowed", o->key);
    size_t count = 0;
    char **list = mem_array(1, sizeof *list);
    const char *rest = value[strspn(value, " ")] ? value : NULL;
    while (rest) {
        list = mem_grow(list, (count + 2) * sizeof *list);
        list[count] = next_entry(&rest);
        list[count + 1] = NULL;
        if (*list[count++] == '\0') {
            list_free(list);
            return error_set(e, ERR_CONFIG, "%s: \"%s\" has an empty entry", o->key, value);
        }
    }
    list_free(*to);
    *to = list;
    return ERR_NONE;
}

static enum error_code set_field(const struct option *o, void *target, const char *value,
                                 struct error *e)
{
    switch (o->type) {
    case OPTION_INT:
        return set_int(o, field(o, target), value, e);
    case OPTION_BOOL:
        return set_bool(o, field(o, target), value, e);
    case OPTION_CHOICE:
        return set_choice(o, field(o, target), value, e);
    case OPTION_STRING:
        return set_string(o, field(o, target), value, e);
    case OPTION_LIST:
        return set_list(o, field(o, target), value, e);
    }
    abort();
}

enum error_code option_set(const struct option *table, void *target, const char *key,
                           const char *value, struct error *e)
{
    const struct option *o = option_find(table, key);
    if (!o)
        return error_set(e, ERR_CONFIG, "%s: there is no such option", key);
    return set_field(o, target, value, e);
}

static void clear_field(const struct option *o, void *target)
{
    switch (o->type) {
    case OPTION_INT:
        *(int64_t *)field(o, target) = 0;
        break;
    case OPTION_BOOL:
        *(bool *)field(o, target) = false;
        break;
    case OPTION_CHOICE:
        *(int *)field(o, target) = 0;
        break;
    case OPTION_STRING:
    case OPTION_LIST:
        *(void **)field(o, target) = NULL;
        break;
    }
}

void option_defaults(const struct option *table, void *target)
{
    for (const struct option *o = table; o->key; o++) {
        clear_field(o, target);
        const char *value = o->fallback;
        if (!value && o->type == OPTION_LIST)
            value = "";
        if (value && set_field(o, target, value, NULL) != ERR_NONE)
            abort();
    }
}

void option_release(const struct option *table, void *target)
{
    for (const struct option *o = table; o->key; o++) {
        if (o->type == OPTION_STRING)
            free(*(char **)field(o, target));
        else if (o->type == OPTION_LIST)
            list_free(*(char ***)field(o, target));
        clear_field(o, target);
    }
}

void option_swap(const struct option *o, void *a, void *b)
{
    static const size_t sizes[] = {[OPTION_INT] = sizeof(int64_t),
                                   [OPTION_BOOL] = sizeof(bool),
                                   [OPTION_CHOICE] = sizeof(int),
                                   [OPTION_STRING] = sizeof(char *),
                                   [OPTION_LIST] = sizeof(char **)};
    char kept[sizeof(int64_t)];
    memcpy(kept, field(o, a), sizes[o->type]);
    memcpy(field(o, a), field(o, b), sizes[o->type]);
    memcpy(field(o, b), kept, sizes[o->type]);
}

static char *list_text(char *const *list)
{
    struct buf text = {0};
    for (char *const *item = list; item && *item; item++)
        buf_printf(&text, "%s%s", item == list ? "" : ",", *item);
    return buf_take(&text);
}

char *option_value(const struct option *o, const void *target)
{
    const void *from = const_field(o, target);
    switch (o->type) {
    case OPTION_INT:
        return mem_printf("%" PRId64, *(const int64_t *)from);
    case OPTION_BOOL:
        return mem_strdup(*(const bool *)from ? "true" : "false");
    case OPTION_CHOICE: {
        size_t len;
        const char *choice = choice_at(o->choices, *(const int *)from, &len);
        return choice ? mem_strndup(choice, len) : mem_strdup("");
    }
    case OPTION_STRING: {
        const char *text = *(char *const *)from;
        return mem_strdup(text ? text : "");
    }
    case OPTION_LIST:
        return list_text(*(char *const *const *)from);
    }
    abort();
}
