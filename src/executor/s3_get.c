#include "executor/s3_get.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/report.h"

#define TRIES 3 /* of an object that is replaced while it is read */

struct get {
    struct s3_job job;
    struct s3 *s3;
    const char *bucket;
    struct s3_object *object;
    struct tree_target *target;
    char *stage;
    int fd;
    unsigned tries;
    bool ranged;          /* an empty object has no range */
    int64_t offset, size; /* size -1: not known yet */
    char *etag;
    struct s3_call call;
};

bool s3_read_range(const char *text, int64_t *first, int64_t *last, int64_t *total)
{
    int end = 0;
    return text &&
           sscanf(text, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64 "%n", first, last, total,
                  &end) == 3 &&
           end > 0 && !text[end] && *first >= 0 && *last >= *first && *total > *last;
}

/* ---- bytes */

/* What the answer holds of the object; the first one says how large that is. */
static bool read_extent(struct get *g, const struct aws_answer *a)
{
    int64_t first, last, total;
    if (a->status == 200 && g->offset == 0) { /* all of it */
        g->size = (int64_t)a->body_len;
        return true;
    }
    if (!s3_read_range(s3_header(a, "Content-Range"), &first, &last, &total) ||
        first != g->offset || last - first + 1 != (int64_t)a->body_len ||
        (g->size >= 0 && g->size != total))
        return false;
    g->size = total;
    return true;
}

static bool write_at(int fd, const char *data, size_t len, int64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, offset);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            offset += n;
        }
    }
    return true;
}

static void take_bytes(void *arg, const struct aws_answer *a, struct error *e)
{
    struct get *g = arg;
    if (!read_extent(g, a)) {
        error_set(e, ERR_PROTOCOL, "GetObject gave another range than the one asked for");
        return;
    }
    if (!write_at(g->fd, a->body, a->body_len, g->offset)) {
        error_set(e, ERR_INTERNAL, "%s", strerror(errno));
        return;
    }
    g->offset += (int64_t)a->body_len;
    if (!g->etag)
        g->etag = mem_strdup(s3_header(a, "ETag"));
    report_done(NULL, (int64_t)a->body_len, false);
}

static void ask(struct get *g)
{
    char *range =
        mem_printf("bytes=%" PRId64 "-%" PRId64, g->offset, g->offset + S3_PART_SIZE - 1);
    struct http_header headers[2] = {{"Range", range}, {"If-Match", g->etag}};
    struct aws_request r = {.action = "GetObject",
                            .method = "GET",
                            .bucket = g->bucket,
                            .key = g->object->key,
                            .headers = headers,
                            .header_count = !g->ranged ? 0
                                            : g->etag  ? 2
                                                       : 1,
                            .max_answer = (size_t)S3_PART_SIZE + 1};
    s3_call_start(&g->call, g->s3, &r, S3_PART_SIZE, take_bytes, g);
    free(range);
}

/* ---- the job */

static bool place(struct get *g)
{
    struct error e = {0};
    int fd = g->fd;
    g->fd = -1;
    if (tree_place(g->target, fd, g->stage, g->object->path, &e))
        s3_fail(g->s3, NULL, &e);
    else
        report_done(NULL, 0, true);
    return true;
}

/* The object was replaced, or became empty. */
static bool start_anew(struct get *g, bool ranged)
{
    struct error e;
    g->tries++;
    report_done(NULL, -g->offset, false);
    g->ranged = ranged;
    g->offset = 0;
    g->size = -1;
    free(g->etag);
    g->etag = NULL;
    if (ftruncate(g->fd, 0) == 0) {
        ask(g);
    } else {
        error_set(&e, ERR_INTERNAL, "%s", strerror(errno));
        s3_fail(g->s3, g->object->key, &e);
    }
    return false;
}

static bool handle_failure(struct get *g)
{
    int status = g->call.status;
    if (g->tries < TRIES && (status == 412 || status == 416))
        return start_anew(g, status == 412);
    s3_fail(g->s3, g->object->key, &g->call.error);
    return false;
}

static bool step_get(struct s3_job *job)
{
    struct get *g = (struct get *)job;
    if (g->s3->error.code)
        return true;
    if (g->call.call)
        return false;
    if (g->call.answered && g->call.error.code)
        return handle_failure(g);
    if (g->call.answered && g->offset >= g->size)
        return place(g);
    ask(g);
    return false;
}

static void release_get(struct s3_job *job)
{
    struct get *g = (struct get *)job;
    s3_call_drop(&g->call);
    if (g->fd >= 0) {
        close(g->fd);
        unlinkat(g->target->root, g->stage, 0);
    }
    s3_object_free(g->object);
    free(g->stage);
    free(g->etag);
    free(g);
}

struct s3_job *s3_get(struct s3 *s, const char *bucket, struct s3_object *object,
                      struct tree_target *target)
{
    static unsigned number;
    struct error e = {0};
    struct get *g = mem_alloc(sizeof *g);
    *g = (struct get){.job = {.step = step_get, .release = release_get},
                      .s3 = s,
                      .bucket = bucket,
                      .object = object,
                      .target = target,
                      .stage = mem_printf("%s.%u", target->stage, ++number),
                      .ranged = object->size > 0,
                      .size = -1};
    g->fd = tree_stage(target, g->stage, &e);
    if (g->fd < 0)
        s3_fail(s, NULL, &e);
    return &g->job;
}
