/* What is said to the Docker Engine API and what its answers mean; pure. Docker Engine
 * API 1.41, https://docs.docker.com/engine/api/v1.41/, and Podman's Docker-compatible one. */
#ifndef CLEAT_DRIVER_DOCKER_FIELDS_H
#define CLEAT_DRIVER_DOCKER_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "driver/class.h"
#include "driver/runtime.h"

/* Inside a container. The store is the session's own directory, mounted where the executor
 * looks for it. */
#define DOCKER_WORKSPACE "/workspace"
#define DOCKER_ARTIFACTS "/artifacts"

/* ---- requests; text is free()d by the caller */

/* Body of POST /containers/create. It holds the secret. New reference. */
json_t *docker_create_body(const struct class *, const struct launch *);
/* The class's store for one session on this machine, NULL: nothing is kept. free(). */
char *docker_artifacts_of(const struct class *, const char *session);
char *docker_list_path(const char *owner);
/* since_s: Unix time from which what happened is told again. */
char *docker_events_path(const char *owner, int64_t since_s);
/* Without a tag or digest `latest` is pulled, not every tag that there is. */
char *docker_pull_path(const char *image);

/* ---- answers */

#define DOCKER_KILLED "killed by signal 9"
#define DOCKER_OUT_OF_MEMORY_CAUSE "killed: it was out of memory"

enum docker_status { DOCKER_CREATED, DOCKER_RUNNING, DOCKER_ENDED };

struct docker_view {
    char key[KEY_SIZE]; /* made of its labels; "" when it has none of ours */
    enum docker_status status;
    char ip[46]; /* where the class's port is published, "" while it is not */
    uint16_t port;
    char cause[64]; /* why it ended */
};

/* GET /containers/KEY/json. False: no such answer. */
bool docker_read_inspect(const char *text, size_t len, int64_t port, struct docker_view *);
typedef void docker_view_fn(void *arg, const struct docker_view *);
/* GET /containers/json: those with labels of ours. */
bool docker_read_list(const char *text, size_t len, int64_t port, docker_view_fn *, void *arg);

struct docker_event {
    char key[KEY_SIZE];
    enum { DOCKER_OTHER, DOCKER_DIED, DOCKER_OUT_OF_MEMORY } kind;
    char cause[64];
};
/* One line of GET /events. False: it makes no sense. */
bool docker_read_event(const char *line, size_t len, struct docker_event *);

/* GET /containers/KEY/logs: the last line that it wrote. */
void docker_read_last_line(const char *body, size_t len, char *line, size_t size);

/* One line of POST /images/create: what is under way, or *e when the pull has failed. */
void docker_read_progress(const char *line, size_t len, char *status, size_t size,
                          struct error *e);

/* What an answer's status and body mean; `what` begins the message. ERR_NONE below 400. */
enum error_code docker_refusal(int status, const char *body, size_t len, const char *what,
                               struct error *);

#endif
