/* HTTP/1.1 server: libevhtp behind the guard. The only file that knows libevhtp.
 *
 * The guard lets libevhtp see nothing before a whole, valid head is there and hands it one request
 * at a time; it refuses what libevhtp would let through: Content-Length with Transfer-Encoding, two
 * Content-Lengths, odd Transfer-Encoding spellings, missing Host, space before the colon, heads over
 * the cap, pipelined requests (kept back until the answer is out). RFC 9112 sections 3.2, 5.1, 6. */
#ifndef CLEAT_HTTP_SERVER_H
#define CLEAT_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "loop/loop.h"

struct server;
struct server_request;

struct server_peer {
    bool is_unix;
    uid_t uid; /* Unix sockets only (SO_PEERCRED) */
    gid_t gid;
    pid_t pid;
};

struct server_options {
    const char *unix_path; /* either this (an old socket is unlinked, mode below) … */
    mode_t unix_mode;
    const char *ip; /* … or this and port */
    uint16_t port;  /* 0: any free one, see server_port */
    size_t max_head, max_body; /* bytes: 431 and 413 */
    int64_t idle_timeout_ms;   /* a connection without a request, or stuck within one */
    unsigned max_connections;  /* more are closed at accept */
};

/* Called once per request, body complete. Must lead to exactly one server_answer, at once or later.
 * Errors of syntax and size are answered by the server itself:
 * {"error":{"code":…,"message":…,"retryable":…}}. */
typedef void server_request_fn(void *arg, struct server_request *);
/* The client is gone before its answer; server_answer must still be called (it frees). */
typedef void server_gone_fn(void *arg);

struct server *server_new(struct loop *, const struct server_options *, server_request_fn *fn, void *arg,
                          struct error *e);
void server_free(struct server *); /* closes all connections; unanswered requests get no call back, and
                                      server_answer on them becomes a free */
uint16_t server_port(const struct server *);
void server_stop_listening(struct server *); /* answers go out, new connections are refused */

const char *server_method(const struct server_request *); /* "GET" … */
const char *server_target(const struct server_request *); /* as sent, query included */
const char *server_path(const struct server_request *);   /* without query, not decoded */
/* Value of a query parameter, percent-decoded; NULL if absent; lives as long as the request. */
const char *server_query(struct server_request *, const char *name);
const char *server_header(const struct server_request *, const char *name);
const void *server_body(const struct server_request *, size_t *len); /* NUL-ended */
const struct server_peer *server_peer(const struct server_request *);
/* "ip:port" on which the connection was accepted; "" for a Unix socket. */
const char *server_local_address(const struct server_request *);
void server_on_gone(struct server_request *, server_gone_fn *fn, void *arg);

/* The request is freed. body may be NULL; it is copied. content_type NULL: application/json. */
void server_add_header(struct server_request *, const char *name, const char *value);
void server_answer(struct server_request *, int status, const char *content_type, const void *body,
                   size_t len);
/* {"error":{…}} with the code's HTTP status. */
void server_answer_error(struct server_request *, const struct error *);

#endif
