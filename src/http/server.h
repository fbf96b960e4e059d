/* HTTP/1.1 server: libevhtp behind the guard. server.c is the only file that knows libevhtp.
 *
 * The guard refuses what libevhtp would let through (RFC 9112 sections 3.2, 5, 6, 7.1): both
 * Content-Length and Transfer-Encoding, two of either, odd spellings of them, a missing Host,
 * space before the colon, folded lines, bare LF, heads over the cap. Requests are served one at
 * a time in their order; pipelined ones are kept back until the answer before them is out. The
 * body is collected and its chunks are decoded here: libevhtp sees one whole head at a time and
 * no body.
 *
 * A refused request is answered with 400, 408, 413, 417, 431, 501 or 505 and a JSON error, and
 * its connection ends. A client that shuts its sending side counts as gone, unless its answer
 * is being written already. SIGPIPE must be ignored by the program. */
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
    int unix_fd;    /* > 0: it listens there already, on behalf of somebody who keeps it */
    const char *ip; /* … or this and port */
    uint16_t port;  /* 0: any free one, see server_port */
    size_t max_head, max_body; /* bytes: 431 and 413 */
    /* For a connection without a request; for a head; for each further 16 KiB of a body; for an
     * answer that the client reads no byte of. Not while the handler has the request. */
    int64_t idle_timeout_ms;
    unsigned max_connections; /* more are closed at accept */
};

/* Called once per request, body complete; it may free the server. Must lead to exactly one
 * server_answer or server_stream_begin, at once or later. Errors of syntax and size are
 * answered by the server itself:
 * {"error":{"code":…,"message":…,"retryable":…}}. */
typedef void server_request_fn(void *arg, struct server_request *);
/* The client is gone before its answer; server_answer must still be called (it frees). What the
 * request says stays readable until then. */
typedef void server_gone_fn(void *arg);

struct server *server_new(struct loop *, const struct server_options *, server_request_fn *fn,
                          void *arg, struct error *e);
void server_free(struct server *); /* closes all connections; unanswered requests get no call
                                      back, and server_answer on them becomes a free */
uint16_t server_port(const struct server *);
/* New connections are refused; answers go out and end their connections. */
void server_stop_listening(struct server *);

const char *server_method(const struct server_request *); /* "GET" … */
const char *server_target(const struct server_request *); /* as sent, query included */
const char *server_path(const struct server_request *);   /* without query, not decoded */
/* Value of a query parameter, percent-decoded; NULL if absent; lives as long as the request. */
const char *server_query(struct server_request *, const char *name);
/* First one of that name (case-insensitive); NULL if absent or empty. Those about framing and
 * the connection (Content-Length, Connection, Expect, …) are never there. */
const char *server_header(const struct server_request *, const char *name);
const void *server_body(const struct server_request *, size_t *len); /* NUL-ended */
const struct server_peer *server_peer(const struct server_request *);
/* The supplementary groups that a Unix peer had when it connected (SO_PEERGROUPS, unix(7));
 * free(). NULL: none, or its connection is gone. */
gid_t *server_peer_groups(const struct server_request *, size_t *count);
/* "ip:port" on which the connection was accepted; "" for a Unix socket. */
const char *server_local_address(const struct server_request *);
void server_on_gone(struct server_request *, server_gone_fn *fn, void *arg);

/* A value with a control character in it, or a header that frames the answer, is dropped and
 * logged. */
void server_add_header(struct server_request *, const char *name, const char *value);
/* The request is freed. body may be NULL; it is copied, and left out when the method is HEAD.
 * content_type NULL: application/json. */
void server_answer(struct server_request *, int status, const char *content_type,
                   const void *body, size_t len);
/* {"error":{…}} with the code's HTTP status. */
void server_answer_error(struct server_request *, const struct error *);

/* ---- an answer that goes on (server_stream.c) */

enum { SERVER_STREAM_MAX = 256 * 1024 }; /* bytes that may wait for a slow client */

/* All that was written has been sent. It may write more, or end the stream. */
typedef void server_drained_fn(void *arg);

/* Answers with 200 and the head, and with chunks (RFC 9112 section 7.1) as they are written; to
 * HTTP/1.0 with what is written until the connection ends; to HEAD with the head alone. What
 * follows on the connection is kept back until server_stream_end, which must be called in any
 * case and frees the request. A client that leaves, reads no byte for the idle time-out while
 * there are some for it, or lets more than SERVER_STREAM_MAX wait, is cut off: gone is called.
 * The handler sees to it that there is something to write every now and then. drained may be
 * NULL; it is not called by the functions here. */
void server_stream_begin(struct server_request *, const char *content_type,
                         server_drained_fn *drained, void *arg);
void server_stream_write(struct server_request *, const void *data, size_t len);
size_t server_stream_unsent(const struct server_request *); /* 0 also once the client is gone */
void server_stream_end(struct server_request *);
void server_stream_cut(struct server_request *); /* instead: what is unsent is lost */

#endif
