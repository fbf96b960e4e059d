#include "http/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "fetch.h"
#include "peer.h"

#define URL(path) "http://" PEER_IP ":21010" path

static const struct peer_act acts[] = {
    {"/port", NULL, PEER_KEEP},
    {"/echo", PEER_ECHO, PEER_KEEP},
    {"/bye", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", PEER_CLOSE},
    {"/silent", "", PEER_HANG},
    {"/slow", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", PEER_LATE},
    {NULL, NULL, PEER_KEEP},
};

static struct peer *peer;

static int start_peer(void **state)
{
    (void)state;
    peer = peer_start(PEER_IP, 21010, acts);
    return 0;
}

static int stop_peer(void **state)
{
    (void)state;
    peer_stop(peer);
    return 0;
}

#define GOT_MAX 24

struct bench {
    struct world world;
    struct pool *pool;
    struct got got[GOT_MAX];
};

static const struct pool_limits limits = {
    .max_connections = 2, .max_queue = 3, .idle_ms = 10000};

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    world_open(&b->world);
    b->pool = pool_new(b->world.client, b->world.loop, &limits);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    pool_free(b->pool);
    for (size_t i = 0; i < GOT_MAX; i++)
        got_clear(&b->got[i]);
    world_close(&b->world);
    free(b);
    return 0;
}

static void use_limits(struct bench *b, unsigned max_connections, unsigned max_queue,
                       int64_t idle_ms)
{
    pool_free(b->pool);
    b->pool = pool_new(b->world.client, b->world.loop,
                       &(struct pool_limits){max_connections, max_queue, idle_ms});
}

static struct pool_request *send_url(struct bench *b, size_t i, const char *url)
{
    struct http_request r = request_to(url);
    return pool_send(b->pool, &r, keep_answer, &b->got[i]);
}

static void wait_got(struct bench *b, size_t i)
{
    wait_calls(&b->world, &b->got[i].calls, 1);
}

static void expect(struct bench *b, size_t i, enum error_code code)
{
    assert_int_equal(b->got[i].calls, 1);
    assert_string_equal(error_name(b->got[i].answer.error.code), error_name(code));
}

static void test_queue_order(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 8, 10000);
    for (size_t i = 0; i < 9; i++)
        send_url(b, i, URL("/port"));
    for (size_t i = 0; i < 9; i++)
        wait_got(b, i);
    for (size_t i = 0; i < 9; i++) {
        expect(b, i, ERR_NONE);
        if (i > 0)
            assert_int_equal(b->got[i].order, b->got[i - 1].order + 1);
        assert_string_equal(b->got[i].body, b->got[0].body); /* one connection carried all */
    }
    assert_int_equal(world_stats(&b->world).connections_opened, 1);
}

static void test_cap(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < 5; i++)
        send_url(b, i, URL("/slow"));
    while (!b->got[4].calls) {
        assert_true(world_stats(&b->world).connections_open <= 2);
        run_for(&b->world, 1);
    }
    for (size_t i = 0; i < 5; i++)
        expect(b, i, ERR_NONE);
}

static void test_full(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < 7; i++)
        send_url(b, i, URL("/port"));
    assert_int_equal(b->got[5].calls, 0); /* never inline */
    for (size_t i = 0; i < 7; i++)
        wait_got(b, i);
    for (size_t i = 0; i < 7; i++) {
        expect(b, i, i < 5 ? ERR_NONE : ERR_FULL);
        assert_int_equal(b->got[i].answer.sent, i < 5);
    }
    send_url(b, 7, URL("/port"));
    wait_got(b, 7);
    expect(b, 7, ERR_NONE);
}

static void test_waiting_request_is_a_copy(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 1, 10000);
    send_url(b, 0, URL("/port"));
    char url[] = URL("/echo"), name[] = "X-Name", value[] = "value", body[] = "a\0b";
    struct http_header header = {name, value};
    struct http_request r = request_to(url);
    r.method = "PUT";
    r.headers = &header;
    r.header_count = 1;
    r.body = body;
    r.body_len = 4;
    pool_send(b->pool, &r, keep_answer, &b->got[1]);
    memset(url, '?', sizeof url - 1);
    memset(name, '?', sizeof name - 1);
    memset(value, '?', sizeof value - 1);
    memset(body, '?', sizeof body);
    wait_got(b, 1);
    expect(b, 1, ERR_NONE);
    assert_non_null(strstr(b->got[1].body, "PUT /echo HTTP/1.1\r\n"));
    assert_non_null(strstr(b->got[1].body, "\r\nX-Name: value\r\n"));
    assert_memory_equal(b->got[1].body + b->got[1].answer.body_len - 4, "a\0b", 4);
}

/* The key, too; and one without a token, which nobody asks for any more. */
static void test_waiting_signature_is_a_copy(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 2, 10000);
    send_url(b, 0, URL("/port"));
    char region[] = "eu-west-1", service[] = "ecs", access[] = "AKID", secret[] = "key",
         token[] = "token";
    struct http_sign sign = {region, service, access, secret, token};
    struct http_request r = request_to(URL("/echo"));
    r.sign = &sign;
    pool_send(b->pool, &r, keep_answer, &b->got[1]);
    sign.session_token = NULL;
    struct pool_request *cancelled = pool_send(b->pool, &r, keep_answer, &b->got[2]);
    memset(region, '?', sizeof region - 1);
    memset(service, '?', sizeof service - 1);
    memset(access, '?', sizeof access - 1);
    memset(secret, '?', sizeof secret - 1);
    memset(token, '?', sizeof token - 1);
    sign = (struct http_sign){0};
    pool_cancel(cancelled);
    wait_got(b, 1);
    expect(b, 1, ERR_NONE);
    assert_non_null(strstr(b->got[1].body, "Credential=AKID/"));
    assert_non_null(strstr(b->got[1].body, "/eu-west-1/ecs/aws4_request"));
    assert_non_null(strstr(b->got[1].body, "\r\nX-Amz-Security-Token: token\r\n"));
    assert_int_equal(b->got[2].calls, 0);
}

static void test_deadline_while_queued(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 4, 10000);
    unsigned before = peer_count(peer, "/port");
    struct pool_request *blocker = send_url(b, 0, URL("/silent"));
    struct http_request r = request_to(URL("/port"));
    r.total_timeout_ms = 50;
    pool_send(b->pool, &r, keep_answer, &b->got[1]);
    wait_got(b, 1);
    expect(b, 1, ERR_TIMEOUT);
    assert_false(b->got[1].answer.sent);
    assert_true(b->got[1].answer.elapsed_ms >= 50);
    pool_cancel(blocker);
    run_for(&b->world, 20);
    assert_int_equal(peer_count(peer, "/port"), before);
    assert_int_equal(b->got[0].calls, 0);
}

/* The time in the queue counts: what is left is not enough for a peer that never answers. */
static void test_total_includes_queue(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 4, 10000);
    struct http_request r = request_to(URL("/silent"));
    r.total_timeout_ms = 200;
    pool_send(b->pool, &r, keep_answer, &b->got[0]);
    r.total_timeout_ms = 400;
    pool_send(b->pool, &r, keep_answer, &b->got[1]);
    wait_got(b, 1);
    expect(b, 0, ERR_TIMEOUT);
    expect(b, 1, ERR_TIMEOUT);
    assert_true(b->got[1].answer.sent);
    assert_in_range(b->got[1].answer.elapsed_ms, 399, 560);
}

static bool share_is_gone(void *arg)
{
    return !pool_has_share(arg);
}

static void test_idle(void **state)
{
    struct bench *b = *state;
    use_limits(b, 2, 2, 40);
    assert_false(pool_has_share(b->pool));
    for (int round = 0; round < 3; round++) {
        got_clear(&b->got[0]);
        send_url(b, 0, URL("/port"));
        assert_true(pool_has_share(b->pool));
        wait_got(b, 0);
        expect(b, 0, ERR_NONE);
        assert_true(pool_has_share(b->pool));
        assert_int_equal(world_stats(&b->world).connections_open, 1);
        wait_until(&b->world, share_is_gone, b->pool);
        assert_int_equal(world_stats(&b->world).connections_open, 0);
        assert_int_equal(count_fds(), b->world.fds);
    }
    assert_int_equal(world_stats(&b->world).connections_opened, 3);
    /* a request under way is not idle, however long it lasts */
    struct pool_request *r = send_url(b, 1, URL("/silent"));
    run_for(&b->world, 100);
    assert_true(pool_has_share(b->pool));
    pool_cancel(r);
    wait_until(&b->world, share_is_gone, b->pool);
}

static void test_retire(void **state)
{
    struct bench *b = *state;
    use_limits(b, 2, 2, 10000);
    pool_retire_connections(b->pool); /* nothing there */
    send_url(b, 0, URL("/port"));
    wait_got(b, 0);
    pool_retire_connections(b->pool);
    assert_int_equal(world_stats(&b->world).connections_open, 0);
    assert_false(pool_has_share(b->pool));
    /* a busy one ends with its request, new requests do not use it */
    send_url(b, 1, URL("/slow"));
    run_for(&b->world, 20);
    pool_retire_connections(b->pool);
    assert_true(pool_has_share(b->pool));
    send_url(b, 2, URL("/port"));
    wait_got(b, 2);
    assert_string_not_equal(b->got[2].answer.connection, "");
    wait_got(b, 1);
    expect(b, 1, ERR_NONE);
    assert_string_not_equal(b->got[1].answer.connection, b->got[2].answer.connection);
    assert_int_equal(world_stats(&b->world).connections_open, 1);
    assert_int_equal(world_stats(&b->world).shares, 1);
}

static void test_connections(void **state)
{
    struct bench *b = *state;
    const char *seen[16];
    uint64_t total;
    assert_int_equal(pool_connections(b->pool, seen, &total), 0);
    assert_int_equal(total, 0);
    for (size_t i = 0; i < 3; i++) {
        send_url(b, i, URL("/port"));
        wait_got(b, i);
    }
    assert_int_equal(pool_connections(b->pool, seen, &total), 1);
    assert_int_equal(total, 1);
    assert_string_equal(seen[0], b->got[2].answer.connection);
    for (size_t i = 3; i < 23; i++) {
        send_url(b, i, URL("/bye"));
        wait_got(b, i);
    }
    assert_int_equal(pool_connections(b->pool, seen, &total), 16);
    assert_int_equal(total, 20); /* the first /bye went over the open one */
    for (size_t i = 0; i < 16; i++)
        assert_string_equal(seen[i], b->got[7 + i].answer.connection);
    send_url(b, 23, "http://" PEER_IP ":21011/");
    wait_got(b, 23);
    expect(b, 23, ERR_CONNECT);
    pool_connections(b->pool, seen, &total);
    assert_int_equal(total, 20);
}

static void test_pools_are_apart(void **state)
{
    struct bench *b = *state;
    struct pool *other = pool_new(b->world.client, b->world.loop, &limits);
    for (size_t i = 0; i < 10; i++) {
        struct http_request r = request_to(URL("/port"));
        pool_send(i % 2 ? other : b->pool, &r, keep_answer, &b->got[i]);
        wait_got(b, i);
    }
    for (size_t i = 2; i < 10; i++)
        assert_string_equal(b->got[i].body, b->got[i - 2].body);
    assert_string_not_equal(b->got[0].body, b->got[1].body);
    pool_free(other);
    assert_int_equal(world_stats(&b->world).connections_open, 1);
}

static void test_cancel(void **state)
{
    struct bench *b = *state;
    use_limits(b, 1, 1, 10000);
    struct pool_request *flying = send_url(b, 0, URL("/silent"));
    struct pool_request *waiting = send_url(b, 1, URL("/port"));
    struct pool_request *refused = send_url(b, 2, URL("/port"));
    pool_cancel(refused);
    pool_cancel(waiting);
    send_url(b, 3, URL("/port"));
    run_for(&b->world, 20);
    assert_int_equal(b->got[3].calls, 0);
    pool_cancel(flying); /* makes room for the next */
    wait_got(b, 3);
    expect(b, 3, ERR_NONE);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(b->got[i].calls, 0);
}

static void test_free_with_everything_under_way(void **state)
{
    struct bench *b = *state;
    for (int ms = 0; ms <= 10; ms += 5) {
        for (size_t i = 0; i < 8; i++)
            send_url(b, i, i == 0 ? URL("/slow") : URL("/silent"));
        if (ms > 0) {
            run_for(&b->world, ms);
            assert_int_equal(b->got[7].calls, ms / 5); /* the queue was full */
        }
        use_limits(b, 2, 3, 10000);
        assert_int_equal(world_stats(&b->world).connections_open, 0);
    }
    run_for(&b->world, 20);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(b->got[i].calls, 0);
}

static void free_pool(void *arg, const struct http_answer *answer)
{
    struct bench *b = arg;
    pool_free(b->pool);
    b->pool = NULL;
    keep_answer(&b->got[0], answer);
}

/* From the end of a request, of one that ran out of time in the queue, and of one that was
 * refused. */
static void test_free_in_callback(void **state)
{
    struct bench *b = *state;
    struct http_request port = request_to(URL("/port")), short_one = port;
    short_one.total_timeout_ms = 20;
    for (size_t ahead = 0; ahead <= 2; ahead++) {
        use_limits(b, 1, 1, 10000);
        got_clear(&b->got[0]);
        for (size_t i = 0; i < ahead; i++)
            send_url(b, 1 + i, URL("/silent"));
        pool_send(b->pool, ahead == 1 ? &short_one : &port, free_pool, b);
        wait_got(b, 0);
        expect(b, 0, ahead == 0 ? ERR_NONE : ahead == 1 ? ERR_TIMEOUT : ERR_FULL);
    }
    run_for(&b->world, 10);
    assert_int_equal(b->got[1].calls + b->got[2].calls, 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_queue_order),
        CASE(test_cap),
        CASE(test_full),
        CASE(test_waiting_request_is_a_copy),
        CASE(test_waiting_signature_is_a_copy),
        CASE(test_deadline_while_queued),
        CASE(test_total_includes_queue),
        CASE(test_idle),
        CASE(test_retire),
        CASE(test_connections),
        CASE(test_pools_are_apart),
        CASE(test_cancel),
        CASE(test_free_with_everything_under_way),
        CASE(test_free_in_callback),
    };
    return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
