#include "session/figures.h"

#include <stddef.h>
#include "session/metrics.h"

/* null while there is nothing to tell from */
static json_t *rate(uint64_t good, uint64_t bad)
{
    return good + bad > 0 ? json_real((double)good / (double)(good + bad)) : json_null();
}

static json_t *quantile(const struct histogram *h, double q)
{
    int64_t us = histogram_quantile_us(h, &buckets_long, q);
    return us >= 0 ? json_integer(us / 1000) : json_null();
}

static json_t *times(const struct histogram *h)
{
    return json_pack("{s:o, s:o, s:I}", "p50_ms", quantile(h, 0.5), "p95_ms", quantile(h, 0.95),
                     "count", (json_int_t)h->total);
}

struct sums {
    uint64_t ready, failed, hits, misses, warm_hits, warm_misses;
    struct histogram queue, start;
};

static void add(struct sums *sums, const struct group *g)
{
    const struct metrics *m = g->metrics;
    sums->warm_hits += g->warm.hits;
    sums->warm_misses += g->warm.misses;
    sums->ready += m->starts[START_READY];
    sums->failed += m->starts[START_FAILED];
    sums->hits += m->route_hits;
    sums->misses += m->route_misses;
    histogram_merge(&sums->queue, metrics_phase_of(m, "queue"));
    histogram_merge(&sums->start, &m->container_starts);
}

json_t *figures_document(const struct cleat *core)
{
    struct sums sums = {0};
    for (size_t i = 0; i < core->group_count; i++)
        add(&sums, &core->groups[i]);
    return json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:I}", "success_rate",
                     rate(sums.ready, sums.failed), "sessions_ready", (json_int_t)sums.ready,
                     "sessions_failed", (json_int_t)sums.failed, "queue_wait",
                     times(&sums.queue), "container_start", times(&sums.start),
                     "cache_hit_rate", rate(sums.hits, sums.misses), "cache_hits",
                     (json_int_t)sums.hits, "cache_misses", (json_int_t)sums.misses,
                     "warm_hit_rate", rate(sums.warm_hits, sums.warm_misses), "warm_hits",
                     (json_int_t)sums.warm_hits, "warm_misses", (json_int_t)sums.warm_misses);
}
