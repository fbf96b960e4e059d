/* Simulated HAProxy 2.6 nodes: one backend each, with its own rotation, health checks, ALB-like
 * cookies (a fresh value on each answer, every one of them valid) and a Runtime API socket. */
#ifndef SIMULATION_HAPROXY_H
#define SIMULATION_HAPROXY_H

#include <stdbool.h>
#include <stdint.h>
#include "network.h"

enum { CHECKS_OFF = 2, CHECKS_ON = 6, CHECKS_PAUSED = 14 }; /* srv_check_state */

struct server {
    const char *name;
    char ip[46];
    uint16_t port;
    struct node *node;
    int64_t id; /* given with add, or counted */
    bool maint, up, deleted;
    bool passed;   /* its checks, once since it was added */
    bool hidden;   /* sabotage: it says that it is deleted */
    bool draining; /* of a target group: deregistered, and still listed */
    int64_t drained_ms;
    int64_t inter_ms, rise, fall, health;
    int check_state, check_status, check_result;
    int64_t changed_ms;
    unsigned busy; /* requests under way ("scur") */
    struct forwarded *requests;
    struct server *next;
};

struct node {
    const char *socket, *backend, *ip;
    uint16_t port;
    unsigned index;
    bool random_picks;
    bool rehomes_cookies;     /* after a re-route the old cookie leads to the new target, too */
    bool own_cookies;         /* another node's cookies mean nothing here */
    bool down;                /* between a stop and a start */
    bool fails_open;          /* without a healthy server it picks any */
    const char *header_value; /* NULL: it has its address alone */
    int64_t
        cookie_age_s; /* > 0: Max-Age and the stickiness both end after so long without use */
    int64_t server_timeout_ms;
    int64_t mute_from_ms, mute_to_ms; /* nobody answers on its socket */
    struct server
        *servers; /* in the order of their making; deleted ones stay in memory, unlisted */
    const struct server *last_pick;
    unsigned server_count;
    struct node *next;
};

extern struct node *nodes;

/* A cookie that a node gave out. */
struct cookie_fact {
    const char *value;
    struct node *node;
    struct server *server;
    const char *session;    /* of the container whose answer brought it */
    const char *proven_for; /* cleat had proof of this session with it */
    int64_t used_ms;
};
struct cookie_fact *cookie_find(const char *value);
struct cookie_fact *cookie_of_request(const struct sim_request *); /* NULL: none, or unknown */

void haproxy_begin(void);
struct node *haproxy_start(unsigned index); /* 127.0.0.1:8000 + index */
struct node *haproxy_start_at(unsigned index, const char *host, uint16_t port);
void haproxy_restart(struct node *,
                     int64_t for_ms); /* the dynamic servers and cookies are forgotten */
void haproxy_receive(struct node *, struct sim_request *);
unsigned haproxy_targets(void); /* listed on any node */

/* What the Runtime API does (sim_ask.c). */
struct server *haproxy_find(struct node *, const char *name);
struct server *haproxy_add_server(struct node *, const char *name, const char *ip,
                                  uint16_t port, int64_t inter_ms, int64_t fall, int64_t rise);
void haproxy_enable_health(struct server *);
void haproxy_enable(struct server *);
void haproxy_maint(struct server *);
void haproxy_break_requests(struct server *);
void haproxy_delete(struct server *);
struct node *haproxy_at_socket(const char *path);

#endif
