#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <evhtp/evhtp.h>
#include <event2/buffer.h>

#include <event2/bufferevent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/guard.h"
#include "http/json.h"
#include "http/listen.h"

#define LINGER_MS 1000             /* a refused client may still be sending */
#define PIPELINED_MAX (256 * 1024) /* bytes kept back while a request is under way */

enum connection_state { READ_HEAD, READ_BODY, ANSWERING, WRITING, REFUSED };

/* A parameter of the query or a header. */
struct field {
    TAILQ_ENTRY(field) entry;
    char *name, *value;
};
TAILQ_HEAD(fields, field);

struct server_request {
    struct connection *connection; /* NULL: the client is gone */
    evhtp_request_t *evhtp;        /* NULL then, too */
    char *method, *target, *path;
    struct buf plain, body; /* the head as the guard passed it on, and the whole body */
    struct fields queries, headers, answer_headers;
    struct server_peer peer;
    char local[64];
    server_gone_fn *gone;
    void *gone_arg;
};

struct connection {
    TAILQ_ENTRY(connection) entry;
    struct server *server;
    evhtp_connection_t *evhtp;
    struct bufferevent *bev;
    bufferevent_data_cb read, write; /* libevhtp's own */
    bufferevent_event_cb event;
    enum connection_state state;
    struct buf in;
    struct guard_head head;
    struct guard_chunks chunks;
    struct server_request *request;
    struct timer timer;
    bool ended;
};

struct server {
    struct loop *loop;
    struct server_options options;
    char *unix_path;
    uint16_t port;
    evhtp_t *htp;
    server_request_fn *fn;
    void *arg;
    TAILQ_HEAD(, connection) connections;
    unsigned count;
    struct connection *feeding; /* whose head libevhtp is being given */
};

static void advance(struct connection *);

/* ---- requests ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(const char *s, size_t len)
{
    char *out = mem_alloc(len + 1), *to = out;
    for (size_t i = 0; i < len; i++) {
        int high = i + 2 < len ? hex_value(s[i + 1]) : -1;
        int low = high >= 0 ? hex_value(s[i + 2]) : -1;
        if (s[i] == '%' && low >= 0 && (high | low)) {
            *to++ = (char)(high * 16 + low);
            i += 2;
        } else {
            *to++ = s[i] == '+' ? ' ' : s[i];
        }
    }
    return out;
}

static void add_field(struct fields *list, char *name, char *value)
{
    struct field *f = mem_alloc(sizeof(*f));
    f->name = name;
    f->value = value;
    TAILQ_INSERT_TAIL(list, f, entry);
}

static void free_fields(struct fields *list)
{
    while (!TAILQ_EMPTY(list)) {
        struct field *f = TAILQ_FIRST(list);
        TAILQ_REMOVE(list, f, entry);
        free(f->name);
        free(f->value);
        free(f);
    }
}

/* The guard wrote these lines: "name: value\r\n" after the request line. */
static void read_headers(struct server_request *r)
{
    const char *at = strstr(r->plain.data, "\r\n") + 2;
    while (*at && *at != '\r') {
        const char *end = strstr(at, "\r\n");
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *value = colon + 1 + strspn(colon + 1, " ");
        add_field(&r->headers, mem_strndup(at, (size_t)(colon - at)),
                  mem_strndup(value, (size_t)(end - value)));
        at = end + 2;
    }
}

static void read_query(struct server_request *r, const struct guard_text *query)
{
    const char *at = query->at, *end = query->at ? query->at + query->len : NULL;
    while (at && at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *stop = next ? next : end;
        const char *eq = memchr(at, '=', (size_t)(stop - at));
        add_field(&r->queries, decode(at, (size_t)((eq ? eq : stop) - at)),
                  eq ? decode(eq + 1, (size_t)(stop - eq - 1)) : mem_strdup(""));
        at = next ? next + 1 : end;
    }
}

static void read_peer(struct server_request *r, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    struct ucred who;
    char ip[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return;
    if (address.ss_family == AF_UNIX) {
        len = sizeof(who);
        r->peer.is_unix = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
        if (r->peer.is_unix) {
            r->peer.uid = who.uid;
            r->peer.gid = who.gid;
            r->peer.pid = who.pid;
        }
    } else if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(r->local, sizeof(r->local), "%s:%u", ip, (unsigned)ntohs(in->sin_port));
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
        snprintf(r->local, sizeof(r->local), "[%s]:%u", ip, (unsigned)ntohs(in6->sin6_port));
    }
}

static struct server_request *request_new(struct connection *c, struct buf *plain)
{
    struct server_request *r = mem_alloc(sizeof(*r));
    const struct guard_head *h = &c->head;
    r->connection = c;
    r->method = mem_strndup(h->method.at, h->method.len);
    r->target = mem_strndup(h->target.at, h->target.len);
    r->path = mem_strndup(h->path.at, h->path.len);
    r->plain = *plain;
    TAILQ_INIT(&r->queries);
    TAILQ_INIT(&r->headers);
    TAILQ_INIT(&r->answer_headers);
    read_query(r, &h->query);
    read_headers(r);
    read_peer(r, bufferevent_getfd(c->bev));
    return r;
}

static void request_free(struct server_request *r)
{
    free_fields(&r->queries);
    free_fields(&r->headers);
    free_fields(&r->answer_headers);
    if (r->connection)
        r->connection->request = NULL;
    free(r->method);
    free(r->target);
    free(r->path);
    buf_free(&r->plain);
    buf_free(&r->body);
    free(r);
}

/* ---- connections ---- */

static void free_connection(void *p)
{
    struct connection *c = p;
    buf_free(&c->in);
    free(c);
}

/* libevhtp is freeing its connection, whoever began it. */
static evhtp_res on_fini(evhtp_connection_t *conn, void *arg)
{
    struct connection *c = arg;
    struct server_request *r = c->request;
    (void)conn;
    c->ended = true;
    timer_stop(&c->timer);
    TAILQ_REMOVE(&c->server->connections, c, entry);
    c->server->count--;
    if (r) {
        r->connection = NULL;
        r->evhtp = NULL;
        c->request = NULL;
        if (c->state < ANSWERING)
            request_free(r); /* nobody was given it yet */
        else if (r->gone)
            r->gone(r->gone_arg);
    }
    loop_free_later(c->server->loop, c, free_connection);
    return EVHTP_RES_OK;
}

static void drop(void *arg)
{
    struct connection *c = arg;
    if (!c->ended)
        evhtp_connection_free(c->evhtp);
}

static char *error_body(const struct error *e)
{
    json_t *o = json_pack("{s:{s:s, s:s, s:b}}", "error", "code", error_name(e->code),
                          "message", e->message, "retryable", (int)error_retryable(e->code));
    char *text = js_text(o);
    json_decref(o);
    return text;
}

/* Answers what the guard refused, past libevhtp, and closes. */
static void refuse(struct connection *c, int status, const char *why)
{
    struct error e;
    struct buf out = {0};
    error_set(&e, status == 413 || status == 431 ? ERR_TOO_LARGE : ERR_INVALID, "%s", why);
    char *body = error_body(&e);
    buf_printf(
        &out,
        "HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s",
        status, strlen(body), body);
    if (c->request)
        request_free(c->request);
    c->state = REFUSED;
    timer_arm(&c->timer, LINGER_MS);
    bufferevent_write(c->bev, out.data, out.len);
    buf_free(&out);
    free(body);
}

static void on_request(evhtp_request_t *evhtp, void *arg)
{
    struct server *s = arg;
    if (s->feeding && s->feeding->request)
        s->feeding->request->evhtp = evhtp;
}

/* The whole request is here: libevhtp gets the head, the application the rest. */
static void hand_over(struct connection *c)
{
    struct server *s = c->server;
    struct server_request *r = c->request;
    struct evbuffer *input = bufferevent_get_input(c->bev);
    timer_stop(&c->timer);
    c->state = ANSWERING;
    s->feeding = c;
    evbuffer_unfreeze(input, 0);
    evbuffer_add(input, r->plain.data, r->plain.len);
    evbuffer_freeze(input, 0);
    c->read(c->bev, c->evhtp);
    s->feeding = NULL;
    if (c->ended)
        return;
    if (!r->evhtp) {
        refuse(c, 400, "the request cannot be understood");
        return;
    }
    s->fn(s->arg, r);
}

static void start_body(struct connection *c, struct buf *plain, size_t used)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    c->request = request_new(c, plain);
    c->state = READ_BODY;
    c->chunks = (struct guard_chunks){0};
    bool body_missing = c->in.len == used && (c->head.chunked || c->head.content_length > 0);
    buf_drop(&c->in, used);
    timer_arm(&c->timer, c->server->options.idle_timeout_ms);
    if (c->head.expect_continue && body_missing)
        bufferevent_write(c->bev, go_on, sizeof(go_on) - 1);
}

static bool read_head(struct connection *c, const struct guard_limits *limits)
{
    struct buf plain = {0};
    struct guard_result g =
        guard_check_head(c->in.data ? c->in.data : "", c->in.len, limits, &c->head, &plain);
    if (g.state == GUARD_DONE) {
        start_body(c, &plain, g.used);
        return true;
    }
    buf_free(&plain);
    if (g.state == GUARD_REFUSED)
        refuse(c, g.status, g.why);
    return false;
}

static bool read_body(struct connection *c, const struct guard_limits *limits)
{
    struct buf *body = &c->request->body;
    if (!c->head.chunked) {
        size_t missing = c->head.content_length - body->len;
        size_t take = missing < c->in.len ? missing : c->in.len;
        buf_add(body, c->in.data, take);
        buf_drop(&c->in, take);
        return body->len == c->head.content_length;
    }
    struct guard_result g = guard_feed_chunks(&c->chunks, c->in.data, c->in.len, limits, body);
    buf_drop(&c->in, g.used);
    if (g.state == GUARD_REFUSED)
        refuse(c, g.status, g.why);
    return g.state == GUARD_DONE;
}

static void advance(struct connection *c)
{
    const struct guard_limits limits = {c->server->options.max_head,
                                        c->server->options.max_body};
    if (c->state == READ_HEAD && (c->in.len == 0 || !read_head(c, &limits)))
        return;
    if (c->state == READ_BODY && read_body(c, &limits))
        hand_over(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct connection *c = arg;
    struct evbuffer *input = bufferevent_get_input(bev);
    size_t len = evbuffer_get_length(input);
    if (c->state != REFUSED)
        buf_add(&c->in, evbuffer_pullup(input, -1), len);
    evbuffer_drain(input, len);
    if (c->state >= ANSWERING && c->in.len > PIPELINED_MAX)
        bufferevent_disable(bev, EV_READ);
    if (c->state < ANSWERING)
        advance(c);
}

/* The output is empty. */
static void on_write(struct bufferevent *bev, void *arg)
{
    struct connection *c = arg;
    if (c->state == REFUSED) {
        shutdown(bufferevent_getfd(bev), SHUT_WR);
        return;
    }
    if (c->state != WRITING)
        return; /* 100 Continue */
    c->write(bev, c->evhtp);
    if (c->ended)
        return;
    c->state = READ_HEAD;
    timer_arm(&c->timer, c->server->options.idle_timeout_ms);
    bufferevent_enable(bev, EV_READ);
    advance(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct connection *c = arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        evhtp_connection_free(c->evhtp);
    else
        c->event(bev, what, c->evhtp);
}

static evhtp_res on_accept(evhtp_connection_t *conn, void *arg)
{
    struct server *s = arg;
    if (s->count >= s->options.max_connections)
        return EVHTP_RES_ERROR;
    struct connection *c = mem_alloc(sizeof(*c));
    void *own;
    c->server = s;
    c->evhtp = conn;
    c->bev = evhtp_connection_get_bev(conn);
    bufferevent_getcb(c->bev, &c->read, &c->write, &c->event, &own);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    evhtp_connection_set_hook(conn, evhtp_hook_on_connection_fini, (evhtp_hook)on_fini, c);
    timer_init(&c->timer, s->loop, drop, c);
    timer_arm(&c->timer, s->options.idle_timeout_ms);
    TAILQ_INSERT_TAIL(&s->connections, c, entry);
    s->count++;
    return EVHTP_RES_OK;
}

/* ---- the server ---- */

struct server *server_new(struct loop *loop, const struct server_options *o,
                          server_request_fn *fn, void *arg, struct error *e)
{
    uint16_t port = o->port;
    int fd =
        o->unix_path ? listen_unix(o->unix_path, o->unix_mode, e) : listen_tcp(o->ip, &port, e);
    if (fd < 0)
        return NULL;
    struct server *s = mem_alloc(sizeof(*s));
    s->loop = loop;
    s->options = *o;
    s->unix_path = mem_strdup(o->unix_path);
    s->port = port;
    s->fn = fn;
    s->arg = arg;
    TAILQ_INIT(&s->connections);
    s->htp = evhtp_new(loop_base(loop), NULL);
    evhtp_set_gencb(s->htp, on_request, s);
    evhtp_set_post_accept_cb(s->htp, on_accept, s);
    if (evhtp_accept_socket(s->htp, fd, 1024) != 0) {
        error_set(e, ERR_INTERNAL, "cannot listen: %s", strerror(errno));
        close(fd);
        server_free(s);
        return NULL;
    }
    return s;
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

void server_stop_listening(struct server *s)
{
    evhtp_unbind_socket(s->htp);
    if (s->unix_path)
        unlink(s->unix_path);
    free(s->unix_path);
    s->unix_path = NULL;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    server_stop_listening(s);
    while (!TAILQ_EMPTY(&s->connections)) {
        struct connection *c = TAILQ_FIRST(&s->connections);
        if (c->request)
            c->request->gone = NULL;
        evhtp_connection_free(c->evhtp);
    }
    evhtp_free(s->htp);
    free(s);
}

/* ---- what the application asks and answers ---- */

const char *server_method(const struct server_request *r)
{
    return r->method;
}

const char *server_target(const struct server_request *r)
{
    return r->target;
}

const char *server_path(const struct server_request *r)
{
    return r->path;
}

const char *server_query(struct server_request *r, const char *name)
{
    struct field *f;
    TAILQ_FOREACH (f, &r->queries, entry)
        if (strcmp(f->name, name) == 0)
            return f->value;
    return NULL;
}

const char *server_header(const struct server_request *r, const char *name)
{
    struct field *f;
    TAILQ_FOREACH (f, &r->headers, entry)
        if (strcasecmp(f->name, name) == 0)
            return f->value;
    return NULL;
}

const void *server_body(const struct server_request *r, size_t *len)
{
    *len = r->body.len;
    return r->body.data ? r->body.data : "";
}

const struct server_peer *server_peer(const struct server_request *r)
{
    return &r->peer;
}

const char *server_local_address(const struct server_request *r)
{
    return r->local;
}

void server_on_gone(struct server_request *r, server_gone_fn *fn, void *arg)
{
    r->gone = fn;
    r->gone_arg = arg;
}

void server_add_header(struct server_request *r, const char *name, const char *value)
{
    if (guard_is_token(name, strlen(name)) && guard_is_value(value, strlen(value)))
        add_field(&r->answer_headers, mem_strdup(name), mem_strdup(value));
    else
        log_error("server.header", KV("refused", name));
}

static void add_answer_header(evhtp_request_t *evhtp, const char *name, const char *value)
{
    evhtp_headers_add_header(evhtp->headers_out, evhtp_header_new(name, value, 1, 1));
}

void server_answer(struct server_request *r, int status, const char *content_type,
                   const void *body, size_t len)
{
    struct connection *c = r->connection;
    evhtp_request_t *evhtp = r->evhtp;
    struct field *f;
    char length[24];
    if (!c) {
        request_free(r);
        return;
    }
    if (!c->head.keep_alive)
        evhtp_request_set_keepalive(evhtp, 0);
    add_answer_header(evhtp, "Content-Type", content_type ? content_type : "application/json");
    snprintf(length, sizeof(length), "%zu", body ? len : 0);
    add_answer_header(evhtp, "Content-Length", length);
    TAILQ_FOREACH (f, &r->answer_headers, entry)
        add_answer_header(evhtp, f->name, f->value);
    if (body && strcmp(r->method, "HEAD") != 0)
        evbuffer_add(evhtp->buffer_out, body, len);
    request_free(r);
    c->state = WRITING;
    timer_arm(&c->timer, c->server->options.idle_timeout_ms);
    evhtp_send_reply(evhtp, (evhtp_res)status);
}

void server_answer_error(struct server_request *r, const struct error *e)
{
    char *body = error_body(e);
    server_answer(r, error_http_status(e->code), NULL, body, strlen(body));
    free(body);
}
