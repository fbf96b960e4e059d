/* What the tests of the runtime ecs share: a runtime with its class and the ECS of ecs_fake.h,
 * and steps that fail the test when they do not come about. */
#ifndef CLEAT_TESTS_ECS_HELP_H
#define CLEAT_TESTS_ECS_HELP_H

#include "driver/runtime.h"
#include "driver_help.h"
#include "ecs_fake.h"

struct launched {
    int calls;
    struct error error;
    struct container container;
};

struct fixture {
    struct loop *loop;
    struct class *class;
    struct aws *aws;
    struct runtime *rt;
    char *directory;
    int exits, in_order, progresses;
    char exit_key[KEY_SIZE], cause[256], progress[128];
};

int set_up(void **state);    /* of a test: *state is a struct fixture */
int tear_down(void **state); /* rt may be NULL */
void open_runtime(struct fixture *);
void write_template(struct fixture *, const char *text);

/* Limits and pauses are in real milliseconds, the loop's clock is FAKE_SPEED times as fast. */
bool comes(struct fixture *, until_fn *, void *arg); /* false: it did not */
void pass(struct fixture *, int64_t real_ms);
enum error_code answered(struct fixture *, struct answer *);

void begin(struct fixture *, const char *session, struct launched *out); /* key "o.SESSION.1" */
enum error_code outcome(struct fixture *, struct launched *);
struct fake_task *task_made(struct fixture *, size_t n);     /* the n-th, from 1 */
struct container run(struct fixture *, const char *session); /* a container that runs */
enum error_code stop(struct fixture *, const struct container *);
void end_when_stopped(struct fixture *, struct fake_task *,
                      int stops); /* StopTask, so many times */
void check_exit(struct fixture *, const char *key, const char *words);
void looks(struct fixture *, int more); /* so many more DescribeTasks are answered */
bool progress_has_come(void *fixture);
bool has_stopped_some(void *count); /* int: calls of StopTask */

#endif
