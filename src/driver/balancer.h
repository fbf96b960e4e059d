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
struct aws;

/* One way in. */
struct balancer_node {
    const char *url;           /* "http://127.0.0.1:8000" */
    struct http_header header; /* every request carries it; name NULL: none */
};

enum target_state {
    TARGET_UNKNOWN,   /* not looked at yet */
    TARGET_CHECKING,  /* registered, not yet healthy; gets no traffic */
    TARGET_HEALTHY,   /* healthy and in rotation */
    TARGET_UNHEALTHY, /* was healthy; the balancer may route its sessions elsewhere */
    TARGET_GONE, /* not listed any more (or drained: none of our requests can be in flight) */
};

/* A balancer whose targets carry no names calls one that nobody holds OWNER.target.IP:PORT. */
#define TARGET_NAMELESS ".target."

struct target {
    const char *id; /* the launch key */
    const char *ip;
    uint16_t port;
    const char *target_group; /* its name (group_name), once that was chosen; NULL: unknown */
};

typedef void balancer_done_fn(void *arg, const struct error *);
/* Every change of a target's state, also GONE, and of the reason while it is CHECKING. reason is
 * the balancer's own word ("L7TOUT"). */
typedef void balancer_target_fn(void *arg, const char *id, enum target_state,
                                const char *reason);
typedef void balancer_each_fn(void *arg, const struct target *, enum target_state);

struct balancer_env {
    struct loop *loop;
    struct http_client *client;
    const struct class *class;
    const char *owner;
    struct aws *aws; /* of the alb balancer */
    balancer_target_fn *on_target;
    void *arg;
};

struct balancer_ops {
    const char *name;
    struct balancer *(*open)(const struct balancer_env *, struct error *);
    void (*close)(struct balancer *); /* leaves every target registered */

    /* Whether cookies are acquired by sweeps. False: a node leads to one target only, and
     * without nodes each target is asked on its own address. */
    bool (*sweeps)(const struct balancer *);

    /* Keeps a place for a target that will be added (the smallest target group, a free slot);
     * idempotent. False: there is none now. Call it before the launch, when its address may not
     * be known yet (ip ""); again when it is: the target group that lists the address already
     * is taken, and what group_of says then is where `add` puts it; and after a restart for
     * each attempt that is not registered yet, with its target_group where that was said. NULL
     * op: there is always room. */
    bool (*reserve)(struct balancer *, const struct target *);
    /* Never added after all; nothing happens for one that was, or is unknown. NULL with
     * reserve.
     */
    void (*unreserve)(struct balancer *, const char *id);

    /* Accepted: it is registered and will be checked; its states follow through on_target. Fine
     * when it is already there with the same address; another address is ERR_CONFLICT. */
    void (*add)(struct balancer *, const struct target *, balancer_done_fn *, void *arg);
    /* After a restart: we registered this one; report its state, put it back when it is
     * missing. */
    void (*adopt)(struct balancer *, const struct target *);
    /* Accepted: no new request reaches it through the balancer. GONE follows through on_target.
     * The address tells which one it is when an earlier life added it. */
    void (*remove)(struct balancer *, const struct target *, balancer_done_fn *, void *arg);
    void (*list)(struct balancer *, balancer_each_fn *, balancer_done_fn *,
                 void *arg); /* our owner's */

    /* Target groups: a sweep through one finds only its own targets. At least 1; group_of is
     * below it, 0 for an unknown target. placed: it is known where the target is, so that
     * group_of says it; NULL op: always. */
    size_t (*groups)(const struct balancer *);
    size_t (*group_of)(const struct balancer *, const char *id);
    bool (*placed)(const struct balancer *, const char *id);
    /* The same text for the same target group, whichever class names it ("haproxy SOCKET
     * BACKEND", the ARN); "": nothing is shared. Lives as long as the balancer. */
    const char *(*group_name)(const struct balancer *, size_t group);
    /* Where requests to a target group go; 0 nodes: to the target's own address. */
    size_t (*nodes)(const struct balancer *, size_t group, const struct balancer_node **);
    size_t (*healthy)(const struct balancer *,
                      size_t group); /* targets in rotation, anyone's */
    json_t *(*status)(struct balancer *);
    /* As runtime.h's. */
    void (*examine)(struct balancer *, finding_fn *, balancer_done_fn *, void *arg);
};

extern const struct balancer_ops balancer_direct;
extern const struct balancer_ops balancer_haproxy;
extern const struct balancer_ops balancer_alb;

#endif
