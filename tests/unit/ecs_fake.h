/* ECS behind http/aws.h's calls, which this file has instead of libaws: tasks that the test
 * moves by hand, client tokens, paging, and faults. Time runs FAKE_SPEED times as fast. */
#ifndef CLEAT_TESTS_ECS_FAKE_H
#define CLEAT_TESTS_ECS_FAKE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "http/aws.h"

#define FAKE_SPEED 100
#define FAKE_TASKS 400

struct fake_task {
    char id[33], token[80], *request;
    json_t *overrides, *tags;
    char owner[40];
    const char *status, *desired, *stop_code, *reason;
    int exit_code; /* < 0: none */
    bool hidden;   /* MISSING, and not listed */
    char ip[20];   /* "": no network interface yet */
};

enum fake_fault {
    FAKE_LOST,     /* the effect is there, the answer is not */
    FAKE_UNSENT,   /* nothing reached ECS */
    FAKE_VANISHED, /* it was sent, and had no effect */
    FAKE_NONSENSE, /* an effect, and an answer that is none */
    FAKE_THROTTLED,
    FAKE_DENIED,
    FAKE_CONFLICT, /* names the task fake.conflict */
    FAKE_MIXED_UP, /* the answer to RunTask is the first task, whosever it is */
    FAKE_NO_ROOM,  /* failures[] */
    FAKE_HELD,     /* no answer until fake_release */
};

struct fake {
    struct fake_task tasks[FAKE_TASKS];
    size_t count;
    size_t page;              /* of ListTasks */
    bool endless;             /* its pages are empty, and each names another one */
    const char *first_status; /* of a new task */
    const char *conflict;
    int runs, stops, describes, lists, tagged; /* calls that were answered; tagged: with TAGS */
    size_t most_described;                     /* in one call */
    int under_way;                             /* calls without answer */
    int most_describing;
    char *last_run;
    const char *cluster, *definition, *subnets; /* answers of Describe… */
};
extern struct fake fake;

struct loop;
struct aws *fake_open(struct loop *);
void fake_close(struct aws *); /* fails the test when a call is under way */
/* The next call of action meets it, after `after` others. */
void fake_add_fault(const char *action, enum fake_fault, int after);
void fake_release(void);
void fake_move(struct fake_task *, const char *status); /* RUNNING also gives an address */
void fake_end(struct fake_task *, const char *stop_code, const char *reason, int exit_code);
size_t fake_alive(void); /* tasks that nobody has stopped */

#endif
