/* The parts of the ecs runtime: what is known of each task, its launch, its watch, its stop.
 * A task's start and its end are seen by the ticks of ecs_watch.c. */
#ifndef CLEAT_DRIVER_ECS_TASKS_H
#define CLEAT_DRIVER_ECS_TASKS_H

#include <sys/queue.h>
#include <uthash.h>
#include "driver/ecs_answer.h"
#include "driver/later.h"
#include "driver/runtime.h"
#include "http/aws.h"

/* Describe is eventually consistent: for that long, MISSING says nothing. */
#define ECS_UNKNOWN_MS 300000

enum ecs_task_phase {
    TASK_LAUNCHING, /* no id yet; its launch is under way, or looked for */
    TASK_RISING,    /* it has no address yet, or its container has not started */
    TASK_LIVE,
    TASK_STOPPING, /* its end is wanted: not reported */
    TASK_DEAD,     /* until its owner stops it */
};

struct ecs_waiter {
    STAILQ_ENTRY(ecs_waiter) entry;
    runtime_done_fn *done;
    void *arg;
};

struct ecs_task {
    struct runtime *rt;
    struct container container;
    char key[KEY_SIZE]; /* "": adopted, and not described yet */
    enum ecs_task_phase phase;
    int64_t since_ms; /* of the launch, or of the adoption */
    bool settled;     /* it runs, and nothing is under way */
    bool doubted;     /* its owner asks whether it lives: until the next look */
    struct aws_call *call;
    struct timer retry;
    unsigned tries;
    /* launching and rising */
    char *body;
    runtime_launched_fn *done; /* NULL: nobody waits for its launch */
    void *arg;
    bool ambiguous; /* some try may have launched it */
    bool
        unproven; /* a conflict named it, or it has another key: it must show that it is ours */
    struct ecs_listing *finding;
    struct error refusal; /* what its launch says in the end */
    /* stopping */
    STAILQ_HEAD(, ecs_waiter) waiters;
    UT_hash_handle hh;     /* by container.id */
    UT_hash_handle hh_key; /* by key, from its launch to its end */
};

struct runtime {
    struct runtime_env env;
    json_t *template;
    struct ecs_task *tasks, *by_key;
    struct timer tick;
    int64_t tick_at_ms, ticked_ms; /* the next, the last */
    LIST_HEAD(, ecs_look) looks;
    LIST_HEAD(, list_op) list_ops;
    struct ecs_account *account;
    struct later later;
    uint64_t ticks, describes;
    unsigned failed_ticks;
    char last_error[200];
};

/* ---- ecs_tasks.c: the table ---- */
struct ecs_task *ecs_task_new(struct runtime *, const char *key, enum ecs_task_phase);
void ecs_task_forget(struct ecs_task *); /* cancels what is under way; calls nobody */
struct ecs_task *ecs_task_find(struct runtime *, const char *id);
struct ecs_task *ecs_task_find_key(struct runtime *, const char *key);
void ecs_task_name(struct ecs_task *, const char *id); /* no other task has that id */
bool ecs_task_is_young(const struct ecs_task *);
struct aws_call *ecs_call(struct runtime *, const char *action, const char *body, aws_done_fn *,
                          void *arg);

/* ---- ecs_launch.c ---- */
void ecs_launch(struct runtime *, const struct launch *, runtime_launched_fn *, void *arg);
/* Ends the launch of a task, which is forgotten when e is set, unless somebody waits for its
 * end. */
void ecs_launch_end(struct ecs_task *, const struct error *e);

/* ---- ecs_watch.c ---- */
void ecs_watch_tick(void *runtime);
void ecs_watch_soon(struct runtime *, int64_t in_ms); /* the next tick, at the latest */
void ecs_watch_doubt(struct runtime *, const struct container *); /* the op look */
void ecs_watch_drop(struct runtime *);

/* ---- ecs_stop.c ---- */
void ecs_stop(struct runtime *, const struct container *, bool keep, runtime_done_fn *,
              void *arg);
/* A launch that comes to nothing: the task is stopped, then the launch ends with e. */
void ecs_stop_launch(struct ecs_task *, const struct error *e);
void ecs_stop_done(struct ecs_task *); /* it is gone */

/* ---- ecs_list.c: all tasks of our owner, over all pages ---- */
typedef void ecs_listed_fn(void *arg, const struct error *); /* NULL: all were told */
struct ecs_listing *ecs_list(struct runtime *, ecs_task_fn *, ecs_listed_fn *, void *arg);
void ecs_list_cancel(struct ecs_listing *);

/* ---- ecs_account.c ---- */
void ecs_examine(struct runtime *, finding_fn *, runtime_done_fn *, void *arg);
void ecs_examine_drop(struct runtime *);

#endif
