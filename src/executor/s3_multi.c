#include "executor/s3_multi.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/xml.h"

#define MIB ((int64_t)1 << 20)
#define ABORT_MS 4000
#define COMPLETE_MS 120000 /* S3 may take minutes to put the parts together */
#define COPY_FACTOR 100    /* S3 moves bytes that much faster than a slow line */

void s3_multi_init(struct s3_multi *m, struct s3 *s, const char *bucket, const char *key)
{
    *m = (struct s3_multi){.s3 = s, .bucket = bucket, .key = key};
}

void s3_multi_forget(struct s3_multi *m)
{
    for (unsigned i = 0; i < m->parts; i++)
        free(m->etags[i]);
    free(m->etags);
    free(m->id);
    m->id = NULL;
    m->etags = NULL;
    m->parts = 0;
}

bool s3_multi_unknown(const struct s3_call *c)
{
    return strcmp(c->code, "NoSuchUpload") == 0;
}

void s3_multi_check_abort(const struct s3_multi *m, const struct s3_call *c)
{
    if (c->error.code && !s3_multi_unknown(c))
        log_error("s3.abort_failed", KV("key", m->key), KV("error", c->error.message));
}

int64_t s3_part_size(int64_t size, int64_t least)
{
    int64_t even = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;
    int64_t whole = (even + MIB - 1) / MIB * MIB;
    return whole > least ? whole : least;
}

/* ---- create */

static void take_id(void *arg, const struct aws_answer *a, struct error *e)
{
    struct s3_multi *m = arg;
    struct xml *root = xml_parse(a->body, a->body_len, e);
    if (!root)
        return;
    const char *id = xml_text(root, "UploadId");
    if (*id)
        m->id = mem_strdup(id);
    else
        error_set(e, ERR_PROTOCOL, "CreateMultipartUpload gave no UploadId");
    xml_free(root);
}

void s3_multi_create(struct s3_multi *m, struct s3_call *c, const struct http_header *headers,
                     size_t header_count)
{
    struct aws_request r = {.action = "CreateMultipartUpload",
                            .method = "POST",
                            .bucket = m->bucket,
                            .key = m->key,
                            .query = "uploads=",
                            .headers = headers,
                            .header_count = header_count};
    s3_call_start(c, m->s3, &r, 0, take_id, m);
}

/* ---- parts */

/* It goes back to S3 inside XML. */
static void keep_etag(struct s3_part *p, const char *etag, struct error *e)
{
    if (!etag || !*etag || strpbrk(etag, "<>&")) {
        error_set(e, ERR_PROTOCOL, "part %u has no ETag", p->number);
        return;
    }
    p->multi->etags[p->number - 1] = mem_strdup(etag);
}

static void take_sent(void *arg, const struct aws_answer *a, struct error *e)
{
    keep_etag(arg, s3_header(a, "ETag"), e);
}

static void take_copied(void *arg, const struct aws_answer *a, struct error *e)
{
    struct xml *root = xml_parse(a->body, a->body_len, e);
    if (root)
        keep_etag(arg, xml_text(root, "ETag"), e);
    xml_free(root);
}

static unsigned add_part(struct s3_multi *m)
{
    if (m->parts % 64 == 0)
        m->etags = mem_grow(m->etags, (m->parts + 64) * sizeof *m->etags);
    m->etags[m->parts] = NULL;
    return ++m->parts;
}

void s3_multi_part(struct s3_multi *m, struct s3_part *p, const void *body, int64_t len,
                   const struct http_header *headers, size_t header_count)
{
    p->multi = m;
    p->number = add_part(m);
    p->len = len;
    char *id = aws_encode(m->id, false);
    char *query = mem_printf("partNumber=%u&uploadId=%s", p->number, id);
    struct aws_request r = {.action = body ? "UploadPart" : "UploadPartCopy",
                            .method = "PUT",
                            .bucket = m->bucket,
                            .key = m->key,
                            .query = query,
                            .headers = headers,
                            .header_count = header_count,
                            .body = body,
                            .body_len = body ? (size_t)len : 0};
    if (body)
        s3_call_start(&p->call, m->s3, &r, len, take_sent, p);
    else
        s3_call_start(&p->call, m->s3, &r, len / COPY_FACTOR, take_copied, p);
    free(query);
    free(id);
}

/* ---- the end */

static char *upload_query(const struct s3_multi *m)
{
    char *id = aws_encode(m->id, false), *query = mem_printf("uploadId=%s", id);
    free(id);
    return query;
}

void s3_multi_complete(struct s3_multi *m, struct s3_call *c)
{
    struct buf body = {0};
    char *query = upload_query(m);
    buf_puts(&body, "<CompleteMultipartUpload "
                    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (unsigned i = 0; i < m->parts; i++)
        buf_printf(&body, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i + 1,
                   m->etags[i]);
    buf_puts(&body, "</CompleteMultipartUpload>");
    struct http_header type = {"Content-Type", "application/xml"};
    struct aws_request r = {.action = "CompleteMultipartUpload",
                            .method = "POST",
                            .bucket = m->bucket,
                            .key = m->key,
                            .query = query,
                            .headers = &type,
                            .header_count = 1,
                            .body = body.data,
                            .body_len = body.len,
                            .timeout_ms = COMPLETE_MS};
    s3_call_start(c, m->s3, &r, 0, NULL, NULL);
    buf_free(&body);
    free(query);
}

void s3_multi_abort(struct s3_multi *m, struct s3_call *c)
{
    char *query = upload_query(m);
    struct aws_request r = {.action = "AbortMultipartUpload",
                            .method = "DELETE",
                            .bucket = m->bucket,
                            .key = m->key,
                            .query = query,
                            .timeout_ms = ABORT_MS,
                            .tries = 2};
    s3_call_start(c, m->s3, &r, 0, NULL, NULL);
    free(query);
}
