/* The held lock file of a child, see loop/child.h. Its one line is "PID START": the child's pid
 * and its start time in clock ticks since boot (proc_pid_stat(5), field 22), which tells it
 * from a later process of the same pid. */
#ifndef CLEAT_LOOP_LOCK_H
#define CLEAT_LOOP_LOCK_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"

/* Locks and empties path (created 0600). Returns a descriptor that can only read, so that the
 * child cannot change the file through it; -1: *e, ERR_CONFLICT when somebody holds it, else
 * ERR_LAUNCH or ERR_CAPACITY. */
int lock_take(const char *path, struct error *e);

enum error_code lock_write(const char *path, pid_t pid, struct error *e);

/* In the child: writes its own line when the file that CHILD_LOCK_FD leads to is path and
 * empty, for the parent may die before it writes. When both write, both write the same bytes.
 */
enum error_code lock_claim(const char *path, struct error *e);

/* In the child: CHILD_LOCK_FD when that leads to path, else -1. */
int lock_inherited(const char *path);

bool lock_held(const char *path); /* also when it cannot be told; an absent file is free */

struct lock_owner {
    pid_t pid; /* 0: not written, the lock's taker died too early */
    unsigned long long start;
};
struct lock_owner lock_read(const char *path);

/* Who has path open as CHILD_LOCK_FD, best the leader of a group; pid 0: nobody, or nobody that
 * we may look at (proc_pid_fd(5): root and the same uid may, but not into a process that is not
 * dumpable). Looks at every process. */
struct lock_owner lock_find(const char *path);

bool process_is(const struct lock_owner *); /* that process exists, at least as a zombie */

#endif
