/* A coordinator of its own for a test: no log, its state in a fresh directory. */
#ifndef CORE_HELP_H
#define CORE_HELP_H

struct cleat;
struct event_base;

#define CORE_DIR_SIZE 64

/* options: class (NULL: the coordinator's), key, value; ended by a NULL key. dir is filled in. */
struct cleat *core_help_open(struct event_base *, char dir[CORE_DIR_SIZE],
                             const char *const options[][3]);
/* All of it; 0, as cmocka's teardown wants it. core may be NULL. */
int core_help_close(struct cleat *, struct event_base *, const char *dir);

#endif
