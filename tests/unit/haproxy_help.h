/* What the tests of the balancer `haproxy` share: real HAProxy processes, and a balancer whose
 * reports are noted. */
#ifndef CLEAT_TESTS_HAPROXY_HELP_H
#define CLEAT_TESTS_HAPROXY_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "driver/balancer.h"
#include "driver_help.h"

#define IP test_ip()
#define FRONT 21310 /* of node 0; node 1 has the next */
#define WEB 21320
#define NODES 2
#define TARGETS_MAX 160
#define CHECKED                                                                                \
    "balance roundrobin\n  option httpchk GET /health\n  http-check expect status 200\n"

struct seen {
    char id[40];
    char states[64]; /* C, H, U, G in the order they were reported */
    char reason[64];
};

struct bench {
    struct loop *loop;
    struct class *class;
    struct balancer *b; /* NULL: not open */
    char *dir;
    pid_t haproxy[NODES];
    struct seen seen[TARGETS_MAX];
    size_t count;
};

/* A class without sockets yet; neither a HAProxy nor the balancer runs. */
int set_up(void **state);
int tear_down(void **state);

char *socket_of(const struct bench *, int node); /* its path; free() */
int connect_to(const char *path);                /* -1: nobody accepts */
/* Its backend "be" goes on as that text says; returns when its socket accepts. */
void haproxy_start(struct bench *, int node, const char *level, const char *backend);
void haproxy_stop(struct bench *, int node);
/* A question of the test's own. free() */
char *raw(const struct bench *, int node, const char *command);
/* Whether the word is in its list of servers. */
bool listed(const struct bench *, int node, const char *word);
int fetch(int node, const char *cookie, char *answer, size_t size); /* as web_get() */

void open_balancer(struct bench *, int nodes);
void close_balancer(struct bench *);
/* Each runs the loop until the answer is there. */
struct error add_to(struct bench *, const char *id, const char *ip, uint16_t port);
enum error_code add(struct bench *, const char *id, uint16_t port); /* at IP */
enum error_code take_out(struct bench *, const char *id);

/* What was reported of it, at first nothing. */
struct seen *seen_of(struct bench *, const char *id);
/* The balancer's on_target; its arg is the bench. */
void note_target(void *arg, const char *id, enum target_state, const char *reason);
/* Runs the loop until that is its state; fails the test when it does not come. */
void reach(struct bench *, const char *id, char state);

#endif
