/* A balancer routes to containers. The rules for ops are runtime.h's. */
#ifndef CLEAT_DRIVER_BALANCER_H
#define CLEAT_DRIVER_BALANCER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "driver/class.h"
#include "http/client.h"
#include "loop/loop.h"

struct balancer;

enum target_state {
    TARGET_UNKNOWN,   /* not looked at yet */
    TARGET_CHECKING,  /* registered, not yet healthy; gets no traffic */
    TARGET_HEALTHY,   /* healthy and in rotation */
    TARGET_UNHEALTHY, /* was healthy; the balancer may route its sessions elsewhere */
    TARGET_GONE,      /* not listed any more (or drained: none of our requests can be in flight) */
};

struct target {
    const char *id; /* the launch key */
    const char *ip;
    uint16_t port;
};

typedef void balancer_done_fn(void *arg, const struct error *);
/* Every change of a target's state, also GONE. reason is the balancer's own word ("L7TOUT"). */
typedef void balancer_target_fn(void *arg, const char *id, enum target_state, const char *reason);
typedef void balancer_each_fn(void *arg, const struct target *, enum target_state);

struct balancer_env {
    struct loop *loop;
    struct http_client *client;
    const struct class *class;
    const char *owner;
    balancer_target_fn *on_target;
    void *arg;
};

struct balancer_ops {
    const char *name;
    bool sweeps; /* a cookie must be acquired; false: each target has a URL of its own */
    struct balancer *(*open)(const struct balancer_env *, struct error *);
    void (*close)(struct balancer *); /* leaves every target registered */

    /* Accepted: it is registered and will be checked; its states follow through on_target. Fine when
     * it is already there with the same address; another address is ERR_CONFLICT. */
    void (*add)(struct balancer *, const struct target *, balancer_done_fn *, void *arg);
    /* After a restart: we registered this one; report its state, put it back when it is missing. */
    void (*adopt)(struct balancer *, const struct target *);
    /* Accepted: no new request reaches it through the balancer. GONE follows through on_target. */
    void (*remove)(struct balancer *, const char *id, balancer_done_fn *, void *arg);
    void (*list)(struct balancer *, balancer_each_fn *, balancer_done_fn *, void *arg); /* our owner's */

    /* Where requests go: node i's base URL ("http://127.0.0.1:8000"), count nodes. Without sweeps the
     * target's own URL is made by the caller. */
    size_t (*nodes)(const struct balancer *, const char *const **urls);
    size_t (*healthy)(const struct balancer *); /* targets in rotation, anyone's */
    json_t *(*status)(struct balancer *);
};

extern const struct balancer_ops balancer_direct;
extern const struct balancer_ops balancer_haproxy;

#endif
