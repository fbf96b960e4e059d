/* Child processes: spawn by posix_spawn, exit by pidfd (never SIGCHLD), liveness by flock.
 *
 * A *held lock file* is how a child's life is known across restarts of its parent: the parent
 * takes an flock on lock_path, the child inherits the descriptor (read-only, number 3), the
 * parent closes its own, and the kernel drops the lock when the last heir is gone. The file's
 * one line is "PID START\n", START being the start time of proc_pid_stat(5), so that no later
 * process passes for the child. The parent writes it right after the spawn. When it dies in
 * between, a child that knows of its lock writes the line itself (lock_claim), and for another
 * one the adopter looks through /proc for the process that has the lock as descriptor 3; until
 * it is found the child counts as alive with an unknown pid.
 */
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
    const char *const *argv; /* argv[0] is an absolute path */
    const char *const *envp; /* the whole environment; NULL: empty */
    const char *cwd;         /* NULL: ours */
    const char *output_path; /* stdout and stderr are appended there (0600); NULL: /dev/null */
    const char *lock_path;   /* NULL: no lock. Created 0600 */
    int lock_fd;    /* > 0: without lock_path: a held lock of ours that the child keeps, too */
    int input_fd;   /* > 0: inherited as descriptor 0, which is /dev/null else */
    int pipe_fd;    /* > 0: inherited as descriptor 1; output_path is then stderr's alone */
    int error_fd;   /* > 0: inherited as descriptor 2 in place of output_path */
    bool new_group; /* own process group */
    bool new_session; /* own session, and with it an own process group */
};

/* status is as of waitpid(2), or CHILD_STATUS_UNKNOWN for an adopted child. Called once, from
 * the loop, after the child is gone and its lock is free; what it left in a group of its own
 * is killed as soon as it is gone. */
typedef void child_exit_fn(void *arg, int status);

/* The child gets descriptors 0 (/dev/null), 1, 2 and the lock, nothing else, and default
 * signals. Returns NULL and fills *e when nothing was started (ERR_CONFLICT: the lock is held,
 * ERR_CAPACITY: no room on this machine, else ERR_LAUNCH); exited is then never called. Free it
 * by child_free, also after it exited.
 */
struct child *child_spawn(struct loop *, const struct child_spec *, child_exit_fn *exited,
                          void *arg, struct error *e);

/* Watches a live child of an earlier life of this program by its held lock. NULL when nobody
 * holds the lock: it is gone. exited is then never called. */
struct child *child_adopt(struct loop *, const char *lock_path, child_exit_fn *exited,
                          void *arg);

pid_t child_pid(const struct child *); /* 0: adopted and unknown */
/* Harmless once it is gone. While the pid is unknown, the last signal waits for it. */
void child_kill(struct child *, int signo, bool whole_group);
void child_free(struct child *); /* the process goes on, and is reaped; never calls back */

/* The file system around a child; behind the same interface so that the simulation replaces it.
 */

/* Makes path and its parents (0755), mode for the last one. Errors here are ERR_INTERNAL or
 * ERR_CAPACITY. */
enum error_code dir_make(const char *path, mode_t mode, struct error *e);

/* Calls each(arg, name, locked) for every directory in root that has a file called "lock". */
typedef void dir_each_fn(void *arg, const char *name, bool locked);
void dir_list_locked(const char *root, dir_each_fn *each, void *arg);

/* Small text files, replaced by rename: the old text or the new one, never a part. replace:
 * that holds when a process crashes; write: also when the machine does (fsync, which blocks the
 * loop). read: NULL if absent, unreadable or longer than max; free(). */
enum error_code file_replace(const char *path, const char *text, struct error *e);
enum error_code file_write(const char *path, const char *text, struct error *e);
char *file_read(const char *path, size_t max);
bool file_exists(const char *path); /* or whatever else has that name */
/* One that only its owner may read, and who is us or root: a key. free(); NULL: *e, ERR_CONFIG.
 */
char *file_read_private(const char *path, size_t max, struct error *e);

/* Removes a tree without blocking the loop; its name is free at once. An absent path is no
 * error. done is called once, from the loop; not at all when the loop is freed before. */
void dir_remove(struct loop *, const char *path, void (*done)(void *arg, const struct error *),
                void *arg);
/* What earlier lives had begun to remove in root. */
void dir_remove_rest(struct loop *, const char *root);

#endif
