/* One request in the server: what the handler reads of it and adds to its answer. It owns
 * copies of everything, so that it outlives its connection. Nothing here knows libevhtp. */
#ifndef CLEAT_HTTP_REQUEST_H
#define CLEAT_HTTP_REQUEST_H

#include <stdbool.h>
#include <sys/queue.h>
#include "base/buf.h"
#include "http/guard.h"
#include "http/server.h"

struct connection;

struct field {
    char *name, *value;
    STAILQ_ENTRY(field) entry;
};
STAILQ_HEAD(fields, field);

struct server_request {
    struct connection *connection; /* NULL: the client is gone, or the server is */
    char *method, *target, *path;
    struct buf plain, body; /* the head as the guard wrote it; the body without its chunks */
    struct fields query, headers, answer_headers;
    struct server_peer peer;
    char local[64];
    server_gone_fn *gone;
    void *gone_arg;
    server_drained_fn *drained; /* of a stream */
    void *drained_arg;
};

/* Takes the bytes of plain; its headers are those that the request has. */
struct server_request *request_new(const struct guard_head *, struct buf *plain);
void request_free(struct server_request *);
bool request_is_head(const struct server_request *);

#endif
