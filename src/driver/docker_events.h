/* The engine's event stream: what happens to our containers. */
#ifndef CLEAT_DRIVER_DOCKER_EVENTS_H
#define CLEAT_DRIVER_DOCKER_EVENTS_H

#include "driver/docker_answer.h"
#include "driver/docker_engine.h"

/* Opened again for as long as it is not closed. on_open: it tells everything from some time
 * before this call on; what happened earlier must be listed. Callbacks come from the loop and
 * may not close it. */
struct docker_events;
struct docker_events_env {
    struct loop *loop;
    struct docker_engine *engine;
    const char *owner;
    void (*on_event)(void *arg, const struct docker_event *);
    void (*on_open)(void *arg);
    void *arg;
};
struct docker_events *docker_events_open(const struct docker_events_env *);
void docker_events_close(struct docker_events *);
bool docker_events_connected(const struct docker_events *);
unsigned docker_events_reconnects(const struct docker_events *);

#endif
