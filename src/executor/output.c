#include "executor/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/order.h"
#include "executor/utf8.h"

#define CHUNK 65536
#define CHUNKS_PER_TURN 16
#define CHUNKS_AT_END 32 /* more than a pipe holds (1 MiB at most, pipe(7)) */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(struct output *o)
{
    if (o->watch)
        fd_watch_free(o->watch);
    o->watch = NULL;
    close_fd(&o->reader);
    close_fd(&o->writer);
    close_fd(&o->file);
}

void output_init(struct output *o)
{
    *o = (struct output){.reader = -1, .writer = -1, .file = -1};
}

enum error_code output_open(struct output *o, const char *path, size_t limit, struct error *e)
{
    int ends[2];
    output_init(o);
    o->path = mem_strdup(path);
    o->limit = limit;
    o->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (o->file < 0)
        return error_set(e, ERR_INTERNAL, "%s: %s", path, strerror(errno));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(e, ERR_INTERNAL, "pipe: %s", strerror(errno));
    o->reader = ends[0];
    o->writer = ends[1];
    fcntl(o->reader, F_SETFL, O_NONBLOCK);
    return ERR_NONE;
}

static void keep(struct output *o, const char *data, size_t len)
{
    size_t room = o->limit - o->kept;
    if (len > room)
        len = room;
    while (len > 0 && !o->failed) {
        ssize_t n = write(o->file, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            log_error("execution.output_lost", KV("file", o->path),
                      KV("error", strerror(errno)));
            o->failed = true;
            return;
        }
        if (o->order &&
            !order_add(o->order, o->is_err, o->kept, (size_t)n, loop_wall_ms(o->loop))) {
            log_error("execution.output_lost", KV("file", o->path),
                      KV("error", "its order cannot be kept"));
            o->failed = true;
            return;
        }
        o->kept += (size_t)n;
        data += n;
        len -= (size_t)n;
    }
}

/* False when the pipe has nothing now, or nothing any more. */
static bool take_chunk(struct output *o)
{
    static char chunk[CHUNK];
    ssize_t n = read(o->reader, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        o->ended = true;
        close_all(o);
        return false;
    }
    o->total += (uint64_t)n;
    keep(o, chunk, (size_t)n);
    return true;
}

static void on_readable(void *arg)
{
    struct output *o = arg;
    uint64_t before = o->total;
    for (int i = 0; i < CHUNKS_PER_TURN && take_chunk(o); i++)
        continue;
    if (o->total != before || o->ended)
        o->changed(o->arg);
}

void output_start(struct output *o, struct loop *loop, loop_fn *changed, void *arg)
{
    o->loop = loop;
    o->changed = changed;
    o->arg = arg;
    close_fd(&o->writer);
    o->watch = fd_watch_new(loop, o->reader, false, on_readable, o);
}

void output_finish(struct output *o)
{
    for (int i = 0; i < CHUNKS_AT_END && o->reader >= 0 && take_chunk(o); i++)
        continue;
    o->ended = true;
    close_all(o);
}

void output_release(struct output *o)
{
    if (!o->path)
        return;
    close_all(o);
    free(o->path);
    o->path = NULL;
}

bool output_truncated(const struct output *o)
{
    return o->total > o->kept;
}

enum error_code output_read(const struct output *o, uint64_t offset, size_t max, struct buf *to,
                            struct error *e)
{
    if (offset >= o->kept)
        return ERR_NONE;
    size_t want = o->kept - (size_t)offset, got = 0;
    if (want > max)
        want = max;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *data = mem_alloc(want + 1);
    while (fd >= 0 && got < want) {
        ssize_t n = pread(fd, data + got, want - got, (off_t)(offset + got));
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    close_fd(&fd);
    buf_add(to, data, got);
    free(data);
    return got == want ? ERR_NONE
                       : error_set(e, ERR_INTERNAL, "%s: %s", o->path, strerror(errno));
}

enum error_code output_text(const struct output *o, struct buf *to, struct error *e)
{
    struct buf raw = {0};
    enum error_code code = output_read(o, 0, o->kept, &raw, e);
    if (raw.len)
        utf8_add(to, raw.data, raw.len);
    buf_free(&raw);
    if (!code && output_truncated(o))
        buf_printf(to, "\n[output truncated: kept %zu of %" PRIu64 " bytes]\n", o->kept,
                   o->total);
    return code;
}
