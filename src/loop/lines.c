#include "loop/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"

#define LONGEST_LINE 8192

struct lines {
    struct fd_watch *watch;
    int reader;
    struct buf text;
    bool too_long; /* the rest of this line is dropped as well */
    lines_fn *each;
    void *arg;
};

static void tell(struct lines *l)
{
    for (char *end; l->text.len && (end = memchr(l->text.data, '\n', l->text.len));) {
        *end = '\0';
        if (!l->too_long)
            l->each(l->arg, l->text.data);
        l->too_long = false;
        buf_drop(&l->text, (size_t)(end + 1 - l->text.data));
    }
    if (l->text.len > LONGEST_LINE) {
        l->too_long = true;
        buf_drop(&l->text, l->text.len);
    }
}

/* False when nothing came. */
static bool take(struct lines *l)
{
    char chunk[4096];
    ssize_t n = read(l->reader, chunk, sizeof(chunk));
    if (n == 0 && l->watch) { /* the child closed its end */
        fd_watch_free(l->watch);
        l->watch = NULL;
    }
    if (n <= 0)
        return false;
    buf_add(&l->text, chunk, (size_t)n);
    tell(l);
    return true;
}

static void on_readable(void *arg)
{
    take(arg);
}

struct lines *lines_over(struct loop *loop, int reader, lines_fn *each, void *arg)
{
    struct lines *l = mem_alloc(sizeof(*l));
    l->reader = reader;
    l->each = each;
    l->arg = arg;
    l->watch = fd_watch_new(loop, reader, false, on_readable, l);
    return l;
}

struct lines *lines_open(struct loop *loop, int *writer, lines_fn *each, void *arg,
                         struct error *e)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set(e, ERR_INTERNAL, "pipe: %s", strerror(errno));
        return NULL;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *writer = ends[1];
    return lines_over(loop, ends[0], each, arg);
}

void lines_drain(struct lines *l)
{
    while (take(l))
        continue;
}

void lines_close(struct lines *l)
{
    if (!l)
        return;
    if (l->watch)
        fd_watch_free(l->watch);
    close(l->reader);
    buf_free(&l->text);
    free(l);
}
