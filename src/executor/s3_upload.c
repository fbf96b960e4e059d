#include "executor/s3_upload.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "executor/s3_put.h"

/* ---- trees */

struct sending {
    struct s3 *s3;
    const char *bucket;
    struct s3_tree *trees;
    size_t count, tree, file;
};

/* The next file that is wanted, NULL: there is none. */
static struct tree_file *take_file(struct sending *s, struct s3_tree **of)
{
    for (; s->tree < s->count; s->tree++, s->file = 0) {
        struct tree *t = s->trees[s->tree].tree;
        while (s->file < t->count) {
            struct tree_file *f = &t->files[s->file++];
            *of = &s->trees[s->tree];
            if (!f->skipped)
                return f;
        }
    }
    return NULL;
}

static struct s3_job *next_file(void *arg)
{
    struct sending *s = arg;
    struct s3_tree *of;
    for (struct tree_file *f; (f = take_file(s, &of));) {
        char *key = s3_key(of->prefix, f->path);
        if (strlen(key) <= S3_KEY_MAX)
            return s3_put(s->s3, s->bucket, key, of->tree, f);
        f->skipped = "its key would be too long";
        free(key);
    }
    return NULL;
}

enum error_code s3_send_trees(struct s3 *s, const char *bucket, struct s3_tree *trees,
                              size_t count, struct error *e)
{
    struct sending sending = {.s3 = s, .bucket = bucket, .trees = trees, .count = count};
    return s3_run(s, S3_JOBS, next_file, &sending, e);
}

/* ---- a session */

static enum error_code send_parts(struct s3 *s, const struct s3_place *to, const char *below,
                                  struct upload_part parts[UPLOAD_PARTS], struct error *e)
{
    char *prefixes[UPLOAD_PARTS];
    struct s3_tree trees[UPLOAD_PARTS];
    for (size_t i = 0; i < UPLOAD_PARTS; i++) {
        prefixes[i] = s3_key(below, parts[i].to);
        trees[i] = (struct s3_tree){&parts[i].tree, prefixes[i]};
    }
    s3_send_trees(s, to->bucket, trees, UPLOAD_PARTS, e);
    for (size_t i = 0; i < UPLOAD_PARTS; i++)
        free(prefixes[i]);
    return e->code;
}

static enum error_code delete_manifest(struct s3 *s, const struct s3_place *to, const char *key,
                                       struct error *e)
{
    struct aws_request r = {
        .action = "DeleteObject", .method = "DELETE", .bucket = to->bucket, .key = key};
    return s3_do(s, &r, e);
}

static enum error_code write_manifest(struct s3 *s, const struct s3_place *to, const char *key,
                                      const char *text, struct error *e)
{
    struct http_header type = {"Content-Type", s3_content_type(MANIFEST)};
    struct aws_request r = {.action = "PutObject",
                            .method = "PUT",
                            .bucket = to->bucket,
                            .key = key,
                            .headers = &type,
                            .header_count = 1,
                            .body = text,
                            .body_len = strlen(text)};
    return s3_do(s, &r, e);
}

static enum error_code upload_session(struct s3 *s, const struct s3_place *to,
                                      const struct upload_request *r, struct error *e)
{
    struct upload_part parts[UPLOAD_PARTS];
    char *below = s3_key(to->prefix, r->session), *key = s3_key(below, MANIFEST);
    if (!upload_parts_read(parts, r, e) && !delete_manifest(s, to, key, e) &&
        !send_parts(s, to, below, parts, e)) {
        char *text = manifest_text(parts, r, true);
        write_manifest(s, to, key, text, e);
        free(text);
    }
    upload_parts_release(parts);
    free(below);
    free(key);
    return e->code;
}

enum error_code s3_upload(const struct upload_request *r, struct error *e)
{
    struct s3 s;
    struct s3_place to;
    if (!s3_place_read(&to, r->store, e)) {
        if (!s3_open(&s, true, e))
            upload_session(&s, &to, r, e);
        s3_close(&s);
    }
    s3_place_release(&to);
    return e->code;
}
