#include "cleatd/api_events.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "cleatd/query.h"
#include "http/sse.h"

#define HEARTBEAT_MS (15 * 1000)
#define OPERATORS_PART 4       /* of all streams, this part is left to them */
#define UNSENT_MAX (64 * 1024) /* more waits where it is kept for all */
#define RETRY "retry: 1000\n"  /* of a browser */
#define NO_RETRY "retry: 86400000\n"

struct stream {
    struct exchange *exchange;
    struct cleat_events *events; /* NULL: they have ended */
    struct timer heartbeat;
};

static void drained(void *arg)
{
    struct stream *s = arg;
    if (s->events)
        cleat_events_resume(s->events);
}

/* An id without data is no event, but where a reader goes on that leaves before its first. */
static void begin(struct stream *s)
{
    struct server_request *r = s->exchange->request;
    char *text = mem_printf(RETRY "id: %" PRIu64 "\n\n", cleat_events_position(s->events));
    server_add_header(r, "Cache-Control", "no-store");
    server_stream_begin(r, "text/event-stream", drained, s);
    server_stream_write(r, text, strlen(text));
    free(text);
    timer_arm(&s->heartbeat, HEARTBEAT_MS);
}

/* Shows both sides that the other is there. */
static void beat(void *arg)
{
    static const char beat[] = ":\n\n";
    struct stream *s = arg;
    server_stream_write(s->exchange->request, beat, strlen(beat));
    timer_arm(&s->heartbeat, HEARTBEAT_MS);
}

static void write_event(struct stream *s, const struct cleat_event *e)
{
    struct buf b = {0};
    buf_printf(&b, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", e->id, e->code, e->document);
    server_stream_write(s->exchange->request, b.data, b.len);
    buf_free(&b);
}

/* Nothing more ever comes of it: a browser that asks again all the same need not hurry. */
static void take_end(struct stream *s, const struct cleat_event *e)
{
    struct exchange *x = s->exchange;
    s->events = NULL;
    if (strstr(e->document, "\"slow\"")) {
        log_info("api.slow_reader", KV("path", server_path(x->request)));
        exchange_cut(x);
        return;
    }
    server_stream_write(x->request, NO_RETRY, strlen(NO_RETRY));
    write_event(s, e);
    exchange_end(x);
}

static bool take_event(void *arg, const struct cleat_event *e)
{
    struct stream *s = arg;
    if (strcmp(e->code, "end") == 0) {
        take_end(s, e);
        return false;
    }
    write_event(s, e);
    return server_stream_unsent(s->exchange->request) < UNSENT_MAX;
}

static void release(struct exchange *x)
{
    struct stream *s = x->stream;
    x->stream = NULL;
    timer_stop(&s->heartbeat);
    if (s->events)
        cleat_events_cancel(s->events);
    free(s);
}

/* Last-Event-ID is what the reader has by now; the query what it once asked for. */
static bool read_query(struct exchange *x, int64_t *after, bool *follow)
{
    const char *id = server_header(x->request, "Last-Event-ID");
    const char *given = id ? id : server_query(x->request, "after");
    *follow = true;
    if (!given || sse_id_parse(given, after))
        return query_flag(x, "follow", follow);
    exchange_refuse(x, ERR_INVALID, 0, "Last-Event-ID, or after, is the id of an event");
    return false;
}

/* Tenants leave a part of all streams to operators, and each as many as it has to others: so
 * nobody takes the last one. */
static bool has_room(struct exchange *x)
{
    struct stream_counts n = exchange_streams(x);
    size_t for_tenants = x->max_streams - x->max_streams / OPERATORS_PART;
    if (n.all >= x->max_streams || (x->tenant && n.of_tenants >= for_tenants))
        exchange_refuse_full(x, "max_streams", "too many streams of events are open");
    else if (x->tenant && n.of_own >= for_tenants - n.of_tenants)
        exchange_refuse_full(x, "tenant_max_streams",
                             "the tenant has as many streams of events as are left for others");
    else
        return true;
    return false;
}

static void start(struct exchange *x, const char *tenant, const char *session, int64_t after)
{
    bool follow;
    if (!read_query(x, &after, &follow) || !has_room(x))
        return;
    struct stream *s = mem_alloc(sizeof *s);
    s->exchange = x;
    timer_init(&s->heartbeat, x->loop, beat, s);
    s->events = cleat_events(x->cleat, tenant, session, after, follow, take_event, s);
    x->stream = s;
    x->release = release;
    if (!s->events) {
        exchange_refuse(x, ERR_NOT_FOUND, 0, "no such session");
        return;
    }
    begin(s);
    if (strcmp(server_method(x->request), "HEAD") == 0)
        exchange_end(x);
}

void api_get_session_events(struct exchange *x)
{
    start(x, x->tenant, x->session, 0);
}

void api_get_events(struct exchange *x)
{
    const char *tenant;
    if (query_tenant(x, &tenant))
        start(x, tenant, NULL, CLEAT_EVENTS_NEW);
}
