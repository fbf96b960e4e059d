/* What the answers of the Docker Engine API mean; pure. Docker Engine API 1.41,
 * https://docs.docker.com/engine/api/v1.41/, and Podman's Docker-compatible one. */
#ifndef CLEAT_DRIVER_DOCKER_ANSWER_H
#define CLEAT_DRIVER_DOCKER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "driver/runtime.h"

#define DOCKER_IN_ORDER "exited with status 0"
#define DOCKER_KILLED "killed by signal 9"
#define DOCKER_OUT_OF_MEMORY_CAUSE "killed: it was out of memory"

enum docker_status { DOCKER_CREATED, DOCKER_RUNNING, DOCKER_ENDED };

struct docker_view {
    char key[KEY_SIZE]; /* made of its labels; "" when it has none of ours */
    enum docker_status status;
    char ip[46]; /* where the class's port is published, "" while it is not */
    uint16_t port;
    char cause[64];    /* why it ended */
    const char *label; /* of a listing only, during its callback; NULL: it has none */
    int64_t created_s; /* Unix time; of a listing only */
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
    int64_t time_ms; /* Unix time */
};
/* One line of GET /events. False: it makes no sense. */
bool docker_read_event(const char *line, size_t len, struct docker_event *);

/* GET /containers/KEY/logs: the last line that it wrote. */
void docker_read_last_line(const char *body, size_t len, char *line, size_t size);

struct docker_progress {
    char layer[72];         /* "": it is about the whole image */
    char status[64];        /* "" when it says nothing */
    int64_t current, total; /* bytes; 0: unknown */
};
/* One line of POST /images/create; *e is set when it says that the pull has failed. */
void docker_read_progress(const char *line, size_t len, struct docker_progress *,
                          struct error *e);

/* What an answer's status and body mean; `what` begins the message. ERR_NONE below 400. */
enum error_code docker_refusal(int status, const char *body, size_t len, const char *what,
                               struct error *);

#endif
