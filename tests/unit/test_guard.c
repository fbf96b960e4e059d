/* The guard alone: verdicts, and that they do not depend on how the bytes are split. */
#include "http/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define HOST "Host: a\r\n"

static const struct guard_limits limits = {.max_head = 512, .max_body = 100};

/* The bytes are copied to their exact size, so that a read past them is seen. */
static struct guard_result check(const char *bytes, size_t len, struct guard_head *head,
                                 struct buf *plain)
{
    static char *copy;
    free(copy);
    copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    return guard_check_head(copy, len, &limits, head, plain);
}

static struct guard_result verdict(const char *bytes, size_t len)
{
    struct guard_head head;
    struct buf plain = {0};
    struct guard_result r = check(bytes, len, &head, &plain);
    buf_free(&plain);
    return r;
}

struct bad {
    int status;
    const char *text;
};

static const struct bad bad_heads[] = {
    /* framing */
    {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
    {400, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
    {400, POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
    {400, POST "Content-Length: 5, 5\r\n\r\n"},
    {400, POST "Content-Length: +5\r\n\r\n"},
    {400, POST "Content-Length: -5\r\n\r\n"},
    {400, POST "Content-Length: 0x5\r\n\r\n"},
    {400, POST "Content-Length: 5 5\r\n\r\n"},
    {400, POST "Content-Length:\r\n\r\n"},
    {400, POST "Content-Length: 99999999999999999999x\r\n\r\n"},
    {400, POST "Content-Length : 5\r\n\r\n"},
    {413, POST "Content-Length: 101\r\n\r\n"},
    {413, POST "Content-Length: 18446744073709551621\r\n\r\n"},
    {413, POST "Content-Length: 99999999999999999999999999999999999999\r\n\r\n"},
    {400, POST "Transfer-Encoding: xchunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked, chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked, identity\r\n\r\n"},
    {400, POST "Transfer-Encoding: identity\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked;q=1\r\n\r\n"},
    {400, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"},
    {400, POST "Transfer-Encoding: \x0b"
               "chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding:\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n"},
    {400, POST "Transfer-Encoding\t: chunked\r\n\r\n"},
    {400, POST "Transfer-Encoding:\r\n chunked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {417, POST "Expect: 200-ok\r\n\r\n"},
    /* Host */
    {400, GET "\r\n"},
    {400, GET HOST HOST "\r\n"},
    {400, GET HOST "host: b\r\n\r\n"},
    {400, GET "Host: a b\r\n\r\n"},
    {400, GET "Host: a/b\r\n\r\n"},
    {400, GET "Host: a@b\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\n" HOST HOST "\r\n"},
    /* lines */
    {400, "GET / HTTP/1.1\nHost: a\n\n"},
    {400, GET "Host: a\n\r\n"},
    {400, GET "Host: a\rX: b\r\n\r\n"},
    {400, GET HOST "X: a\r\r\n\r\n"},
    {400, "\nGET / HTTP/1.1\r\n" HOST "\r\n"},
    {400, GET HOST "X: 1\r\n folded\r\n\r\n"},
    {400, GET HOST "X: 1\r\n\tfolded\r\n\r\n"},
    {400, GET " " HOST "\r\n"},
    {400, GET HOST "no colon\r\n\r\n"},
    {400, GET HOST ": no name\r\n\r\n"},
    {400, GET HOST "X : space\r\n\r\n"},
    {400, GET HOST "X(: paren\r\n\r\n"},
    {400, GET HOST "\xc3\xa9: name\r\n\r\n"},
    {400, GET HOST "X: a\x01\r\n\r\n"},
    {400, GET HOST "X: a\x7f\r\n\r\n"},
    {400, GET HOST "X: \x1b[31m\r\n\r\n"},
    /* request line */
    {400, "GET\r\n" HOST "\r\n"},
    {400, "GET /\r\n" HOST "\r\n"},
    {400, "GET  HTTP/1.1\r\n" HOST "\r\n"},
    {400, " GET / HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET  / HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET / HTTP/1.1 \r\n" HOST "\r\n"},
    {400, "GET\t/ HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET / a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "G(T / HTTP/1.1\r\n" HOST "\r\n"},
    {501, "get / HTTP/1.1\r\n" HOST "\r\n"},
    {501, "GETT / HTTP/1.1\r\n" HOST "\r\n"},
    {501, "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n"},
    {501, "TRACE / HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET / HTTP/11\r\n" HOST "\r\n"},
    {400, "GET / http/1.1\r\n" HOST "\r\n"},
    {400, "GET / HTTP/1.10\r\n" HOST "\r\n"},
    {400, "GET / HTP/1.1\r\n" HOST "\r\n"},
    {505, "GET / HTTP/1.2\r\n" HOST "\r\n"},
    {505, "GET / HTTP/0.9\r\n" HOST "\r\n"},
    {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
    /* target */
    {400, "GET * HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET ?a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a#b HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /<a> HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /[a] HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a\\b HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /% HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /%4 HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /%4g HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a?b=%00 HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET https://a/ HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http:/// HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http:// HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http://a%4/ HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http://a/[ HTTP/1.1\r\n" HOST "\r\n"},
};

static void test_bad_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_heads / sizeof *bad_heads; i++) {
        struct guard_result r = verdict(bad_heads[i].text, strlen(bad_heads[i].text));
        if (r.state != GUARD_REFUSED || r.status != bad_heads[i].status)
            fail_msg("%d %d for: %s", (int)r.state, r.status, bad_heads[i].text);
        assert_true(strlen(r.why) > 0);
    }
}

static void test_nul(void **state)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    (void)state;
    for (size_t at = 0; at < sizeof head - 1; at++) {
        char copy[sizeof head];
        memcpy(copy, head, sizeof head);
        copy[at] = '\0';
        assert_int_equal(verdict(copy, sizeof head - 1).status, 400);
        assert_int_equal(verdict(copy, at + 1).status, 400); /* at once */
    }
}

struct good {
    const char *text, *plain, *method, *target, *path, *query;
    bool keep_alive, chunked, expect;
    size_t length;
};

static const struct good good_heads[] = {
    {GET HOST "\r\n", GET HOST "Connection: keep-alive\r\n\r\n", "GET", "/", "/", NULL, true,
     false, false, 0},
    {"\r\n\r\n\r\n" GET "Host:\r\nX:\t a  b \t\r\nEmpty: \t \r\n\r\n",
     GET "X: a  b\r\nConnection: keep-alive\r\n\r\n", "GET", "/", "/", NULL, true, false, false,
     0},
    {"POST /a/b?c=d?e/f HTTP/1.1\r\nhOsT: [::1]:80\r\nCONTENT-LENGTH: 0100\r\n"
     "Connection: te ,close,x\r\nExpect: 100-CONTINUE\r\n\r\n",
     "POST /a/b HTTP/1.1\r\nhOsT: [::1]:80\r\nConnection: close\r\n\r\n", "POST",
     "/a/b?c=d?e/f", "/a/b", "c=d?e/f", false, false, true, 100},
    {"PUT HTTP://b:8?x HTTP/1.1\r\n" HOST "Transfer-Encoding:\tchUNKed \r\n\r\n",
     "PUT / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n", "PUT", "HTTP://b:8?x", "/",
     "x", true, true, false, 0},
    {"HEAD http://b HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.0\r\nConnection: close\r\n\r\n", "HEAD",
     "http://b", "/", NULL, false, false, false, 0},
    {"DELETE /? HTTP/1.0\r\nConnection: Keep-Alive\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
     "TE: trailers\r\nTrailer: x\r\nProxy-Connection: close\r\nExpect: 100-continue\r\n\r\n",
     "DELETE / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "DELETE", "/?", "/", "", true,
     false, false, 0},
    {GET HOST "Connection: close\r\nConnection: keep-alive\r\n\r\n",
     GET HOST "Connection: close\r\n\r\n", "GET", "/", "/", NULL, false, false, false, 0},
    {GET HOST "Expect: 100-continue\r\n\r\n", GET HOST "Connection: keep-alive\r\n\r\n", "GET",
     "/", "/", NULL, true, false, false, 0},
};

static void expect_text(struct guard_text t, const char *text)
{
    if (!text) {
        assert_null(t.at);
        return;
    }
    assert_int_equal(t.len, strlen(text));
    assert_memory_equal(t.at, text, t.len);
}

static void expect_good(const struct good *g, size_t used, const struct guard_head *head,
                        const struct buf *plain)
{
    assert_int_equal(used, strlen(g->text));
    assert_string_equal(plain->data, g->plain);
    expect_text(head->method, g->method);
    expect_text(head->target, g->target);
    expect_text(head->path, g->path);
    expect_text(head->query, g->query);
    assert_int_equal(head->keep_alive, g->keep_alive);
    assert_int_equal(head->chunked, g->chunked);
    assert_int_equal(head->expect_continue, g->expect);
    assert_int_equal(head->content_length, g->length);
}

static void test_good_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_heads / sizeof *good_heads; i++) {
        const struct good *g = &good_heads[i];
        char *text = mem_printf("%s%s", g->text, "leftover\n\n");
        struct guard_head head;
        struct buf plain = {0};
        struct guard_result r = check(text, strlen(text), &head, &plain);
        assert_int_equal(r.state, GUARD_DONE);
        expect_good(g, r.used, &head, &plain);
        free(text);
        buf_free(&plain);
    }
}

/* With any beginning of a good head there is more to come, nothing used, nothing written. */
static void test_good_prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_heads / sizeof *good_heads; i++) {
        for (size_t len = 0; len < strlen(good_heads[i].text); len++) {
            struct guard_head head;
            struct buf plain = {0};
            struct guard_result r = check(good_heads[i].text, len, &head, &plain);
            assert_int_equal(r.state, GUARD_MORE);
            assert_int_equal(r.used, 0);
            assert_int_equal(plain.len, 0);
        }
    }
}

/* Any beginning of a bad head gets the same verdict or none yet. */
static void test_bad_prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_heads / sizeof *bad_heads; i++) {
        for (size_t len = 0; len < strlen(bad_heads[i].text); len++) {
            struct guard_result r = verdict(bad_heads[i].text, len);
            assert_true(r.state == GUARD_MORE ||
                        (r.state == GUARD_REFUSED && r.status == bad_heads[i].status));
        }
    }
}

static void test_head_cap(void **state)
{
    char head[700];
    (void)state;
    size_t start = (size_t)sprintf(head, GET HOST "X: ");
    memset(head + start, 'x', sizeof head - start);
    assert_int_equal(verdict(head, 512).state, GUARD_MORE);
    assert_int_equal(verdict(head, 513).status, 431);
    assert_int_equal(verdict(head, 700).status, 431);
    memcpy(head + 508, "\r\n\r\n", 4);
    assert_int_equal(verdict(head, 700).state, GUARD_DONE);
    memcpy(head + 508, "x\r\n\r\n", 5);
    assert_int_equal(verdict(head, 700).status, 431);
    for (size_t i = 0; i < 600; i += 2)
        memcpy(head + i, "\r\n", 2);
    assert_int_equal(verdict(head, 600).status, 431); /* blank lines count */
}

static void test_header_count(void **state)
{
    const struct guard_limits wide = {.max_head = 65536};
    (void)state;
    for (int count = GUARD_MAX_HEADERS; count <= GUARD_MAX_HEADERS + 1; count++) {
        struct buf text = {0}, plain = {0};
        struct guard_head head;
        buf_puts(&text, GET HOST);
        for (int i = 1; i < count; i++)
            buf_puts(&text, "X: y\r\n");
        buf_puts(&text, "\r\n");
        struct guard_result r = guard_check_head(text.data, text.len, &wide, &head, &plain);
        if (count == GUARD_MAX_HEADERS)
            assert_int_equal(r.state, GUARD_DONE);
        else
            assert_int_equal(r.status, 431);
        buf_free(&text);
        buf_free(&plain);
    }
}

/* ---- chunks */

struct chunks {
    const char *text;
    int status; /* 0: body is what comes out */
    const char *body;
};

static const struct chunks chunk_cases[] = {
    {"0\r\n\r\n", 0, ""},
    {"5\r\nhello\r\n0\r\n\r\n", 0, "hello"},
    {"0000a\r\n0123456789\r\nA\r\n\r\n\r\n\r\n\r\n\r\n\r\n00\r\n\r\n", 0,
     "0123456789\r\n\r\n\r\n\r\n\r\n"},
    {"1;a=b;c=\"d e\"\r\nx\r\n0;end\r\n\r\n", 0, "x"},
    {"1\r\nx\r\n0\r\nA: b\r\nC-d:\r\nE: \xc3\xa9\t\r\n\r\n", 0, "x"},
    {"64\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
     "234567890123456789\r\n0\r\n\r\n",
     0,
     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
     "890123456789"},
    {"65\r\n", 413, NULL},
    {"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\r\n", 413, NULL},
    {"10000000000000001\r\n", 413, NULL},
    {"5\r\nhello\r\n60\r\n", 413, NULL},
    {"\r\n", 400, NULL},
    {";x\r\n", 400, NULL},
    {"g\r\n", 400, NULL},
    {"-1\r\n", 400, NULL},
    {"+1\r\n", 400, NULL},
    {"0x1\r\n", 400, NULL},
    {" 1\r\n", 400, NULL},
    {"1 \r\nx\r\n", 400, NULL},
    {"1\nx\n0\n\n", 400, NULL},
    {"1\r\rx", 400, NULL},
    {"1;a\nb\r\n", 400, NULL},
    {"1\r\nxx\r\n", 400, NULL},
    {"1\r\nx\n0\r\n\r\n", 400, NULL},
    {"1\r\nx\r0", 400, NULL},
    {"0\r\n\n", 400, NULL},
    {"0\r\n\rx", 400, NULL},
    {"0\r\n: x\r\n", 400, NULL},
    {"0\r\n folded\r\n", 400, NULL},
    {"0\r\nA : b\r\n", 400, NULL},
    {"0\r\nA\r\n", 400, NULL},
    {"0\r\nA: b\n", 400, NULL},
    {"0\r\nA: \x01\r\n", 400, NULL},
    {"0\r\nA: b\r\rx", 400, NULL},
};

/* Feeds the text cut at the given places, each part copied to its exact size. */
static struct guard_result feed(const char *text, size_t len, const size_t *cuts, size_t count,
                                struct buf *body)
{
    struct guard_chunks chunks = {0};
    struct guard_result r = {0};
    size_t at = 0, used = 0;
    for (size_t i = 0; i <= count; i++) {
        size_t n = (i < count ? cuts[i] : len) - at;
        char *part = malloc(n ? n : 1);
        memcpy(part, text + at, n);
        r = guard_feed_chunks(&chunks, part, n, &limits, body);
        free(part);
        used += r.used;
        if (r.state != GUARD_MORE)
            break;
        assert_int_equal(r.used, n);
        at += n;
    }
    r.used = used;
    return r;
}

static void expect_chunks(const struct chunks *x, const size_t *cuts, size_t count)
{
    struct buf body = {0};
    char *text = mem_printf("%s%s", x->text, x->status ? "" : "GET / H");
    struct guard_result r = feed(text, strlen(text), cuts, count, &body);
    if (x->status) {
        assert_int_equal(r.state, GUARD_REFUSED);
        assert_int_equal(r.status, x->status);
    } else {
        assert_int_equal(r.state, GUARD_DONE);
        assert_int_equal(r.used, strlen(x->text));
        assert_string_equal(body.data ? body.data : "", x->body);
    }
    assert_true(body.len <= limits.max_body);
    free(text);
    buf_free(&body);
}

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof chunk_cases / sizeof *chunk_cases; i++) {
        expect_chunks(&chunk_cases[i], NULL, 0);
        for (size_t cut = 0; cut <= strlen(chunk_cases[i].text); cut++)
            expect_chunks(&chunk_cases[i], &cut, 1);
    }
}

static void test_chunks_random_splits(void **state)
{
    unsigned seed = 3;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        const struct chunks *x =
            &chunk_cases[(size_t)round % (sizeof chunk_cases / sizeof *chunk_cases)];
        size_t cuts[64], count = 0, at = 0, len = strlen(x->text);
        while (count < 64 && (at += 1 + (size_t)rand_r(&seed) % 5) < len)
            cuts[count++] = at;
        expect_chunks(x, cuts, count);
    }
}

static void test_chunk_line_caps(void **state)
{
    struct buf text = {0}, body = {0};
    (void)state;
    buf_puts(&text, "1;");
    while (text.len < GUARD_MAX_CHUNK_LINE)
        buf_puts(&text, "x");
    assert_int_equal(feed(text.data, text.len, NULL, 0, &body).state, GUARD_MORE);
    buf_puts(&text, "x");
    assert_int_equal(feed(text.data, text.len, NULL, 0, &body).status, 400);
    buf_drop(&text, text.len);
    buf_puts(&text, "0\r\n");
    while (text.len < 3 + limits.max_head)
        buf_puts(&text, "A: b\r\n");
    buf_puts(&text, "A: b\r\n");
    assert_int_equal(feed(text.data, text.len, NULL, 0, &body).status, 431);
    buf_free(&text);
    buf_free(&body);
}

/* ---- names and values */

static void test_words(void **state)
{
    (void)state;
    assert_true(guard_is_token("X-Cleat_1", 9));
    assert_false(guard_is_token("", 0));
    assert_false(guard_is_token("a b", 3));
    assert_false(guard_is_token("a:", 2));
    assert_false(guard_is_token("a\0", 2));
    assert_true(guard_is_value("", 0));
    assert_true(guard_is_value("a \t\xc3\xa9", 5));
    assert_false(guard_is_value("a\r", 2));
    assert_false(guard_is_value("a\n", 2));
    assert_false(guard_is_value("a\0", 2));
    assert_false(guard_is_value("\x7f", 1));
}

static int free_copy(void **state)
{
    (void)state;
    verdict("", 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_good_heads),
        cmocka_unit_test(test_good_prefixes),
        cmocka_unit_test(test_bad_prefixes),
        cmocka_unit_test(test_head_cap),
        cmocka_unit_test(test_header_count),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_random_splits),
        cmocka_unit_test(test_chunk_line_caps),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, free_copy);
}
