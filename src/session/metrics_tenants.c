/* What each tenant runs, with a bound on how many are told apart. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "session/metrics_text.h"
#include "session/queue.h"

#define TOLD_APART 100
#define OTHERS "other" /* a tenant of this name is among them */

static int compare_names(const void *a, const void *b)
{
    const struct tenant *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void add_tenant(struct exposition *x, const char *name, unsigned running,
                       unsigned queued)
{
    expose(x, running, "tenant", name, "state", "running", NULL);
    expose(x, queued, "tenant", name, "state", "queued", NULL);
}

/* By name. free() */
static const struct tenant **sorted(const struct cleat *core, size_t *count)
{
    const struct tenant **list = NULL, *t;
    size_t capacity = 0;
    *count = 0;
    TAILQ_FOREACH (t, &core->active, active_entry) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            list = mem_grow(list, capacity * sizeof(*list));
        }
        list[(*count)++] = t;
    }
    if (list)
        qsort(list, *count, sizeof(*list), compare_names);
    return list;
}

void metrics_add_tenants(struct exposition *x, const struct cleat *core)
{
    size_t count, told = 0;
    unsigned running = 0, queued = 0;
    const struct tenant **list = sorted(core, &count);
    expose_family(x, "cleat_tenant_sessions", "gauge",
                  "Sessions that run or wait, of the first 100 tenants by name that have any; "
                  "the rest is in \"other\".");
    for (size_t i = 0; i < count; i++) {
        if (told < TOLD_APART && strcmp(list[i]->name, OTHERS) != 0) {
            add_tenant(x, list[i]->name, list[i]->running, list[i]->queued);
            told++;
        } else {
            running += list[i]->running;
            queued += list[i]->queued;
        }
    }
    add_tenant(x, OTHERS, running, queued);
    free(list);
}
