#include "session/choice.h"

#include <string.h>
#include "http/json.h"
#include "session/request.h"

#define MAX_LABELS 32
#define MAX_LABEL 128

/* ---- reading ---- */

static void check_labels(json_t *labels, struct error *e)
{
    const char *key;
    json_t *value;
    if (json_object_size(labels) > MAX_LABELS)
        error_set(e, ERR_INVALID, "labels: at most %d are allowed", MAX_LABELS);
    json_object_foreach (labels, key, value)
        if (!*key || strchr(key, '=') || strlen(key) > MAX_LABEL || !json_is_string(value) ||
            json_string_length(value) > MAX_LABEL)
            error_set(e, ERR_INVALID,
                      "labels: a key without '=' and a string, of %d characters at most",
                      MAX_LABEL);
}

void resources_read(const json_t *request, struct resources *r, struct error *e)
{
    static const char *const keys[] = {"cpu_milli", "memory_mb", "gpu", "labels", NULL};
    json_t *o = NULL, *labels = NULL;
    *r = (struct resources){0};
    js_object(request, "resources", false, &o, e);
    if (!o)
        return;
    js_only(o, keys, e);
    request_take_option(o, "cpu_milli", &r->cpu_milli, e);
    request_take_option(o, "memory_mb", &r->memory_mb, e);
    request_take_option(o, "gpu", &r->gpu, e);
    js_object(o, "labels", false, &labels, e);
    if (labels && e->code == ERR_NONE)
        check_labels(labels, e);
    r->labels = labels;
    r->given = true;
}

/* ---- one class ---- */

static bool has_label(const struct class *class, const char *key, const char *value)
{
    size_t len = strlen(key);
    for (char *const *label = class->labels; *label; label++)
        if (strncmp(*label, key, len) == 0 && (*label)[len] == '=' &&
            strcmp(*label + len + 1, value) == 0)
            return true;
    return false;
}

static bool has_labels(const struct class *class, json_t *labels)
{
    const char *key;
    json_t *value;
    json_object_foreach (labels, key, value)
        if (!has_label(class, key, json_string_value(value)))
            return false;
    return true;
}

static bool is_short(int64_t has, int64_t wanted)
{
    return has > 0 && has < wanted;
}

/* Which member of resources is more than the class has; NULL: none. */
static const char *lack(const struct class *class, const struct resources *r)
{
    if (class->gpu < r->gpu)
        return "gpu";
    if (is_short(class->memory_mb, r->memory_mb))
        return "memory_mb";
    if (is_short(class->cpu_milli, r->cpu_milli))
        return "cpu_milli";
    return has_labels(class, r->labels) ? NULL : "labels";
}

bool choice_fits(const struct class *class, const struct resources *r, struct error *e)
{
    const char *what = lack(class, r);
    if (what)
        error_set(e, ERR_NO_CLASS, "resources: class %s lacks what is asked for: %s",
                  class->name, what);
    return !what;
}

/* ---- all classes ---- */

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int64_t limit(int64_t value)
{
    return value > 0 ? value : INT64_MAX;
}

static bool is_less(const struct class *a, const struct class *b)
{
    int by = compare(a->gpu, b->gpu);
    if (by == 0)
        by = compare(limit(a->memory_mb), limit(b->memory_mb));
    if (by == 0)
        by = compare(limit(a->cpu_milli), limit(b->cpu_milli));
    return by < 0;
}

static bool anyone_has(const struct cleat_config *config, const struct resources *r)
{
    for (size_t i = 0; i < config->class_count; i++)
        if (!lack(&config->classes[i], r))
            return true;
    return false;
}

/* One member that no class has, whatever else was asked for; else it is the sum. */
static void say_why(const struct cleat_config *config, const struct resources *r,
                    struct error *e)
{
    const struct {
        const char *name;
        struct resources alone;
    } each[] = {{"gpu", {.gpu = r->gpu}},
                {"memory_mb", {.memory_mb = r->memory_mb}},
                {"cpu_milli", {.cpu_milli = r->cpu_milli}},
                {"labels", {.labels = r->labels}}};
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
        if (!anyone_has(config, &each[i].alone)) {
            error_set(e, ERR_NO_CLASS, "resources: no class has what is asked for: %s",
                      each[i].name);
            return;
        }
    error_set(e, ERR_NO_CLASS, "resources: no class has all of it at once");
}

const struct class *choice_pick(const struct cleat_config *config, const struct resources *r,
                                struct error *e)
{
    const struct class *best = NULL;
    for (size_t i = 0; i < config->class_count; i++) {
        const struct class *class = &config->classes[i];
        if (!lack(class, r) && (!best || is_less(class, best)))
            best = class;
    }
    if (!best)
        say_why(config, r, e);
    return best;
}
