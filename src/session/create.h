/* From a request that was read to a session, or a typed refusal. */
#ifndef CLEAT_SESSION_CREATE_H
#define CLEAT_SESSION_CREATE_H

#include "cleat.h"
#include "session/core.h"

struct create_request;

/* Finds the session of its request id, or makes one. Releases the request's contents. */
struct cleat_call *create_call(struct cleat *, struct create_request *, cleat_done_fn *,
                               void *arg);

#endif
