#include "executor/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/settings.h"
#include "loop/child.h"
#include "loop/lines.h"

struct helper {
    struct loop *loop;
    struct child *child;
    int reader; /* our end of the socket that is its descriptor 1; lines closes it */
    struct lines *lines;
    bool ready;
    struct helper_progress progress;
    struct error error;
    helper_fn *done;
    void *arg;
};

static struct helper *running[HELPERS_MAX];
static char *settings; /* NULL: none */

static struct helper **find(const struct helper *h)
{
    for (size_t i = 0; i < HELPERS_MAX; i++)
        if (running[i] == h)
            return &running[i];
    return NULL;
}

size_t helper_pids(pid_t out[HELPERS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < HELPERS_MAX; i++)
        if (running[i])
            out[count++] = child_pid(running[i]->child);
    return count;
}

const struct helper_progress *helper_progress(const struct helper *h)
{
    return &h->progress;
}

void helper_read_line(const char *line, struct helper_progress *p, struct error *why)
{
    int64_t files, bytes;
    if (strncmp(line, "failed ", 7) == 0) {
        error_set(why, ERR_INTERNAL, "%s", line + 7);
    } else if (sscanf(line, "total %" SCNd64 " %" SCNd64, &files, &bytes) == 2) {
        p->files = files;
        p->bytes = bytes;
    } else if (sscanf(line, "done %" SCNd64 " %" SCNd64, &files, &bytes) == 2) {
        p->files_done = files;
        p->bytes_done = bytes;
    }
}

/* The line is far shorter than a socket's buffer: where it does not fit nobody reads. */
static void tell(struct helper *h)
{
    size_t len = settings ? strlen(settings) : 0;
    if (len == 0 || !h->ready ||
        send(h->reader, settings, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len)
        return;
    error_set(&h->error, ERR_INTERNAL, "the copying process does not listen");
    child_kill(h->child, SIGKILL, false);
}

void helper_settings(char *line)
{
    if (settings)
        mem_wipe(settings, strlen(settings));
    free(settings);
    settings = line;
    for (size_t i = 0; i < HELPERS_MAX; i++)
        if (running[i])
            tell(running[i]);
}

static void read_line(void *arg, const char *line)
{
    struct helper *h = arg;
    if (strcmp(line, SETTINGS_READY) == 0) {
        h->ready = true;
        tell(h);
    }
    helper_read_line(line, &h->progress, &h->error);
}

static void dispose(struct helper *h)
{
    struct helper **place = find(h);
    if (place)
        *place = NULL;
    if (h->child)
        child_free(h->child);
    lines_close(h->lines);
    free(h);
}

static void on_helper_exit(void *arg, int status)
{
    struct helper *h = arg;
    lines_drain(h->lines);
    if (status != 0 && !h->error.code)
        error_set(&h->error, ERR_INTERNAL, "the copying process ended with status %d", status);
    struct error e = h->error;
    struct helper_progress progress = h->progress;
    helper_fn *done = h->done;
    void *done_arg = h->arg;
    dispose(h);
    done(done_arg, status != 0 ? &e : NULL, &progress);
}

static enum error_code spawn(struct helper *h, const char *const *arguments, struct error *e)
{
    const char *argv[16] = {"/proc/self/exe"};
    const char *envp[] = {"PATH=/usr/bin:/bin", NULL};
    int ends[2];
    for (size_t i = 0; i + 2 < sizeof argv / sizeof *argv && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(e, ERR_INTERNAL, "socketpair: %s", strerror(errno));
    h->reader = ends[0];
    fcntl(h->reader, F_SETFL, O_NONBLOCK);
    struct child_spec spec = {
        .argv = argv, .envp = envp, .pipe_fd = ends[1], .error_fd = STDERR_FILENO};
    h->child = child_spawn(h->loop, &spec, on_helper_exit, h, e);
    close(ends[1]);
    h->lines = lines_over(h->loop, h->reader, read_line, h);
    if (!h->child)
        return e->code;
    return ERR_NONE;
}

struct helper *helper_start(struct loop *loop, const char *const *arguments, helper_fn *done,
                            void *arg, struct error *e)
{
    struct helper **place = find(NULL);
    if (!place) {
        error_set(e, ERR_FULL, "%d copies run already", HELPERS_MAX);
        return NULL;
    }
    struct helper *h = mem_alloc(sizeof *h);
    *h = (struct helper){.loop = loop, .done = done, .arg = arg};
    if (spawn(h, arguments, e)) {
        dispose(h);
        return NULL;
    }
    *place = h;
    return h;
}

void helper_end_all(void)
{
    for (size_t i = 0; i < HELPERS_MAX; i++) {
        if (!running[i])
            continue;
        child_kill(running[i]->child, SIGKILL, false);
        dispose(running[i]);
    }
}
