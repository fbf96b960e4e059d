#include "executor/s3_put.h"

#include <stdlib.h>
#include "base/mem.h"
#include "executor/report.h"
#include "executor/s3_multi.h"
#include "executor/s3_source.h"

#define PARTS_FLYING 2

enum state { PUT_NEW, PUT_WHOLE, PUT_CREATING, PUT_PARTS, PUT_COMPLETING, PUT_ABORTING };

struct put {
    struct s3_job job;
    struct s3 *s3;
    char *key;
    const char *bucket;
    const struct tree *tree;
    struct tree_file *file;
    enum state state;
    bool again; /* after the abort */
    struct s3_source source;
    int64_t part_size, reported;
    struct s3_call call;
    struct s3_multi multi;
    struct s3_part parts[PARTS_FLYING];
};

static bool step(struct put *p)
{
    return p->job.step(&p->job);
}

static bool skip(struct put *p)
{
    p->file->skipped = "cannot be read";
    return true;
}

static void reported(struct put *p, int64_t bytes)
{
    p->reported += bytes;
    report_done(NULL, bytes, false);
}

static bool finish(struct put *p)
{
    p->file->size = p->source.size;
    report_done(NULL, p->source.size - p->reported, true);
    return true;
}

static bool fail(struct put *p, const struct error *e)
{
    s3_fail(p->s3, p->key, e);
    return false; /* the next step lets go */
}

/* ---- in one call */

static bool send_whole(struct put *p, const char *bytes, size_t len)
{
    struct http_header type = {"Content-Type", s3_content_type(p->file->path)};
    struct aws_request r = {.action = "PutObject",
                            .method = "PUT",
                            .bucket = p->bucket,
                            .key = p->key,
                            .headers = &type,
                            .header_count = 1,
                            .body = bytes,
                            .body_len = len};
    s3_source_digest(&p->source, p->file->sha256);
    s3_call_start(&p->call, p->s3, &r, (int64_t)len, NULL, NULL);
    p->state = PUT_WHOLE;
    return false;
}

static bool start_whole(struct put *p)
{
    size_t len;
    char *bytes = s3_source_read(&p->source, S3_PART_SIZE, &len);
    if (!bytes)
        return skip(p);
    bool again = s3_source_again(&p->source);
    if (!again)
        send_whole(p, bytes, len);
    free(bytes);
    return again ? step(p) : false;
}

static bool step_whole(struct put *p)
{
    if (!p->call.answered)
        return false;
    return p->call.error.code ? fail(p, &p->call.error) : finish(p);
}

/* ---- in parts */

static bool start_parts(struct put *p)
{
    struct http_header type = {"Content-Type", s3_content_type(p->file->path)};
    p->part_size = s3_part_size(p->source.size, S3_PART_SIZE);
    s3_multi_create(&p->multi, &p->call, &type, 1);
    p->state = PUT_CREATING;
    return false;
}

static void drop_calls(struct put *p)
{
    for (size_t i = 0; i < PARTS_FLYING; i++)
        s3_call_drop(&p->parts[i].call);
    s3_call_drop(&p->call);
}

static bool begin_again(struct put *p)
{
    reported(p, -p->reported);
    s3_multi_forget(&p->multi);
    p->state = PUT_NEW;
    return step(p);
}

static bool start_abort(struct put *p, bool again)
{
    drop_calls(p);
    if (!p->multi.id)
        return true;
    p->again = again;
    s3_multi_abort(&p->multi, &p->call);
    p->state = PUT_ABORTING;
    return false;
}

static bool handle_failure(struct put *p, const struct s3_call *c)
{
    if (!s3_multi_unknown(c) || p->source.tries >= SOURCE_TRIES)
        return fail(p, &c->error);
    drop_calls(p);
    return begin_again(p);
}

static bool step_create(struct put *p)
{
    if (!p->call.answered)
        return false;
    if (p->call.error.code)
        return fail(p, &p->call.error);
    p->state = PUT_PARTS;
    return step(p);
}

/* False: the file cannot be read. */
static bool send_part(struct put *p, struct s3_part *part)
{
    size_t len;
    char *bytes = s3_source_read(&p->source, p->part_size, &len);
    if (bytes && (len > 0 || p->multi.parts == 0))
        s3_multi_part(&p->multi, part, bytes, (int64_t)len, NULL, 0);
    free(bytes);
    return bytes;
}

/* The first part that failed, NULL: none did. */
static const struct s3_call *collect_parts(struct put *p)
{
    for (size_t i = 0; i < PARTS_FLYING; i++) {
        struct s3_part *part = &p->parts[i];
        if (!part->call.answered)
            continue;
        if (part->call.error.code)
            return &part->call;
        reported(p, part->len);
        *part = (struct s3_part){0};
    }
    return NULL;
}

static bool parts_fly(const struct put *p)
{
    for (size_t i = 0; i < PARTS_FLYING; i++)
        if (p->parts[i].call.call)
            return true;
    return false;
}

static bool step_parts(struct put *p)
{
    const struct s3_call *failed = collect_parts(p);
    if (failed)
        return handle_failure(p, failed);
    for (size_t i = 0; i < PARTS_FLYING; i++) {
        bool more = p->source.offset < p->source.size && s3_has_room(p->s3, p->part_size);
        if (more && !p->parts[i].call.call && !send_part(p, &p->parts[i])) {
            reported(p, -p->reported);
            skip(p);
            return start_abort(p, false);
        }
    }
    if (p->source.offset < p->source.size || parts_fly(p))
        return false;
    if (s3_source_again(&p->source))
        return start_abort(p, true);
    s3_source_digest(&p->source, p->file->sha256);
    s3_multi_complete(&p->multi, &p->call);
    p->state = PUT_COMPLETING;
    return false;
}

static bool step_complete(struct put *p)
{
    if (!p->call.answered)
        return false;
    return p->call.error.code ? handle_failure(p, &p->call) : finish(p);
}

static bool step_abort(struct put *p)
{
    if (!p->call.answered)
        return false;
    s3_multi_check_abort(&p->multi, &p->call);
    return p->again && !p->s3->error.code ? begin_again(p) : true;
}

/* ---- the job */

static bool step_new(struct put *p)
{
    if (!s3_has_room(p->s3, p->file->size < S3_PART_SIZE ? p->file->size : S3_PART_SIZE))
        return false;
    if (p->source.fd < 0)
        p->source.fd = tree_open_file(p->tree, p->file);
    if (p->source.fd < 0)
        return true; /* skipped */
    if (!s3_source_begin(&p->source) || p->source.size > S3_OBJECT_MAX)
        return skip(p);
    return p->source.size <= S3_PART_SIZE ? start_whole(p) : start_parts(p);
}

/* Something failed, here or elsewhere. An upload that is being created is waited for: without
 * its id it could not be aborted. */
static bool wind_up(struct put *p)
{
    if (p->state == PUT_ABORTING)
        return step_abort(p);
    if (p->state == PUT_CREATING && p->call.call)
        return false;
    return start_abort(p, false);
}

static bool step_put(struct s3_job *job)
{
    static bool (*const steps[])(struct put *) = {[PUT_NEW] = step_new,
                                                  [PUT_WHOLE] = step_whole,
                                                  [PUT_CREATING] = step_create,
                                                  [PUT_PARTS] = step_parts,
                                                  [PUT_COMPLETING] = step_complete,
                                                  [PUT_ABORTING] = step_abort};
    struct put *p = (struct put *)job;
    return p->s3->error.code ? wind_up(p) : steps[p->state](p);
}

static void release_put(struct s3_job *job)
{
    struct put *p = (struct put *)job;
    drop_calls(p);
    s3_multi_forget(&p->multi);
    s3_source_close(&p->source);
    free(p->key);
    free(p);
}

struct s3_job *s3_put(struct s3 *s, const char *bucket, char *key, const struct tree *tree,
                      struct tree_file *file)
{
    struct put *p = mem_alloc(sizeof *p);
    *p = (struct put){.job = {.step = step_put, .release = release_put},
                      .s3 = s,
                      .key = key,
                      .bucket = bucket,
                      .tree = tree,
                      .file = file,
                      .source = {.fd = -1}};
    s3_multi_init(&p->multi, s, bucket, p->key);
    return &p->job;
}
