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

void show_figures(const json_t *status)
{
    static const char *const headings[] = {"FIGURE", "VALUE"};
    const json_t *f = json_object_get(status, "key_figures");
    int64_t started = member_number(f, "sessions_ready") + member_number(f, "sessions_failed");
    int64_t routed = member_number(f, "cache_hits") + member_number(f, "cache_misses");
    int64_t claims = member_number(f, "warm_hits") + member_number(f, "warm_misses");
    if (!json_is_object(f))
        return;
    struct table *t = table_new(2, headings);
    add_share(t, "success", json_object_get(f, "success_rate"), 99, started, "sessions");
    add_times(t, "queue wait", json_object_get(f, "queue_wait"));
    add_times(t, "container start", json_object_get(f, "container_start"));
    add_share(t, "cache hits", json_object_get(f, "cache_hit_rate"), 0, routed, "requests");
    add_share(t, "warm hits", json_object_get(f, "warm_hit_rate"), 0, claims, "claims");
    table_print(t, stdout);
    table_free(t);
    putchar('\n');
}
