/* The client and host names: which address a share's connections go to, and when. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "dns_help.h"
#include "fetch.h"
#include "http/client.h"
#include "peer.h"

#define PORT "21154"
#define IP(n) "127.71.1." #n
#define NAME_URL "http://alb.test:" PORT "/who"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"

enum { PEERS = 3 };

static const struct peer_act acts[PEERS][3] = {
    {{"/who", OK "1", PEER_KEEP}, {"/echo", PEER_ECHO, PEER_KEEP}, {NULL, NULL, PEER_KEEP}},
    {{"/who", OK "2", PEER_KEEP}, {NULL, NULL, PEER_KEEP}},
    {{"/who", OK "3", PEER_KEEP}, {NULL, NULL, PEER_KEEP}},
};
static struct peer *peers[PEERS]; /* at 127.71.1.1 to .3 */

static int start_peers(void **state)
{
    static const char *const ips[] = {IP(1), IP(2), IP(3)};
    (void)state;
    for (size_t i = 0; i < PEERS; i++)
        peers[i] = peer_start(ips[i], (uint16_t)atoi(PORT), acts[i]);
    return 0;
}

static int stop_peers(void **state)
{
    (void)state;
    for (size_t i = 0; i < PEERS; i++)
        peer_stop(peers[i]);
    return 0;
}

struct bench {
    struct world world;
    struct dns *dns;
    struct http_share *share;
    struct got got;
};

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    world_open(&b->world);
    b->dns = dns_open(b->world.loop);
    b->world.fds = count_fds();
    b->share = http_share_new(b->world.client, 4);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    got_clear(&b->got);
    http_share_free(b->share);
    assert_int_equal(count_fds(), b->world.fds);
    dns_close(b->dns);
    b->world.fds = count_fds();
    world_close(&b->world);
    free(b);
    return 0;
}

static struct http_share *new_share(struct bench *b)
{
    return http_share_new(b->world.client, 4);
}

static void expect_failure(struct bench *b, enum error_code code, const char *why)
{
    assert_string_equal(error_name(b->got.answer.error.code), error_name(code));
    assert_false(b->got.answer.sent);
    if (!strstr(b->got.answer.error.message, why))
        fail_msg("\"%s\" is not in: %s", why, b->got.answer.error.message);
}

/* The digit of the peer that answered, '-' for a failure. */
static char who(struct bench *b, struct http_share *share)
{
    fetch_url(&b->got, &b->world, share, NAME_URL);
    return b->got.answer.error.code == ERR_NONE ? b->got.body[0] : '-';
}

static void pass_ttl(struct bench *b)
{
    run_for(&b->world, 1010);
}

/* ---- which address */

static void test_shares_rotate(void **state)
{
    struct bench *b = *state;
    enum { SHARES = 6 };
    struct http_share *shares[SHARES];
    char first[SHARES + 1] = "";
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1) " " IP(2) " " IP(3), 60);
    for (size_t i = 0; i < SHARES; i++) {
        shares[i] = new_share(b);
        first[i] = who(b, shares[i]);
    }
    assert_string_equal(first, "123123");
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < SHARES; i++)
            assert_int_equal(who(b, shares[i]), first[i]);
    assert_int_equal(world_stats(&b->world).connections_opened, SHARES);
    assert_int_equal(dns_asked(b->dns, "alb.test"), 1);
    for (size_t i = 0; i < SHARES; i++)
        http_share_free(shares[i]);
}

/* IPv6 is for when nothing else is left. */
static void test_ipv4_first(void **state)
{
    struct bench *b = *state;
    struct http_share *others[2] = {new_share(b), new_share(b)};
    dns_say(b->dns, "alb.test", DNS_TRUTH, "::1 " IP(2) " " IP(9), 60);
    assert_int_equal(who(b, others[0]), '2');
    assert_int_equal(who(b, b->share), '-');
    expect_failure(b, ERR_CONNECT, IP(9));
    assert_int_equal(who(b, others[1]), '2');
    assert_int_equal(who(b, b->share), '-');
    expect_failure(b, ERR_CONNECT, "::1");
    assert_int_equal(who(b, b->share), '2');
    http_share_free(others[0]);
    http_share_free(others[1]);
}

/* The answer's order changes from query to query; a share stays, and so does its connection. */
static void test_share_stays(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(2) " " IP(1), 1);
    assert_int_equal(who(b, b->share), '2');
    pass_ttl(b);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1) " " IP(3) " " IP(2), 1);
    assert_int_equal(who(b, b->share), '2');
    assert_int_equal(dns_asked(b->dns, "alb.test"), 2);
    assert_int_equal(world_stats(&b->world).connections_opened, 1);
}

static void test_name_moves(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1), 1);
    assert_int_equal(who(b, b->share), '1');
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(3), 1);
    assert_int_equal(who(b, b->share), '1'); /* not known yet */
    pass_ttl(b);
    assert_int_equal(who(b, b->share), '3');
    assert_int_equal(world_stats(&b->world).connections_opened, 2);
    pass_ttl(b);
    dns_say(b->dns, "alb.test", DNS_NO_NAME, "", 1);
    assert_int_equal(who(b, b->share), '-');
    expect_failure(b, ERR_CONNECT, "alb.test has no address");
}

static void test_refused(void **state)
{
    struct bench *b = *state;
    struct http_share *other = new_share(b);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(9) " " IP(2), 60);
    assert_int_equal(who(b, b->share), '-');
    expect_failure(b, ERR_CONNECT, IP(9));
    assert_int_equal(who(b, b->share), '2');
    assert_int_equal(who(b, b->share), '2');
    assert_int_equal(who(b, other), '2'); /* its turn */
    http_share_free(other);
}

/* Several that fail at once move the share by one address, not by several. */
static void test_refused_together(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(NAME_URL);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(9) " " IP(2) " " IP(8), 60);
    for (int i = 0; i < 3; i++)
        http_start(b->share, &r, keep_answer, &b->got);
    wait_calls(&b->world, &b->got.calls, 3);
    assert_int_equal(dns_asked(b->dns, "alb.test"), 1);
    assert_int_equal(who(b, b->share), '2');
}

/* A listener that takes no connection: its backlog is full. */
static int deaf_listener(const char *ip, int fillers[4])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(PORT))};
    inet_pton(AF_INET, ip, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (size_t i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    return fd;
}

static void test_deaf_address(void **state)
{
    struct bench *b = *state;
    int fillers[4], fd = deaf_listener(IP(7), fillers);
    struct http_request r = request_to(NAME_URL);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(7) " " IP(2), 60);
    r.connect_timeout_ms = 100;
    fetch(&b->got, &b->world, b->share, &r);
    expect_failure(b, ERR_TIMEOUT, "");
    assert_int_equal(who(b, b->share), '2');
    close(fd);
    for (size_t i = 0; i < 4; i++)
        close(fillers[i]);
}

/* A peer that fails after the request went out is no reason to leave its address. */
static void test_failure_after_sending(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1) " " IP(2), 60);
    fetch_url(&b->got, &b->world, b->share, "http://alb.test:" PORT "/unknown");
    assert_int_equal(b->got.answer.error.code, ERR_RESET);
    assert_int_equal(who(b, b->share), '1');
}

/* ---- kinds of names */

static void test_host_header(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1), 60);
    fetch_url(&b->got, &b->world, b->share, "http://ALB.test:" PORT "/echo?x=http://other/");
    assert_int_equal(b->got.answer.error.code, ERR_NONE);
    if (!strstr(b->got.body, "\r\nHost: ALB.test:" PORT "\r\n"))
        fail_msg("%s", b->got.body);
    assert_memory_equal(b->got.answer.connection, "127.", 4);
}

/* One listener on ::1 that answers one request. */
struct six {
    struct loop *loop;
    int listener, fd;
    struct fd_watch *accepting, *reading;
};

static void answer_six(void *arg)
{
    struct six *s = arg;
    char request[1024];
    assert_true(read(s->fd, request, sizeof request) > 0);
    assert_int_equal(write(s->fd, OK "6", strlen(OK "6")), strlen(OK "6"));
    fd_watch_free(s->reading);
    s->reading = NULL;
}

static void accept_six(void *arg)
{
    struct six *s = arg;
    s->fd = accept(s->listener, NULL, NULL);
    s->reading = fd_watch_new(s->loop, s->fd, false, answer_six, s);
    fd_watch_free(s->accepting);
    s->accepting = NULL;
}

static void test_ipv6(void **state)
{
    struct bench *b = *state;
    struct six s = {.loop = b->world.loop};
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
                             .sin6_port = htons((uint16_t)atoi(PORT)),
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    s.listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(s.listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(s.listener, (struct sockaddr *)&a, sizeof a) < 0) {
        close(s.listener);
        skip(); /* a machine without IPv6 */
    }
    assert_int_equal(listen(s.listener, 4), 0);
    s.accepting = fd_watch_new(s.loop, s.listener, false, accept_six, &s);
    dns_say(b->dns, "alb.test", DNS_TRUTH, "::1", 60);
    assert_int_equal(who(b, b->share), '6');
    assert_memory_equal(b->got.answer.connection, "[::1]:", 6);
    close(s.fd);
    close(s.listener);
}

/* Not by libcurl's own rules: through the cache, and with IPv4 first. */
static void test_localhost(void **state)
{
    struct bench *b = *state;
    fetch_url(&b->got, &b->world, b->share, "http://localhost:21155/");
    expect_failure(b, ERR_CONNECT, "127.0.0.1");
}

static void test_not_resolved(void **state)
{
    struct bench *b = *state;
    fetch_url(&b->got, &b->world, b->share, NAME_URL);
    expect_failure(b, ERR_CONNECT, "alb.test has no address");
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(2), 60); /* a refusal is not kept */
    assert_int_equal(who(b, b->share), '2');
    fetch_url(&b->got, &b->world, b->share, "http://r%C3%A4tsel.test:" PORT "/who");
    assert_int_not_equal(b->got.answer.error.code, ERR_NONE);
    assert_false(b->got.answer.sent);
}

/* ---- time */

static void test_resolving_times_out(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(NAME_URL);
    dns_say(b->dns, "alb.test", DNS_SILENCE, "", 60);
    r.connect_timeout_ms = 60;
    fetch(&b->got, &b->world, b->share, &r);
    expect_failure(b, ERR_TIMEOUT, "alb.test was not resolved within 60 ms");
    assert_true(b->got.answer.elapsed_ms >= 59 && b->got.answer.elapsed_ms < 1000);
    r.connect_timeout_ms = 5000;
    r.total_timeout_ms = 60;
    fetch(&b->got, &b->world, b->share, &r);
    expect_failure(b, ERR_TIMEOUT, "did not end within 60 ms");
    assert_int_equal(dns_asked(b->dns, "alb.test"), 1); /* it still is */
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(2), 60);
    assert_int_equal(who(b, b->share), '2'); /* the repeated question was answered */
}

/* The last answer serves while the name server does not. */
static void test_name_server_gone(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(NAME_URL);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(2), 1);
    assert_int_equal(who(b, b->share), '2');
    pass_ttl(b);
    dns_say(b->dns, "alb.test", DNS_SILENCE, "", 1);
    r.connect_timeout_ms = r.total_timeout_ms = 20000;
    http_start(b->share, &r, keep_answer, &b->got);
    int calls = b->got.calls;
    run_for(&b->world, 4000);
    wait_calls(&b->world, &b->got.calls, calls + 1);
    assert_int_equal(b->got.answer.error.code, ERR_NONE);
    assert_int_equal(who(b, b->share), '2'); /* at once, without another try */
    assert_true(b->got.answer.elapsed_ms < 1000);
}

/* ---- many, and cancel */

static void test_one_question_for_many(void **state)
{
    struct bench *b = *state;
    enum { SHARES = 30 };
    struct http_share *shares[SHARES];
    struct http_request r = request_to(NAME_URL);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(1) " " IP(2) " " IP(3), 60);
    unsigned before[PEERS];
    for (size_t i = 0; i < PEERS; i++)
        before[i] = peer_count(peers[i], "/who");
    for (size_t i = 0; i < SHARES; i++) {
        shares[i] = new_share(b);
        http_start(shares[i], &r, keep_answer, &b->got);
    }
    wait_calls(&b->world, &b->got.calls, SHARES);
    assert_int_equal(dns_asked(b->dns, "alb.test"), 1);
    for (size_t i = 0; i < PEERS; i++)
        assert_int_equal(peer_count(peers[i], "/who") - before[i], SHARES / PEERS);
    for (size_t i = 0; i < SHARES; i++)
        http_share_free(shares[i]);
}

static void test_cancel(void **state)
{
    struct bench *b = *state;
    struct http_request r = request_to(NAME_URL);
    struct got other = {0};
    dns_say(b->dns, "alb.test", DNS_SILENCE, "", 60);
    for (int64_t after_ms = 0; after_ms <= 20; after_ms += 10) {
        struct http_exchange *x = http_start(b->share, &r, keep_answer, &b->got);
        if (after_ms > 0)
            run_for(&b->world, after_ms);
        http_cancel(x);
    }
    struct http_exchange *x = http_start(b->share, &r, keep_answer, &b->got);
    http_start(b->share, &r, keep_answer, &other);
    run_for(&b->world, 10);
    http_cancel(x);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP(3), 60);
    wait_calls(&b->world, &other.calls, 1); /* who waits with it is not harmed */
    assert_string_equal(other.body, "3");
    x = http_start(b->share, &r, keep_answer, &b->got); /* the answer is at hand */
    http_cancel(x);
    run_for(&b->world, 20);
    assert_int_equal(b->got.calls, 0);
    got_clear(&other);
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
    struct http_request r = request_to(NAME_URL);
    http_start(b->share, &r, free_share, b);
    wait_calls(&b->world, &b->got.calls, 1);
    expect_failure(b, ERR_CONNECT, "no address");
}

/* A look-up that nobody waits for ends with the client. */
static void test_client_freed_while_looking_up(void **state)
{
    struct world w;
    struct got got = {0};
    struct http_request r = request_to(NAME_URL);
    size_t fds = count_fds();
    (void)state;
    world_open(&w);
    struct http_share *share = http_share_new(w.client, 1);
    http_cancel(http_start(share, &r, keep_answer, &got));
    http_share_free(share);
    assert_true(count_fds() > w.fds);
    http_client_free(w.client);
    loop_free(w.loop);
    assert_int_equal(count_fds(), fds);
    assert_int_equal(got.calls, 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_shares_rotate),
        CASE(test_ipv4_first),
        CASE(test_share_stays),
        CASE(test_name_moves),
        CASE(test_refused),
        CASE(test_refused_together),
        CASE(test_deaf_address),
        CASE(test_failure_after_sending),
        CASE(test_host_header),
        CASE(test_ipv6),
        CASE(test_localhost),
        CASE(test_not_resolved),
        CASE(test_resolving_times_out),
        CASE(test_name_server_gone),
        CASE(test_one_question_for_many),
        CASE(test_cancel),
        CASE(test_share_freed_in_callback),
        CASE(test_client_freed_while_looking_up),
    };
    return cmocka_run_group_tests(tests, start_peers, stop_peers);
}
