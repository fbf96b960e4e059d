/* Set-Cookie headers as an ALB, a HAProxy or anybody may send them. Bytes: the choice of names,
 * then lines, each a header of an answer; an empty line ends the answer, "." before a value
 * makes it a header of another name. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "fuzz.h"
#include "http/cookie.h"

#define HEADERS_MAX 12

static char *const names_of_alb[] = {(char[]){"AWSALB*"}, (char[]){"SERVERID"}, NULL};
static char *const names_any[] = {(char[]){"*"}, NULL};
static char *const names_short[] = {(char[]){"a"}, (char[]){"ab*"}, NULL};
static char *const *const choices[] = {names_of_alb, names_any, names_short};

static bool is_wanted(const char *name, char *const *names)
{
    for (; *names; names++) {
        size_t len = strlen(*names);
        bool open = (*names)[len - 1] == '*';
        if (open ? strncmp(name, *names, len - 1) == 0 : strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* The pairs of a Cookie header as a server reads them, RFC 6265 section 5.4 backwards. */
static size_t split(char *header, char *pairs[HEADERS_MAX + 1])
{
    size_t count = 0;
    for (char *at = header; at;) {
        char *end = strstr(at, "; ");
        must(count <= HEADERS_MAX);
        pairs[count++] = at;
        if (end)
            *end = '\0';
        at = end ? end + 2 : NULL;
    }
    return count;
}

/* What is sent again and again is itself a set that reads as the same. */
static void check_again(const char *header, char *pairs[], size_t count, char *const *names)
{
    struct http_header again[HEADERS_MAX + 1];
    struct cookie_set set = {0};
    for (size_t i = 0; i < count; i++)
        again[i] = (struct http_header){"set-cookie", pairs[i]};
    struct http_answer answer = {.headers = again, .header_count = count};
    must(cookie_set_read(&set, &answer, names, 1000));
    must(set.header && strcmp(set.header, header) == 0 && set.expires_ms == 0);
    cookie_set_clear(&set);
}

static void check_header(const struct cookie_set *set, char *const *names, size_t bytes)
{
    char *pairs[HEADERS_MAX + 1], *text = mem_strdup(set->header);
    must(strlen(set->header) <= bytes + 2 * HEADERS_MAX);
    for (const char *c = set->header; *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
    size_t count = split(text, pairs);
    for (size_t i = 0; i < count; i++) {
        char *equals = strchr(pairs[i], '=');
        must(equals && equals > pairs[i] && equals[1] && !strchr(pairs[i], ';'));
        must(strcspn(pairs[i], " ") >= (size_t)(equals - pairs[i]));
        *equals = '\0';
        must(is_wanted(pairs[i], names));
        for (size_t k = 0; k < i; k++) /* a name is there once */
            must(strncmp(pairs[i], pairs[k], strlen(pairs[i])) != 0 ||
                 pairs[k][strlen(pairs[i])] != '=');
        *equals = '=';
    }
    must(strncmp(cookie_set_value(set), strchr(set->header, '=') + 1, 1) == 0);
    check_again(set->header, pairs, count, names);
    free(text);
}

static void check_set(const struct cookie_set *set, char *const *names, size_t bytes,
                      int64_t wall_ms)
{
    must(set->set_ms == wall_ms);
    must(set->expires_ms == 0 || (set->header && set->expires_ms > wall_ms));
    if (set->header)
        check_header(set, names, bytes);
    else
        must(cookie_set_value(set)[0] == '\0');
}

static void one_answer(struct fuzz *f, char *const *names, int64_t wall_ms,
                       struct cookie_set *kept)
{
    struct http_header headers[HEADERS_MAX];
    char *lines[HEADERS_MAX];
    size_t count = 0, bytes = 0;
    while (count < HEADERS_MAX && f->left > 0) {
        char *line = lines[count] = fuzz_line(f);
        bool other = *line == '.';
        headers[count].name = other ? "X-Other" : count % 2 ? "Set-Cookie" : "set-cookie";
        headers[count++].value = line + (other ? 1 : 0);
        bytes += strlen(line);
        if (*line == '\0')
            break;
    }
    struct cookie_set fresh = {0};
    struct http_answer answer = {.headers = headers, .header_count = count};
    if (cookie_set_read(&fresh, &answer, names, wall_ms)) {
        check_set(&fresh, names, bytes, wall_ms);
        cookie_set_move(kept, &fresh);
        must(!fresh.header && !fresh.expires_ms);
        check_set(kept, names, bytes, wall_ms);
    } else {
        must(!fresh.header);
    }
    for (size_t i = 0; i < count; i++)
        free(lines[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct cookie_set kept = {0};
    char *const *names = choices[fuzz_number(&f, 3)];
    int64_t wall_ms = INT64_C(1700000000000) - fuzz_number(&f, 2) * INT64_C(1699999999999);
    while (f.left > 0)
        one_answer(&f, names, wall_ms++, &kept);
    cookie_set_move(&kept, &kept);
    cookie_set_clear(&kept);
    must(!kept.header);
    return 0;
}
