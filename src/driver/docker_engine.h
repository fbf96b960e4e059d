/* Requests to one Docker Engine API: a Unix socket, the API version that the engine names
 * itself (GET /_ping, header Api-Version), a connection for each request. */
#ifndef CLEAT_DRIVER_DOCKER_ENGINE_H
#define CLEAT_DRIVER_DOCKER_ENGINE_H

#include "http/client.h"
#include "loop/loop.h"

struct docker_engine;
struct docker_call;

struct docker_engine *docker_engine_new(struct http_client *, const char *socket);
void docker_engine_free(struct docker_engine *);                 /* cancels what is under way */
const char *docker_engine_version(const struct docker_engine *); /* "" while unknown */

struct docker_request {
    const char *method, *path; /* path begins after the version */
    const char *body;          /* JSON, copied; NULL: none */
    const char *registry_auth; /* X-Registry-Auth, copied; NULL: none */
    int64_t timeout_ms;        /* of the whole */
    int64_t first_byte_ms;     /* 0: timeout_ms */
    http_data_fn *on_data;
};

/* As http_start: done exactly once, from the loop. The version may have to be asked for first;
 * when that fails, done gets its answer. */
struct docker_call *docker_ask(struct docker_engine *, const struct docker_request *,
                               http_done_fn *done, void *arg);
void docker_cancel(struct docker_call *);

#endif
