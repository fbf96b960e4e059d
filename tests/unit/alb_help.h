/* What the tests of the balancer `alb` share: a small Elastic Load Balancing in a process of
 * its own, whose books the test reads and writes, and a balancer whose reports are noted. */
#ifndef CLEAT_TESTS_ALB_HELP_H
#define CLEAT_TESTS_ALB_HELP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "driver/balancer.h"
#include "driver_help.h"
#include "http/aws.h"

#define ELB_IP "127.76.0.1"
#define ELB_GROUPS 3
#define ELB_TARGETS 256
#define ELB_FAULTS 4
#define ELB_LOG 512

struct elb_target {
    char ip[46];
    int port;       /* 0: a free place */
    char state[16]; /* "initial" … */
};

struct elb_group {
    bool missing;   /* TargetGroupNotFound */
    char owner[32]; /* value of the tag; "": it has none */
    struct elb_target targets[ELB_TARGETS];
};

/* The next so many calls of that action, or of all when it is "". */
enum elb_fault_kind { FAULT_STATUS, FAULT_RESET, FAULT_GARBAGE };
struct elb_fault {
    char action[32];
    int times;
    enum elb_fault_kind kind;
    int status;
    char code[48];
};

struct elb_call {
    char action[40];
    int group, targets; /* group -1: not of one */
};

struct elb {
    pthread_mutex_t lock; /* of everything below, also between the processes */
    struct elb_group groups[ELB_GROUPS];
    struct elb_fault faults[ELB_FAULTS];
    struct elb_call log[ELB_LOG];
    int calls;
    char register_as[16]; /* state of a new target: "healthy" at once, or "initial" */
    char thief[32];       /* overwrites the owner's tag right after it is written */
    char refused[46];     /* an address that is no target: InvalidTarget */
    int hold_ms;          /* before a change takes effect and is answered */
    int late_ms;          /* a listing is so old when it is answered */
    bool drains;          /* a deregistered target stays, draining */
};

struct seen {
    char id[64];
    char states[64]; /* C, H, U, G in the order they were reported */
    char reason[64];
};

struct bench {
    struct loop *loop;
    struct http_client *client;
    struct aws *aws;
    struct class *class;
    struct balancer *b; /* NULL: not open */
    struct elb *elb;
    pid_t pid;
    struct seen seen[256];
    size_t count;
    char listed[2048]; /* by list_now: "id=ip:port " each */
};

/* ELB answers; three groups, all "me"'s; the class names them; no balancer is open. */
int set_up(void **state);
int tear_down(void **state);

void open_balancer(struct bench *);
void close_balancer(struct bench *);

/* Each runs the loop until the answer is there; no callback may come inline. */
struct error add(struct bench *, const char *id, const char *ip);
struct error take_out(struct bench *, const char *id);
struct error list_now(struct bench *);
void adopt(struct bench *, const char *id, const char *ip);
/* Without waiting for the answer. */
void start_add(struct bench *, const char *id, const char *ip, struct answer *);
void start_remove(struct bench *, const char *id, struct answer *);
bool reserves(struct bench *, const char *id);       /* at once */
void until_reserved(struct bench *, const char *id); /* within 10 s */

struct seen *seen_of(struct bench *, const char *id);
void reach(struct bench *, const char *id, char state); /* fails the test after 15 s */
size_t group_of(struct bench *, const char *id);

/* ELB's books. */
void elb_put(struct bench *, int group, const char *ip, const char *state); /* "": away */
const char *elb_state(struct bench *, int group, const char *ip);           /* "": not there */
int elb_calls(struct bench *, const char *action);                          /* so far */
int elb_targets_of(struct bench *, const char *action); /* named by those calls */
void elb_fail(struct bench *, const char *action, int times, int status, const char *code);
void elb_break(struct bench *, const char *action, int times, enum elb_fault_kind);

#endif
