/* The simulated APIs that drivers call over HTTP: the Docker engine on its Unix socket, AWS by
 * host name. A service gets whole requests and answers each once, at once or later. */
#ifndef SIMULATION_SERVICE_H
#define SIMULATION_SERVICE_H

#include <jansson.h>
#include <stdbool.h>
#include "network.h"

typedef void service_fn(struct sim_request *);

/* name: a socket's path or a host's name. */
void service_listen(const char *name, service_fn *receive);
service_fn *service_at(const char *name); /* NULL: nobody is there */
void service_begin(void);

/* An answer of JSON; takes body. */
void service_answer_json(struct sim_request *, int status, json_t *body);
void service_answer(struct sim_request *, int status, const char *body);
/* Bytes of a body that has no end yet; begins the answer with 200 when it has not begun. */
void service_stream(struct sim_request *, const char *text);
bool service_is_heard(const struct sim_request *); /* false: cleat has let go of it */

/* sim_docker.c */
void docker_begin(void);
void docker_start(void); /* the engine at DOCKER_SOCKET, with the image or without it */
#define DOCKER_SOCKET "/simulated/docker.sock"
struct docker_habits {
    bool has_image;
    int64_t pull_ms;
    unsigned fails, slow, event_lost; /* in 10,000, while faults last */
};
extern struct docker_habits docker_habits;
void docker_restart(int64_t for_ms); /* its containers end with it */
unsigned docker_left(void);          /* containers that should be gone */

#endif
