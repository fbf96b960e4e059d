/* The list of sessions. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "session/context.h"
#include "session/document.h"
#include "session/session.h"

#define MAX_CLOSED_LISTED 1000

struct choice {
    const struct session **list;
    size_t count, capacity;
};

static void choose(struct choice *c, const struct session *s)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 64;
        c->list = mem_grow(c->list, c->capacity * sizeof(*c->list));
    }
    c->list[c->count++] = s;
}

/* False: there are more of those that are over. */
static bool choose_all(struct choice *c, const struct cleat *core, const char *tenant)
{
    const struct session *s;
    unsigned closed = 0;
    TAILQ_FOREACH (s, &core->open, part_entry)
        if (context_sees(tenant, s))
            choose(c, s);
    TAILQ_FOREACH_REVERSE(s, &core->over, session_list, part_entry)
    {
        if (!context_sees(tenant, s))
            continue;
        if (closed++ == MAX_CLOSED_LISTED)
            return false;
        choose(c, s);
    }
    return true;
}

static int compare_age(const void *a, const void *b)
{
    const struct session *x = *(const struct session *const *)a;
    const struct session *y = *(const struct session *const *)b;
    if (x->created != y->created)
        return x->created < y->created ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* All that are not over, and the newest of those that are: a list that one turn can make. */
char *cleat_sessions(struct cleat *core, const char *tenant)
{
    struct choice c = {0};
    json_t *list = json_array();
    bool whole = choose_all(&c, core, tenant);
    if (c.count > 0)
        qsort(c.list, c.count, sizeof(*c.list), compare_age);
    for (size_t i = 0; i < c.count; i++)
        json_array_append_new(list, session_document(c.list[i]));
    free(c.list);
    return document_take(json_pack("{s:o, s:b}", "sessions", list, "truncated", (int)!whole));
}
