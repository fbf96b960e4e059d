#include "loop/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"

#define RETRY_MS 10

struct ask {
    struct loop *loop;
    struct sockaddr_un address;
    int fd;
    struct fd_watch *watch;
    struct timer begin, deadline;
    char *text;
    size_t sent;
    struct buf answer;
    size_t max_answer;
    ask_fn *done;
    void *arg;
};

void ask_cancel(struct ask *a)
{
    if (!a)
        return;
    timer_stop(&a->begin);
    timer_stop(&a->deadline);
    fd_watch_free(a->watch);
    if (a->fd >= 0)
        close(a->fd);
    buf_free(&a->answer);
    free(a->text);
    free(a);
}

/* code: ERR_NONE gives the answer. */
static void finish(struct ask *a, enum error_code code, const char *why)
{
    struct error e = {0};
    ask_fn *done = a->done;
    void *arg = a->arg;
    struct buf answer = a->answer;
    a->answer = (struct buf){0};
    if (code != ERR_NONE)
        error_set(&e, code, "%s: %s", a->address.sun_path, why);
    ask_cancel(a);
    if (code != ERR_NONE)
        done(arg, &e, NULL, 0);
    else
        done(arg, NULL, answer.data, answer.len);
    buf_free(&answer);
}

static void on_readable(void *arg)
{
    struct ask *a = arg;
    char chunk[16384];
    ssize_t got = recv(a->fd, chunk, sizeof chunk, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0)
        finish(a, ERR_RESET, strerror(errno));
    else if (got > 0 && (size_t)got > a->max_answer - a->answer.len)
        finish(a, ERR_TOO_LARGE, "the answer is too long");
    else if (got > 0)
        buf_add(&a->answer, chunk, (size_t)got);
    else if (a->answer.len == 0)
        finish(a, ERR_RESET, "closed without an answer");
    else
        finish(a, ERR_NONE, NULL);
}

static void watch(struct ask *a, bool for_write, loop_fn *fn)
{
    fd_watch_free(a->watch);
    a->watch = fd_watch_new(a->loop, a->fd, for_write, fn, a);
    if (!a->watch)
        finish(a, a->sent > 0 ? ERR_RESET : ERR_CONNECT, "cannot be watched");
}

static void on_writable(void *arg)
{
    struct ask *a = arg;
    ssize_t sent = send(a->fd, a->text + a->sent, strlen(a->text + a->sent), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent < 0) {
        finish(a, a->sent > 0 ? ERR_RESET : ERR_CONNECT, strerror(errno));
        return;
    }
    a->sent += (size_t)sent;
    if (a->text[a->sent] == '\0')
        watch(a, false, on_readable);
}

/* A non-blocking connect to a Unix socket is decided at once; EAGAIN: its backlog is full. */
static void begin(void *arg)
{
    struct ask *a = arg;
    if (a->fd < 0)
        a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd >= 0 && connect(a->fd, (struct sockaddr *)&a->address, sizeof a->address) == 0)
        watch(a, true, on_writable);
    else if (a->fd >= 0 && (errno == EAGAIN || errno == EINTR))
        timer_arm(&a->begin, RETRY_MS);
    else /* only these two say that nobody is there; the others are troubles of our own */
        finish(a, errno == ECONNREFUSED || errno == ENOENT ? ERR_CONNECT : ERR_INTERNAL,
               strerror(errno));
}

static void on_deadline(void *arg)
{
    struct ask *a = arg;
    if (a->watch)
        finish(a, ERR_TIMEOUT, "no complete answer in time");
    else
        finish(a, ERR_CONNECT, "not accepted in time");
}

static void refuse_path(void *arg)
{
    finish(arg, ERR_CONNECT, "the path is too long for a socket");
}

struct ask *ask_start(struct loop *loop, const char *socket_path, const char *text,
                      size_t max_answer, int64_t deadline_ms, ask_fn *done, void *arg)
{
    struct ask *a = mem_alloc(sizeof *a);
    *a = (struct ask){.loop = loop,
                      .address = {.sun_family = AF_UNIX},
                      .fd = -1,
                      .text = mem_strdup(text),
                      .max_answer = max_answer,
                      .done = done,
                      .arg = arg};
    mem_copy_string(a->address.sun_path, sizeof a->address.sun_path, socket_path);
    bool fits = strlen(socket_path) < sizeof a->address.sun_path;
    timer_init(&a->begin, loop, fits ? begin : refuse_path, a);
    timer_init(&a->deadline, loop, on_deadline, a);
    timer_arm(&a->begin, 0);
    timer_arm(&a->deadline, deadline_ms);
    return a;
}
