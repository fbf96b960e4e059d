/* What the server makes of bytes: whole, split, pipelined, wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "server_help.h"

#define HOST "Host: a\r\n"

static int setup(void **state)
{
    static struct site site;
    struct server_options o = site_options();
    site_open(&site, &o);
    *state = &site;
    return 0;
}

static int teardown(void **state)
{
    site_close(*state);
    return 0;
}

/* Sends text on a new connection and gives the first answer. */
static struct answer ask(struct site *s, const char *text)
{
    struct client c = client_open(s);
    client_say(&c, text);
    struct answer a = client_hear(&c, strncmp(text, "HEAD", 4) == 0);
    client_close(&c);
    return a;
}

static void expect_body(struct answer a, const char *body)
{
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, body);
    answer_free(&a);
}

/* ---- whole and split */

struct example {
    const char *request, *body;
};

static const struct example examples[] = {
    {"GET /a/b?x=1&y=%20 HTTP/1.1\r\nHost: a.example:80\r\nX-Test:  spaced out \t\r\n\r\n",
     "GET\n/a/b?x=1&y=%20\n/a/b\nspaced out\n"},
    {"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nx-test: 1\r\n\r\n\r\n\r\nGET / H\n",
     "POST\n/e\n/e\n1\n\r\n\r\nGET / H\n"},
    {"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
     "5;ext=\"v\"\r\nhello\r\n00A\r\n, world\r\n!\r\n0\r\nTrail: er\r\nX: \r\n\r\n",
     "PUT\n/c\n/c\n-\nhello, world\r\n!"},
    {"\r\n\r\nGET http://[::1]:8/p?q HTTP/1.1\r\nHost: b\r\nX-Test: \xc3\xa9\r\n\r\n",
     "GET\nhttp://[::1]:8/p?q\n/p\n\xc3\xa9\n"},
    {"DELETE / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n", "DELETE\n/\n/\n-\n"},
    {"POST /f HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
     "Content-Length: 7\r\n\r\na=%zz&b",
     "POST\n/f\n/f\n-\na=%zz&b"},
    {"POST /m HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
     "Content-Length: 3\r\n\r\nabc",
     "POST\n/m\n/m\n-\nabc"},
};

enum { EXAMPLES = sizeof examples / sizeof *examples };

static void test_whole(void **state)
{
    for (int i = 0; i < EXAMPLES; i++)
        expect_body(ask(*state, examples[i].request), examples[i].body);
}

/* All on one connection: what is left over of one request would spoil the next. */
static void test_two_way_splits(void **state)
{
    struct client c = client_open(*state);
    for (int i = 0; i < EXAMPLES; i++) {
        size_t len = strlen(examples[i].request);
        for (size_t cut = 1; cut < len; cut++) {
            client_send(&c, examples[i].request, cut);
            client_send(&c, examples[i].request + cut, len - cut);
            expect_body(client_hear(&c, false), examples[i].body);
        }
    }
    client_close(&c);
}

static void test_random_splits(void **state)
{
    struct client c = client_open(*state);
    unsigned seed = 21;
    for (int round = 0; round < 40 * EXAMPLES; round++) {
        const struct example *x = &examples[round % EXAMPLES];
        size_t len = strlen(x->request), at = 0;
        while (at < len) {
            size_t n = 1 + (size_t)rand_r(&seed) % (round % 2 ? 9 : 40);
            n = n < len - at ? n : len - at;
            client_send(&c, x->request + at, n);
            at += n;
        }
        expect_body(client_hear(&c, false), x->body);
    }
    client_close(&c);
}

static void test_byte_at_a_time(void **state)
{
    struct client c = client_open(*state);
    for (int i = 0; i < EXAMPLES; i++) {
        for (const char *at = examples[i].request; *at; at++)
            client_send(&c, at, 1);
        expect_body(client_hear(&c, false), examples[i].body);
    }
    client_close(&c);
}

/* Two pipelined requests, cut anywhere, are still these two. */
static void test_pipelined_splits(void **state)
{
    struct client c = client_open(*state);
    char *both = mem_printf("%s%s", examples[2].request, examples[1].request);
    size_t len = strlen(both);
    for (size_t cut = 1; cut < len; cut++) {
        client_send(&c, both, cut);
        client_send(&c, both + cut, len - cut);
        expect_body(client_hear(&c, false), examples[2].body);
        expect_body(client_hear(&c, false), examples[1].body);
    }
    client_close(&c);
    free(both);
}

/* libevhtp has its own ideas about characters: it must take all that the guard lets pass. */
static void test_all_characters_pass(void **state)
{
    static const char target[] =
        "/azAZ09-._~!$&'()*+,;=:@/%41//..;p?azAZ09-._~!$&'()*+,;=:@/%41?&&=&=x";
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
    char value[256] = "a\t ";
    struct client c = client_open(*state);
    for (int i = 0x21; i < 0x100; i++)
        if (i != 0x7f)
            snprintf(value + strlen(value), 2, "%c", i);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char *request = mem_printf("%s %s HTTP/1.1\r\n" HOST "X-Test: %s\r\nNext:x\r\n\r\n",
                                   methods[i], target, value);
        char *body = mem_printf("%s\n%s\n%.*s\n%s\n", methods[i], target,
                                (int)strcspn(target, "?"), target, value);
        client_say(&c, request);
        expect_body(client_hear(&c, false), body);
        free(request);
        free(body);
    }
    client_close(&c);
}

/* ---- refused */

static void expect_refusal(struct site *s, const void *bytes, size_t len, int status)
{
    struct client c = client_open(s);
    client_send(&c, bytes, len);
    struct answer a = client_hear(&c, false);
    char value[64];
    assert_error(&a, status, status == 413 || status == 431 ? "too_large" : "invalid_request");
    assert_string_equal(answer_header(&a, "Connection", value, sizeof value), "close");
    client_expect_end(&c);
    assert_int_equal(s->handled, 0);
    answer_free(&a);
    client_close(&c);
}

static void test_refused(void **state)
{
    static const struct {
        int status;
        const char *text;
    } bad[] = {
        {400,
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: a\n\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: 1\r\n folded\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n"},
        {501, "BREW / HTTP/1.1\r\n" HOST "\r\n"},
        {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
        {417, "GET / HTTP/1.1\r\n" HOST "Expect: miracles\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refusal(*state, bad[i].text, strlen(bad[i].text), bad[i].status);
    expect_refusal(*state, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 34, 400);
}

/* A request that was hidden behind a refused one is never served. */
static void test_nothing_after_refusal(void **state)
{
    struct site *s = *state;
    struct client c = client_open(s);
    client_say(&c, "GET / HTTP/1.1\r\n\r\nGET /hidden HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 400);
    client_say(&c, "GET /late HTTP/1.1\r\n" HOST "\r\n");
    client_expect_end(&c);
    assert_int_equal(s->handled, 0);
    answer_free(&a);
    client_close(&c);
}

static void test_too_large(void **state)
{
    struct buf b = {0};
    buf_puts(&b, "GET /");
    while (b.len < 6000)
        buf_puts(&b, "long");
    expect_refusal(*state, b.data, b.len, 431); /* one that never ends */
    b.len = 0;
    buf_puts(&b, "GET / HTTP/1.1\r\n" HOST);
    while (b.len < 20 * 1024 * 1024 / 16)
        buf_puts(&b, "Many: headers\r\n");
    expect_refusal(*state, b.data, b.len, 431);
    b.len = 0;
    buf_puts(&b, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1048576\r\n\r\n");
    while (b.len < 1048576)
        buf_puts(&b, "0123456789abcdef");
    expect_refusal(*state, b.data, b.len, 413); /* it is all sent, and the answer still comes */
    b.len = 0;
    buf_puts(&b, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    while (b.len < 1048576)
        buf_puts(&b, "10\r\n0123456789abcdef\r\n");
    expect_refusal(*state, b.data, b.len, 413);
    buf_free(&b);
}

static void test_largest(void **state)
{
    struct buf b = {0};
    buf_puts(&b, "POST / HTTP/1.1\r\n" HOST "Content-Length: 65536\r\n\r\n");
    size_t head = b.len;
    while (b.len < head + 65536)
        buf_puts(&b, "0123456789abcdef");
    struct answer a = ask(*state, b.data);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body_len, strlen("POST\n/\n/\n-\n") + 65536);
    assert_string_equal(a.body + a.body_len - 65536, b.data + head);
    answer_free(&a);
    buf_free(&b);
}

/* ---- heads of answers */

static int status_to_give;

static void give_status(struct site *s, struct server_request *r)
{
    (void)s;
    server_answer(r, status_to_give, "text/plain", "x", 1);
}

static void test_reasons(void **state)
{
    static const struct {
        int status;
        const char *line;
    } cases[] = {{200, "HTTP/1.1 200 OK\r\n"},
                 {410, "HTTP/1.1 410 Gone\r\n"},
                 {429, "HTTP/1.1 429 Too Many Requests\r\n"},
                 {504, "HTTP/1.1 504 Gateway Timeout\r\n"},
                 {299, "HTTP/1.1 299 \r\n"}};
    struct site *s = *state;
    s->handler = give_status;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        status_to_give = cases[i].status;
        struct answer a = ask(s, "GET / HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(a.status, cases[i].status);
        if (strncmp(a.head, cases[i].line, strlen(cases[i].line)) != 0)
            fail_msg("%d: %s", cases[i].status, a.head);
        answer_free(&a);
    }
    s->handler = NULL;
}

/* ---- connections */

static void test_keep_alive_and_close(void **state)
{
    static const struct {
        const char *head;
        bool stays;
        const char *version, *connection;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true, "HTTP/1.1", "-"},
        {"GET / HTTP/1.1\r\n" HOST "Connection: foo, CLOSE\r\n\r\n", false, "HTTP/1.1",
         "close"},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false,
         "HTTP/1.1", "close"},
        {"GET / HTTP/1.0\r\n\r\n", false, "HTTP/1.0", "close"},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "HTTP/1.0", "keep-alive"},
    };
    char value[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client c = client_open(*state);
        client_say(&c, cases[i].head);
        struct answer a = client_hear(&c, false);
        assert_memory_equal(a.head, cases[i].version, strlen(cases[i].version));
        const char *connection = answer_header(&a, "Connection", value, sizeof value);
        assert_string_equal(connection ? connection : "-", cases[i].connection);
        expect_body(a, "GET\n/\n/\n-\n");
        if (cases[i].stays) {
            client_say(&c, cases[i].head);
            expect_body(client_hear(&c, false), "GET\n/\n/\n-\n");
        } else {
            client_expect_end(&c);
        }
        client_close(&c);
    }
}

static const char five[] = "GET /1 HTTP/1.1\r\n" HOST "\r\n"
                           "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\ntwo"
                           "GET /3 HTTP/1.1\r\n" HOST "\r\n"
                           "POST /4 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                           "4\r\nfour\r\n0\r\n\r\n"
                           "GET /5 HTTP/1.1\r\n" HOST "\r\n";
static const char *const five_bodies[] = {"GET\n/1\n/1\n-\n", "POST\n/2\n/2\n-\ntwo",
                                          "GET\n/3\n/3\n-\n", "POST\n/4\n/4\n-\nfour",
                                          "GET\n/5\n/5\n-\n"};

static void test_pipelined(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, five);
    for (int i = 0; i < 5; i++)
        expect_body(client_hear(&c, false), five_bodies[i]);
    client_close(&c);
}

static bool kept_one(void *arg)
{
    return ((struct site *)arg)->kept_count == 1;
}

/* Answered later: the next request is not begun before. */
static void test_pipelined_later(void **state)
{
    struct site *s = *state;
    struct client c = client_open(s);
    s->keep = true;
    client_say(&c, five);
    for (int i = 0; i < 5; i++) {
        site_until(s, kept_one, s);
        site_for(s, 5);
        assert_int_equal(s->handled, i + 1);
        assert_false(client_has(&c));
        s->kept_count = 0;
        echo(s->kept[0]);
        expect_body(client_hear(&c, false), five_bodies[i]);
    }
    client_close(&c);
}

static void test_head_has_no_body(void **state)
{
    struct client c = client_open(*state);
    char length[32];
    client_say(&c, "HEAD /h HTTP/1.1\r\n" HOST "\r\nGET /g HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = client_hear(&c, true);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length", length, sizeof length), "13");
    expect_body(client_hear(&c, false), "GET\n/g\n/g\n-\n");
    answer_free(&a);
    client_close(&c);
}

static void test_expect_continue(void **state)
{
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\n"
                               "Content-Length: 4\r\n\r\n";
    struct client c = client_open(*state);
    client_say(&c, head);
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 100);
    client_say(&c, "body");
    expect_body(client_hear(&c, false), "POST\n/\n/\n-\nbody");
    answer_free(&a);
    client_close(&c);
    c = client_open(*state); /* with the body at once there is nothing to wait for */
    char *whole = mem_printf("%sbody", head);
    client_say(&c, whole);
    expect_body(client_hear(&c, false), "POST\n/\n/\n-\nbody");
    free(whole);
    client_close(&c);
}

/* A client that has said all and shuts its side still gets what is answered at once. */
static void test_half_closed(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
    struct client c = client_open(*state);
    assert_int_equal(send(c.fd, text, sizeof text - 1, 0), sizeof text - 1);
    shutdown(c.fd, SHUT_WR); /* both before the server reads any of it */
    expect_body(client_hear(&c, false), "GET\n/\n/\n-\n");
    client_expect_end(&c);
    client_close(&c);
}

/* ---- what handlers do */

static void answer_oddly(struct site *s, struct server_request *r)
{
    (void)s;
    server_add_header(r, "X-Good", "yes");
    server_add_header(r, "X-Second", "also");
    server_add_header(r, "X-Split", "a\r\nX-Injected: 1");
    server_add_header(r, "X-Line", "a\nb");
    server_add_header(r, "X Name", "a");
    server_add_header(r, "Content-Length", "7");
    server_answer(r, 200, "text/plain\r\nX-Injected: 2", "ok", 2);
}

static void test_answer_headers(void **state)
{
    struct site *s = *state;
    char value[64];
    s->handler = answer_oddly;
    struct answer a = ask(s, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "ok");
    assert_string_equal(answer_header(&a, "X-Good", value, sizeof value), "yes");
    assert_true(strstr(a.head, "X-Good") < strstr(a.head, "X-Second"));
    assert_string_equal(answer_header(&a, "Content-Length", value, sizeof value), "2");
    assert_non_null(strstr(answer_header(&a, "Date", value, sizeof value), " GMT"));
    assert_null(answer_header(&a, "X-Injected", value, sizeof value));
    assert_null(answer_header(&a, "X-Split", value, sizeof value));
    assert_null(answer_header(&a, "X-Line", value, sizeof value));
    assert_null(strstr(a.head, "X Name"));
    answer_free(&a);
}

static void answer_query(struct site *s, struct server_request *r)
{
    (void)s;
    const char *names[] = {"a", "b c", "flag", "none", "e=f"};
    struct buf out = {0};
    for (size_t i = 0; i < 5; i++) {
        const char *value = server_query(r, names[i]);
        buf_printf(&out, "[%s]", value ? value : "NULL");
    }
    assert_null(server_header(r, "Content-Length"));
    assert_string_equal(server_header(r, "hOST"), "a");
    server_answer(r, 200, NULL, out.data, out.len);
    buf_free(&out);
}

static void test_query(void **state)
{
    struct site *s = *state;
    char value[64];
    s->handler = answer_query;
    struct answer a = ask(
        s, "GET /?a=1%2B%26%3d&a=2&b%20c=x+y%C3%A9&flag&&e%3Df=g=h HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(a.body, "[1+&=][x+y\xc3\xa9][][NULL][g=h]");
    assert_string_equal(answer_header(&a, "Content-Type", value, sizeof value),
                        "application/json");
    answer_free(&a);
}

static void answer_error(struct site *s, struct server_request *r)
{
    struct error e = {.code = ERR_FULL};
    (void)s;
    snprintf(e.message, sizeof e.message, "half a character: \xc3");
    server_answer_error(r, &e);
}

static void test_error_that_is_not_utf8(void **state)
{
    struct site *s = *state;
    s->handler = answer_error;
    struct answer a = ask(s, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_error(&a, 429, "full");
    assert_non_null(strstr(a.body, "half a character: ?"));
    assert_non_null(strstr(a.body, "\"retryable\":true"));
    answer_free(&a);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole),
        TEST(test_two_way_splits),
        TEST(test_random_splits),
        TEST(test_byte_at_a_time),
        TEST(test_pipelined_splits),
        TEST(test_all_characters_pass),
        TEST(test_refused),
        TEST(test_nothing_after_refusal),
        TEST(test_too_large),
        TEST(test_largest),
        TEST(test_reasons),
        TEST(test_keep_alive_and_close),
        TEST(test_pipelined),
        TEST(test_pipelined_later),
        TEST(test_head_has_no_body),
        TEST(test_expect_continue),
        TEST(test_half_closed),
        TEST(test_answer_headers),
        TEST(test_query),
        TEST(test_error_that_is_not_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
