/* What ECS answers: tasks, failures, and why a task stopped, in a sentence for its user. Pure.
 * Shapes: botocore's model of ECS (2014-11-13); reasons: Amazon ECS Developer Guide, "Stopped
 * tasks error codes" and "API failure reasons". */
#ifndef CLEAT_DRIVER_ECS_ANSWER_H
#define CLEAT_DRIVER_ECS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "driver/runtime.h"

#define ECS_ID_SIZE 65

enum ecs_phase {
    ECS_RISING,   /* PROVISIONING, PENDING: no container runs yet, its image may be pulled */
    ECS_STARTING, /* ACTIVATING: its containers run */
    ECS_RUNNING,
    ECS_FALLING, /* its end is certain, its containers may still run */
    ECS_GONE,    /* its containers have ended for good */
};

struct ecs_view {
    char id[ECS_ID_SIZE]; /* last part of the ARN */
    char key[KEY_SIZE]; /* of its launch; "" when it does not say, or is nobody's of this owner
                         */
    char ip[46];        /* of its network interface; "" while there is none */
    char label[LABEL_MAX + 1]; /* of its launch; "": none, or its tags were not asked for */
    enum ecs_phase phase;
    char progress[64]; /* of one that is RISING, for people */
    /* of one that is GONE */
    bool told_all;    /* the status of our container is there, or will never be */
    bool in_order;    /* our container ended with status 0 */
    struct error end; /* ERR_CAPACITY, ERR_PERMANENT or ERR_LAUNCH: as of a failed launch */
};

typedef void ecs_task_fn(void *arg, const struct ecs_view *);
typedef void ecs_missing_fn(void *arg, const char *id);

/* An answer of DescribeTasks, each task and each one that ECS does not know. False: it makes no
 * sense, and nothing was called. container: the one whose end counts. */
bool ecs_read_tasks(const char *text, size_t len, const char *container, const char *owner,
                    ecs_task_fn *, ecs_missing_fn *, void *arg);

enum ecs_ran { ECS_RAN, ECS_REFUSED, ECS_NONSENSE };
/* An answer of RunTask: RAN fills *v, REFUSED *e (ERR_CAPACITY, ERR_LAUNCH). */
enum ecs_ran ecs_read_run(const char *text, size_t len, const char *container,
                          const char *owner, struct ecs_view *v, struct error *e);

/* The task that a ConflictException names. False: it names none. */
bool ecs_read_conflict(const char *text, size_t len, char id[ECS_ID_SIZE]);

/* An answer of ListTasks. next: "" on the last page, free(). False: it makes no sense. */
typedef void ecs_id_fn(void *arg, const char *id);
bool ecs_read_list(const char *text, size_t len, ecs_id_fn *, void *arg, char **next);

/* Whether words of ECS about a launch say that there is no room now. */
bool ecs_means_capacity(const char *text);

#endif
