/* The engine would make the directory as root's; user code's executor may be another. A child
 * makes it: an artifact store may be a file system that does not answer. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "driver/docker_box.h"
#include "driver/docker_fields.h"
#include "loop/child.h"
#include "loop/lines.h"

struct docker_artifacts {
    char *dir;
    struct child *child;
    struct lines *lines;
    char why[160]; /* it cannot be made */
    struct timer late;
    int64_t timeout_ms;
    runtime_done_fn *done;
    void *arg;
};

void docker_artifacts_drop(struct docker_artifacts *a)
{
    timer_stop(&a->late);
    if (a->child != NULL) {
        child_kill(a->child, SIGKILL, true);
        child_free(a->child);
    }
    lines_close(a->lines);
    free(a->dir);
    free(a);
}

static void finish(struct docker_artifacts *a, const struct error *e)
{
    runtime_done_fn *done = a->done;
    void *arg = a->arg;
    docker_artifacts_drop(a);
    done(arg, e);
}

static void on_late(void *arg)
{
    struct docker_artifacts *a = arg;
    struct error e;
    error_set(&e, ERR_LAUNCH, "artifacts: %.140s: its file system has not answered for %lld ms",
              a->dir, (long long)a->timeout_ms);
    finish(a, &e);
}

static void on_line(void *arg, const char *line)
{
    struct docker_artifacts *a = arg;
    mem_copy_string(a->why, sizeof(a->why), line);
}

static void on_exit_status(void *arg, int status)
{
    struct docker_artifacts *a = arg;
    struct error e = {0};
    lines_drain(a->lines);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        error_set(&e, ERR_LAUNCH, "artifacts: %s",
                  a->why[0] != '\0' ? a->why : "the process that makes their directory failed");
    finish(a, e.code != ERR_NONE ? &e : NULL);
}

/* "UID:GID" whose the directory is to be; "": ours. */
static void name_owner(const struct class *c, char *owner, size_t size)
{
    unsigned uid, gid;
    int numbers = sscanf(c->docker_user, "%9u:%9u", &uid, &gid);
    *owner = '\0';
    if (geteuid() == 0 && numbers > 0)
        snprintf(owner, size, "%u:%u", uid, numbers == 2 ? gid : 0);
}

static void start(struct docker_artifacts *a, struct loop *loop, const char *owner,
                  struct error *e)
{
    static const char script[] = "umask go-w && /bin/mkdir -p -- \"$1\" && "
                                 "{ [ -z \"$2\" ] || /bin/chown -- \"$2\" \"$1\"; }";
    const char *const argv[] = {"/bin/sh", "-c",  script, "cleat-artifacts",
                                a->dir,    owner, NULL};
    int writer = -1;
    a->lines = lines_open(loop, &writer, on_line, a, e);
    if (a->lines == NULL)
        return;
    struct child_spec spec = {.argv = argv, .error_fd = writer, .new_group = true};
    a->child = child_spawn(loop, &spec, on_exit_status, a, e);
    close(writer);
}

struct docker_artifacts *docker_artifacts_make(struct runtime *rt, const char *session,
                                               runtime_done_fn *done, void *arg,
                                               struct error *e)
{
    char *dir = docker_artifacts_of(rt->env.class, session), owner[24];
    if (dir == NULL)
        return NULL;
    struct docker_artifacts *a = mem_alloc(sizeof(*a));
    *a = (struct docker_artifacts){
        .dir = dir, .timeout_ms = docker_ask_ms(rt), .done = done, .arg = arg};
    timer_init(&a->late, rt->env.loop, on_late, a);
    name_owner(rt->env.class, owner, sizeof(owner));
    start(a, rt->env.loop, owner, e);
    if (a->child == NULL) {
        docker_artifacts_drop(a);
        return NULL;
    }
    timer_arm(&a->late, a->timeout_ms);
    return a;
}
