/* The guard over bytes alone: what it lets through reads the same to a second reader, and how
 * the bytes were split never matters. Bytes: a choice and a seed of splits, then a request, or
 * a chunked body. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "fuzz.h"
#include "http/guard.h"
#include "strict.h"

static const struct guard_limits limits = {.max_head = 1024, .max_body = 512};

static bool is(struct guard_text text, const char *wanted)
{
    return text.len == strlen(wanted) && memcmp(text.at, wanted, text.len) == 0;
}

/* libevhtp gets to see one head, whole, and nothing of the framing. */
static void check_plain(const struct buf *plain)
{
    static const char *const framing[] = {"content-length", "transfer-encoding", "expect", "te",
                                          "upgrade"};
    struct strict s = {0};
    strict_head(&s, plain->data, plain->len); /* an empty Host is left out, which it minds */
    must(s.head == plain->len && !s.chunked && s.length == 0);
    for (size_t i = 0; i < sizeof framing / sizeof *framing; i++) {
        char *name = mem_printf("\n%s:", framing[i]);
        must(!strcasestr(plain->data, name));
        free(name);
    }
    strict_free(&s);
}

static struct guard_result check_head(const char *bytes, size_t len)
{
    struct guard_head head = {0};
    struct buf plain = {0};
    struct guard_result r = guard_check_head(bytes, len, &limits, &head, &plain);
    must(r.state != GUARD_REFUSED || (r.status >= 400 && r.status < 600 && r.why && *r.why));
    must(r.state == GUARD_DONE || r.used == 0);
    must(r.state != GUARD_MORE || (plain.len == 0 && len <= limits.max_head));
    if (r.state == GUARD_DONE) {
        struct strict s = {0};
        must(r.used <= limits.max_head && head.content_length <= limits.max_body);
        must(strict_head(&s, bytes, len) == STRICT_DONE);
        must(s.head == r.used && s.chunked == head.chunked && s.length == head.content_length);
        must(s.http10 == head.http10 && s.closes == !head.keep_alive);
        must(is(head.method, s.method) && is(head.target, s.target));
        must(head.path.len > 0 && head.path.at[0] == '/');
        must(!head.query.at || !memchr(head.query.at, ' ', head.query.len));
        check_plain(&plain);
        strict_free(&s);
    }
    buf_free(&plain);
    return r;
}

/* Of any part of the bytes: not decided yet, or what is said of all of them. */
static void try_head(struct fuzz *f, unsigned seed)
{
    size_t len;
    char *bytes = fuzz_bytes(f, &len);
    struct guard_result all = check_head(bytes, len);
    size_t step = 1 + seed % 16;
    for (size_t part = 0; part < len; part += step) {
        char *copy = malloc(part ? part : 1);
        memcpy(copy, bytes, part);
        struct guard_result r = check_head(copy, part);
        free(copy);
        if (r.state == GUARD_MORE) {
            must(all.state != GUARD_DONE || part < all.used);
            continue;
        }
        must(r.state == all.state && r.status == all.status && r.used == all.used);
        break;
    }
    free(bytes);
}

/* ---- chunked bodies */

struct decoded {
    struct guard_result result;
    struct buf body;
};

static void decode(struct decoded *d, const char *bytes, size_t len, unsigned seed)
{
    struct guard_chunks chunks = {0};
    size_t at = 0, used = 0;
    d->result = (struct guard_result){.state = GUARD_MORE};
    while (at < len && d->result.state == GUARD_MORE) {
        size_t n = seed ? 1 + (seed = seed * 1103515245u + 12345u) / 65536 % 9 : len;
        n = n < len - at ? n : len - at;
        char *piece = malloc(n);
        memcpy(piece, bytes + at, n);
        d->result = guard_feed_chunks(&chunks, piece, n, &limits, &d->body);
        free(piece);
        must(d->result.state != GUARD_MORE || d->result.used == n);
        must(d->body.len <= limits.max_body);
        used += d->result.used;
        at += n;
    }
    d->result.used = used;
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void try_chunks(struct fuzz *f, unsigned seed)
{
    struct decoded whole = {0}, split = {0};
    size_t len, used = 0;
    char *bytes = fuzz_bytes(f, &len);
    decode(&whole, bytes, len, 0);
    decode(&split, bytes, len, seed + 1);
    must(whole.result.state == split.result.state &&
         whole.result.status == split.result.status);
    must(whole.result.state == GUARD_REFUSED || same_bytes(&whole.body, &split.body));
    must(whole.result.state != GUARD_DONE || whole.result.used == split.result.used);
    if (whole.result.state == GUARD_DONE) {
        struct buf body = {0};
        must(strict_chunks(&body, bytes, len, &used) == STRICT_DONE);
        must(used == whole.result.used && same_bytes(&body, &whole.body));
        buf_free(&body);
    }
    buf_free(&whole.body);
    buf_free(&split.body);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    bool chunks = fuzz_number(&f, 2);
    unsigned seed = fuzz_byte(&f);
    if (chunks)
        try_chunks(&f, seed);
    else
        try_head(&f, seed);
    return 0;
}
