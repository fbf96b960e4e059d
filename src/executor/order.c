#include "executor/order.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

#define RUN_MS 50 /* what one stream says in that time is one run */

void order_init(struct order *o)
{
    *o = (struct order){.file = -1};
}

enum error_code order_open(struct order *o, const char *dir, struct error *e)
{
    char *path = mem_printf("%s/order", dir);
    o->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (o->file < 0)
        error_set(e, ERR_INTERNAL, "%.160s: %s", path, strerror(errno));
    else
        unlink(path); /* nobody else reads it, no upload takes it along */
    free(path);
    return e->code;
}

void order_release(struct order *o)
{
    if (o->file >= 0)
        close(o->file);
    order_init(o);
}

static bool write_last(struct order *o)
{
    off_t at = (off_t)(o->runs * sizeof o->last);
    if (pwrite(o->file, &o->last, sizeof o->last, at) != (ssize_t)sizeof o->last)
        return false;
    o->runs++;
    o->open = false;
    return true;
}

bool order_add(struct order *o, bool is_err, uint64_t within, size_t len, int64_t time_ms)
{
    const struct order_run *last = &o->last;
    bool grows = o->open && last->is_err == is_err && time_ms >= last->time_ms &&
                 time_ms - last->time_ms < RUN_MS;
    if (!grows && o->open && !write_last(o))
        return false;
    if (!grows)
        o->last = (struct order_run){
            .start = o->total, .within = within, .time_ms = time_ms, .is_err = is_err};
    o->open = true;
    o->total += len;
    return true;
}

static bool read_run(const struct order *o, uint64_t number, struct order_run *out)
{
    return pread(o->file, out, sizeof *out, (off_t)(number * sizeof *out)) ==
           (ssize_t)sizeof *out;
}

/* The start of the run after it, or the end of all. */
static uint64_t end_of(const struct order *o, uint64_t number)
{
    struct order_run next;
    if (number + 1 < o->runs && read_run(o, number + 1, &next))
        return next.start;
    return number + 1 == o->runs && o->open ? o->last.start : o->total;
}

bool order_find(const struct order *o, uint64_t offset, struct order_run *out, uint64_t *len)
{
    if (offset >= o->total)
        return false;
    if (o->open && offset >= o->last.start) {
        *out = o->last;
        *len = o->total - out->start;
        return true;
    }
    uint64_t low = 0, high = o->runs; /* the run is within [low, high) */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (!read_run(o, middle, out))
            return false;
        *(out->start <= offset ? &low : &high) = middle;
    }
    if (high == low || !read_run(o, low, out))
        return false;
    *len = end_of(o, low) - out->start;
    return true;
}
