#include "loop/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/lock.h"

#define LOCK_POLL_MS 50
#define SEARCH_POLL_MAX_MS 1000 /* a search looks at every process */

struct child {
    struct loop *loop;
    struct lock_owner owner;
    int pidfd; /* -1: the process is gone, or not yet known */
    bool ours; /* we are its parent: as long as we do not reap it, its pid is not given again */
    bool leads_group;
    bool gone;
    int owed_signal; /* 0: none; for a process that is not known yet */
    bool owed_to_group;
    struct fd_watch *watch;
    struct timer poll; /* of the lock */
    int64_t poll_ms;
    char *lock_path;
    child_exit_fn *exited; /* NULL: freed while it ran, only to be reaped */
    void *arg;
    struct loop_guest guest;
};

static void stop_watching(struct child *c)
{
    fd_watch_free(c->watch);
    c->watch = NULL;
    if (c->pidfd >= 0)
        close(c->pidfd);
    c->pidfd = -1;
}

static void dispose(void *arg)
{
    struct child *c = arg;
    stop_watching(c);
    timer_stop(&c->poll);
    free(c->lock_path);
    free(c);
}

/* ---- the end */

static int reap(struct child *c)
{
    siginfo_t info = {0};
    if (!c->ours || waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) != 0)
        return CHILD_STATUS_UNKNOWN;
    if (info.si_code == CLD_EXITED)
        return W_EXITCODE(info.si_status & 0xff, 0);
    return info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

/* Not somebody else's group of the same number. That is given again only when both the leader
 * was reaped and the group is empty. */
static bool has_group(const struct child *c)
{
    return c->leads_group &&
           (c->ours || process_is(&c->owner) || (kill(c->owner.pid, 0) != 0 && errno == ESRCH));
}

static void finish(struct child *c)
{
    int status = reap(c);
    c->gone = true;
    if (c->exited) {
        c->exited(c->arg, status);
        return;
    }
    loop_guest_remove(c->loop, &c->guest);
    dispose(c);
}

static void finish_when_unlocked(struct child *c)
{
    if (c->lock_path && lock_held(c->lock_path))
        timer_arm(&c->poll, c->poll_ms);
    else
        finish(c);
}

static void on_ended(void *arg)
{
    struct child *c = arg;
    fd_watch_free(c->watch);
    c->watch = NULL;
    if (has_group(c)) /* what it left may be heirs of the lock, which wait for nobody */
        kill(-c->owner.pid, SIGKILL);
    if (!c->ours)
        c->leads_group = false; /* the group is empty, and soon its number is anybody's */
    finish_when_unlocked(c);
}

static bool watch_process(struct child *c)
{
    c->pidfd = pidfd_open(c->owner.pid, 0);
    if (c->pidfd < 0)
        return false;
    fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
    c->watch = fd_watch_new(c->loop, c->pidfd, false, on_ended, c);
    return c->watch;
}

static void on_poll(void *arg);

static struct child *child_new(struct loop *loop, const char *lock_path, child_exit_fn *exited,
                               void *arg)
{
    struct child *c = mem_alloc(sizeof *c);
    *c = (struct child){.loop = loop,
                        .pidfd = -1,
                        .poll_ms = LOCK_POLL_MS,
                        .lock_path = mem_strdup(lock_path),
                        .exited = exited,
                        .arg = arg};
    c->guest = (struct loop_guest){.drop = dispose, .arg = c};
    timer_init(&c->poll, loop, on_poll, c);
    return c;
}

/* ---- spawn */

static int add_output(posix_spawn_file_actions_t *actions, int fd, const char *path)
{
    return posix_spawn_file_actions_addopen(actions, fd, path ? path : "/dev/null",
                                            O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0600);
}

/* The descriptors of the child: nothing but 0, 1, 2 and the lock survives. */
static int add_descriptors(posix_spawn_file_actions_t *actions, const struct child_spec *spec,
                           int lock_fd)
{
    int rc = 0;
    if (spec->pipe_fd > 0) /* these first: their numbers may be among those that follow */
        rc = posix_spawn_file_actions_adddup2(actions, spec->pipe_fd, 1);
    if (rc == 0 && spec->error_fd > 0)
        rc = posix_spawn_file_actions_adddup2(actions, spec->error_fd, 2);
    if (rc == 0 && spec->input_fd > 0)
        rc = posix_spawn_file_actions_adddup2(actions, spec->input_fd, 0);
    if (rc == 0 && spec->input_fd <= 0)
        rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0 && spec->pipe_fd <= 0)
        rc = add_output(actions, 1, spec->output_path);
    if (rc == 0 && spec->error_fd <= 0)
        rc = add_output(actions, 2, spec->output_path);
    if (rc == 0 && lock_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, lock_fd, CHILD_LOCK_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, CHILD_LOCK_FD + (lock_fd >= 0));
    if (rc == 0 && spec->cwd)
        rc = posix_spawn_file_actions_addchdir_np(actions, spec->cwd);
    return rc;
}

static void set_attributes(posix_spawnattr_t *attr, const struct child_spec *spec)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setpgroup(attr, 0);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (spec->new_session)
        flags |= POSIX_SPAWN_SETSID;
    else if (spec->new_group)
        flags |= POSIX_SPAWN_SETPGROUP;
    posix_spawnattr_setflags(attr, (short)flags);
}

static int spawn(const struct child_spec *spec, int lock_fd, pid_t *pid)
{
    static const char *const empty[] = {NULL};
    const char *const *envp = spec->envp ? spec->envp : empty;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    set_attributes(&attr, spec);
    int rc = add_descriptors(&actions, spec, lock_fd);
    if (rc == 0) /* the arrays are not changed, only declared without const */
        rc = posix_spawn(pid, spec->argv[0], &actions, &attr,
                         (char *const *)(uintptr_t)spec->argv, (char *const *)(uintptr_t)envp);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* A child that cannot be watched or found again must not live. */
static struct child *undo(struct child *c)
{
    kill(c->leads_group ? -c->owner.pid : c->owner.pid, SIGKILL);
    while (waitpid(c->owner.pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    dispose(c);
    return NULL;
}

struct child *child_spawn(struct loop *loop, const struct child_spec *spec,
                          child_exit_fn *exited, void *arg, struct error *e)
{
    int lock_fd = spec->lock_path ? lock_take(spec->lock_path, e) : -1;
    if (spec->lock_path && lock_fd < 0)
        return NULL;
    struct child *c = child_new(loop, spec->lock_path, exited, arg);
    int shared = spec->lock_fd > 0 ? spec->lock_fd : lock_fd;
    int rc = spawn(spec, shared, &c->owner.pid);
    if (lock_fd >= 0)
        close(lock_fd);
    if (rc != 0) {
        error_set(e, error_of_errno(rc, ERR_LAUNCH), "%s: %s", spec->argv[0], strerror(rc));
        dispose(c);
        return NULL;
    }
    c->ours = true;
    c->leads_group = spec->new_group || spec->new_session;
    if (spec->lock_path && lock_write(spec->lock_path, c->owner.pid, e) != ERR_NONE)
        return undo(c);
    if (!watch_process(c)) {
        error_set(e, error_of_errno(errno, ERR_LAUNCH), "%s: cannot be watched: %s",
                  spec->argv[0], strerror(errno));
        return undo(c);
    }
    return c;
}

/* ---- adoption */

/* False: nobody is known yet. */
static bool name_owner(struct child *c, bool *searched)
{
    c->owner = lock_read(c->lock_path);
    *searched = c->owner.pid == 0;
    if (*searched)
        c->owner = lock_find(c->lock_path);
    if (c->owner.pid != 0)
        return true;
    c->poll_ms = c->poll_ms * 2 < SEARCH_POLL_MAX_MS ? c->poll_ms * 2 : SEARCH_POLL_MAX_MS;
    return false;
}

static void welcome(struct child *c, bool searched)
{
    struct error ignored; /* then our next life searches as we did */
    c->poll_ms = LOCK_POLL_MS;
    c->leads_group = getpgid(c->owner.pid) == c->owner.pid;
    if (searched)
        lock_write(c->lock_path, c->owner.pid, &ignored);
    if (c->owed_signal != 0)
        child_kill(c, c->owed_signal, c->owed_to_group);
}

/* Finds the process behind the lock. With its start time no other process of that pid passes
 * for it; the comparison comes after pidfd_open, which pins the process that is compared. */
static void find_process(struct child *c)
{
    bool searched;
    if (!name_owner(c, &searched))
        return;
    bool watched = watch_process(c);
    if (watched && process_is(&c->owner)) {
        welcome(c, searched);
        return;
    }
    /* The poll tries again: no descriptor was left, or what was found has just ended. EINVAL is
     * what some kernels say of a number that only a group has. */
    if (searched || (!watched && errno != ESRCH && errno != EINVAL)) {
        stop_watching(c);
        c->owner.pid = 0;
        return;
    }
    /* Gone: only heirs hold the lock. Its group may live on unless the pid was given again. */
    c->leads_group = !watched;
    stop_watching(c);
}

static void on_poll(void *arg)
{
    struct child *c = arg;
    if (!c->ours && c->owner.pid == 0)
        find_process(c);
    if (!c->watch)
        finish_when_unlocked(c);
}

struct child *child_adopt(struct loop *loop, const char *lock_path, child_exit_fn *exited,
                          void *arg)
{
    if (!lock_held(lock_path))
        return NULL;
    struct child *c = child_new(loop, lock_path, exited, arg);
    find_process(c);
    if (!lock_held(lock_path)) { /* it ended meanwhile */
        dispose(c);
        return NULL;
    }
    if (!c->watch)
        timer_arm(&c->poll, c->poll_ms);
    return c;
}

/* ---- what the owner does */

pid_t child_pid(const struct child *c)
{
    return c->owner.pid;
}

void child_kill(struct child *c, int signo, bool whole_group)
{
    if (c->gone)
        return;
    if (c->owner.pid == 0) {
        c->owed_signal = signo;
        c->owed_to_group = whole_group;
        return;
    }
    if (!whole_group || !c->leads_group) {
        if (c->pidfd >= 0)
            pidfd_send_signal(c->pidfd, signo, NULL, 0);
    } else if (c->ours || (has_group(c) && lock_held(c->lock_path))) {
        kill(-c->owner.pid, signo);
    }
}

void child_free(struct child *c)
{
    if (!c)
        return;
    if (!c->ours || c->gone) {
        dispose(c);
        return;
    }
    c->exited = NULL;
    loop_guest_add(c->loop, &c->guest);
}
