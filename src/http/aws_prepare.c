#include "http/aws_prepare.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/id.h"
#include "base/mem.h"
#include "http/aws_endpoint.h"

#define HEADERS_OF_OURS 2

static void add_header(struct aws_message *m, const char *name, const char *value)
{
    m->headers[m->header_count++] = (struct http_header){mem_strdup(name), mem_strdup(value)};
}

static void set_body(struct aws_message *m, const void *body, size_t len)
{
    m->body = mem_alloc(len + 1);
    m->body_len = len;
    if (len > 0)
        memcpy(m->body, body, len);
}

static void prepare_ecs(struct aws_message *m, const struct aws_request *r)
{
    char *target = mem_printf("AmazonEC2ContainerServiceV20141113.%s", r->action);
    add_header(m, "X-Amz-Target", target);
    add_header(m, "Content-Type", "application/x-amz-json-1.1");
    set_body(m, r->body ? r->body : "{}", r->body ? r->body_len : 2);
    free(target);
}

static void prepare_form(struct aws_message *m, const struct aws_request *r)
{
    struct buf form = {0};
    buf_printf(&form, "Action=%s&Version=%s", r->action, aws_service_version(r->service));
    if (r->body_len > 0) {
        buf_puts(&form, "&");
        buf_add(&form, r->body, r->body_len);
    }
    add_header(m, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    m->body_len = form.len;
    m->body = buf_take(&form);
}

/* Over http S3 wants the body to be signed, and so we do over https: it notices broken bodies.
 */
static void add_digest(struct aws_message *m)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    size_t len = 0;
    if (!EVP_Q_digest(NULL, "SHA256", NULL, m->body ? m->body : "", m->body_len, digest, &len))
        abort();
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    hex_encode(hex, digest, len);
    add_header(m, "x-amz-content-sha256", hex);
}

static void prepare_s3(struct aws_message *m, const struct aws_request *r)
{
    bool always = strcmp(m->method, "PUT") == 0 || strcmp(m->method, "POST") == 0;
    if (r->body || always)
        set_body(m, r->body, r->body ? r->body_len : 0);
    for (size_t i = 0; i < r->header_count; i++)
        add_header(m, r->headers[i].name, r->headers[i].value);
    add_digest(m);
}

enum error_code aws_prepare(struct aws_message *m, const struct aws_request *r,
                            const char *region, struct error *e)
{
    *m = (struct aws_message){0};
    m->url = aws_url(r, region, e);
    if (!m->url)
        return e->code;
    m->method = mem_strdup(r->service == AWS_S3 && r->method ? r->method : "POST");
    m->headers = mem_array(r->header_count + HEADERS_OF_OURS, sizeof *m->headers);
    if (r->service == AWS_ECS)
        prepare_ecs(m, r);
    else if (r->service == AWS_S3)
        prepare_s3(m, r);
    else
        prepare_form(m, r);
    return ERR_NONE;
}

void aws_message_clear(struct aws_message *m)
{
    for (size_t i = 0; i < m->header_count; i++) {
        free((char *)m->headers[i].name);
        free((char *)m->headers[i].value);
    }
    free(m->headers);
    free(m->url);
    free(m->method);
    if (m->body) /* it may hold a session's secret */
        mem_wipe(m->body, m->body_len);
    free(m->body);
    *m = (struct aws_message){0};
}
