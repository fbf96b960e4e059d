/* The server's connections, as its files share them. */
#ifndef CLEAT_HTTP_CONNECTION_H
#define CLEAT_HTTP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "http/guard.h"
#include "http/request.h"
#include "http/server.h"
#include "loop/loop.h"

struct bufferevent;
struct evhtp;
struct evhtp_connection;
struct evhtp_request;

/* The whole request is collected and its chunks are decoded before libevhtp sees its head, and
 * it never sees a body: fed in pieces it corrupts requests, where 413 is due it resets, and it
 * parses form bodies as queries on the stack. Nor does it write an answer: it does not know the
 * reason of every status. What it does here is parse a head. */
enum state {
    READ_HEAD,
    READ_BODY,
    UNDERWAY,  /* the handler has the request */
    STREAMING, /* the handler has it, and has begun to answer */
    ANSWERING, /* the answer is being written */
    LINGERING  /* written, our side is shut: closed at once, unread input would destroy the
                  answer */
};

struct connection {
    struct server *server;
    struct evhtp_connection *evhtp;
    struct bufferevent *bev;
    void (*evhtp_read)(struct bufferevent *, void *),
        (*evhtp_write)(struct bufferevent *, void *);
    enum state state;
    struct buf inbox; /* taken from the socket, not yet part of a request */
    struct guard_head head;
    struct guard_chunks chunks;
    struct server_request *request; /* being read, or unanswered */
    struct evhtp_request *answer;   /* libevhtp's side of it */
    size_t mark;                    /* body, output or sent length when the timer was armed */
    size_t streamed;                /* bytes put into the output since the stream began */
    bool overrun;                   /* its stream is cut off: the client did not keep up */
    bool closing;                   /* after the next answer */
    bool half_closed;               /* by the client */
    bool ended;                     /* libevhtp has freed its part */
    struct timer timer;
    struct server_peer peer;
    char local[64];
    TAILQ_ENTRY(connection) entry;
};

struct server {
    struct loop *loop;
    struct evhtp *evhtp;
    struct guard_limits limits;
    int64_t idle_ms;
    unsigned max_connections, count;
    server_request_fn *fn;
    void *arg;
    char *unix_path;
    struct stat unix_stat; /* whose socket it is that we would unlink */
    uint16_t port;
    bool stopped;
    struct timer accept_pause;
    TAILQ_HEAD(, connection) connections;
    struct connection *feeding; /* whose head libevhtp is reading */
};

void connection_end_answer(struct connection *);  /* all of it is in the output */
void connection_lose_client(struct connection *); /* ends it and tells the handler */

/* server_answer.c */
/* The head of an answer without its end, and without what says how long it is. r NULL: of no
 * request; content_type NULL: application/json. */
void answer_head(struct buf *, const struct connection *, const struct server_request *r,
                 int status, const char *content_type);
void connection_answer_error(struct connection *, int status, enum error_code,
                             const char *message, bool head_only);
size_t connection_unsent(const struct connection *);

/* server_stream.c */
void stream_drained(struct connection *); /* the output is empty */
void stream_timeout(struct connection *);

#endif
