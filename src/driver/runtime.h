/* A runtime starts and stops containers. Every op is started, and done exactly once, from the
 * loop, never before the call returns; close() is the only thing that keeps a callback from
 * coming. An error is of_engine when the engine did not answer, or had no time for anybody:
 * never for a lack of room, and never for what is wrong with one container. */
#ifndef CLEAT_DRIVER_RUNTIME_H
#define CLEAT_DRIVER_RUNTIME_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "driver/class.h"
#include "loop/loop.h"

#define LABEL_MAX 2048
#define KEY_SIZE 65 /* owner "." session "." attempt: ≤ 64 characters of [A-Za-z0-9._-] */

struct runtime;
struct http_client;
struct aws;

struct container {
    char id[128]; /* the engine's name for it: the key (process, docker), the task's id (ecs),
                     KEY@IP:PORT (static) */
    char ip[46];  /* numeric; "" while unknown */
    uint16_t port;
    char key[KEY_SIZE]; /* of its launch, for adopt; "": the caller does not say */
};

struct launch {
    const char
        *key; /* idempotency: the same key gives the same container, also after a crash */
    const char *owner, *session;
    unsigned attempt;
    const char *label;      /* kept with the container and told by list: at most LABEL_MAX of
                               [A-Za-z0-9_-]; NULL: none */
    const char *secret;     /* 64 hex digits */
    int64_t idle_timeout_s; /* the executor's own limits: above the session's, so that a
                               container */
    int64_t lifetime_s;     /* that everyone forgot still ends */
    const char
        *prepared; /* what prepare gave for this launch; NULL: the runtime has no prepare */
};

typedef void runtime_launched_fn(void *arg, const struct error *, const struct container *);
typedef void runtime_done_fn(void *arg, const struct error *);
/* A container of ours is gone: the engine says so. cause is for people. in_order: it ended
 * itself with status 0, which our executor does only when its upload is done or there was
 * nothing to upload. */
typedef void runtime_exit_fn(void *arg, const char *key, const char *cause, bool in_order);
/* A launch takes long for a reason that people like to see ("pulling image …: 40 %"). */
typedef void runtime_progress_fn(void *arg, const char *key, const char *text);
/* What a host was to the container of that key. why: of LEASE_UNCONFIRMED. */
enum lease_change {
    LEASE_TAKEN,
    LEASE_RELEASED,
    LEASE_UNCONFIRMED,
    LEASE_GIVEN_UP,
    LEASE_CHANGES
};
typedef void runtime_lease_fn(void *arg, enum lease_change, const char *key, const char *host,
                              const char *why);
/* One container under our owner label; key names its attempt. label: of its launch; NULL: it
 * has none. */
typedef void runtime_each_fn(void *arg, const char *key, const struct container *, bool alive,
                             const char *label);

struct runtime_env {
    struct loop *loop;
    struct http_client *client;
    const struct class *class;
    const char *owner;
    const char *state_dir; /* workspaces live under state_dir/workspaces */
    const char *executor;  /* path of cleat-executor */
    struct aws *aws;       /* for ECS, the region and S3; NULL: no class needs it */
    runtime_exit_fn *on_exit;
    runtime_progress_fn *on_progress;
    runtime_lease_fn *on_lease; /* of the static runtime; from the loop; NULL: nobody asks */
    void *arg;
};

struct runtime_ops {
    const char *name;
    struct runtime *(*open)(const struct runtime_env *, struct error *);
    void (*close)(
        struct runtime *); /* leaves every container running; no callback comes any more */

    /* The very bytes of the launch (they hold the secret), which the caller makes durable
     * before it calls launch with them, and hands in again when it repeats a launch after a
     * crash: so a repeat is the same request to the engine. Text, free(); NULL: *e says what is
     * wrong with the class or the launch (ERR_PERMANENT, ERR_TOO_LARGE). NULL op: launch needs
     * no such bytes. */
    char *(*prepare)(struct runtime *, const struct launch *, struct error *e);
    /* ERR_CAPACITY: no room at the moment; it costs no attempt. */
    void (*launch)(struct runtime *, const struct launch *, runtime_launched_fn *, void *arg);
    /* The launch of that key failed, and that is durable: what it may have left is removed. Not
     * before, for a life that does not know that it failed takes over what is there. NULL op:
     * nothing of a failed launch is touched once it has been reported. */
    void (*clear)(struct runtime *, const char *key);
    /* After a restart: this container is ours. Its address is reserved again, its exit is
     * reported (at once, from the loop, when it is already gone). */
    void (*adopt)(struct runtime *, const struct container *);
    /* Asks it to end, forces it after the class's stop_grace_s. Done when it is gone; fine when
     * it already was. keep: what it left on disk stays (an upload was not confirmed). */
    void (*stop)(struct runtime *, const struct container *, bool keep, runtime_done_fn *,
                 void *arg);
    /* In doubt whether it lives: the engine is asked now rather than at the next tick. Its
     * death comes through on_exit, anything else not at all. Calls for many containers, and
     * many for one, cost few questions. NULL op: the engine tells of deaths at once. */
    void (*look)(struct runtime *, const struct container *);
    /* Its address may be given to another container. Only after stop, and when no balancer
     * lists it. */
    void (*release)(struct runtime *, const struct container *);
    bool release_makes_room; /* addresses are given out here, and there may be one too few; else
                                the engine does, and stop makes room for another launch */
    void (*list)(struct runtime *, runtime_each_fn *, runtime_done_fn *, void *arg);
    /* What this runtime can and cannot enforce here. New reference. */
    json_t *(*status)(struct runtime *);
    /* Reads what the class names at the engine and tells what would hurt. NULL op: nothing to
     * read. */
    void (*examine)(struct runtime *, finding_fn *, runtime_done_fn *, void *arg);
};

extern const struct runtime_ops runtime_process, runtime_docker, runtime_ecs, runtime_static;

#endif
