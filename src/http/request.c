#include "http/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"

static void add_field(struct fields *list, char *name, char *value)
{
    struct field *f = mem_alloc(sizeof *f);
    f->name = name;
    f->value = value;
    STAILQ_INSERT_TAIL(list, f, entry);
}

static void free_fields(struct fields *list)
{
    struct field *f;
    while ((f = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, entry);
        free(f->name);
        free(f->value);
        free(f);
    }
}

/* The guard has checked that each '%' has its two digits and that none is %00. */
static char *percent_decode(const char *s, const char *end)
{
    char *out = mem_alloc((size_t)(end - s) + 1), *to = out;
    while (s < end) {
        if (*s == '%') {
            hex_decode(to++, 1, (char[]){s[1], s[2], '\0'});
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    return out;
}

static const char *find_or_end(const char *s, const char *end, char c)
{
    const char *found = memchr(s, c, (size_t)(end - s));
    return found ? found : end;
}

static void read_query(struct fields *list, struct guard_text query)
{
    const char *at = query.at, *last = query.at ? query.at + query.len : NULL;
    while (at < last) {
        const char *end = find_or_end(at, last, '&');
        const char *name_end = find_or_end(at, end, '=');
        const char *value = name_end < end ? name_end + 1 : end;
        add_field(list, percent_decode(at, name_end), percent_decode(value, end));
        at = end < last ? end + 1 : last;
    }
}

/* The guard wrote "name: value\r\n" after the request line, and a blank line at the end. */
static void read_headers(struct fields *list, const char *plain)
{
    const char *at = strstr(plain, "\r\n") + 2;
    while (*at != '\r') {
        const char *colon = strchr(at, ':'), *end = strstr(at, "\r\n");
        add_field(list, mem_strndup(at, (size_t)(colon - at)),
                  mem_strndup(colon + 2, (size_t)(end - colon - 2)));
        at = end + 2;
    }
}

static const char *find_field(const struct fields *list, const char *name,
                              int compare(const char *, const char *))
{
    struct field *f;
    STAILQ_FOREACH(f, list, entry)
    if (compare(f->name, name) == 0)
        return f->value;
    return NULL;
}

struct server_request *request_new(const struct guard_head *head, struct buf *plain)
{
    struct server_request *r = mem_alloc(sizeof *r);
    STAILQ_INIT(&r->query);
    STAILQ_INIT(&r->headers);
    STAILQ_INIT(&r->answer_headers);
    r->method = mem_strndup(head->method.at, head->method.len);
    r->target = mem_strndup(head->target.at, head->target.len);
    r->path = mem_strndup(head->path.at, head->path.len);
    r->plain = *plain;
    *plain = (struct buf){0};
    read_query(&r->query, head->query);
    read_headers(&r->headers, r->plain.data);
    return r;
}

void request_free(struct server_request *r)
{
    free_fields(&r->query);
    free_fields(&r->headers);
    free_fields(&r->answer_headers);
    buf_free(&r->plain);
    buf_free(&r->body);
    free(r->method);
    free(r->target);
    free(r->path);
    free(r);
}

bool request_is_head(const struct server_request *r)
{
    return strcmp(r->method, "HEAD") == 0;
}

const char *server_method(const struct server_request *r)
{
    return r->method;
}

const char *server_target(const struct server_request *r)
{
    return r->target;
}

const char *server_path(const struct server_request *r)
{
    return r->path;
}

const char *server_query(struct server_request *r, const char *name)
{
    return find_field(&r->query, name, strcmp);
}

const char *server_header(const struct server_request *r, const char *name)
{
    return find_field(&r->headers, name, strcasecmp);
}

const void *server_body(const struct server_request *r, size_t *len)
{
    *len = r->body.len;
    return r->body.data ? r->body.data : "";
}

const struct server_peer *server_peer(const struct server_request *r)
{
    return &r->peer;
}

const char *server_local_address(const struct server_request *r)
{
    return r->local;
}

void server_on_gone(struct server_request *r, server_gone_fn *fn, void *arg)
{
    r->gone = fn;
    r->gone_arg = arg;
}

/* These are the server's own. */
static bool frames_the_answer(const char *name)
{
    static const char *const names[] = {"Content-Length", "Content-Type", "Transfer-Encoding",
                                        "Connection",     "Date",         NULL};
    for (const char *const *n = names; *n; n++)
        if (strcasecmp(name, *n) == 0)
            return true;
    return false;
}

void server_add_header(struct server_request *r, const char *name, const char *value)
{
    if (guard_is_token(name, strlen(name)) && guard_is_value(value, strlen(value)) &&
        !frames_the_answer(name))
        add_field(&r->answer_headers, mem_strdup(name), mem_strdup(value));
    else
        log_warn("server.header_dropped", KV("path", r->path));
}
