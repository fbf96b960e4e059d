#include "http/server.h"

#include <arpa/inet.h>
#include <evhtp/evhtp.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/connection.h"
#include "http/guard.h"
#include "http/listen.h"
#include "http/request.h"

enum {
    READ_AHEAD = 64 * 1024, /* bytes of later requests that are kept back */
    PROGRESS = 16 * 1024,   /* bytes of a body that earn another idle time-out */
    LINGER_MS = 2000,       /* for the client to read the last answer and close */
    ACCEPT_PAUSE_MS = 100,  /* after accept(2) failed: no descriptor is free */
    BACKLOG = 1024,
};

/* ---- the end of connections */

static void free_connection(void *arg)
{
    struct connection *c = arg;
    buf_free(&c->inbox);
    free(c);
}

/* Its answer frees the request. */
static bool is_with_handler(const struct connection *c)
{
    return c->state == UNDERWAY || c->state == STREAMING;
}

static void close_connection(struct connection *c)
{
    evhtp_connection_free(c->evhtp); /* calls on_fini */
}

/* libevhtp's last word about a connection, whoever ended it. */
static evhtp_res on_fini(evhtp_connection_t *evhtp, void *arg)
{
    struct connection *c = arg;
    (void)evhtp;
    c->ended = true;
    if (c->request && is_with_handler(c))
        c->request->connection = NULL;
    else if (c->request)
        request_free(c->request);
    timer_stop(&c->timer);
    TAILQ_REMOVE(&c->server->connections, c, entry);
    c->server->count--;
    loop_free_later(c->server->loop, c, free_connection);
    return EVHTP_RES_OK;
}

/* The handler may do anything when it hears of it, even free the server. */
void connection_lose_client(struct connection *c)
{
    struct server_request *r = is_with_handler(c) ? c->request : NULL;
    close_connection(c);
    if (r && r->gone)
        r->gone(r->gone_arg);
}

static void linger(struct connection *c)
{
    if (c->half_closed) {
        close_connection(c);
        return;
    }
    c->state = LINGERING;
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    timer_arm(&c->timer, LINGER_MS);
}

/* ---- libevhtp's part */

static void on_evhtp_request(evhtp_request_t *answer, void *arg)
{
    struct server *s = arg;
    if (s->feeding)
        s->feeding->answer = answer;
}

/* Hands one head to libevhtp. False: it made no request of it, and the connection is gone. Only
 * the front of the input may be written; it is empty, as all of it was taken into the inbox. */
static bool feed_evhtp(struct connection *c, const char *plain, size_t len)
{
    c->answer = NULL;
    c->server->feeding = c;
    evbuffer_prepend(bufferevent_get_input(c->bev), plain, len);
    c->evhtp_read(c->bev, c->evhtp);
    c->server->feeding = NULL;
    if (!c->ended && c->answer)
        return true;
    log_error("server.head_refused");
    if (!c->ended)
        close_connection(c);
    return false;
}

void connection_end_answer(struct connection *c)
{
    c->closing |= c->server->stopped;
    c->state = ANSWERING;
    evhtp_send_reply_end(c->answer);
    c->mark = connection_unsent(c);
    timer_arm(&c->timer, c->server->idle_ms);
    if (c->mark == 0)
        bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

/* The server's own answer to something that is no request; then the connection ends. libevhtp
 * gets an empty request in its place, so that there is one way to write an answer. */
static void refuse(struct connection *c, int status, enum error_code code, const char *message)
{
    static const char stand_in[] = "GET / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n";
    bool head_only = c->request && request_is_head(c->request);
    if (c->request) {
        request_free(c->request);
        c->request = NULL;
    }
    buf_free(&c->inbox);
    c->closing = true;
    if (!feed_evhtp(c, stand_in, sizeof stand_in - 1))
        return;
    connection_answer_error(c, status, code, message, head_only);
}

static void refuse_result(struct connection *c, struct guard_result result)
{
    bool too_large = result.status == 413 || result.status == 431;
    refuse(c, result.status, too_large ? ERR_TOO_LARGE : ERR_INVALID, result.why);
}

/* ---- reading */

static void take_input(struct connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    size_t len = evbuffer_get_length(input);
    if (len == 0)
        return;
    if (c->inbox.len == 0 && c->state == READ_HEAD)
        timer_arm(&c->timer, c->server->idle_ms); /* a request begins */
    buf_add(&c->inbox, evbuffer_pullup(input, -1), len);
    evbuffer_drain(input, len);
}

static void handle(void *request)
{
    struct server_request *r = request;
    const struct server *s = r->connection->server;
    s->fn(s->arg, r);
}

/* The handler may free the server: nothing is touched after it. */
static void hand_over(struct connection *c)
{
    struct server_request *r = c->request;
    timer_stop(&c->timer);
    if (c->inbox.len == 0)
        buf_free(&c->inbox); /* an idle connection holds none */
    if (!feed_evhtp(c, r->plain.data, r->plain.len))
        return;
    c->state = UNDERWAY;
    loop_measured(c->server->loop, handle, r);
}

static void begin_body(struct connection *c, struct buf *plain, size_t used)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct server_request *r = c->request = request_new(&c->head, plain);
    r->connection = c;
    r->peer = c->peer;
    memcpy(r->local, c->local, sizeof r->local);
    buf_drop(&c->inbox, used);
    c->chunks = (struct guard_chunks){0};
    c->closing = !c->head.keep_alive;
    c->state = READ_BODY;
    c->mark = 0;
    timer_arm(&c->timer, c->server->idle_ms);
    if (c->head.expect_continue && c->inbox.len == 0)
        bufferevent_write(c->bev, go_on, sizeof go_on - 1);
}

/* True: the head is whole. False: the connection may be gone. */
static bool read_head(struct connection *c)
{
    struct buf plain = {0};
    struct guard_result r =
        guard_check_head(c->inbox.data, c->inbox.len, &c->server->limits, &c->head, &plain);
    if (r.state == GUARD_DONE)
        begin_body(c, &plain, r.used);
    buf_free(&plain);
    if (r.state == GUARD_REFUSED)
        refuse_result(c, r);
    return r.state == GUARD_DONE;
}

static struct guard_result take_counted(struct connection *c)
{
    struct buf *body = &c->request->body;
    size_t left = c->head.content_length - body->len;
    size_t n = left < c->inbox.len ? left : c->inbox.len;
    if (n)
        buf_add(body, c->inbox.data, n);
    return (struct guard_result){.state = n == left ? GUARD_DONE : GUARD_MORE, .used = n};
}

static void read_body(struct connection *c)
{
    struct buf *body = &c->request->body, *in = &c->inbox;
    struct guard_result r = c->head.chunked ? guard_feed_chunks(&c->chunks, in->data, in->len,
                                                                &c->server->limits, body)
                                            : take_counted(c);
    if (r.state == GUARD_REFUSED) {
        refuse_result(c, r);
        return;
    }
    buf_drop(in, r.used);
    if (r.state == GUARD_DONE) {
        hand_over(c);
    } else if (body->len >= c->mark + PROGRESS) {
        c->mark = body->len;
        timer_arm(&c->timer, c->server->idle_ms);
    }
}

/* Goes as far as the bytes at hand allow. The connection may be gone afterwards. */
static void advance(struct connection *c)
{
    take_input(c);
    if (c->state == READ_HEAD && (c->inbox.len == 0 || !read_head(c)))
        return;
    read_body(c);
}

/* ---- events */

/* While a request is under way, what follows stays in the socket's buffer, up to READ_AHEAD. */
static void on_read(struct bufferevent *bev, void *arg)
{
    struct connection *c = arg;
    struct evbuffer *input = bufferevent_get_input(bev);
    if (c->state < UNDERWAY)
        advance(c);
    else if (c->closing)
        evbuffer_drain(input, evbuffer_get_length(input));
}

/* The output was empty; since then somebody may have written. */
static void on_write(struct bufferevent *bev, void *arg)
{
    struct connection *c = arg;
    if (connection_unsent(c) > 0)
        return;
    if (c->state == STREAMING) {
        stream_drained(c);
        return;
    }
    if (c->state != ANSWERING)
        return; /* it was 100 Continue */
    if (c->closing) {
        linger(c);
        return;
    }
    c->evhtp_write(bev, c->evhtp); /* makes libevhtp ready for the next head */
    if (c->ended)
        return;
    c->state = READ_HEAD;
    timer_arm(&c->timer, c->server->idle_ms);
    advance(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct connection *c = arg;
    (void)bev;
    if ((what & BEV_EVENT_EOF) && c->state == ANSWERING)
        c->half_closed = c->closing = true; /* it may still read */
    else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        connection_lose_client(c);
}

static void on_timeout(void *arg)
{
    struct connection *c = arg;
    size_t unsent = connection_unsent(c);
    if (c->state == STREAMING)
        stream_timeout(c);
    else if (c->state == READ_BODY || (c->state == READ_HEAD && c->inbox.len)) {
        refuse(c, 408, ERR_TIMEOUT, "the request did not come in time");
    } else if (c->state == ANSWERING && unsent < c->mark) {
        c->mark = unsent;
        timer_arm(&c->timer, c->server->idle_ms);
    } else {
        close_connection(c);
    }
}

gid_t *server_peer_groups(const struct server_request *r, size_t *count)
{
    const struct connection *c = r->connection;
    gid_t none, *groups = NULL;
    socklen_t size = 0;
    *count = 0;
    if (!c || !c->peer.is_unix)
        return NULL;
    int fd = c->evhtp->sock;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, &none, &size) != 0 && errno == ERANGE) {
        groups = mem_alloc(size);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
            *count = size / sizeof *groups;
    }
    return groups;
}

/* ---- accepting */

static void read_addresses(struct connection *c, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage storage;
    } a = {0};
    socklen_t len = sizeof a;
    char ip[INET6_ADDRSTRLEN] = "";
    getsockname(fd, &a.any, &len);
    if (a.any.sa_family == AF_UNIX) {
        struct ucred who = {.uid = (uid_t)-1, .gid = (gid_t)-1};
        socklen_t size = sizeof who;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
        c->peer = (struct server_peer){true, who.uid, who.gid, who.pid};
    } else if (a.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a.in.sin_addr, ip, sizeof ip);
        snprintf(c->local, sizeof c->local, "%s:%u", ip, (unsigned)ntohs(a.in.sin_port));
    } else {
        inet_ntop(AF_INET6, &a.in6.sin6_addr, ip, sizeof ip);
        snprintf(c->local, sizeof c->local, "[%s]:%u", ip, (unsigned)ntohs(a.in6.sin6_port));
    }
}

static evhtp_res before_accept(evhtp_connection_t *evhtp, void *arg)
{
    struct server *s = arg;
    (void)evhtp;
    return s->count < s->max_connections ? EVHTP_RES_OK : EVHTP_RES_ERROR;
}

static evhtp_res after_accept(evhtp_connection_t *evhtp, void *arg)
{
    struct server *s = arg;
    struct connection *c = mem_alloc(sizeof *c);
    int on = 1;
    c->server = s;
    c->evhtp = evhtp;
    c->bev = evhtp_connection_get_bev(evhtp);
    fcntl(evhtp->sock, F_SETFD, FD_CLOEXEC); /* libevhtp's listener does not ask for it */
    setsockopt(evhtp->sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    read_addresses(c, evhtp->sock);
    bufferevent_getcb(c->bev, &c->evhtp_read, &c->evhtp_write, NULL, NULL);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, READ_AHEAD);
    evhtp_connection_set_hook(evhtp, evhtp_hook_on_connection_fini, (evhtp_hook)on_fini, c);
    timer_init(&c->timer, s->loop, on_timeout, c);
    timer_arm(&c->timer, s->idle_ms);
    TAILQ_INSERT_TAIL(&s->connections, c, entry);
    s->count++;
    return EVHTP_RES_OK;
}

static void accept_again(void *arg)
{
    struct server *s = arg;
    evconnlistener_enable(s->evhtp->server);
}

/* Without a free descriptor the listener stays readable: it would spin. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct evhtp *evhtp = arg; /* the listener has one argument for both its callbacks */
    struct server *s = evhtp->arg;
    evconnlistener_disable(listener);
    timer_arm(&s->accept_pause, ACCEPT_PAUSE_MS);
}

/* ---- the server */

static int listen_as(const struct server_options *o, uint16_t *port, struct error *e)
{
    *port = o->port;
    if (o->unix_fd > 0)
        return o->unix_fd;
    return o->unix_path ? listen_unix(o->unix_path, o->unix_mode, e)
                        : listen_tcp(o->ip, port, e);
}

struct server *server_new(struct loop *loop, const struct server_options *o,
                          server_request_fn *fn, void *arg, struct error *e)
{
    uint16_t port;
    int fd = listen_as(o, &port, e);
    if (fd < 0)
        return NULL;
    struct server *s = mem_alloc(sizeof *s);
    s->loop = loop;
    s->limits = (struct guard_limits){o->max_head, o->max_body};
    s->idle_ms = o->idle_timeout_ms;
    s->max_connections = o->max_connections;
    s->fn = fn;
    s->arg = arg;
    s->port = port;
    s->unix_path = o->unix_fd > 0 ? NULL : mem_strdup(o->unix_path);
    if (s->unix_path)
        stat(s->unix_path, &s->unix_stat);
    timer_init(&s->accept_pause, loop, accept_again, s);
    TAILQ_INIT(&s->connections);
    s->evhtp = evhtp_new(loop_base(loop), s);
    evhtp_set_gencb(s->evhtp, on_evhtp_request, s);
    evhtp_set_pre_accept_cb(s->evhtp, before_accept, s);
    evhtp_set_post_accept_cb(s->evhtp, after_accept, s);
    evhtp_accept_socket(s->evhtp, fd, BACKLOG); /* listens already, cannot fail */
    evconnlistener_set_error_cb(s->evhtp->server, on_accept_error);
    return s;
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

void server_stop_listening(struct server *s)
{
    struct stat now;
    if (s->stopped)
        return;
    s->stopped = true;
    timer_stop(&s->accept_pause);
    evhtp_unbind_socket(s->evhtp);
    if (s->unix_path && stat(s->unix_path, &now) == 0 && now.st_dev == s->unix_stat.st_dev &&
        now.st_ino == s->unix_stat.st_ino)
        unlink(s->unix_path);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    server_stop_listening(s);
    while (!TAILQ_EMPTY(&s->connections))
        close_connection(TAILQ_FIRST(&s->connections));
    evhtp_free(s->evhtp);
    free(s->unix_path);
    free(s);
}
