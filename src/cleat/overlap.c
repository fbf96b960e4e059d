#include "cleat/overlap.h"

#include <stdlib.h>
#include "base/mem.h"
#include "cleat/term.h"

struct edge {
    int64_t at_ms;
    int change;
};

/* An end comes before a start of the same moment: those two did not run together. */
static int by_time(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->change - y->change;
}

static struct edge *find_edges(const struct timeline *t, size_t *count)
{
    struct edge *edges = mem_array(2 * t->count + 1, sizeof *edges);
    for (size_t i = 0; i < t->count; i++) {
        const struct bar *b = &t->lives[i].use;
        if (!b->kind || b->end_ms == b->start_ms)
            continue;
        edges[(*count)++] = (struct edge){b->start_ms, 1};
        edges[(*count)++] = (struct edge){b->end_ms, -1};
    }
    qsort(edges, *count, sizeof *edges, by_time);
    return edges;
}

void overlap_count(struct timeline *t)
{
    struct overlap *o = &t->overlap;
    size_t count = 0;
    unsigned now = 0;
    struct edge *edges = find_edges(t, &count);
    o->steps = mem_array(count + 1, sizeof *o->steps);
    for (size_t i = 0; i < count; i++) {
        now += (unsigned)edges[i].change;
        bool same = i + 1 < count && edges[i + 1].at_ms == edges[i].at_ms;
        if (same)
            continue;
        o->steps[o->step_count++] = (struct step){edges[i].at_ms, now};
        if (now > o->most)
            o->most = now;
    }
    for (size_t i = 0; i + 1 < o->step_count; i++)
        if (o->steps[i].count == o->most)
            o->most_ms += o->steps[i + 1].at_ms - o->steps[i].at_ms;
    free(edges);
}

void overlap_describe(const struct overlap *o, struct buf *out)
{
    char span[SPAN_SIZE];
    span_text(span, o->most_ms);
    buf_printf(out, "%u at once for %s", o->most, span);
}
