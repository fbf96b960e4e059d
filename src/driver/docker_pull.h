/* Pulls of images, with the login that the engine's client has for their registries. */
#ifndef CLEAT_DRIVER_DOCKER_PULL_H
#define CLEAT_DRIVER_DOCKER_PULL_H

#include <sys/queue.h>
#include "driver/docker_engine.h"
#include "driver/runtime.h"

struct docker_pull;
LIST_HEAD(docker_pulls, docker_pull);

struct docker_pull_env {
    struct loop *loop;
    struct docker_engine *engine;
    const char *image;
    int64_t timeout_ms;
    /* How far it is has changed; not within docker_pull_join. */
    void (*on_progress)(void *arg, const struct docker_pull *, const char *text);
    /* Not within docker_pull_join either. The pull is freed by then: it is only a name. */
    void (*done)(void *arg, const struct docker_pull *, const struct error *);
    void *arg;
};
/* The pull of that image which is under way, else a new one. */
struct docker_pull *docker_pull_join(struct docker_pulls *, const struct docker_pull_env *);
void docker_pull_drop(struct docker_pulls *); /* forgets those under way */
/* "pulling IMAGE: 1 of 3 layers, 12.3 of 40.0 MB" */
const char *docker_pull_text(const struct docker_pull *);

#endif
