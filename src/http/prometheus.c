#include "http/prometheus.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Escapes as the format asks for: a backslash, a line feed and, in label values, a quote. */
static void add_escaped(struct buf *b, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\\')
            buf_puts(b, "\\\\");
        else if (*text == '\n')
            buf_puts(b, "\\n");
        else if (*text == '"' && quotes)
            buf_puts(b, "\\\"");
        else
            buf_add(b, text, 1);
    }
}

void expose_family(struct exposition *x, const char *name, const char *type, const char *help)
{
    x->family = name;
    buf_printf(&x->text, "# HELP %s ", name);
    add_escaped(&x->text, help, false);
    buf_printf(&x->text, "\n# TYPE %s %s\n", name, type);
}

/* name="value",… without braces; free() */
static char *labels_text(va_list labels)
{
    struct buf b = {0};
    const char *name;
    while ((name = va_arg(labels, const char *))) {
        buf_printf(&b, "%s%s=\"", b.len ? "," : "", name);
        add_escaped(&b, va_arg(labels, const char *), true);
        buf_puts(&b, "\"");
    }
    return buf_take(&b);
}

static void add_seconds(struct buf *b, int64_t us)
{
    buf_printf(b, "%" PRId64 ".%06" PRId64, us / 1000000, us % 1000000);
}

/* "family" or "family{labels}", and a space */
static void add_name(struct exposition *x, const char *suffix, const char *labels)
{
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    buf_printf(&x->text, "%s%s%s%s%s ", x->family, suffix, open, labels, close);
}

void expose(struct exposition *x, int64_t value, ...)
{
    va_list list;
    va_start(list, value);
    char *labels = labels_text(list);
    va_end(list);
    add_name(x, "", labels);
    buf_printf(&x->text, "%" PRId64 "\n", value);
    free(labels);
}

void expose_seconds(struct exposition *x, int64_t us, ...)
{
    va_list list;
    va_start(list, us);
    char *labels = labels_text(list);
    va_end(list);
    add_name(x, "", labels);
    add_seconds(&x->text, us);
    buf_puts(&x->text, "\n");
    free(labels);
}

void expose_counter(struct exposition *x, const char *name, uint64_t value, const char *help)
{
    expose_family(x, name, "counter", help);
    expose(x, (int64_t)value, NULL);
}

void expose_gauge(struct exposition *x, const char *name, int64_t value, const char *help)
{
    expose_family(x, name, "gauge", help);
    expose(x, value, NULL);
}

static void add_bucket(struct exposition *x, const char *labels, const char *bound,
                       uint64_t count)
{
    buf_printf(&x->text, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", x->family, labels,
               *labels ? "," : "", bound, count);
}

void expose_histogram(struct exposition *x, const struct histogram *h, const struct buckets *b,
                      ...)
{
    char bound[32];
    uint64_t count = 0;
    va_list list;
    va_start(list, b);
    char *labels = labels_text(list);
    va_end(list);
    for (size_t i = 0; i < b->count; i++) {
        count += h->counts[i];
        snprintf(bound, sizeof bound, "%g", (double)b->bounds_us[i] / 1e6);
        add_bucket(x, labels, bound, count);
    }
    add_bucket(x, labels, "+Inf", h->total);
    add_name(x, "_sum", labels);
    add_seconds(&x->text, h->sum_us);
    buf_puts(&x->text, "\n");
    add_name(x, "_count", labels);
    buf_printf(&x->text, "%" PRIu64 "\n", h->total);
    free(labels);
}
