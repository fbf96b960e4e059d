/* What travels between cleat and the simulated servers: requests, answers, and who listens
 * where. */
#ifndef SIMULATION_NETWORK_H
#define SIMULATION_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/client.h"

#define ANSWER_HEADERS 12

struct container;
struct node;

struct sim_answer {
    int status; /* 0: the connection breaks instead of an answer */
    const char *body;
    struct http_header headers[ANSWER_HEADERS];
    size_t header_count;
    struct container *from; /* who made it; NULL: the balancer */
    bool honest;            /* from the container itself, not from code that poses as it */
};

/* A request at a server. answered is called once at most: a dead server's requests never are.
 */
struct sim_request {
    const char *method, *path, *body;
    size_t body_len;
    const struct http_header *headers;
    size_t header_count;
    struct node *node; /* the frontend that it came through, NULL: direct */
    struct container *container;
    const char *to_ip;
    unsigned coordinator_life; /* who sent it */
    bool is_double;            /* a copy made by the network */
    bool is_signed;            /* as AWS wants it */
    void (*answered)(struct sim_request *, struct sim_answer *);
    void (*streamed)(struct sim_request *,
                     const char *text); /* of a service; before answered */
    bool (*is_heard)(const struct sim_request *);
    void *arg;
};

const char *request_header(const struct sim_request *, const char *name);
void answer_add_header(struct sim_answer *, const char *name, const char *value); /* copied */
struct sim_answer *answer_new(int status, const char *body);

/* One HTTP connection from cleat, as the other end's books have it. */
struct connection {
    uint64_t id; /* also its local port */
    char peer[64];
    uint64_t share;
    const char *session; /* whose requests it carried; NULL: nobody's yet */
    bool probed;         /* carried a sweep's probe */
    bool busy, open;
    struct connection *next, *next_of_all; /* of the same share; of the world */
};

/* The executors and frontends known by address. */
void network_listen_frontend(const char *ip, uint16_t port, struct node *);
struct node *network_frontend(const char *ip, uint16_t port);

struct network_books {
    uint64_t requests, probes,
        confirms; /* at frontends; confirms: container-info with a session */
    uint64_t connections;
};
extern struct network_books network_books;
void network_begin(void);
/* An open connection that carried some session's requests, or NULL. */
const struct connection *network_kept_connection(void);

#endif
