/* What the drivers' tests share: a loop that runs until something is true, a class with
 * defaults, a directory, and small HTTP servers in processes of their own. */
#ifndef CLEAT_TESTS_DRIVER_HELP_H
#define CLEAT_TESTS_DRIVER_HELP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "driver/class.h"
#include "loop/loop.h"

typedef bool until_fn(void *arg);
/* False: the time passed and it was never true. */
bool run_until(struct loop *, until_fn *is_true, void *arg, int64_t limit_ms);
void run_for(struct loop *, int64_t ms);

/* The done callback of an op, and what it said. */
struct answer {
    int calls;
    struct error error;
};
void take_answer(void *arg, const struct error *);
/* Runs the loop until it is there; fails the test when it does not come or comes twice. */
enum error_code answer_of(struct loop *, struct answer *);

struct class *class_new(void);
void class_set(struct class *, const char *key, const char *value);
void class_free(struct class *);

char *directory_new(void); /* "/tmp/cleat-…" */
void directory_remove(char *);

/* A loopback address that no other test process has, so that runs do not meet on a port. */
const char *test_ip(void);

/* Answers every request with *status and its name as body; GET /slow waits while *hold is set.
 */
struct web {
    pid_t pid;
    struct web_control {
        volatile int status, hold, served;
    } * control;
};
struct web web_start(const char *ip, uint16_t port, const char *name);
void web_stop(struct web *);
void web_kill(struct web *); /* nobody listens any more; control stays */

/* One blocking GET. Returns the status, 0 without an answer; body and cookie may be NULL. */
int web_get(const char *ip, uint16_t port, const char *path, const char *cookie, char *answer,
            size_t size);

#endif
