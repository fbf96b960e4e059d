#include "session/list.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "session/document.h"
#include "session/queue.h"
#include "session/session.h"

#define MAX_OVER_LISTED 1000

struct choice {
    list_wants_fn *wants;
    const void *arg;
    const struct session **list;
    size_t count, capacity;
};

static void consider(struct choice *c, const struct session *s)
{
    if (!c->wants(s, c->arg))
        return;
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 64;
        c->list = mem_grow(c->list, c->capacity * sizeof(*c->list));
    }
    c->list[c->count++] = s;
}

/* False: there are more of those that are over. */
static bool choose(struct choice *c, const struct session_list *open,
                   const struct session_list *over, bool of_tenant)
{
    const struct session *s;
    for (s = TAILQ_FIRST(open); s;
         s = of_tenant ? TAILQ_NEXT(s, tenant_entry) : TAILQ_NEXT(s, part_entry))
        consider(c, s);
    size_t most = c->count + MAX_OVER_LISTED;
    for (s = TAILQ_LAST(over, session_list); s && c->count <= most;
         s = of_tenant ? TAILQ_PREV(s, session_list, tenant_entry)
                       : TAILQ_PREV(s, session_list, part_entry))
        consider(c, s);
    if (c->count <= most)
        return true;
    c->count = most;
    return false;
}

static bool choose_all(struct choice *c, const struct cleat *core, const char *tenant)
{
    const struct tenant *t = tenant ? tenant_find(core, tenant) : NULL;
    if (!tenant)
        return choose(c, &core->open, &core->over, false);
    return !t || choose(c, &t->open, &t->over, true);
}

static int compare_age(const void *a, const void *b)
{
    const struct session *x = *(const struct session *const *)a;
    const struct session *y = *(const struct session *const *)b;
    if (x->created != y->created)
        return x->created < y->created ? -1 : 1;
    return strcmp(x->id, y->id);
}

char *list_make(const struct cleat *core, const char *tenant, const char *name,
                list_wants_fn *wants, const void *arg, list_document_fn *document)
{
    struct choice c = {.wants = wants, .arg = arg};
    json_t *list = json_array();
    bool whole = choose_all(&c, core, tenant);
    if (c.count > 0)
        qsort(c.list, c.count, sizeof(*c.list), compare_age);
    for (size_t i = 0; i < c.count; i++)
        json_array_append_new(list, document(c.list[i]));
    free(c.list);
    return document_take(json_pack("{s:o, s:b}", name, list, "truncated", (int)!whole));
}

static bool is_any(const struct session *s, const void *arg)
{
    (void)s;
    (void)arg;
    return true;
}

char *cleat_sessions(struct cleat *core, const char *tenant)
{
    return list_make(core, tenant, "sessions", is_any, NULL, session_document);
}
