/* Answers that go on: their framing, and clients that are old, slow, curious or gone. */
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

#define GET "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
#define PLAIN "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"

enum { IDLE_MS = 200, PIECE = 8192 };

static struct {
    struct site site;
    struct server_request *request; /* that is being answered */
    int drained;
    bool gone, ends_later;
} stream;

static void on_drained(void *arg)
{
    assert_ptr_equal(arg, &stream);
    stream.drained++;
}

static void on_stream_gone(void *arg)
{
    (void)arg;
    assert_false(stream.gone);
    stream.gone = true;
}

/* At the end of the turn, when the head may have gone out just now. */
static void say_and_end(void *request)
{
    static char much[4096];
    memset(much, 'x', sizeof much);
    server_stream_write(request, much, sizeof much);
    server_stream_end(request);
}

static void handle(struct site *s, struct server_request *r)
{
    if (strcmp(server_path(r), "/stream") != 0) {
        echo(r);
        return;
    }
    stream.request = r;
    server_on_gone(r, on_stream_gone, NULL);
    server_add_header(r, "Cache-Control", "no-store");
    server_stream_begin(r, "text/event-stream", on_drained, &stream);
    if (stream.ends_later)
        loop_free_later(s->loop, r, say_and_end);
}

static void open_site(const struct server_options *o)
{
    memset(&stream, 0, sizeof stream);
    site_open(&stream.site, o);
    stream.site.handler = handle;
}

static int setup(void **state)
{
    struct server_options o = site_options();
    open_site(&o);
    *state = &stream.site;
    return 0;
}

static int setup_impatient(void **state)
{
    struct server_options o = site_options();
    o.idle_timeout_ms = IDLE_MS;
    open_site(&o);
    *state = &stream.site;
    return 0;
}

static int teardown(void **state)
{
    site_close(*state);
    return 0;
}

static void say(const char *text)
{
    server_stream_write(stream.request, text, strlen(text));
}

static void end_stream(void)
{
    server_stream_end(stream.request);
    stream.request = NULL;
}

struct wanted {
    struct client *client;
    const char *text;
};

static bool has_text(void *arg)
{
    struct wanted *w = arg;
    client_has(w->client);
    return w->client->in.data && strstr(w->client->in.data, w->text);
}

/* Reads up to this text, and forgets what came. */
static void expect(struct client *c, const char *text)
{
    struct wanted w = {c, text};
    site_until(c->site, has_text, &w);
    size_t end = (size_t)(strstr(c->in.data, text) - c->in.data) + strlen(text);
    buf_drop(&c->in, end);
}

static bool is_gone(void *arg)
{
    (void)arg;
    return stream.gone;
}

static bool is_drained(void *arg)
{
    return stream.drained > *(int *)arg;
}

/* ---- framing */

static void test_chunks(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    struct answer a = client_hear(&c, true);
    char value[64];
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Transfer-Encoding", value, sizeof value), "chunked");
    assert_string_equal(answer_header(&a, "Content-Type", value, sizeof value),
                        "text/event-stream");
    assert_string_equal(answer_header(&a, "Cache-Control", value, sizeof value), "no-store");
    assert_null(answer_header(&a, "Content-Length", value, sizeof value));
    answer_free(&a);
    say("first");
    say("");
    say("0123456789abcdefg");
    expect(&c, "5\r\nfirst\r\n11\r\n0123456789abcdefg\r\n");
    assert_int_equal(c.in.len, 0);
    int before = stream.drained;
    say("last");
    site_until(c.site, is_drained, &before);
    end_stream();
    expect(&c, "4\r\nlast\r\n0\r\n\r\n");
    client_say(&c, PLAIN); /* the connection serves on */
    a = client_hear(&c, false);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "/plain"));
    answer_free(&a);
    client_close(&c);
    assert_false(stream.gone);
}

static void test_what_follows_is_kept_back(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET PLAIN "nonsense\r\n\r\n");
    expect(&c, "\r\n\r\n");
    say("x");
    expect(&c, "1\r\nx\r\n");
    site_for(c.site, 20);
    assert_int_equal(stream.site.handled, 1);
    end_stream();
    expect(&c, "0\r\n\r\n");
    struct answer a = client_hear(&c, false);
    assert_non_null(strstr(a.body, "/plain"));
    answer_free(&a);
    a = client_hear(&c, false);
    assert_error(&a, 400, "invalid_request");
    answer_free(&a);
    client_expect_end(&c);
    client_close(&c);
}

static void test_http10(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct answer a = client_hear(&c, true);
    char value[64];
    assert_null(answer_header(&a, "Transfer-Encoding", value, sizeof value));
    assert_null(answer_header(&a, "Content-Length", value, sizeof value));
    answer_free(&a);
    say("abc");
    expect(&c, "abc");
    int before = stream.drained;
    say("def");
    site_until(c.site, is_drained, &before);
    end_stream(); /* nothing is left to write */
    expect(&c, "def");
    client_expect_end(&c);
    client_close(&c);
}

static bool has_all_of_it(void *arg)
{
    struct client *c = arg;
    return client_has(c) && c->ended;
}

static void test_all_is_sent_before_the_end(void **state)
{
    stream.ends_later = true;
    struct client c = client_open(*state);
    client_say(&c, "GET /stream HTTP/1.0\r\n\r\n");
    site_until(*state, has_all_of_it, &c);
    assert_int_equal(c.in.len - (size_t)(strstr(c.in.data, "\r\n\r\n") + 4 - c.in.data), 4096);
    client_close(&c);
}

static void test_head(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct client c = client_open(*state);
        client_say(&c, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        struct answer a = client_hear(&c, true);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        say("not for you");
        if (i == 0) /* the head is out before the end, or with it */
            site_for(c.site, 10);
        end_stream();
        client_say(&c, PLAIN);
        a = client_hear(&c, false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "/plain"));
        answer_free(&a);
        client_close(&c);
    }
}

static void test_ended_at_once(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    end_stream();
    expect(&c, "\r\n\r\n0\r\n\r\n");
    client_close(&c);
}

/* ---- clients that go */

static void test_client_gone(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct client c = client_open(*state);
        stream.gone = false;
        client_say(&c, GET);
        expect(&c, "\r\n\r\n");
        say("x");
        if (i == 0)
            client_close(&c);
        else
            shutdown(c.fd, SHUT_WR);
        site_until(*state, is_gone, NULL);
        say("reaches nobody");
        assert_int_equal(server_stream_unsent(stream.request), 0);
        assert_string_equal(server_path(stream.request), "/stream");
        end_stream();
        if (i == 1)
            client_close(&c);
    }
}

/* Until the server has cut it off; what may wait stays bounded. */
static void fill(void)
{
    char piece[PIECE];
    memset(piece, 'x', sizeof piece);
    for (unsigned i = 0; i < 10000 && !stream.gone; i++) {
        server_stream_write(stream.request, piece, sizeof piece);
        assert_in_range(server_stream_unsent(stream.request), 0, SERVER_STREAM_MAX);
        site_turn(&stream.site);
    }
}

static void test_slow_reader_is_cut_off(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    fill();
    assert_true(stream.gone);
    end_stream();
    struct client other = client_open(*state); /* nobody else notices */
    client_say(&other, PLAIN);
    struct answer a = client_hear(&other, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    client_close(&other);
    client_close(&c);
}

/* The end comes before the loop could cut it off. */
static void test_end_of_one_that_is_cut_off(void **state)
{
    struct client c = client_open(*state);
    char *much = mem_alloc(SERVER_STREAM_MAX + 1);
    client_say(&c, GET);
    server_stream_write(stream.request, much, SERVER_STREAM_MAX + 1);
    end_stream();
    free(much);
    site_for(*state, 10);
    assert_false(stream.gone); /* it has let go of it */
    client_close(&c);
}

/* The kernel's buffers may grow for a while: there is always something left for them. */
static void keep_full(void)
{
    char piece[PIECE] = {0};
    while (!stream.gone && server_stream_unsent(stream.request) < 16 * PIECE) {
        server_stream_write(stream.request, piece, sizeof piece);
        site_turn(&stream.site);
    }
}

static bool is_gone_although_full(void *arg)
{
    keep_full();
    return is_gone(arg);
}

static void test_reading_nothing_is_cut_off_in_time(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    site_until(*state, is_gone_although_full, NULL);
    end_stream();
    client_close(&c);
}

static void test_silence_is_no_slowness(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    site_for(*state, 3 * IDLE_MS); /* nothing is there to read */
    assert_false(stream.gone);
    say("still here");
    expect(&c, "still here");
    end_stream();
    client_close(&c);
}

static bool took_some(void *arg)
{
    struct client *c = arg;
    char bytes[4096];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    return n > 0;
}

static void test_reading_slowly_is_fine(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    for (unsigned i = 0; i < 12; i++) {
        keep_full();
        size_t before = server_stream_unsent(stream.request);
        for (unsigned k = 0; k < 5000 && server_stream_unsent(stream.request) == before; k++)
            site_until(*state, took_some, &c);
        site_for(*state, IDLE_MS / 4);
    }
    assert_false(stream.gone);
    end_stream();
    client_close(&c);
}

/* ---- servers that go */

static void test_server_freed(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    say("x");
    site_turn(*state);
    server_free(stream.site.server);
    stream.site.server = NULL;
    assert_false(stream.gone);
    say("reaches nobody");
    end_stream();
    expect(&c, "1\r\nx\r\n");
    client_expect_end(&c);
    client_close(&c);
}

static void test_stop_listening(void **state)
{
    struct client c = client_open(*state);
    client_say(&c, GET);
    expect(&c, "\r\n\r\n");
    server_stop_listening(stream.site.server);
    say("x");
    expect(&c, "1\r\nx\r\n"); /* it is the handler's to end it */
    end_stream();
    expect(&c, "0\r\n\r\n");
    client_expect_end(&c);
    client_close(&c);
}

#define EACH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define IMPATIENT(fn) cmocka_unit_test_setup_teardown(fn, setup_impatient, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_chunks),
        EACH(test_what_follows_is_kept_back),
        EACH(test_http10),
        EACH(test_all_is_sent_before_the_end),
        EACH(test_head),
        EACH(test_ended_at_once),
        EACH(test_client_gone),
        EACH(test_slow_reader_is_cut_off),
        EACH(test_end_of_one_that_is_cut_off),
        IMPATIENT(test_reading_nothing_is_cut_off_in_time),
        IMPATIENT(test_silence_is_no_slowness),
        IMPATIENT(test_reading_slowly_is_fine),
        EACH(test_server_freed),
        EACH(test_stop_listening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
