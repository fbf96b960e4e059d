/* Metrics of admission: who was let in, who was refused and why, and which tenants run. */
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

static void add_tenants(struct exposition *x, const struct cleat *core)
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

static void add_admissions(struct exposition *x, const struct cleat *core)
{
    const struct counters *n = &core->counters;
    expose_counter(x, "cleat_admissions_total", n->admissions,
                   "Sessions that were given a place.");
    expose_counter(x, "cleat_admissions_returned_total", n->returns,
                   "Sessions that went back to the queue because their engine had no room.");
    expose_counter(x, "cleat_queue_timeouts_total", n->queue_timeouts,
                   "Sessions that waited in the queue for too long.");
    expose_family(x, "cleat_refusals_total", "counter",
                  "Creates that were refused with code full, by reason.");
    for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
        expose(x, (int64_t)n->refused[i], "reason", limit_names[i], NULL);
}

void metrics_add_admission(struct exposition *x, const struct cleat *core)
{
    add_admissions(x, core);
    add_tenants(x, core);
}
