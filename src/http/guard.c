#include "http/guard.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static struct guard_result refuse(int status, const char *why)
{
    return (struct guard_result){GUARD_REFUSED, status, why, 0};
}

static const struct guard_result passed = {.state = GUARD_DONE};

/* ---- characters */

static bool is_token_char(unsigned char c)
{
    return c < 0x80 && (isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c)));
}

static bool is_value_char(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* RFC 3986 section 3.3, with '/' and, in the query, '?'. */
static bool is_target_char(unsigned char c)
{
    return c < 0x80 && (isalnum(c) || (c && strchr("-._~!$&'()*+,;=:@/?%", c)));
}

static bool is_host_char(unsigned char c)
{
    return c < 0x80 && (isalnum(c) || (c && strchr("-._~!$&'()*+,;=:[]%", c)));
}

static bool all(const char *s, size_t len, bool is(unsigned char))
{
    for (size_t i = 0; i < len; i++)
        if (!is((unsigned char)s[i]))
            return false;
    return true;
}

bool guard_is_token(const char *s, size_t len)
{
    return len > 0 && all(s, len, is_token_char);
}

bool guard_is_value(const char *s, size_t len)
{
    return all(s, len, is_value_char);
}

static bool same(struct guard_text text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

static struct guard_text trim(struct guard_text t)
{
    while (t.len && (*t.at == ' ' || *t.at == '\t'))
        t = (struct guard_text){t.at + 1, t.len - 1};
    while (t.len && (t.at[t.len - 1] == ' ' || t.at[t.len - 1] == '\t'))
        t.len--;
    return t;
}

/* ---- where the head ends */

/* One pass over the bytes in their order, so that the verdict does not depend on their
 * splitting. */
static struct guard_result find_end(const char *bytes, size_t len, size_t max_head,
                                    size_t *start)
{
    size_t line = 0; /* length of the current line */
    *start = 0;
    for (size_t i = 0; i < len; i++) {
        if (i >= max_head)
            return refuse(431, "the head is too large");
        char c = bytes[i];
        if (c == '\0')
            return refuse(400, "a NUL character in the head");
        if (c == '\n' && (i == 0 || bytes[i - 1] != '\r'))
            return refuse(400, "a line that ends without CR");
        if (c != '\n' && i > 0 && bytes[i - 1] == '\r')
            return refuse(400, "a CR within a line");
        if (c != '\n') {
            line++;
        } else if (line > 1) {
            line = 0;
        } else if (i ==
                   *start + 1) { /* a blank line before the request, RFC 9112 section 2.2 */
            *start = i + 1;
            line = 0;
        } else {
            return (struct guard_result){GUARD_DONE, 0, NULL, i + 1};
        }
    }
    return (struct guard_result){.state = GUARD_MORE};
}

/* ---- request line */

static bool percent_ok(struct guard_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.at[i] != '%')
            continue;
        if (t.len - i < 3 || !isxdigit((unsigned char)t.at[i + 1]) ||
            !isxdigit((unsigned char)t.at[i + 2]) || memcmp(t.at + i, "%00", 3) == 0)
            return false;
    }
    return true;
}

/* RFC 9112 section 3.2.2: a server must accept the absolute form; the authority replaces Host.
 */
static bool skip_authority(struct guard_text *rest)
{
    if (rest->len < 7 || strncasecmp(rest->at, "http://", 7) != 0)
        return false;
    size_t end = 7;
    while (end < rest->len && rest->at[end] != '/' && rest->at[end] != '?')
        end++;
    if (end == 7 || !all(rest->at + 7, end - 7, is_host_char))
        return false;
    *rest = (struct guard_text){rest->at + end, rest->len - end};
    return true;
}

static struct guard_result check_target(struct guard_head *head)
{
    static const char root[] = "/";
    struct guard_text rest = head->target;
    if (rest.len == 0 || (*rest.at != '/' && !skip_authority(&rest)))
        return refuse(400, "the target must be a path");
    if (!all(rest.at, rest.len, is_target_char) || !percent_ok(head->target))
        return refuse(400, "a character in the target that does not belong there");
    const char *mark = memchr(rest.at, '?', rest.len);
    size_t len = mark ? (size_t)(mark - rest.at) : rest.len;
    head->path = len ? (struct guard_text){rest.at, len} : (struct guard_text){root, 1};
    if (mark)
        head->query = (struct guard_text){mark + 1, rest.len - len - 1};
    return passed;
}

static bool known_method(struct guard_text method)
{
    static const char *const methods[] = {"GET",    "HEAD",  "POST",    "PUT",
                                          "DELETE", "PATCH", "OPTIONS", NULL};
    for (const char *const *m = methods; *m; m++)
        if (method.len == strlen(*m) && memcmp(method.at, *m, method.len) == 0)
            return true;
    return false;
}

static bool version_shape(struct guard_text v)
{
    return v.len == 8 && memcmp(v.at, "HTTP/", 5) == 0 && isdigit((unsigned char)v.at[5]) &&
           v.at[6] == '.' && isdigit((unsigned char)v.at[7]);
}

static struct guard_result check_request_line(struct guard_text line, struct guard_head *head)
{
    const char *first = memchr(line.at, ' ', line.len);
    const char *last = memrchr(line.at, ' ', line.len);
    if (!first || first == last)
        return refuse(400, "the request line needs a method, a target and a version");
    const char *end = line.at + line.len;
    struct guard_text version = {last + 1, (size_t)(end - last - 1)};
    head->method = (struct guard_text){line.at, (size_t)(first - line.at)};
    head->target = (struct guard_text){first + 1, (size_t)(last - first - 1)};
    if (!guard_is_token(head->method.at, head->method.len) || !version_shape(version))
        return refuse(400, "the request line is not of HTTP/1.1");
    if (memcmp(version.at, "HTTP/1.0", 8) != 0 && memcmp(version.at, "HTTP/1.1", 8) != 0)
        return refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (!known_method(head->method))
        return refuse(501, "this method is not known here");
    head->http10 = version.at[7] == '0';
    return check_target(head);
}

/* ---- headers */

struct seen {
    unsigned headers, host, length, encoding;
    bool close, keep_alive;
};

static struct guard_result check_length(struct guard_text value, struct guard_head *head,
                                        const struct guard_limits *limits)
{
    uint64_t n = 0;
    if (value.len == 0)
        return refuse(400, "Content-Length is not a number");
    for (size_t i = 0; i < value.len; i++) {
        if (!isdigit((unsigned char)value.at[i]))
            return refuse(400, "Content-Length is not a number");
        if (n <= limits->max_body) /* once above the cap, the exact value is of no interest */
            n = n * 10 + (uint64_t)(value.at[i] - '0');
    }
    if (n > limits->max_body)
        return refuse(413, "the body is too large");
    head->content_length = (size_t)n;
    return passed;
}

static void read_connection(struct guard_text value, struct seen *seen)
{
    while (value.len) {
        const char *comma = memchr(value.at, ',', value.len);
        size_t len = comma ? (size_t)(comma - value.at) : value.len;
        struct guard_text word = trim((struct guard_text){value.at, len});
        seen->close |= same(word, "close");
        seen->keep_alive |= same(word, "keep-alive");
        size_t skip = comma ? len + 1 : len;
        value = (struct guard_text){value.at + skip, value.len - skip};
    }
}

/* True: the header is about the connection and not for libevhtp's eyes. */
static bool is_framing(struct guard_text name)
{
    static const char *const names[] = {
        "Connection", "Proxy-Connection", "Keep-Alive", "Content-Length", "Transfer-Encoding",
        "Expect",     "Upgrade",          "TE",         "Trailer",        NULL};
    for (const char *const *n = names; *n; n++)
        if (same(name, *n))
            return true;
    return false;
}

static struct guard_result check_framing(struct guard_text name, struct guard_text value,
                                         const struct guard_limits *limits,
                                         struct guard_head *head, struct seen *seen)
{
    if (same(name, "Content-Length")) {
        if (seen->length++)
            return refuse(400, "more than one Content-Length");
        return check_length(value, head, limits);
    }
    if (same(name, "Transfer-Encoding")) {
        if (seen->encoding++)
            return refuse(400, "more than one Transfer-Encoding");
        if (!same(value, "chunked"))
            return refuse(400, "the only Transfer-Encoding here is chunked");
        head->chunked = true;
    } else if (same(name, "Expect")) {
        if (!same(value, "100-continue"))
            return refuse(417, "the only Expect here is 100-continue");
        head->expect_continue = true;
    } else if (same(name, "Connection")) {
        read_connection(value, seen);
    }
    return passed;
}

static struct guard_result check_header(struct guard_text line,
                                        const struct guard_limits *limits,
                                        struct guard_head *head, struct seen *seen,
                                        struct buf *plain)
{
    if (++seen->headers > GUARD_MAX_HEADERS)
        return refuse(431, "too many headers");
    if (*line.at == ' ' || *line.at == '\t')
        return refuse(400, "a folded header line");
    const char *colon = memchr(line.at, ':', line.len);
    if (!colon || !guard_is_token(line.at, (size_t)(colon - line.at)))
        return refuse(400, "a header without a proper name");
    struct guard_text name = {line.at, (size_t)(colon - line.at)};
    struct guard_text value = trim((struct guard_text){colon + 1, line.len - name.len - 1});
    if (!guard_is_value(value.at, value.len))
        return refuse(400, "a control character in a header");
    if (is_framing(name))
        return check_framing(name, value, limits, head, seen);
    if (same(name, "Host")) {
        if (seen->host++)
            return refuse(400, "more than one Host");
        if (!all(value.at, value.len, is_host_char))
            return refuse(400, "Host is not a host");
    }
    if (value.len == 0) /* libevhtp cannot keep an empty value */
        return passed;
    buf_add(plain, name.at, name.len);
    buf_puts(plain, ": ");
    buf_add(plain, value.at, value.len);
    buf_puts(plain, "\r\n");
    return passed;
}

static struct guard_result check_together(struct guard_head *head, const struct seen *seen)
{
    if (!seen->host && !head->http10)
        return refuse(400, "Host is missing");
    if (seen->length && seen->encoding)
        return refuse(400, "both Content-Length and Transfer-Encoding");
    if (head->http10 && seen->encoding)
        return refuse(400, "Transfer-Encoding in HTTP/1.0");
    head->keep_alive = !seen->close && (!head->http10 || seen->keep_alive);
    head->expect_continue &= !head->http10 && (head->chunked || head->content_length);
    return passed;
}

/* Only where a line end is known to follow. */
static struct guard_text take_line(const char **at)
{
    const char *end = rawmemchr(*at, '\r');
    struct guard_text line = {*at, (size_t)(end - *at)};
    *at = end + 2;
    return line;
}

static void start_plain(const struct guard_head *head, struct buf *plain)
{
    buf_add(plain, head->method.at, head->method.len);
    buf_puts(plain, " ");
    buf_add(plain, head->path.at, head->path.len);
    buf_puts(plain, head->http10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
}

struct guard_result guard_check_head(const char *bytes, size_t len,
                                     const struct guard_limits *limits, struct guard_head *head,
                                     struct buf *plain)
{
    size_t start = 0;
    struct seen seen = {0};
    struct guard_result end = find_end(bytes, len, limits->max_head, &start);
    if (end.state != GUARD_DONE)
        return end;
    memset(head, 0, sizeof *head);
    const char *at = bytes + start;
    struct guard_result r = check_request_line(take_line(&at), head);
    if (r.state != GUARD_DONE)
        return r;
    start_plain(head, plain);
    while (at < bytes + end.used - 2) {
        r = check_header(take_line(&at), limits, head, &seen, plain);
        if (r.state != GUARD_DONE)
            return r;
    }
    r = check_together(head, &seen);
    if (r.state != GUARD_DONE)
        return r;
    buf_puts(plain,
             head->keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
    return end;
}

/* ---- chunked bodies */

enum {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF
};

static int hex_value(unsigned char c)
{
    return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
}

static struct guard_result feed_size(struct guard_chunks *d, unsigned char c, size_t room)
{
    if (++d->line > GUARD_MAX_CHUNK_LINE)
        return refuse(400, "a chunk's size line is too long");
    if (d->state == CHUNK_SIZE && isxdigit(c)) {
        d->digits++;
        if (d->left <= room)
            d->left = d->left * 16 + (uint64_t)hex_value(c);
        return passed;
    }
    if (d->digits == 0)
        return refuse(400, "a chunk without a size");
    if (d->left > room)
        return refuse(413, "the body is too large");
    if (c == '\r')
        d->state = CHUNK_SIZE_LF;
    else if (d->state == CHUNK_SIZE && c != ';')
        return refuse(400, "a chunk's size is not a number");
    else if (!is_value_char(c))
        return refuse(400, "a control character in a chunk's size line");
    else
        d->state = CHUNK_EXTENSION;
    return passed;
}

static struct guard_result feed_trailer(struct guard_chunks *d, unsigned char c, size_t max)
{
    if (++d->line > max)
        return refuse(431, "the trailers are too large");
    if (d->state == TRAILER_START && c == '\r')
        d->state = LAST_LF;
    else if (d->state == TRAILER_VALUE && c == '\r')
        d->state = TRAILER_LF;
    else if (d->state == TRAILER_NAME && c == ':')
        d->state = TRAILER_VALUE;
    else if (d->state == TRAILER_VALUE && is_value_char(c))
        return passed;
    else if (d->state != TRAILER_VALUE && is_token_char(c))
        d->state = TRAILER_NAME;
    else
        return refuse(400, "a trailer that is not a header");
    return passed;
}

static struct guard_result feed_line_end(struct guard_chunks *d, unsigned char c)
{
    if (c != (d->state == CHUNK_DATA_CR ? '\r' : '\n'))
        return refuse(400, "a chunk whose line does not end");
    switch (d->state) {
    case CHUNK_SIZE_LF:
        d->state = d->left ? CHUNK_DATA : TRAILER_START;
        break;
    case CHUNK_DATA_CR:
        d->state = CHUNK_DATA_LF;
        return passed;
    case TRAILER_LF:
        d->state = TRAILER_START;
        d->line++;
        return passed;
    default: /* CHUNK_DATA_LF */
        d->state = CHUNK_SIZE;
        d->digits = 0;
    }
    d->line = 0;
    return passed;
}

static size_t feed_data(struct guard_chunks *d, const char *bytes, size_t len, struct buf *body)
{
    size_t n = d->left < len ? (size_t)d->left : len;
    buf_add(body, bytes, n);
    d->left -= n;
    if (d->left == 0)
        d->state = CHUNK_DATA_CR;
    return n;
}

struct guard_result guard_feed_chunks(struct guard_chunks *d, const char *bytes, size_t len,
                                      const struct guard_limits *limits, struct buf *body)
{
    for (size_t i = 0; i < len;) {
        struct guard_result r = passed;
        unsigned char c = (unsigned char)bytes[i];
        if (d->state == CHUNK_DATA) {
            i += feed_data(d, bytes + i, len - i, body);
            continue;
        }
        if (d->state == LAST_LF && c == '\n')
            return (struct guard_result){GUARD_DONE, 0, NULL, i + 1};
        if (d->state == CHUNK_SIZE || d->state == CHUNK_EXTENSION)
            r = feed_size(d, c, limits->max_body - body->len);
        else if (d->state == TRAILER_START || d->state == TRAILER_NAME ||
                 d->state == TRAILER_VALUE)
            r = feed_trailer(d, c, limits->max_head);
        else
            r = feed_line_end(d, c);
        if (r.state == GUARD_REFUSED)
            return r;
        i++;
    }
    return (struct guard_result){.state = GUARD_MORE, .used = len};
}
