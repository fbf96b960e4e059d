#include "executor/s3_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "executor/report.h"
#include "executor/tree.h"
#include "http/xml.h"

#define PAGES_MAX 10000 /* of up to 1,000 keys; some may be empty */

void s3_object_free(struct s3_object *o)
{
    if (o)
        free(o->key);
    free(o);
}

/* ---- a page */

static bool read_size(const char *text, int64_t *size)
{
    char *end;
    errno = 0;
    *size = strtoll(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && errno == 0;
}

static enum error_code add_object(struct s3_list *l, const char *key, int64_t size,
                                  struct error *e)
{
    size_t skip = strlen(l->prefix), len = strlen(key);
    if (strncmp(key, l->prefix, skip) != 0)
        return error_set(e, ERR_PROTOCOL, "S3 listed a key that is not below %.100s",
                         l->prefix);
    l->found_any = true;
    if (len == skip || key[len - 1] == '/')
        return ERR_NONE; /* a folder's own object */
    if (!s3_path_safe(key + skip))
        return error_set(e, ERR_INVALID, "the key %.150s is no safe path", key);
    if (l->count >= TREE_FILES_MAX)
        return error_set(e, ERR_TOO_LARGE, "more than %d objects", TREE_FILES_MAX);
    struct s3_object *o = mem_alloc(sizeof *o);
    *o = (struct s3_object){.key = mem_strdup(key), .size = size};
    o->path = o->key + skip;
    TAILQ_INSERT_TAIL(&l->objects, o, entry);
    l->count++;
    l->bytes += size;
    return ERR_NONE;
}

static enum error_code read_object(struct s3_list *l, const struct xml *node, bool encoded,
                                   struct error *e)
{
    struct buf key = {0};
    int64_t size = 0;
    const char *text = xml_text(node, "Key");
    if (!*text || !read_size(xml_text(node, "Size"), &size))
        error_set(e, ERR_PROTOCOL, "S3 listed an object without key or size");
    else if (!encoded)
        buf_puts(&key, text);
    else if (!s3_decode(&key, text))
        error_set(e, ERR_INVALID, "the key %.150s is no safe path", text);
    if (!e->code)
        add_object(l, key.data, size, e);
    buf_free(&key);
    return e->code;
}

static enum error_code read_token(struct s3_list *l, const struct xml *root, struct error *e)
{
    const char *token = xml_text(root, "NextContinuationToken");
    l->finished = strcmp(xml_text(root, "IsTruncated"), "true") != 0;
    if (!l->finished && ++l->pages > PAGES_MAX)
        return error_set(e, ERR_PROTOCOL, "S3 lists pages without end");
    free(l->token);
    l->token = l->finished ? NULL : mem_strdup(token);
    return l->finished || *token
               ? ERR_NONE
               : error_set(e, ERR_PROTOCOL, "S3 cut a listing without saying how it goes on");
}

enum error_code s3_list_read(struct s3_list *l, const char *text, size_t len, struct error *e)
{
    struct xml *root = xml_parse(text, len, e);
    if (!root)
        return e->code;
    bool encoded = strcmp(xml_text(root, "EncodingType"), "url") == 0;
    if (strcmp(root->name, "ListBucketResult") != 0)
        error_set(e, ERR_PROTOCOL, "S3 answered ListObjectsV2 with <%.60s>", root->name);
    for (const struct xml *node = root->children; node && !e->code; node = node->next)
        if (strcmp(node->name, "Contents") == 0)
            read_object(l, node, encoded, e);
    if (!e->code)
        read_token(l, root, e);
    xml_free(root);
    return e->code;
}

/* ---- the job */

static void take_page(void *arg, const struct aws_answer *a, struct error *e)
{
    struct s3_list *l = arg;
    if (!s3_list_read(l, a->body, a->body_len, e))
        report_total(l->count, l->bytes);
}

static char *query_of(const struct s3_list *l)
{
    struct buf query = {0};
    char *token = l->token ? aws_encode(l->token, false) : NULL;
    char *prefix = aws_encode(l->prefix, false);
    if (token)
        buf_printf(&query, "continuation-token=%s&", token);
    buf_printf(&query, "encoding-type=url&list-type=2&prefix=%s", prefix);
    free(token);
    free(prefix);
    return buf_take(&query);
}

static bool step_list(struct s3_job *job)
{
    struct s3_list *l = (struct s3_list *)job;
    if (l->s3->error.code) {
        s3_call_drop(&l->call);
        return true;
    }
    if (!l->call.answered)
        return false;
    if (l->call.error.code)
        s3_fail(l->s3, NULL, &l->call.error);
    l->under_way = false;
    return true;
}

static void release_job(struct s3_job *job)
{
    (void)job; /* the list is its starter's */
}

struct s3_job *s3_list_more(struct s3_list *l)
{
    if (l->under_way || l->finished)
        return NULL;
    char *query = query_of(l);
    struct aws_request r = {
        .action = "ListObjectsV2", .method = "GET", .bucket = l->bucket, .query = query};
    s3_call_start(&l->call, l->s3, &r, 0, take_page, l);
    free(query);
    l->under_way = true;
    return &l->job;
}

struct s3_object *s3_list_take(struct s3_list *l)
{
    struct s3_object *o = TAILQ_FIRST(&l->objects);
    if (o)
        TAILQ_REMOVE(&l->objects, o, entry);
    return o;
}

void s3_list_init(struct s3_list *l, struct s3 *s, const char *bucket, const char *prefix)
{
    *l = (struct s3_list){.job = {.step = step_list, .release = release_job},
                          .s3 = s,
                          .bucket = bucket,
                          .prefix = *prefix ? mem_printf("%s/", prefix) : mem_strdup("")};
    TAILQ_INIT(&l->objects);
}

void s3_list_release(struct s3_list *l)
{
    for (struct s3_object *o; (o = s3_list_take(l));)
        s3_object_free(o);
    s3_call_drop(&l->call);
    free(l->prefix);
    free(l->token);
}
