#include "executor/s3_copy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "executor/report.h"
#include "executor/s3_multi.h"

#define PART_LEAST ((int64_t)512 << 20)
#define PARTS_FLYING 4
#define HEADERS_MAX 64
#define COPY_FACTOR 100 /* S3 moves bytes that much faster than a slow line */

enum state {
    COPY_NEW,
    COPY_WHOLE,
    COPY_HEAD,
    COPY_CREATING,
    COPY_PARTS,
    COPY_COMPLETING,
    COPY_ABORTING
};

struct copy {
    struct s3_job job;
    struct s3 *s3;
    const char *from_bucket, *to_bucket;
    struct s3_object *object;
    char *key, *source; /* source: as x-amz-copy-source has it */
    enum state state;
    int64_t offset, part_size, reported;
    char *etag;                                     /* parts are taken from this version only */
    char *names[HEADERS_MAX], *values[HEADERS_MAX]; /* of the new object's headers */
    size_t header_count;
    struct s3_call call;
    struct s3_multi multi;
    struct s3_part parts[PARTS_FLYING];
};

static bool fail(struct copy *c, const struct error *e)
{
    s3_fail(c->s3, c->object->key, e);
    return false; /* the next step lets go */
}

static bool finish(struct copy *c)
{
    report_done(NULL, c->object->size - c->reported, true);
    return true;
}

/* ---- by one call */

static bool start_whole(struct copy *c)
{
    struct http_header source = {"x-amz-copy-source", c->source};
    struct aws_request r = {.action = "CopyObject",
                            .method = "PUT",
                            .bucket = c->to_bucket,
                            .key = c->key,
                            .headers = &source,
                            .header_count = 1};
    s3_call_start(&c->call, c->s3, &r, c->object->size / COPY_FACTOR, NULL, NULL);
    c->state = COPY_WHOLE;
    return false;
}

static bool step_whole(struct copy *c)
{
    if (!c->call.answered)
        return false;
    return c->call.error.code ? fail(c, &c->call.error) : finish(c);
}

/* ---- in parts */

/* What CopyObject would keep by itself. */
static bool worth_keeping(const char *name)
{
    static const char *const names[] = {"Content-Type",     "Content-Encoding",
                                        "Content-Language", "Content-Disposition",
                                        "Cache-Control",    "Expires"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return strncasecmp(name, "x-amz-meta-", strlen("x-amz-meta-")) == 0;
}

static void take_head(void *arg, const struct aws_answer *a, struct error *e)
{
    struct copy *c = arg;
    const char *etag = s3_header(a, "ETag");
    for (size_t i = 0; i < a->header_count && c->header_count < HEADERS_MAX; i++) {
        if (!worth_keeping(a->headers[i].name))
            continue;
        c->names[c->header_count] = mem_strdup(a->headers[i].name);
        c->values[c->header_count++] = mem_strdup(a->headers[i].value);
    }
    c->etag = mem_strdup(etag);
    if (!etag)
        error_set(e, ERR_PROTOCOL, "HeadObject gave no ETag");
}

static bool start_head(struct copy *c)
{
    struct aws_request r = {.action = "HeadObject",
                            .method = "HEAD",
                            .bucket = c->from_bucket,
                            .key = c->object->key};
    s3_call_start(&c->call, c->s3, &r, 0, take_head, c);
    c->state = COPY_HEAD;
    return false;
}

static bool step_head(struct copy *c)
{
    struct http_header headers[HEADERS_MAX];
    if (!c->call.answered)
        return false;
    if (c->call.error.code)
        return fail(c, &c->call.error);
    for (size_t i = 0; i < c->header_count; i++)
        headers[i] = (struct http_header){c->names[i], c->values[i]};
    s3_multi_create(&c->multi, &c->call, headers, c->header_count);
    c->state = COPY_CREATING;
    return false;
}

static bool step_create(struct copy *c)
{
    if (!c->call.answered)
        return false;
    if (c->call.error.code)
        return fail(c, &c->call.error);
    c->state = COPY_PARTS;
    return c->job.step(&c->job);
}

static void start_part(struct copy *c, struct s3_part *part)
{
    int64_t rest = c->object->size - c->offset;
    int64_t len = rest < c->part_size ? rest : c->part_size;
    char *range = mem_printf("bytes=%" PRId64 "-%" PRId64, c->offset, c->offset + len - 1);
    struct http_header headers[] = {{"x-amz-copy-source", c->source},
                                    {"x-amz-copy-source-if-match", c->etag},
                                    {"x-amz-copy-source-range", range}};
    s3_multi_part(&c->multi, part, NULL, len, headers, sizeof headers / sizeof *headers);
    c->offset += len;
    free(range);
}

static bool step_parts(struct copy *c)
{
    bool flying = false;
    for (size_t i = 0; i < PARTS_FLYING; i++) {
        struct s3_part *part = &c->parts[i];
        if (part->call.answered && part->call.error.code)
            return fail(c, &part->call.error);
        if (part->call.answered) {
            c->reported += part->len;
            report_done(NULL, part->len, false);
            *part = (struct s3_part){0};
        }
        if (!part->call.call && c->offset < c->object->size)
            start_part(c, part);
        flying = flying || part->call.call;
    }
    if (flying)
        return false;
    s3_multi_complete(&c->multi, &c->call);
    c->state = COPY_COMPLETING;
    return false;
}

static bool step_abort(struct copy *c)
{
    if (c->call.answered)
        s3_multi_check_abort(&c->multi, &c->call);
    return c->call.answered;
}

/* ---- the job */

static bool step_new(struct copy *c)
{
    return c->object->size <= S3_COPY_MAX ? start_whole(c) : start_head(c);
}

static void drop_calls(struct copy *c)
{
    for (size_t i = 0; i < PARTS_FLYING; i++)
        s3_call_drop(&c->parts[i].call);
    s3_call_drop(&c->call);
}

/* An upload that is being created is waited for: without its id it could not be aborted. */
static bool wind_up(struct copy *c)
{
    if (c->state == COPY_ABORTING)
        return step_abort(c);
    if (c->state == COPY_CREATING && c->call.call)
        return false;
    drop_calls(c);
    if (!c->multi.id)
        return true;
    s3_multi_abort(&c->multi, &c->call);
    c->state = COPY_ABORTING;
    return false;
}

static bool step_copy(struct s3_job *job)
{
    static bool (*const steps[])(struct copy *) = {
        [COPY_NEW] = step_new,     [COPY_WHOLE] = step_whole,
        [COPY_HEAD] = step_head,   [COPY_CREATING] = step_create,
        [COPY_PARTS] = step_parts, [COPY_COMPLETING] = step_whole};
    struct copy *c = (struct copy *)job;
    return c->s3->error.code ? wind_up(c) : steps[c->state](c);
}

static void release_copy(struct s3_job *job)
{
    struct copy *c = (struct copy *)job;
    drop_calls(c);
    s3_multi_forget(&c->multi);
    for (size_t i = 0; i < c->header_count; i++) {
        free(c->names[i]);
        free(c->values[i]);
    }
    s3_object_free(c->object);
    free(c->key);
    free(c->source);
    free(c->etag);
    free(c);
}

struct s3_job *s3_copy(struct s3 *s, const char *from_bucket, struct s3_object *object,
                       const char *to_bucket, char *key)
{
    char *encoded = aws_encode(object->key, true);
    struct copy *c = mem_alloc(sizeof *c);
    *c = (struct copy){.job = {.step = step_copy, .release = release_copy},
                       .s3 = s,
                       .from_bucket = from_bucket,
                       .to_bucket = to_bucket,
                       .object = object,
                       .key = key,
                       .source = mem_printf("/%s/%s", from_bucket, encoded),
                       .part_size = s3_part_size(object->size, PART_LEAST)};
    s3_multi_init(&c->multi, s, to_bucket, c->key);
    free(encoded);
    return &c->job;
}
