/* Answers that go on: chunks into an output that is bounded. */
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include "base/log.h"
#include "http/connection.h"

/* Bytes that have left. */
static size_t sent(const struct connection *c)
{
    return c->streamed - connection_unsent(c);
}

static void add(struct connection *c, const void *data, size_t len)
{
    bufferevent_write(c->bev, data, len);
    c->streamed += len;
}

static void watch(struct connection *c)
{
    if (timer_armed(&c->timer))
        return;
    c->mark = sent(c);
    timer_arm(&c->timer, c->server->idle_ms);
}

static void write_head(struct connection *c, const struct server_request *r,
                       const char *content_type)
{
    struct buf head = {0};
    answer_head(&head, c, r, 200, content_type);
    if (!c->head.http10)
        buf_puts(&head, "Transfer-Encoding: chunked\r\n");
    buf_puts(&head, "\r\n");
    add(c, head.data, head.len);
    buf_free(&head);
}

/* HTTP/1.0 knows no chunks: the end of the connection is the end of the answer. */
void server_stream_begin(struct server_request *r, const char *content_type,
                         server_drained_fn *drained, void *arg)
{
    struct connection *c = r->connection;
    r->drained = drained;
    r->drained_arg = arg;
    if (!c)
        return;
    c->closing |= c->server->stopped || c->head.http10;
    c->state = STREAMING;
    c->streamed = 0;
    write_head(c, r, content_type);
    watch(c);
}

/* Not from within the writer's call: the loop ends it, and then the handler is told. */
static void cut_off(struct connection *c)
{
    log_info("server.slow_client", KI("unsent", connection_unsent(c)));
    c->overrun = true;
    timer_arm(&c->timer, 0);
}

void server_stream_write(struct server_request *r, const void *data, size_t len)
{
    struct connection *c = r->connection;
    char size[24];
    if (!c || c->overrun || len == 0 || request_is_head(r))
        return;
    if (connection_unsent(c) + len > SERVER_STREAM_MAX) {
        cut_off(c);
        return;
    }
    if (!c->head.http10)
        add(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", len));
    add(c, data, len);
    if (!c->head.http10)
        add(c, "\r\n", 2);
    watch(c);
}

size_t server_stream_unsent(const struct server_request *r)
{
    return r->connection ? connection_unsent(r->connection) : 0;
}

void server_stream_end(struct server_request *r)
{
    static const char last_chunk[] = "0\r\n\r\n";
    struct connection *c = r->connection;
    if (c && c->overrun) {
        server_stream_cut(r);
        return;
    }
    if (c) {
        c->request = NULL;
        if (!c->head.http10 && !request_is_head(r))
            add(c, last_chunk, sizeof last_chunk - 1);
        connection_end_answer(c);
    }
    request_free(r);
}

void server_stream_cut(struct server_request *r)
{
    r->gone = NULL;
    if (r->connection)
        connection_lose_client(r->connection);
    request_free(r);
}

void stream_drained(struct connection *c)
{
    struct server_request *r = c->request;
    timer_stop(&c->timer);
    if (r->drained && !c->overrun)
        r->drained(r->drained_arg);
}

void stream_timeout(struct connection *c)
{
    if (!c->overrun && sent(c) > c->mark)
        watch(c);
    else
        connection_lose_client(c);
}
