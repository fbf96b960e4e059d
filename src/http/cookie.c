#include "http/cookie.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <sys/queue.h>
#include "base/buf.h"
#include "base/mem.h"

#define COOKIE_MAX 4096

struct cookie {
    char *name, *value;
    int64_t expires_ms; /* 0: none */
    bool deleted;
    TAILQ_ENTRY(cookie) entry;
};

TAILQ_HEAD(cookie_list, cookie);

/* A piece of a header, without the blanks around it. */
struct span {
    const char *at;
    size_t len;
};

static struct span trim(const char *at, size_t len)
{
    while (len > 0 && (*at == ' ' || *at == '\t'))
        at++, len--;
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    return (struct span){at, len};
}

/* Takes "name=value" off *rest, up to the next ';'. Without '=' the value is empty. */
static void next_pair(const char **rest, struct span *name, struct span *value,
                      bool *has_equals)
{
    size_t len = strcspn(*rest, ";");
    const char *equals = memchr(*rest, '=', len);
    size_t name_len = equals ? (size_t)(equals - *rest) : len;
    *has_equals = equals != NULL;
    *name = trim(*rest, name_len);
    *value = equals ? trim(equals + 1, len - name_len - 1) : (struct span){*rest + len, 0};
    *rest += len;
    if (**rest == ';')
        ++*rest;
}

static bool span_is(struct span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.at, word, s.len) == 0;
}

/* RFC 6265 section 5.2.2; false: the attribute is to be ignored. */
static bool read_max_age(struct span s, int64_t wall_ms, int64_t *at_ms)
{
    const int64_t most_s = (INT64_MAX - wall_ms) / 1000;
    bool negative = s.len > 0 && *s.at == '-';
    size_t i = negative ? 1 : 0;
    int64_t age_s = 0;
    if (i == s.len)
        return false;
    for (; i < s.len; i++) {
        if (!isdigit((unsigned char)s.at[i]))
            return false;
        int digit = s.at[i] - '0';
        age_s = age_s > (most_s - digit) / 10 ? most_s : age_s * 10 + digit;
    }
    *at_ms = negative || age_s == 0 ? INT64_MIN : wall_ms + age_s * 1000;
    return true;
}

static bool read_number(const char **s, int digits, int min, int max, int *out)
{
    int n = 0;
    for (int i = 0; i < digits; i++, ++*s) {
        if (!isdigit((unsigned char)**s))
            return false;
        n = n * 10 + (**s - '0');
    }
    *out = n;
    return n >= min && n <= max;
}

static bool read_char(const char **s, const char *allowed)
{
    if (!**s || !strchr(allowed, **s))
        return false;
    ++*s;
    return true;
}

static bool read_month(const char **s, int *month)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (*month = 0; *month < 12; ++*month)
        if (strncasecmp(*s, names + 3 * *month, 3) == 0) {
            *s += 3;
            return true;
        }
    return false;
}

/* "Thu, 01 Jan 1970 00:00:01 GMT" (RFC 1123), also with '-' between day, month and year, as
 * HAProxy writes it. The day's name is not read. */
static bool read_date(struct span span, int64_t *at_ms)
{
    char text[40];
    struct tm t = {0};
    int year;
    if (span.len >= sizeof text)
        return false;
    memcpy(text, span.at, span.len);
    text[span.len] = '\0';
    const char *s = strchr(text, ',');
    if (!s)
        return false;
    s += 1 + strspn(s + 1, " ");
    bool right = read_number(&s, 2, 1, 31, &t.tm_mday) && read_char(&s, " -") &&
                 read_month(&s, &t.tm_mon) && read_char(&s, " -") &&
                 read_number(&s, 4, 1601, 9999, &year) && read_char(&s, " ") &&
                 read_number(&s, 2, 0, 23, &t.tm_hour) && read_char(&s, ":") &&
                 read_number(&s, 2, 0, 59, &t.tm_min) && read_char(&s, ":") &&
                 read_number(&s, 2, 0, 60, &t.tm_sec) && strcmp(s, " GMT") == 0;
    if (!right)
        return false;
    t.tm_year = year - 1900;
    *at_ms = (int64_t)timegm(&t) * 1000;
    return true;
}

/* Max-Age wins over Expires, the last of each counts (RFC 6265 section 5.3). 0: neither. */
static int64_t read_expiry(const char *attributes, int64_t wall_ms)
{
    int64_t by_age = 0, by_date = 0, at_ms;
    struct span name, value;
    bool has_equals;
    while (*attributes) {
        next_pair(&attributes, &name, &value, &has_equals);
        if (span_is(name, "Max-Age") && read_max_age(value, wall_ms, &at_ms))
            by_age = at_ms;
        else if (span_is(name, "Expires") && read_date(value, &at_ms))
            by_date = at_ms != 0 ? at_ms : INT64_MIN; /* 1970 is past, not "none" */
    }
    return by_age ? by_age : by_date;
}

static bool is_wanted(struct span name, char *const *names)
{
    for (; *names; names++) {
        size_t len = strlen(*names);
        if (len > 0 && (*names)[len - 1] == '*') {
            if (name.len >= len - 1 && strncmp(name.at, *names, len - 1) == 0)
                return true;
        } else if (name.len == len && strncmp(name.at, *names, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_clean(const char *header)
{
    if (strlen(header) > COOKIE_MAX)
        return false;
    for (; *header; header++)
        if (iscntrl((unsigned char)*header) && *header != '\t')
            return false;
    return true;
}

static bool is_name(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!isgraph((unsigned char)s.at[i]) || strchr("()<>@,;:\\\"/[]?={}", s.at[i]))
            return false;
    return s.len > 0;
}

static struct cookie *find_or_add(struct cookie_list *list, struct span name)
{
    struct cookie *c;
    TAILQ_FOREACH (c, list, entry)
        if (strlen(c->name) == name.len && memcmp(c->name, name.at, name.len) == 0)
            return c;
    c = mem_alloc(sizeof *c);
    c->name = mem_strndup(name.at, name.len);
    TAILQ_INSERT_TAIL(list, c, entry);
    return c;
}

/* False: skipped. */
static bool read_cookie(struct cookie_list *list, const char *header, char *const *names,
                        int64_t wall_ms)
{
    struct span name, value;
    bool has_equals;
    if (!is_clean(header))
        return false;
    next_pair(&header, &name, &value, &has_equals);
    if (!has_equals || !is_name(name) || memchr(value.at, '\t', value.len) ||
        !is_wanted(name, names))
        return false;
    struct cookie *c = find_or_add(list, name);
    free(c->value);
    c->value = mem_strndup(value.at, value.len);
    c->expires_ms = read_expiry(header, wall_ms);
    c->deleted = value.len == 0 || (c->expires_ms != 0 && c->expires_ms <= wall_ms);
    return true;
}

static void take_list(struct cookie_set *out, struct cookie_list *list)
{
    struct buf header = {0};
    struct cookie *c;
    while ((c = TAILQ_FIRST(list))) {
        if (!c->deleted) {
            buf_printf(&header, "%s%s=%s", header.len > 0 ? "; " : "", c->name, c->value);
            if (c->expires_ms && (!out->expires_ms || c->expires_ms < out->expires_ms))
                out->expires_ms = c->expires_ms;
        }
        TAILQ_REMOVE(list, c, entry);
        free(c->name);
        free(c->value);
        free(c);
    }
    if (header.len > 0)
        out->header = buf_take(&header);
}

bool cookie_set_read(struct cookie_set *out, const struct http_answer *answer,
                     char *const *names, int64_t wall_ms)
{
    struct cookie_list list = TAILQ_HEAD_INITIALIZER(list);
    bool found = false;
    for (size_t i = 0; i < answer->header_count; i++)
        if (strcasecmp(answer->headers[i].name, "Set-Cookie") == 0 &&
            read_cookie(&list, answer->headers[i].value, names, wall_ms))
            found = true;
    if (!found)
        return false;
    *out = (struct cookie_set){.set_ms = wall_ms};
    take_list(out, &list);
    return true;
}

void cookie_set_move(struct cookie_set *to, struct cookie_set *from)
{
    if (to == from)
        return;
    cookie_set_clear(to);
    *to = *from;
    *from = (struct cookie_set){0};
}

void cookie_set_clear(struct cookie_set *set)
{
    free(set->header);
    *set = (struct cookie_set){0};
}

const char *cookie_set_value(const struct cookie_set *set)
{
    const char *equals = set->header ? strchr(set->header, '=') : NULL;
    return equals ? equals + 1 : "";
}
