#include "cleat/figures.h"

#include <inttypes.h>
#include <stdio.h>
#include "base/buf.h"
#include "cleat/member.h"
#include "cleat/term.h"

static void add_row(struct table *t, const char *name, struct buf *text, bool bad)
{
    table_cell(t, PLAIN, name);
    table_cell(t, bad ? RED : BOLD, text->len ? text->data : NULL);
    buf_free(text);
}

/* A share in percent; null while there is nothing to tell from. below: less than this is bad.
 */
static void add_share(struct table *t, const char *name, const json_t *share, double below,
                      int64_t of, const char *noun)
{
    struct buf text = {0};
    double percent = json_number_value(share) * 100;
    if (json_is_number(share))
        buf_printf(&text, "%.1f %% of %" PRId64 " %s", percent, of, noun);
    add_row(t, name, &text, json_is_number(share) && percent < below);
}

static void add_times(struct table *t, const char *name, const json_t *times)
{
    int64_t half = member_number(times, "p50_ms"), most = member_number(times, "p95_ms");
    char a[SPAN_SIZE], b[SPAN_SIZE];
    struct buf text = {0};
    span_text(a, half);
    span_text(b, most);
    if (half >= 0)
        buf_printf(&text, "half within %s, 95 %% within %s", a, b);
    add_row(t, name, &text, false);
}

static void add_warm(struct table *t, const json_t *classes)
{
    int64_t hits = 0, misses = 0;
    const char *name;
    json_t *class;
    json_object_foreach ((json_t *)classes, name, class) {
        const json_t *warm = json_object_get(class, "warm");
        int64_t h = member_number(warm, "hits"), m = member_number(warm, "misses");
        hits += h > 0 ? h : 0;
        misses += m > 0 ? m : 0;
    }
    if (hits + misses == 0)
        return;
    json_t *share = json_real((double)hits / (double)(hits + misses));
    add_share(t, "warm hits", share, 0, hits + misses, "claims");
    json_decref(share);
}

void show_figures(const json_t *status)
{
    static const char *const headings[] = {"FIGURE", "VALUE"};
    const json_t *f = json_object_get(status, "key_figures");
    int64_t started = member_number(f, "sessions_ready") + member_number(f, "sessions_failed");
    int64_t routed = member_number(f, "cache_hits") + member_number(f, "cache_misses");
    if (!json_is_object(f))
        return;
    struct table *t = table_new(2, headings);
    add_share(t, "success", json_object_get(f, "success_rate"), 99, started, "sessions");
    add_times(t, "queue wait", json_object_get(f, "queue_wait"));
    add_times(t, "container start", json_object_get(f, "container_start"));
    add_share(t, "cache hits", json_object_get(f, "cache_hit_rate"), 0, routed, "requests");
    add_warm(t, json_object_get(status, "classes"));
    table_print(t, stdout);
    table_free(t);
    putchar('\n');
}
