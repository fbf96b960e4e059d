#include "strict.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "fuzz.h"

#define DIGITS "0123456789"
#define HEX DIGITS "abcdefABCDEF"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKEN DIGITS LETTERS "!#$%&'*+-.^_`|~"
#define TARGET DIGITS LETTERS "-._~!$&'()*+,;=:@/?%"

static bool consists_of(const char *text, const char *of)
{
    return *text && text[strspn(text, of)] == '\0';
}

/* Everything up to the next CRLF as a text, NULL when that is not there yet; free(). A line
 * with a NUL in it is cut and shorter than *len says. */
static char *take_line(const char **at, const char *end, size_t *len)
{
    const char *stop = memmem(*at, (size_t)(end - *at), "\r\n", 2);
    if (!stop)
        return NULL;
    *len = (size_t)(stop - *at);
    char *line = mem_strndup(*at, *len);
    *at = stop + 2;
    return line;
}

static bool read_request_line(struct strict *s, char *line)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version)
        return false;
    *target++ = *version++ = '\0';
    s->method = mem_strdup(line);
    s->target = mem_strdup(target);
    s->http10 = strcmp(version, "HTTP/1.0") == 0;
    const char *path = target;
    if (strncasecmp(target, "http://", 7) == 0)
        path = target + 7 + strcspn(target + 7, "/?");
    if (path != target && path == target + 7)
        return false;
    return consists_of(s->method, TOKEN) && (*path == '/' || path != target) &&
           path[strspn(path, TARGET)] == '\0' &&
           (s->http10 || strcmp(version, "HTTP/1.1") == 0);
}

static bool has_word(const char *list, const char *word)
{
    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, ","), bare = len;
        while (bare > 0 && strchr(" \t", list[bare - 1]))
            bare--;
        if (bare == strlen(word) && strncasecmp(list, word, bare) == 0)
            return true;
        list += len;
    }
    return false;
}

struct headers {
    unsigned hosts, lengths, codings;
    bool close, keep_alive;
};

/* "Name: value", both without anything odd; line becomes the name. */
static bool split_field(char *line, char **value)
{
    char *v = *value = strchr(line, ':');
    if (!v)
        return false;
    *v++ = '\0';
    v += strspn(v, " \t");
    for (size_t n = strlen(v); n > 0 && strchr(" \t", v[n - 1]); n--)
        v[n - 1] = '\0';
    *value = v;
    for (const char *c = v; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return false;
    return consists_of(line, TOKEN);
}

static bool read_header(struct strict *s, char *line, struct headers *h)
{
    char *value;
    if (!split_field(line, &value))
        return false;
    if (strcasecmp(line, "Host") == 0)
        h->hosts++;
    if (strcasecmp(line, "Connection") == 0) {
        h->close |= has_word(value, "close");
        h->keep_alive |= has_word(value, "keep-alive");
    }
    if (strcasecmp(line, "Content-Length") == 0) {
        h->lengths++;
        s->length = strtoul(value, NULL, 10);
        return consists_of(value, DIGITS);
    }
    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        h->codings++;
        s->chunked = true;
        return strcasecmp(value, "chunked") == 0;
    }
    return true;
}

static bool is_whole(struct strict *s, const struct headers *h)
{
    s->closes = h->close || (s->http10 && !h->keep_alive);
    return h->hosts + (s->http10 ? 1 : 0) >= 1 && h->hosts <= 1 &&
           h->lengths + h->codings <= 1 && !(s->http10 && h->codings);
}

enum strict_verdict strict_head(struct strict *s, const char *bytes, size_t len)
{
    const char *at = bytes, *end = bytes + len;
    struct headers headers = {0};
    while (end - at >= 2 && memcmp(at, "\r\n", 2) == 0) /* section 2.2 */
        at += 2;
    for (size_t i = 0;; i++) {
        size_t size = 0;
        char *line = take_line(&at, end, &size);
        if (!line)
            return STRICT_MORE;
        bool fine = strlen(line) == size && !strpbrk(line, "\r\n");
        bool last = size == 0;
        fine = fine &&
               (last || (i == 0 ? read_request_line(s, line) : read_header(s, line, &headers)));
        free(line);
        if (!fine)
            return STRICT_BAD;
        if (last)
            break;
    }
    s->head = s->used = (size_t)(at - bytes);
    return is_whole(s, &headers) ? STRICT_DONE : STRICT_BAD;
}

/* "SIZE[;extension]" */
static bool read_size(const char *line, size_t *size)
{
    size_t digits = strspn(line, HEX);
    *size = strtoul(line, NULL, 16);
    return digits > 0 && (line[digits] == '\0' || line[digits] == ';');
}

enum strict_verdict strict_chunks(struct buf *body, const char *bytes, size_t len, size_t *used)
{
    const char *at = bytes, *end = bytes + len;
    size_t size = 1, length = 0;
    while (size > 0) {
        char *line = take_line(&at, end, &length);
        if (!line)
            return STRICT_MORE;
        bool fine = strlen(line) == length && !strchr(line, '\n') && read_size(line, &size);
        free(line);
        if (!fine)
            return STRICT_BAD;
        if (size > 0 && (size_t)(end - at) < size + 2)
            return STRICT_MORE;
        if (size > 0 && memcmp(at + size, "\r\n", 2) != 0)
            return STRICT_BAD;
        buf_add(body, at, size);
        at += size > 0 ? size + 2 : 0;
    }
    do { /* trailers, and the blank line at their end */
        char *line = take_line(&at, end, &length);
        char *value;
        if (!line)
            return STRICT_MORE;
        bool fine = strlen(line) == length && (length == 0 || split_field(line, &value));
        free(line);
        if (!fine)
            return STRICT_BAD;
    } while (length > 0);
    *used = (size_t)(at - bytes);
    return STRICT_DONE;
}

enum strict_verdict strict_read(struct strict *s, const char *bytes, size_t len)
{
    size_t body = 0;
    enum strict_verdict verdict = strict_head(s, bytes, len);
    if (verdict != STRICT_DONE)
        return verdict;
    if (s->chunked) {
        verdict = strict_chunks(&s->body, bytes + s->head, len - s->head, &body);
    } else {
        body = s->length;
        if (len - s->head < body)
            return STRICT_MORE;
        buf_add(&s->body, bytes + s->head, body);
    }
    s->used = s->head + body;
    return verdict;
}

void strict_free(struct strict *s)
{
    free(s->method);
    free(s->target);
    buf_free(&s->body);
    *s = (struct strict){0};
}
