/* Pulls an image, with the login that the engine's client has for its registry. */
#ifndef CLEAT_DRIVER_DOCKER_PULL_H
#define CLEAT_DRIVER_DOCKER_PULL_H

#include "driver/docker_engine.h"
#include "driver/runtime.h"

struct docker_pull;
struct docker_pull_env {
    struct loop *loop;
    struct docker_engine *engine;
    const char *image;
    int64_t timeout_ms;
    /* How far it is has changed; not within docker_pull_start. */
    void (*on_progress)(void *arg, const char *text);
    runtime_done_fn *done; /* the pull is freed by then */
    void *arg;
};
struct docker_pull *docker_pull_start(const struct docker_pull_env *);
void docker_pull_cancel(struct docker_pull *);
/* "pulling IMAGE: 1 of 3 layers, 12.3 of 40.0 MB" */
const char *docker_pull_text(const struct docker_pull *);

#endif
