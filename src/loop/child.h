/* Child processes: spawn by posix_spawn, exit by pidfd (never SIGCHLD), liveness by flock.
 *
 * A *held lock file* is how a child's life is known across restarts of its parent: the parent
 * takes an flock on lock_path, the child inherits the descriptor, and the kernel drops the lock
 * when the last holder is gone. The file's content is the pid in decimal, written before the
 * child runs any code of its own. */
#ifndef CLEAT_LOOP_CHILD_H
#define CLEAT_LOOP_CHILD_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"
#include "loop/loop.h"

struct child;

#define CHILD_LOCK_FD 3 /* the descriptor of the held lock in the child */
#define CHILD_STATUS_UNKNOWN (-1)

struct child_spec {
    const char *const *argv; /* argv[0] is a path */
    const char *const *envp; /* the whole environment, nothing is inherited */
    const char *cwd;         /* NULL: ours */
    const char *output_path; /* stdout and stderr are appended there (0600); NULL: /dev/null */
    const char *lock_path;   /* NULL: no lock. Created 0600 */
    int pipe_fd;             /* > 0: inherited as descriptor 1 in place of output_path */
    bool new_group;          /* own process group */
};

/* status is as of waitpid(2), or CHILD_STATUS_UNKNOWN for an adopted child. Called once, from the
 * loop, after the child is gone and its lock is free. */
typedef void child_exit_fn(void *arg, int status);

/* Returns NULL and fills *e when nothing was started; exited is then never called. */
struct child *child_spawn(struct loop *, const struct child_spec *, child_exit_fn *exited, void *arg,
                          struct error *e);

/* Watches a live child of an earlier life of this program by its held lock. NULL when nobody holds
 * the lock: it is gone. exited is then never called. */
struct child *child_adopt(struct loop *, const char *lock_path, child_exit_fn *exited, void *arg);

pid_t child_pid(const struct child *);
void child_kill(struct child *, int signo, bool whole_group); /* harmless once it is gone */
void child_free(struct child *); /* stops watching; the process goes on; never calls back */

/* The file system around a child; behind the same interface so that the simulation replaces it. */

/* Makes path and its parents, mode for the last one. */
enum error_code dir_make(const char *path, mode_t mode, struct error *e);

/* Calls each(arg, name, locked) for every directory in root that has a file called "lock". */
typedef void dir_each_fn(void *arg, const char *name, bool locked);
void dir_list_locked(const char *root, dir_each_fn *each, void *arg);

/* Small text files in a workspace, written with fsync and rename. read: NULL if absent; free(). */
enum error_code file_write(const char *path, const char *text, struct error *e);
char *file_read(const char *path, size_t max);

/* Removes a tree without blocking the loop. done is called once, from the loop. */
void dir_remove(struct loop *, const char *path, void (*done)(void *arg, const struct error *), void *arg);

#endif
