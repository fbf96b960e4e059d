/* Listings and the status of hosts. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/static_host.h"

struct static_listing {
    TAILQ_ENTRY(static_listing) entry;
    uint64_t asked; /* tick: what was heard later counts */
    runtime_each_fn *each;
    runtime_done_fn *done;
    void *arg;
};

void static_list(struct runtime *rt, runtime_each_fn *each, runtime_done_fn *done, void *arg)
{
    struct static_listing *l = mem_alloc(sizeof(*l));
    struct static_host *h;
    *l = (struct static_listing){.asked = ++rt->tick, .each = each, .done = done, .arg = arg};
    TAILQ_INSERT_TAIL(&rt->listings, l, entry);
    TAILQ_FOREACH (h, &rt->hosts, entry)
        static_host_want(h);
}

static bool is_ours(const struct runtime *rt, const struct static_host *h)
{
    size_t owner = strlen(rt->env.owner);
    return h->state == STATIC_LEASED && strncmp(h->holder, rt->env.owner, owner) == 0 &&
           h->holder[owner] == '.';
}

static void give(const struct static_listing *l, const struct static_host *h)
{
    struct container c = {.port = h->port};
    char *id = mem_printf("%s@%s", h->holder, h->name);
    mem_copy_string(c.id, sizeof(c.id), id);
    mem_copy_string(c.ip, sizeof(c.ip), h->ip);
    mem_copy_string(c.key, sizeof(c.key), h->holder);
    l->each(l->arg, h->holder, &c, true, h->label);
    free(id);
}

/* A host that does not answer is left out: it may be gone for long, and the others are to be
 * listed. */
static void finish(struct runtime *rt, struct static_listing *l)
{
    const struct static_host *h, *silent = NULL;
    bool answered = false;
    TAILQ_FOREACH (h, &rt->hosts, entry) {
        answered = answered || static_host_answered(h);
        if (!static_host_answered(h))
            silent = h;
        if (is_ours(rt, h))
            give(l, h);
    }
    struct error e = {0};
    if (!answered && silent != NULL) {
        e = silent->error;
        e.of_engine = true;
    }
    TAILQ_REMOVE(&rt->listings, l, entry);
    l->done(l->arg, e.code != ERR_NONE ? &e : NULL);
    free(l);
}

void static_list_step(void *runtime)
{
    struct runtime *rt = runtime;
    struct static_listing *l, *next;
    const struct static_host *h;
    for (l = TAILQ_FIRST(&rt->listings); l != NULL; l = next) {
        next = TAILQ_NEXT(l, entry);
        TAILQ_FOREACH (h, &rt->hosts, entry)
            if (h->answered <= l->asked)
                break;
        if (h == NULL)
            finish(rt, l);
    }
}

void static_list_drop(struct runtime *rt)
{
    struct static_listing *l;
    while ((l = TAILQ_FIRST(&rt->listings)) != NULL) {
        TAILQ_REMOVE(&rt->listings, l, entry);
        free(l);
    }
}

/* ---- status */

static bool is_stopping(const struct static_host *h)
{
    const struct static_lease *l;
    TAILQ_FOREACH (l, &h->leases, host_entry)
        if (l->phase == STATIC_STOPPING)
            return true;
    return false;
}

/* What an operator calls it. */
static const char *word(const struct static_host *h)
{
    static const char *const words[] = {
        [STATIC_UNKNOWN] = "unknown", [STATIC_FREE] = "free",
        [STATIC_LEASED] = "leased",   [STATIC_RELEASING] = "releasing",
        [STATIC_SILENT] = "silent",   [STATIC_REFUSING] = "refusing"};
    if (static_host_answered(h) && is_stopping(h))
        return "releasing";
    if (h->state == STATIC_FREE && !TAILQ_EMPTY(&h->leases))
        return "reserved";
    return words[h->state];
}

json_t *static_status(struct runtime *rt)
{
    json_t *hosts = json_array();
    json_int_t free_hosts = 0, leased = 0;
    const struct static_host *h;
    TAILQ_FOREACH (h, &rt->hosts, entry) {
        const struct static_lease *l = TAILQ_FIRST(&h->leases);
        const char *holder = h->state == STATIC_LEASED ? h->holder
                             : l != NULL               ? l->container.key
                                                       : NULL;
        bool troubled = h->error.code != ERR_NONE;
        free_hosts += h->state == STATIC_FREE && l == NULL;
        leased += holder != NULL;
        json_array_append_new(hosts, json_pack("{s:s, s:s, s:s?, s:s?}", "host", h->name,
                                               "state", word(h), "lease", holder, "error",
                                               troubled ? h->error.message : NULL));
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "name", "static", "free", free_hosts, "leased",
                     leased, "hosts", hosts);
}
