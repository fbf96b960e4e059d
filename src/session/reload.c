/* Another configuration while sessions run: what may change is swapped in place. */
#include <stdlib.h>
#include <string.h>
#include "cleat.h"
#include "session/admission.h"
#include "session/config.h"
#include "session/listing.h"
#include "session/session.h"
#include "session/warm.h"

struct listener {
    cleat_change_fn *fn;
    void *arg;
};

static bool differs(const struct option *o, const void *a, const void *b)
{
    char *x = option_value(o, a), *y = option_value(o, b);
    bool different = strcmp(x, y) != 0;
    free(x);
    free(y);
    return different;
}

static void tell(const struct listener *l, const char *class_name, const struct option *o,
                 const void *from, const void *to)
{
    char *x = option_value(o, from), *y = option_value(o, to);
    l->fn(l->arg, class_name, o->key, x, y, o->live);
    free(x);
    free(y);
}

static void compare(const struct listener *l, const char *class_name,
                    const struct option *table, const void *ours, const void *given)
{
    for (const struct option *o = table; o->key; o++)
        if (differs(o, ours, given))
            tell(l, class_name, o, ours, given);
}

static void swap_live(const struct option *table, void *ours, void *given)
{
    for (const struct option *o = table; o->key; o++)
        if (o->live)
            option_swap(o, ours, given);
}

/* Done twice, it is undone. */
static void swap_all(struct cleat_config *ours, struct cleat_config *given)
{
    swap_live(settings_options, &ours->settings, &given->settings);
    for (size_t i = 0; i < ours->class_count; i++) {
        struct class *other = config_class(given, ours->classes[i].name);
        if (other)
            swap_live(class_options, &ours->classes[i], other);
    }
}

static void tell_all(const struct listener *l, const struct cleat_config *ours,
                     const struct cleat_config *given)
{
    compare(l, NULL, settings_options, &ours->settings, &given->settings);
    for (size_t i = 0; i < ours->class_count; i++) {
        const char *name = ours->classes[i].name;
        const struct class *other = config_class(given, name);
        if (other)
            compare(l, name, class_options, &ours->classes[i], other);
        else
            l->fn(l->arg, name, NULL, "", NULL, false);
    }
    for (size_t i = 0; i < given->class_count; i++)
        if (!config_class(ours, given->classes[i].name))
            l->fn(l->arg, given->classes[i].name, NULL, NULL, "", false);
}

/* A class that is gone stays until the next start, which its warm containers would hinder. */
static void end_pools(struct cleat *core, const struct cleat_config *given)
{
    for (size_t i = 0; i < core->group_count; i++) {
        struct class *class = core->groups[i].class;
        if (!config_class(given, class->name))
            class->warm_min = class->warm_max = 0;
    }
}

/* The next listing was set by the old ones. */
static bool reaps_otherwise(const struct settings *a, const struct settings *b)
{
    return a->reap_interval_s != b->reap_interval_s || a->reap_grace_s != b->reap_grace_s ||
           a->reap_dry_run != b->reap_dry_run;
}

bool cleat_reload(struct cleat *core, struct cleat_config *config, cleat_change_fn *fn,
                  void *arg, char *why, size_t size)
{
    struct session *s;
    swap_all(core->config, config);
    bool fine = cleat_config_check(core->config, why, size);
    swap_all(core->config, config);
    if (fine) {
        tell_all(&(struct listener){fn, arg}, core->config, config);
        swap_all(core->config, config);
        end_pools(core, config);
        admission_limits_changed(core);
        TAILQ_FOREACH (s, &core->open, part_entry) /* every deadline may have moved */
            session_wake(s);
        warm_reload(core);
        if (reaps_otherwise(core->settings, &config->settings))
            listings_ask(core);
    }
    cleat_config_free(config);
    return fine;
}
