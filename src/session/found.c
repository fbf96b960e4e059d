#include "session/found.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "session/attempt.h"
#include "session/label.h"
#include "session/orphan.h"
#include "session/past.h"
#include "session/session.h"

/* ---- the table ---- */

struct found *found_first(const struct found_table *table)
{
    return table->by_name;
}

struct found *found_next(const struct found *f)
{
    return f->hh.next;
}

void found_drop(struct found_table *table, struct found *f)
{
    HASH_DEL(table->by_name, f);
    free(f->label);
    free(f->tenant);
    free(f->class_name);
    free(f->name);
    free(f);
}

void found_clear(struct found_table *table)
{
    struct found *f, *next;
    HASH_ITER (hh, table->by_name, f, next)
        found_drop(table, f);
}

static char *name_of(const struct group *g, bool is_target, const char *key, const char *id)
{
    return mem_printf("%s %s %s %s", g->class->name, is_target ? "target" : "container", key,
                      id);
}

static struct found *find(const struct found_table *table, const struct group *g,
                          bool is_target, const char *key, const char *id)
{
    struct found *f;
    char *name = name_of(g, is_target, key, id);
    HASH_FIND_STR(table->by_name, name, f);
    free(name);
    return f;
}

void found_drop_others(struct found_table *table, const struct found *f)
{
    const struct cleat *core = f->group->core;
    for (size_t i = 0; i < core->group_count; i++) {
        struct found *other =
            find(table, &core->groups[i], f->is_target, f->key, f->container.id);
        if (other && other != f && !other->removing)
            found_drop(table, other);
    }
}

/* ---- whose it is ---- */

static bool is_at(const struct container *c, const char *ip, uint16_t port)
{
    return *ip && c->port == port && strcmp(c->ip, ip) == 0;
}

/* What has ended since the listing was asked for may still be in it. */
static bool is_over(const struct attempt *a, int64_t asked_at)
{
    return attempt_has_ended(a) && a->since < asked_at;
}

/* One that waits for its launch's outcome may own any container of that name. */
static bool owns_container(const struct attempt *a, const char *key, const struct container *c,
                           int64_t asked_at)
{
    if (is_over(a, asked_at))
        return false;
    if (a->launched && strcmp(a->container.id, c->id) == 0)
        return true;
    return strcmp(a->key, key) == 0 && (!a->launched || attempt_has_ended(a));
}

static bool is_owned_container(struct cleat *core, const char *session, const char *key,
                               const struct container *c, int64_t asked_at)
{
    const struct session *s = orphan_session(core, session, key);
    const struct attempt *a;
    if (s)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (owns_container(a, key, c, asked_at))
                return true;
    return false;
}

static bool is_owned_address(const struct cleat *core, const char *ip, uint16_t port,
                             int64_t asked_at)
{
    const struct session *s;
    const struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (a->launched && is_at(&a->container, ip, port) && !is_over(a, asked_at))
                return true;
    return false;
}

static bool is_owned_target(const struct cleat *core, const char *id, int64_t asked_at)
{
    const struct attempt *a = core_find_attempt(core, id);
    return a && !is_over(a, asked_at);
}

static bool is_owned(const struct found *f, int64_t asked_at)
{
    struct cleat *core = f->group->core;
    if (f->nameless)
        return is_owned_address(core, f->container.ip, f->container.port, asked_at);
    if (f->is_target)
        return is_owned_target(core, f->key, asked_at);
    return is_owned_container(core, f->session, f->key, &f->container, asked_at);
}

/* A container of any class that this target may lead to. */
static struct found *container_of(const struct found_table *table, const struct found *target,
                                  const struct group *g)
{
    for (struct found *f = table->by_name; f; f = f->hh.next) {
        if (f->is_target || (g && f->group != g))
            continue;
        if (target->nameless
                ? is_at(&f->container, target->container.ip, target->container.port)
                : strcmp(f->key, target->key) == 0)
            return f;
    }
    return NULL;
}

/* ---- comparison ---- */

static void read_label(struct found *f, const char *text)
{
    struct label label;
    struct error e;
    f->label = mem_strdup(text);
    if (!text || !f->number || !label_read(f->group->core, f->session, text, &label, &e))
        return;
    f->tenant = mem_strdup(label.tenant);
    f->class_name = mem_strdup(label.class_name);
    label_release(&label);
}

/* *f tells what was found; its copy in the table, new or not, was seen now. */
static struct found *enter(struct found_table *table, const struct found *seen,
                           const struct listed *all, const char *label)
{
    struct cleat *core = seen->group->core;
    struct found *f = find(table, seen->group, seen->is_target, seen->key, seen->container.id);
    if (!f) {
        f = mem_alloc(sizeof(*f));
        *f = *seen;
        f->name = name_of(f->group, f->is_target, f->key, f->container.id);
        read_label(f, label);
        f->first_at = all->asked_at;
        f->first = all->number;
        HASH_ADD_KEYPTR(hh, table->by_name, f->name, strlen(f->name), f);
    }
    f->container = seen->container;
    f->has_target = false;
    f->listing = all->number;
    f->ripe |= all->asked_at >= f->first_at + core->settings->reap_grace_s * 1000;
    return f;
}

static void compare_container(struct found_table *table, struct group *g,
                              const struct listed *all, const struct listed_container *c)
{
    struct found seen = {.group = g, .container = c->container};
    mem_copy_string(seen.key, sizeof(seen.key), c->key);
    if (!orphan_read_key(g->core, c->key, seen.session, &seen.number))
        seen.session[0] = '\0';
    if (c->alive && !is_owned(&seen, all->asked_at))
        enter(table, &seen, all, c->label);
}

static bool is_nameless(const struct cleat *core, const char *id)
{
    size_t owner = strlen(core->settings->owner);
    return strncmp(id, core->settings->owner, owner) == 0 &&
           strncmp(id + owner, TARGET_NAMELESS, strlen(TARGET_NAMELESS)) == 0;
}

static void compare_target(struct found_table *table, struct group *g, const struct listed *all,
                           const struct listed_target *t)
{
    struct found seen = {
        .group = g, .is_target = true, .nameless = is_nameless(g->core, t->id)};
    seen.container.port = t->port;
    mem_copy_string(seen.container.ip, sizeof(seen.container.ip), t->ip);
    mem_copy_string(seen.key, sizeof(seen.key), t->id);
    if (!orphan_read_key(g->core, t->id, seen.session, &seen.number))
        seen.session[0] = '\0';
    if (is_owned(&seen, all->asked_at))
        return;
    struct found *container = container_of(table, &seen, g);
    if (container)
        container->has_target = true;
    else
        enter(table, &seen, all, NULL);
}

static struct attempt *find_at(struct cleat *core, const char *ip, uint16_t port)
{
    struct session *s;
    struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (a->launched && !attempt_has_ended(a) && is_at(&a->container, ip, port))
                return a;
    return NULL;
}

/* A row may be older than its target: of a journal that was restored. */
static void note_registered(struct group *g, const struct listed_target *t)
{
    struct attempt *a = is_nameless(g->core, t->id) ? find_at(g->core, t->ip, t->port)
                                                    : core_find_attempt(g->core, t->id);
    if (!a || !a->recovered || a->registered || a->session->group != g ||
        a->cleanup.deregister != STEP_PENDING)
        return;
    a->registered = true;
    attempt_dirty(a);
}

void found_compare(struct found_table *table, struct group *g, const struct listed *all)
{
    struct found *f, *next;
    for (size_t i = 0; i < all->target_count; i++)
        note_registered(g, &all->targets[i]);
    for (size_t i = 0; i < all->container_count; i++)
        compare_container(table, g, all, &all->containers[i]);
    HASH_ITER (hh, table->by_name, f, next)
        if (f->group == g && !f->is_target && f->listing != all->number)
            found_drop(table, f);
    for (size_t i = 0; i < all->target_count; i++)
        compare_target(table, g, all, &all->targets[i]);
    HASH_ITER (hh, table->by_name, f, next)
        if (f->group == g && f->is_target && f->listing != all->number && !f->removing)
            found_drop(table, f);
}

/* ---- judgement ---- */

/* The class that a session belongs to; NULL: it is not known, or not configured. */
static struct group *group_of(const struct found *f)
{
    const struct session *s = orphan_session(f->group->core, f->session, f->key);
    const char *name = s ? s->class_name : f->class_name;
    return name ? core_find_group(f->group->core, name) : NULL;
}

/* Its listing may be older than the finding. */
static bool may_still_list(const struct group *g, const struct found *f)
{
    return g->listed <= f->first;
}

/* An older state of its session was restored. */
static bool is_ahead(const struct found *f, const struct session *s)
{
    return !f->is_target && strcmp(f->session, s->id) == 0 && s->state < SESSION_CLOSING &&
           f->number > s->attempts_used && f->refusal.code == ERR_NONE;
}

static enum found_action judge_known(const struct found_table *table, const struct found *f,
                                     const struct session *s, char *cause)
{
    const struct attempt *a;
    const struct group *g = group_of(f);
    if (!f->is_target && !g) {
        snprintf(cause, FOUND_CAUSE_SIZE, "class %s of its session is not configured",
                 s->class_name);
        return FOUND_REPORT;
    }
    if (!f->is_target && !may_still_list(g, f) &&
        !find(table, g, false, f->key, f->container.id)) {
        snprintf(cause, FOUND_CAUSE_SIZE, "class %s of its session does not list it",
                 s->class_name);
        return FOUND_REPORT;
    }
    snprintf(cause, FOUND_CAUSE_SIZE, "its session knows no attempt %u", f->number);
    if (is_ahead(f, s))
        return FOUND_HOLD;
    TAILQ_FOREACH (a, &s->attempts, entry) {
        if (strcmp(a->key, f->key) != 0)
            continue;
        if (attempt_has_ended(a))
            snprintf(cause, FOUND_CAUSE_SIZE, "its attempt %u had ended", f->number);
        else
            snprintf(cause, FOUND_CAUSE_SIZE, "its attempt %u has another container, %s",
                     f->number, a->container.id);
    }
    return FOUND_CLOSE;
}

enum found_action found_judge(const struct found_table *table, const struct found *f,
                              char cause[FOUND_CAUSE_SIZE])
{
    struct cleat *core = f->group->core;
    const struct session *s = orphan_session(core, f->session, f->key);
    if (f->nameless) {
        mem_copy_string(cause, FOUND_CAUSE_SIZE, "no container has its address");
        return FOUND_CLOSE;
    }
    if (f->number == 0) {
        mem_copy_string(cause, FOUND_CAUSE_SIZE,
                        "its name is none that is given to containers");
        return FOUND_REPORT;
    }
    if (s)
        return judge_known(table, f, s, cause);
    const char *silence = past_silence(core, f->session, f->first_at);
    bool replaced = f->refusal.code == ERR_CONFLICT;
    if (!silence)
        mem_copy_string(cause, FOUND_CAUSE_SIZE, "no row of the journal knows its session");
    else if (f->refusal.code == ERR_NONE)
        mem_copy_string(cause, FOUND_CAUSE_SIZE, silence);
    else
        snprintf(cause, FOUND_CAUSE_SIZE, "%s, and %.120s", silence, f->refusal.message);
    return silence && !replaced ? FOUND_HOLD : FOUND_CLOSE;
}

/* ---- who deals with it ---- */

/* Where nobody knows its class: one that can reach it, and that routes to it. */
static int suits(const struct found *f)
{
    return 2 * (*f->container.ip != '\0') + f->has_target;
}

/* No listing may be missing: a container that is not listed may need its target. */
static bool all_listed(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (*core->groups[i].trouble)
            return false;
    return core->listing == 0;
}

bool found_is_chosen(const struct found_table *table, const struct found *f)
{
    struct cleat *core = f->group->core;
    const struct group *wanted = group_of(f);
    const struct found *best = NULL;
    if (is_owned(f, INT64_MAX))
        return false;
    if (f->is_target && (container_of(table, f, NULL) || !all_listed(core)))
        return false;
    for (size_t i = 0; i < core->group_count; i++) {
        const struct group *g = &core->groups[i];
        const struct found *its = find(table, g, f->is_target, f->key, f->container.id);
        if (!its)
            continue;
        if (!best || suits(its) > suits(best))
            best = its;
        if (g == wanted)
            return its == f;
    }
    return best == f && (!wanted || f->is_target || !may_still_list(wanted, f));
}
