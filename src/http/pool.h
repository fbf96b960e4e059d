/* A session's private connections: a queue and a cap of our own over one http_share, which is made
 * on use and destroyed after pool_idle_ms without a request, so that an idle session holds no socket. */
#ifndef CLEAT_HTTP_POOL_H
#define CLEAT_HTTP_POOL_H

#include <stdbool.h>
#include "http/client.h"

struct pool;
struct pool_request;

struct pool_limits {
    unsigned max_connections; /* requests in flight */
    unsigned max_queue;       /* waiting beyond that; more → ERR_FULL through done */
    int64_t idle_ms;
};

struct pool *pool_new(struct http_client *, struct loop *, const struct pool_limits *);
/* Cancels what waits and what is in flight (no call back), closes the connections. */
void pool_free(struct pool *);

/* Same contract as http_start. total_timeout_ms counts from now, waiting in the queue included. */
struct pool_request *pool_send(struct pool *, const struct http_request *, http_done_fn *done, void *arg);
void pool_cancel(struct pool_request *);

/* Closes the idle connections now, and the busy ones when their request ends (the route changed). */
void pool_retire_connections(struct pool *);

/* The distinct connections ("local-ip:port") that ever carried a request of this pool: the last
 * 16, newest last; total is how many there were. */
size_t pool_connections(const struct pool *, const char *out[16], uint64_t *total);
bool pool_has_share(const struct pool *); /* false: no socket and next to no memory */

#endif
