/* One HAProxy behind its Runtime API socket: asked again and again, one question at a time. */
#ifndef CLEAT_DRIVER_HAPROXY_NODE_H
#define CLEAT_DRIVER_HAPROXY_NODE_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"
#include "driver/haproxy_state.h"
#include "loop/ask.h"
#include "loop/loop.h"

struct haproxy_node;

/* Adds commands, each ended by ';', to the next question. */
typedef void haproxy_write_fn(void *arg, struct haproxy_node *, struct buf *commands);
/* The question was answered (answered), or it failed and the last listing stands until the node
 * is away. refusal: what a command was told. Gives the time until the next question. */
typedef int64_t haproxy_read_fn(void *arg, struct haproxy_node *, bool answered,
                                const struct error *refusal);

struct haproxy_node {
    struct loop *loop;
    const char *socket, *backend; /* borrowed */
    haproxy_write_fn *write;
    haproxy_read_fn *read;
    void *arg;
    size_t index;

    struct haproxy_state state; /* the last listing; empty while !known */
    bool known;
    bool away;            /* no answer for HAPROXY_AWAY_MS: its listing is no longer believed */
    bool dead;            /* nobody has listened for HAPROXY_AWAY_MS: it routes nothing */
    struct error problem; /* of the last question; ERR_NONE: none */
    int64_t asked_ms;
    int64_t failing_since_ms; /* 0: its last question was answered */
    int64_t refused_since_ms; /* 0: its last question was not refused */

    struct ask *ask;
    struct timer timer;
};

#define HAPROXY_AWAY_MS 5000
#define HAPROXY_QUESTION_MAX 12288 /* stays below HAProxy's buffer (tune.bufsize 16,384) */

/* Fields up to index are set by the caller. The first question leaves at once. */
void haproxy_node_start(struct haproxy_node *);
void haproxy_node_stop(struct haproxy_node *);
void haproxy_node_hurry(struct haproxy_node *, int64_t in_ms); /* not later than this */

#endif
