/* The intervals of a session's life. */
#include <string.h>
#include "base/mem.h"
#include "session/metrics.h"
#include "session/session.h"

const char *const span_names[SPAN_NAMES + 1] = {
    "queue", "capacity", "input", "launch", "start",      "register", "check",
    "route", "stage",    "local", "upload", "deregister", "drain",    "stop"};

void session_span_add(struct session *s, const struct span *span)
{
    size_t room = span->cleanup ? MAX_SPANS : MAX_SPANS - CLEANUP_SPANS;
    if (s->span_count >= room)
        return;
    if (s->span_count == s->span_capacity) {
        s->span_capacity = s->span_capacity ? 2 * s->span_capacity : 16;
        s->spans = mem_grow(s->spans, s->span_capacity * sizeof(*s->spans));
    }
    s->spans[s->span_count++] = *span;
}

void session_span_open(struct session *s, const char *name, unsigned attempt, bool cleanup)
{
    session_span_add(s, &(struct span){.name = name,
                                       .attempt = attempt,
                                       .cleanup = cleanup,
                                       .start = core_now(s->core),
                                       .result = cleanup ? "running" : NULL});
}

/* NULL: there is none, or no more. */
static struct span *end_span(struct session *s, const char *name, unsigned attempt)
{
    for (size_t i = s->span_count; i-- > 0;) {
        struct span *span = &s->spans[i];
        if (span->end == 0 && span->attempt == attempt && strcmp(span->name, name) == 0) {
            span->end = core_now(s->core);
            return span;
        }
    }
    return NULL;
}

void session_span_close(struct session *s, const char *name, unsigned attempt,
                        const char *result)
{
    struct span *span = end_span(s, name, attempt);
    if (!span)
        return;
    if (result)
        span->result = result;
    metrics_phase(s->group, name, span->end - span->start);
}

void session_span_cut(struct session *s, const char *name, unsigned attempt)
{
    end_span(s, name, attempt);
}

void session_spans_fit(struct session *s)
{
    if (s->span_count == 0)
        return;
    s->spans = mem_grow(s->spans, s->span_count * sizeof(*s->spans));
    s->span_capacity = s->span_count;
}

void session_span_drop(struct session *s, unsigned attempt)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->span_count; i++)
        if (s->spans[i].attempt != attempt)
            s->spans[kept++] = s->spans[i];
    s->span_count = kept;
}
