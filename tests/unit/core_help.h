/* A coordinator of its own for a test: no log, its state in a fresh directory. */
#ifndef CORE_HELP_H
#define CORE_HELP_H

#include "driver/store.h"

struct cleat;
struct event_base;

#define CORE_DIR_SIZE 64

/* options: class (NULL: the coordinator's), key, value; ended by a NULL key. dir is filled in. */
struct cleat *core_help_open(struct event_base *, char dir[CORE_DIR_SIZE],
                             const char *const options[][3]);
/* All of it; 0, as cmocka's teardown wants it. core may be NULL. */
int core_help_close(struct cleat *, struct event_base *, const char *dir);

/* Commits from now on are neither made nor answered: the test calls done itself. One
 * coordinator at a time; the store gets its commits again with core_help_pass. */
#define CORE_HELD_MAX 8
struct core_held {
    store_done_fn *done;
    void *arg;
};
extern struct core_held core_held[CORE_HELD_MAX];
extern unsigned core_held_count;
void core_help_hold(struct cleat *);
void core_help_pass(struct cleat *);

#endif
