#include "http/message.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"

struct head_line {
    size_t name, value; /* offsets into text */
};

static bool is_token(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
            return false;
    return true;
}

static bool has_control(const char *s, bool tab_allowed)
{
    for (; *s; s++)
        if (iscntrl((unsigned char)*s) && !(tab_allowed && *s == '\t'))
            return true;
    return false;
}

static bool is_listed(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcasecmp(name, *list) == 0)
            return true;
    return false;
}

static enum error_code header_check(const struct http_header *h, struct error *e)
{
    static const char *const ours[] = {"Content-Length", "Transfer-Encoding", "Expect", NULL};
    if (!h->name || !is_token(h->name))
        return error_set(e, ERR_INVALID, "a header's name is not a token");
    if (!h->value || has_control(h->value, true))
        return error_set(e, ERR_INVALID, "header %.64s has control characters in its value",
                         h->name);
    if (is_listed(h->name, ours))
        return error_set(e, ERR_INVALID, "header %s is set by the client itself", h->name);
    return ERR_NONE;
}

/* libcurl sorts whole lines: of two names, one of which begins the other, the longer comes
 * first, and the signature is wrong. So it is for one name twice and for a header without a
 * value. */
static enum error_code signed_header_check(const struct http_request *r, size_t i,
                                           struct error *e)
{
    static const char *const ours[] = {"Authorization", "Date", "X-Amz-Date",
                                       "X-Amz-Security-Token", NULL};
    const struct http_header *h = &r->headers[i];
    if (is_listed(h->name, ours))
        return error_set(e, ERR_INVALID, "header %s is set by the signature", h->name);
    if (!h->value[strspn(h->value, " \t")])
        return error_set(e, ERR_INVALID, "header %.64s is empty and cannot be signed", h->name);
    for (size_t k = 0; k < r->header_count; k++)
        if (k != i && strncasecmp(h->name, r->headers[k].name, strlen(h->name)) == 0)
            return error_set(e, ERR_INVALID, "headers %.64s and %.64s cannot both be signed",
                             h->name, r->headers[k].name);
    return ERR_NONE;
}

static enum error_code sign_check(const struct http_request *r, struct error *e)
{
    const struct http_sign *s = r->sign;
    const char *const parts[] = {s->region, s->service, s->access_key, s->secret_key};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!parts[i] || !*parts[i])
            return error_set(e, ERR_INVALID, "a part of the signature's key is missing");
    if (strpbrk(s->region, ": /\r\n") || strpbrk(s->service, ": /\r\n"))
        return error_set(e, ERR_INVALID, "the signature's region or service is no name");
    if (s->session_token && has_control(s->session_token, false))
        return error_set(e, ERR_INVALID, "the session token has control characters");
    for (size_t i = 0; i < r->header_count; i++)
        if (signed_header_check(r, i, e) != ERR_NONE)
            return ERR_INVALID;
    return ERR_NONE;
}

enum error_code request_check(const struct http_request *r, struct error *e)
{
    if (!r->method || !is_token(r->method))
        return error_set(e, ERR_INVALID, "the method is not a token");
    if (!r->url || !*r->url || has_control(r->url, false) || strchr(r->url, ' '))
        return error_set(e, ERR_INVALID,
                         "the URL is empty or has control characters or spaces");
    if (strcmp(r->method, "HEAD") == 0 && r->body)
        return error_set(e, ERR_INVALID, "a HEAD request has no body");
    if (r->connect_timeout_ms <= 0 || r->first_byte_timeout_ms <= 0 || r->total_timeout_ms <= 0)
        return error_set(e, ERR_INVALID, "a time-out is not above zero");
    for (size_t i = 0; i < r->header_count; i++)
        if (header_check(&r->headers[i], e) != ERR_NONE)
            return ERR_INVALID;
    return r->sign ? sign_check(r, e) : ERR_NONE;
}

static const char *line_name(const struct answer_head *h, size_t i)
{
    return h->text.data + h->lines[i].name;
}

static const char *line_value(const struct answer_head *h, size_t i)
{
    return h->text.data + h->lines[i].value;
}

static void forget_head(struct answer_head *h)
{
    h->text.len = 0;
    h->count = 0;
    h->status = 0;
}

static enum error_code start_head(struct answer_head *h, const char *line, size_t len,
                                  struct error *e)
{
    const char *space = memchr(line, ' ', len);
    size_t left = space ? len - (size_t)(space + 1 - line) : 0;
    if (left < 3 || !isdigit((unsigned char)space[1]) || !isdigit((unsigned char)space[2]) ||
        !isdigit((unsigned char)space[3]) || (left > 3 && isdigit((unsigned char)space[4])))
        return error_set(e, ERR_PROTOCOL, "the answer's status line makes no sense");
    forget_head(h);
    h->status = (space[1] - '0') * 100 + (space[2] - '0') * 10 + (space[3] - '0');
    if (h->status < 100)
        return error_set(e, ERR_PROTOCOL, "the answer's status is %03d", h->status);
    return ERR_NONE;
}

/* Two lengths that differ, or a length beside a transfer coding, leave open where the body
 * ends. */
static enum error_code check_framing(const struct answer_head *h, struct error *e)
{
    const char *length = NULL;
    bool coded = false;
    for (size_t i = 0; i < h->count; i++) {
        if (strcasecmp(line_name(h, i), "Transfer-Encoding") == 0)
            coded = true;
        if (strcasecmp(line_name(h, i), "Content-Length") != 0)
            continue;
        if (length && strcmp(length, line_value(h, i)) != 0)
            return error_set(e, ERR_PROTOCOL, "the answer has two different Content-Lengths");
        length = line_value(h, i);
    }
    if (length && coded)
        return error_set(e, ERR_PROTOCOL,
                         "the answer has both Content-Length and Transfer-Encoding");
    return ERR_NONE;
}

static enum error_code end_head(struct answer_head *h, struct error *e)
{
    if (h->status < 200) {
        forget_head(h);
        return ERR_NONE;
    }
    h->complete = true;
    return check_framing(h, e);
}

static enum error_code add_header(struct answer_head *h, const char *line, size_t len,
                                  struct error *e)
{
    const char *colon = memchr(line, ':', len);
    if (!colon || colon == line || *line == ' ' || *line == '\t')
        return error_set(e, ERR_PROTOCOL, "the answer has a header line without a name");
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 16;
        h->lines = mem_grow(h->lines, h->capacity * sizeof *h->lines);
    }
    struct head_line *l = &h->lines[h->count++];
    l->name = h->text.len;
    buf_add(&h->text, line, (size_t)(colon - line));
    buf_add(&h->text, "", 1);
    l->value = h->text.len;
    buf_add(&h->text, value, (size_t)(end - value));
    buf_add(&h->text, "", 1);
    return ERR_NONE;
}

enum error_code head_add(struct answer_head *h, const char *line, size_t len, struct error *e)
{
    h->seen += len;
    if (h->seen > HEAD_MAX)
        return error_set(e, ERR_TOO_LARGE, "the answer's head is over %d bytes", HEAD_MAX);
    if (h->complete)
        return ERR_NONE;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (memchr(line, '\0', len))
        return error_set(e, ERR_PROTOCOL, "the answer's head has a NUL byte");
    if (h->status == 0)
        return start_head(h, line, len, e);
    return len == 0 ? end_head(h, e) : add_header(h, line, len, e);
}

struct http_header *head_headers(const struct answer_head *h)
{
    struct http_header *list = mem_array(h->count + 1, sizeof *list);
    for (size_t i = 0; i < h->count; i++)
        list[i] = (struct http_header){.name = line_name(h, i), .value = line_value(h, i)};
    return list;
}

void head_free(struct answer_head *h)
{
    buf_free(&h->text);
    free(h->lines);
}

const char *http_answer_header(const struct http_answer *a, const char *name)
{
    for (size_t i = 0; i < a->header_count; i++)
        if (strcasecmp(a->headers[i].name, name) == 0)
            return a->headers[i].value;
    return NULL;
}
