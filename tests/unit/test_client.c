#include "http/client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "fetch.h"
#include "peer.h"

#define URL(path) "http://" PEER_IP ":21000" path
#define OK "HTTP/1.1 200 OK\r\n"

static const struct peer_act acts[] = {
    {"/port", NULL, PEER_KEEP},
    {"/echo", PEER_ECHO, PEER_KEEP},
    {"/a/../echo", PEER_ECHO, PEER_KEEP},
    {"/headers",
     OK "Set-Cookie: a=1\r\nset-cookie:  b=2 \r\nEmpty:\r\nContent-Length: 0\r\n\r\n",
     PEER_KEEP},
    {"/last", OK "Content-Length: 2\r\n\r\nok", PEER_CLOSE},
    {"/drop", "", PEER_CLOSE},
    {"/reset", "", PEER_RESET},
    {"/silent", "", PEER_HANG},
    {"/half-head", OK "Content-Le", PEER_CLOSE},
    {"/half", OK "Content-Length: 100\r\n\r\n0123456789", PEER_CLOSE},
    {"/half-reset", OK "Content-Length: 100\r\n\r\n0123456789", PEER_RESET},
    {"/half-chunk", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nab", PEER_CLOSE},
    {"/trickle", OK "Content-Length: 100000\r\n\r\n", PEER_TRICKLE},
    {"/trickle-head", OK "X: ", PEER_TRICKLE},
    {"/flood", OK "\r\n", PEER_FLOOD},
    {"/flood-head", OK "X: ", PEER_FLOOD},
    {"/garbage", "SSH-2.0-OpenSSH_9.2\r\n\r\n", PEER_CLOSE},
    {"/bad-status", "HTTP/1.1 20 OK\r\n\r\n", PEER_CLOSE},
    {"/no-name", OK ": x\r\nContent-Length: 0\r\n\r\n", PEER_CLOSE},
    {"/bad-length", OK "Content-Length: ten\r\n\r\n0123456789", PEER_CLOSE},
    {"/two-lengths", OK "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", PEER_CLOSE},
    {"/both", OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     PEER_CLOSE},
    {"/bad-chunk", OK "Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", PEER_KEEP},
    {"/chunks",
     OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n",
     PEER_KEEP},
    {"/interim",
     "HTTP/1.1 103 Early\r\nA: early\r\n\r\n" OK "B: late\r\nContent-Length: 2\r\n\r\nok",
     PEER_KEEP},
    {"/204", "HTTP/1.1 204 None\r\n\r\n", PEER_KEEP},
    {"/until-end", OK "\r\nuntil the end", PEER_CLOSE},
    {"/moved", "HTTP/1.1 302 Found\r\nLocation: /port\r\nContent-Length: 0\r\n\r\n", PEER_KEEP},
    {"/head", OK "Content-Length: 5000000\r\n\r\n", PEER_KEEP},
    {"/excess", OK "Content-Length: 2\r\n\r\nokHTTP/1.1 666 Smuggled\r\n\r\n", PEER_KEEP},
    {"/late-excess", OK "Content-Length: 2\r\n\r\nok", PEER_EXTRA},
    {"/timeout-408", OK "Content-Length: 2\r\n\r\nok", PEER_408},
    {NULL, NULL, PEER_KEEP},
};

static struct peer *peer;

static int start_peer(void **state)
{
    (void)state;
    peer = peer_start(PEER_IP, 21000, acts);
    return 0;
}

static int stop_peer(void **state)
{
    (void)state;
    peer_stop(peer);
    return 0;
}

struct bench {
    struct world world;
    struct http_share *share;
    struct got got;
};

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    world_open(&b->world);
    b->share = http_share_new(b->world.client, 4);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    got_clear(&b->got);
    http_share_free(b->share);
    world_close(&b->world);
    free(b);
    return 0;
}

static void get(struct bench *b, const char *url)
{
    fetch_url(&b->got, &b->world, b->share, url);
}

static void expect(struct bench *b, enum error_code code, bool sent)
{
    assert_string_equal(error_name(b->got.answer.error.code), error_name(code));
    assert_int_equal(b->got.answer.sent, sent);
    if (code == ERR_NONE)
        return;
    assert_int_not_equal(strlen(b->got.answer.error.message), 0);
    assert_int_equal(b->got.answer.status, 0);
    assert_int_equal(b->got.answer.body_len, 0);
    assert_int_equal(b->got.answer.header_count, 0);
}

/* ---- answers */

static void test_answer(void **state)
{
    struct bench *b = *state;
    get(b, URL("/port"));
    expect(b, ERR_NONE, true);
    assert_int_equal(b->got.answer.status, 200);
    char connection[64];
    snprintf(connection, sizeof connection, "%.20s:%s", "127.0.0.1",
             b->got.body + strlen("port "));
    assert_string_equal(strchr(b->got.answer.connection, ':'), strchr(connection, ':'));
    assert_true(b->got.answer.elapsed_ms >= 0 && b->got.answer.elapsed_ms < 5000);
    get(b, URL("/headers"));
    assert_string_equal(b->got.head,
                        "\nSet-Cookie: a=1\nset-cookie: b=2\nEmpty: \nContent-Length: 0\n");
}

static void test_answer_header(void **state)
{
    (void)state;
    const struct http_header headers[] = {{"A", "1"}, {"b", "2"}, {"B", "3"}};
    const struct http_answer answer = {.headers = headers, .header_count = 3};
    assert_string_equal(http_answer_header(&answer, "B"), "2");
    assert_null(http_answer_header(&answer, "C"));
}

static void test_framing(void **state)
{
    struct bench *b = *state;
    get(b, URL("/chunks"));
    expect(b, ERR_NONE, true);
    assert_string_equal(b->got.body, "abcde");
    assert_string_equal(b->got.head, "\nTransfer-Encoding: chunked\n"); /* no trailer */
    get(b, URL("/interim"));
    assert_int_equal(b->got.answer.status, 200);
    assert_string_equal(b->got.head, "\nB: late\nContent-Length: 2\n");
    assert_string_equal(b->got.body, "ok");
    get(b, URL("/204"));
    assert_int_equal(b->got.answer.status, 204);
    assert_int_equal(b->got.answer.body_len, 0);
    get(b, URL("/moved"));
    assert_int_equal(b->got.answer.status, 302);
    struct http_request head = request_to(URL("/head"));
    head.method = "HEAD";
    head.max_answer = 10;
    fetch(&b->got, &b->world, b->share, &head);
    expect(b, ERR_NONE, true);
    assert_int_equal(b->got.answer.body_len, 0);
    assert_int_equal(world_stats(&b->world).connections_opened, 1);
    get(b, URL("/until-end"));
    assert_string_equal(b->got.body, "until the end");
}

static void expect_line(const char *text, const char *line)
{
    if (!strstr(text, line))
        fail_msg("\"%s\" is not in:\n%s", line, text);
}

static void test_request_on_the_wire(void **state)
{
    struct bench *b = *state;
    const struct http_header headers[] = {
        {"Cookie", "A=1; B=\"2\""}, {"X-Empty", ""}, {"X-Blank", " \t"}, {"Host", "other:1"}};
    struct http_request r = request_to(URL("/a/../echo?x=1&y=%20"));
    char body[2000] = "a\0b";
    r.method = "POST";
    r.headers = headers;
    r.header_count = 4;
    r.body = body;
    r.body_len = sizeof body;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    fetch(&b->got, &b->world, b->share, &r);
    unsetenv("http_proxy");
    expect(b, ERR_NONE, true);
    expect_line(b->got.body, "POST /a/../echo?x=1&y=%20 HTTP/1.1\r\n");
    expect_line(b->got.body, "\r\nCookie: A=1; B=\"2\"\r\n");
    expect_line(b->got.body, "\r\nX-Empty:\r\n");
    expect_line(b->got.body, "\r\nX-Blank:\r\n");
    expect_line(b->got.body, "\r\nHost: other:1\r\n");
    expect_line(b->got.body, "\r\nContent-Length: 2000\r\n");
    assert_null(strcasestr(b->got.body, "Expect"));
    assert_null(strcasestr(b->got.body, "Content-Type"));
    assert_memory_equal(b->got.body + b->got.answer.body_len - sizeof body, body, sizeof body);
}

static void test_methods(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/echo"));
    r.method = "POST";
    fetch(&b->got, &b->world, b->share, &r);
    expect_line(b->got.body, "POST /echo HTTP/1.1\r\n");
    expect_line(b->got.body, "\r\nContent-Length: 0\r\n");
    r.method = "DELETE";
    fetch(&b->got, &b->world, b->share, &r);
    expect_line(b->got.body, "DELETE /echo HTTP/1.1\r\n");
    assert_null(strstr(b->got.body, "Content-Length"));
    r.method = "PUT";
    r.body = "";
    r.headers = &(struct http_header){"Content-Type", "text/plain"};
    r.header_count = 1;
    fetch(&b->got, &b->world, b->share, &r);
    expect_line(b->got.body, "\r\nContent-Length: 0\r\n");
    expect_line(b->got.body, "\r\nContent-Type: text/plain\r\n");
}

static void test_endless_deadlines(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/port"));
    r.connect_timeout_ms = r.first_byte_timeout_ms = r.total_timeout_ms = INT64_MAX / 2;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_NONE, true);
    r.connect_timeout_ms = INT64_MAX;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_NONE, true);
}

/* ---- requests that must not be sent */

static void refuse(struct bench *b, const struct http_request *r)
{
    fetch(&b->got, &b->world, b->share, r);
    expect(b, ERR_INVALID, false);
    assert_string_equal(b->got.answer.connection, "");
}

static void test_invalid_requests(void **state)
{
    struct bench *b = *state;
    static const struct http_header bad[] = {
        {"X", "a\r\nY: b"},
        {"X", "a\n"},
        {"X", "\x01"},
        {"X\r\nY", "a"},
        {"X Y", "a"},
        {"", "a"},
        {"X:", "a"},
        {"Content-Length", "3"},
        {"transfer-encoding", "chunked"},
        {"Expect", "100-continue"},
        {"X", NULL},
        {NULL, "a"},
    };
    static const char *const urls[] = {"",
                                       URL("/a b"),
                                       URL("/a\r\nX: y"),
                                       "http:///",
                                       "ftp://" PEER_IP ":21000/",
                                       "file:///etc/passwd",
                                       "http://user:pass@" PEER_IP ":21000/port",
                                       "http://" PEER_IP ":99999/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_request r = request_to(URL("/port"));
        r.headers = &bad[i];
        r.header_count = 1;
        refuse(b, &r);
    }
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct http_request r = request_to(urls[i]);
        refuse(b, &r);
    }
    struct http_request r = request_to(URL("/port"));
    r.method = "GET /port HTTP/1.1\r\nX:";
    refuse(b, &r);
    r.method = "HEAD";
    r.body = "x";
    refuse(b, &r);
    r = request_to(URL("/port"));
    r.total_timeout_ms = 0;
    refuse(b, &r);
    assert_int_equal(world_stats(&b->world).connections_opened, 0);
}

/* ---- peers that fail */

static void test_refused(void **state)
{
    struct bench *b = *state;
    get(b, "http://" PEER_IP ":21001/");
    expect(b, ERR_CONNECT, false);
    expect_line(b->got.answer.error.message, "21001");
    assert_true(b->got.answer.refused);
    get(b, "http://nobody.invalid:21001/");
    expect(b, ERR_CONNECT, false);
    assert_false(b->got.answer.refused);
}

/* A listener whose backlog is full: the kernel drops what would open another connection. */
struct deaf {
    int listener, fillers[8];
};

static void deaf_open(struct deaf *d, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, PEER_IP, &a.sin_addr);
    d->listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(d->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(d->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(d->listener, 0), 0);
    for (size_t i = 0; i < 8; i++) {
        d->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(d->fillers[i], (struct sockaddr *)&a, sizeof a);
    }
}

static void deaf_close(struct deaf *d)
{
    close(d->listener);
    for (size_t i = 0; i < 8; i++)
        close(d->fillers[i]);
}

static void test_connect_timeout(void **state)
{
    struct bench *b = *state;
    struct deaf deaf;
    deaf_open(&deaf, 21002);
    struct http_request r = request_to("http://" PEER_IP ":21002/");
    r.connect_timeout_ms = 60;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TIMEOUT, false);
    assert_true(b->got.answer.elapsed_ms >= 59 && b->got.answer.elapsed_ms < 4000);
    r = request_to("http://" PEER_IP ":21002/");
    r.total_timeout_ms = 60;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TIMEOUT, false);
    struct http_exchange *x = http_start(b->share, &r, keep_answer, &b->got);
    run_for(&b->world, 10);
    http_cancel(x);
    run_for(&b->world, 80);
    assert_int_equal(b->got.calls, 1);
    deaf_close(&deaf);
}

static void test_first_byte_timeout(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/silent"));
    r.first_byte_timeout_ms = 50;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TIMEOUT, true);
    expect_line(b->got.answer.error.message, "no answer began within 50 ms");
    assert_int_not_equal(strlen(b->got.answer.connection), 0);
    /* the connection is not used again, and the deadline is over once the answer began */
    r = request_to(URL("/trickle"));
    r.first_byte_timeout_ms = 50;
    r.total_timeout_ms = 150;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TIMEOUT, true);
    expect_line(b->got.answer.error.message, "did not end within 150 ms");
    assert_true(b->got.answer.elapsed_ms >= 149);
    assert_int_equal(world_stats(&b->world).connections_open, 0);
}

static void test_trickled_head(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/trickle-head"));
    r.total_timeout_ms = 100;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TIMEOUT, true);
}

static void test_lost_connections(void **state)
{
    struct bench *b = *state;
    static const char *const urls[] = {URL("/drop"), URL("/reset"),      URL("/half-head"),
                                       URL("/half"), URL("/half-reset"), URL("/half-chunk")};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        get(b, urls[i]);
        expect(b, ERR_RESET, true);
    }
    assert_int_equal(world_stats(&b->world).connections_open, 0);
}

static void test_nonsense(void **state)
{
    struct bench *b = *state;
    static const char *const urls[] = {URL("/garbage"),    URL("/bad-status"),  URL("/no-name"),
                                       URL("/bad-length"), URL("/two-lengths"), URL("/both"),
                                       URL("/bad-chunk")};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        get(b, urls[i]);
        expect(b, ERR_PROTOCOL, true);
    }
    assert_int_equal(world_stats(&b->world).connections_open, 0);
}

static void test_too_large(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/flood"));
    r.max_answer = 100000;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TOO_LARGE, true);
    get(b, URL("/flood-head"));
    expect(b, ERR_TOO_LARGE, true);
    r = request_to(URL("/last"));
    r.max_answer = 2;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_NONE, true);
    r.max_answer = 1;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TOO_LARGE, true);
    r.max_answer = 0;
    fetch(&b->got, &b->world, b->share, &r);
    expect(b, ERR_TOO_LARGE, true);
}

/* ---- connections */

static void test_reuse(void **state)
{
    struct bench *b = *state;
    char first[64];
    get(b, URL("/port"));
    memcpy(first, b->got.answer.connection, sizeof first);
    for (int i = 0; i < 20; i++) {
        get(b, URL("/port"));
        assert_string_equal(b->got.answer.connection, first);
    }
    assert_int_equal(world_stats(&b->world).connections_opened, 1);
    assert_int_equal(world_stats(&b->world).exchanges, 21);
}

static int socket_of(const char *connection)
{
    int port = atoi(strrchr(connection, ':') + 1);
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        if (getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_family == AF_INET &&
            ntohs(a.sin_port) == port)
            return fd;
    }
    return -1;
}

static void wait_readable(const char *connection)
{
    int fd = socket_of(connection);
    if (fd >= 0) /* else it is closed already */
        assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000), 1);
}

/* The peer ended the idle connection, or wrote what nobody asked for: the next request opens
 * another. */
static void test_stale_connection(void **state)
{
    struct bench *b = *state;
    static const char *const urls[] = {URL("/last"), URL("/excess"), URL("/late-excess"),
                                       URL("/timeout-408")};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char first[64];
        get(b, urls[i]);
        expect(b, ERR_NONE, true);
        assert_string_equal(b->got.body, "ok");
        memcpy(first, b->got.answer.connection, sizeof first);
        wait_readable(first);
        struct http_request r = request_to(URL("/port"));
        r.method = "POST";
        fetch(&b->got, &b->world, b->share, &r);
        expect(b, ERR_NONE, true);
        assert_memory_equal(b->got.body, "port ", 5);
        assert_string_not_equal(b->got.answer.connection, first);
    }
}

/* libcurl by itself would send these again on a new connection. */
static void test_never_sent_twice(void **state)
{
    struct bench *b = *state;
    static const char *const methods[] = {"POST", "GET", "PUT"};
    static const char *const paths[] = {"/drop", "/reset"};
    for (size_t i = 0; i < 6; i++) {
        char url[64];
        unsigned before = peer_count(peer, paths[i % 2]);
        snprintf(url, sizeof url, URL("%s"), paths[i % 2]);
        struct http_request r = request_to(url);
        r.method = methods[i / 2];
        get(b, URL("/port")); /* so that the next one goes over a reused connection */
        uint64_t opened = world_stats(&b->world).connections_opened;
        fetch(&b->got, &b->world, b->share, &r);
        expect(b, ERR_RESET, true);
        run_for(&b->world, 5);
        assert_int_equal(peer_count(peer, paths[i % 2]), before + 1);
        assert_int_equal(world_stats(&b->world).connections_opened, opened);
    }
}

/* The same with a second idle connection at hand, which libcurl could use for the repetition.
 */
static void test_never_sent_twice_over_another_idle_one(void **state)
{
    struct bench *b = *state;
    struct got other = {0};
    struct http_request port = request_to(URL("/port")), drop = request_to(URL("/drop"));
    unsigned before = peer_count(peer, "/drop");
    drop.method = "POST";
    http_start(b->share, &port, keep_answer, &b->got);
    http_start(b->share, &port, keep_answer, &other);
    wait_calls(&b->world, &other.calls, 1);
    wait_calls(&b->world, &b->got.calls, 1);
    assert_int_equal(world_stats(&b->world).connections_open, 2);
    fetch(&b->got, &b->world, b->share, &drop);
    expect(b, ERR_RESET, true);
    run_for(&b->world, 5);
    assert_int_equal(peer_count(peer, "/drop"), before + 1);
    got_clear(&other);
}

static void test_max_idle(void **state)
{
    struct bench *b = *state;
    struct http_share *small = http_share_new(b->world.client, 1);
    struct http_request r = request_to(URL("/port"));
    struct got got = {0};
    for (int i = 0; i < 4; i++)
        http_start(small, &r, keep_answer, &got);
    wait_calls(&b->world, &got.calls, 4);
    assert_int_equal(world_stats(&b->world).connections_opened, 4);
    assert_int_equal(world_stats(&b->world).connections_open, 1);
    struct http_share *none = http_share_new(b->world.client, 0);
    fetch_url(&got, &b->world, none, URL("/port"));
    assert_int_equal(world_stats(&b->world).connections_open, 1);
    http_share_free(none);
    http_share_free(small);
    got_clear(&got);
}

/* Each share has connections of its own, and they end with it. */
static void test_shares(void **state)
{
    struct bench *b = *state;
    enum { SHARES = 8 };
    struct http_share *shares[SHARES];
    struct got got[SHARES] = {0};
    size_t fds = count_fds();
    struct http_request r = request_to(URL("/port"));
    for (size_t i = 0; i < SHARES; i++)
        shares[i] = http_share_new(b->world.client, 2);
    for (int round = 1; round <= 3; round++) {
        char ports[SHARES][64];
        for (size_t i = 0; i < SHARES; i++) {
            if (round > 1)
                memcpy(ports[i], got[i].body, strlen(got[i].body) + 1);
            http_start(shares[i], &r, keep_answer, &got[i]);
        }
        for (size_t i = 0; i < SHARES; i++) {
            wait_calls(&b->world, &got[i].calls, round);
            if (round > 1)
                assert_string_equal(ports[i], got[i].body);
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(got[i].body, got[j].body);
        }
    }
    assert_int_equal(world_stats(&b->world).connections_open, SHARES);
    assert_int_equal(count_fds(), fds + SHARES);
    for (size_t i = 0; i < SHARES; i++) {
        http_share_free(shares[i]);
        assert_int_equal(world_stats(&b->world).connections_open, SHARES - 1 - i);
        got_clear(&got[i]);
    }
    assert_int_equal(count_fds(), fds);
}

/* ---- cancel */

static void test_cancel(void **state)
{
    struct bench *b = *state;
    static const char *const urls[] = {URL("/silent"), URL("/trickle"), URL("/trickle-head"),
                                       URL("/flood"), "ftp://x/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        for (int64_t after_ms = 0; after_ms <= 20; after_ms += 10) {
            struct http_request r = request_to(urls[i]);
            r.max_answer = SIZE_MAX / 2;
            if (after_ms > 0 && i == 4) /* refused by then */
                continue;
            struct http_exchange *x = http_start(b->share, &r, keep_answer, &b->got);
            if (after_ms > 0)
                run_for(&b->world, after_ms);
            http_cancel(x);
            assert_int_equal(world_stats(&b->world).connections_open, 0);
        }
    }
    run_for(&b->world, 20);
    assert_int_equal(b->got.calls, 0);
}

struct victim {
    struct http_exchange *other;
    int calls;
};

static void cancel_other(void *arg, const struct http_answer *answer)
{
    struct victim *v = arg;
    assert_int_equal(answer->error.code, ERR_INVALID);
    v->calls++;
    http_cancel(v->other);
}

/* Both have ended, one's callback cancels the other before it was told. */
static void test_cancel_from_callback(void **state)
{
    struct bench *b = *state;
    struct victim v = {0};
    struct http_request r = request_to("");
    http_start(b->share, &r, cancel_other, &v);
    v.other = http_start(b->share, &r, keep_answer, &b->got);
    wait_calls(&b->world, &v.calls, 1);
    run_for(&b->world, 5);
    assert_int_equal(b->got.calls, 0);
}

static void free_share(void *arg, const struct http_answer *answer)
{
    struct bench *b = arg;
    http_share_free(b->share);
    b->share = NULL;
    keep_answer(&b->got, answer);
}

static void test_share_freed_in_callback(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(URL("/port"));
    http_start(b->share, &r, free_share, b);
    wait_calls(&b->world, &b->got.calls, 1);
    assert_memory_equal(b->got.body, "port ", 5);
    assert_int_equal(world_stats(&b->world).connections_open, 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

/* ---- streamed answers */

struct stream {
    struct got got; /* first: done gets the same argument */
    struct buf data;
    int pieces;
    size_t first;
    bool done_first;
    struct http_exchange *cancel; /* at the first piece */
};

static void take_piece(void *arg, const char *data, size_t len)
{
    struct stream *s = arg;
    if (s->pieces++ == 0)
        s->first = len;
    s->done_first |= s->got.calls > 0;
    buf_add(&s->data, data, len);
    if (s->cancel)
        http_cancel(s->cancel);
    s->cancel = NULL;
}

static void clear_stream(struct stream *s)
{
    got_clear(&s->got);
    buf_free(&s->data);
    *s = (struct stream){0};
}

static void stream_from(struct bench *b, struct stream *s, const char *url, size_t max_answer)
{
    struct http_request r = request_to(url);
    clear_stream(s);
    r.on_data = take_piece;
    r.max_answer = max_answer;
    r.total_timeout_ms = 300;
    http_start(b->share, &r, keep_answer, s);
    assert_int_equal(s->pieces, 0); /* never inline */
    wait_calls(&b->world, &s->got.calls, 1);
}

static void test_stream(void **state)
{
    struct bench *b = *state;
    struct stream s = {0};
    stream_from(b, &s, URL("/chunks"), 100);
    assert_int_equal(s.got.answer.error.code, ERR_NONE);
    assert_string_equal(s.data.data, "abcde");
    assert_int_equal(s.got.answer.body_len, 0);
    assert_false(s.done_first);
    stream_from(b, &s, URL("/204"), 100); /* told once, although there is nothing */
    assert_int_equal(s.pieces, 1);
    assert_int_equal(s.first, 0);
    stream_from(b, &s, URL("/moved"), 100); /* not of a refusal */
    assert_int_equal(s.pieces, 0);
    assert_int_equal(s.got.answer.status, 302);
    clear_stream(&s);
}

static void test_stream_broken(void **state)
{
    struct bench *b = *state;
    struct stream s = {0};
    stream_from(b, &s, URL("/half"), 100);
    assert_int_equal(s.got.answer.error.code, ERR_RESET);
    assert_string_equal(s.data.data, "0123456789");
    assert_false(s.done_first);
    stream_from(b, &s, URL("/trickle"), 4); /* a byte now and then is never too much */
    assert_int_equal(s.got.answer.error.code, ERR_TIMEOUT);
    assert_true(s.pieces > 4 && s.data.len > 4);
    stream_from(b, &s, URL("/chunks"), 1); /* more at once than fits */
    assert_int_equal(s.got.answer.error.code, ERR_TOO_LARGE);
    clear_stream(&s);
}

static void test_stream_cancelled(void **state)
{
    struct bench *b = *state;
    struct stream s = {0};
    struct http_request r = request_to(URL("/trickle"));
    r.on_data = take_piece;
    s.cancel = http_start(b->share, &r, keep_answer, &s);
    wait_calls(&b->world, &s.pieces, 1);
    run_for(&b->world, 50);
    assert_int_equal(s.pieces, 1);
    assert_int_equal(s.got.calls, 0);
    clear_stream(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_answer),
        CASE(test_framing),
        CASE(test_request_on_the_wire),
        CASE(test_methods),
        CASE(test_endless_deadlines),
        CASE(test_invalid_requests),
        CASE(test_refused),
        CASE(test_connect_timeout),
        CASE(test_first_byte_timeout),
        CASE(test_stream),
        CASE(test_stream_broken),
        CASE(test_stream_cancelled),
        CASE(test_trickled_head),
        CASE(test_lost_connections),
        CASE(test_nonsense),
        CASE(test_too_large),
        CASE(test_reuse),
        CASE(test_stale_connection),
        CASE(test_never_sent_twice),
        CASE(test_never_sent_twice_over_another_idle_one),
        CASE(test_max_idle),
        CASE(test_shares),
        CASE(test_cancel),
        CASE(test_cancel_from_callback),
        CASE(test_share_freed_in_callback),
        cmocka_unit_test(test_answer_header),
    };
    return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
