/* Two streams of JSON lines from the engine: what happens to our containers, and an image's
 * pull. */
#ifndef CLEAT_DRIVER_DOCKER_STREAM_H
#define CLEAT_DRIVER_DOCKER_STREAM_H

#include "driver/docker_engine.h"
#include "driver/docker_fields.h"

/* The event stream, opened again for as long as it is not closed. on_open: it tells everything
 * from some time before this call on; what happened earlier must be listed. Callbacks come from
 * the loop and may not close it. */
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

/* Pulls an image; progress is logged. Frees itself before done. */
struct docker_pull;
struct docker_pull *docker_pull_start(struct loop *, struct docker_engine *, const char *image,
                                      int64_t timeout_ms, runtime_done_fn *done, void *arg);
void docker_pull_cancel(struct docker_pull *);

#endif
