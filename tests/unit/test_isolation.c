/* Invariant I1 when libcurl would break it: two shares are made to hold the same libcurl
 * connections behind the client's back, which needs a look inside. */
#include "http/client.c"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "fetch.h"
#include "peer.h"

#define URL(path) "http://" PEER_IP ":21020" path

static const struct peer_act acts[] = {
    {"/port", NULL, PEER_KEEP},
    {NULL, NULL, PEER_KEEP},
};

static int log_lines;

static void count_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    if (level == LOG_LEVEL_ERROR && strstr(line, "http.shared_connection"))
        log_lines++;
}

static void test_foreign_connection(void **state)
{
    (void)state;
    struct peer *peer = peer_start(PEER_IP, 21020, acts);
    struct world w;
    struct got got = {0};
    world_open(&w);
    struct http_share *a = http_share_new(w.client, 2), *b = http_share_new(w.client, 2);
    CURLSH *own = b->curl;
    fetch_url(&got, &w, a, URL("/port"));
    assert_int_equal(got.answer.error.code, ERR_NONE);
    b->curl = a->curl;
    log_set_sink(count_line, NULL);
    fetch_url(&got, &w, b, URL("/port"));
    log_set_sink(NULL, NULL);
    assert_int_equal(got.answer.error.code, ERR_INTERNAL);
    assert_false(got.answer.sent);
    assert_int_equal(peer_count(peer, "/port"), 1);
    assert_int_equal(world_stats(&w).shared_connections, 1);
    assert_int_equal(log_lines, 1);
    b->curl = own;
    fetch_url(&got, &w, b, URL("/port"));
    assert_int_equal(got.answer.error.code, ERR_NONE);
    fetch_url(&got, &w, a, URL("/port"));
    assert_int_equal(got.answer.error.code, ERR_NONE);
    w.client->stats.shared_connections = 0; /* for world_close */
    http_share_free(a);
    http_share_free(b);
    got_clear(&got);
    world_close(&w);
    peer_stop(peer);
}

struct link {
    int listener, client, server;
    char local[LEDGER_ADDRESS_SIZE], remote[LEDGER_ADDRESS_SIZE];
};

static int port_of(int fd)
{
    struct sockaddr_in6 a;
    socklen_t len = sizeof a;
    getsockname(fd, (struct sockaddr *)&a, &len);
    return ntohs(a.sin6_port);
}

static void link_listen(struct link *l)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    l->listener = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(bind(l->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(l->listener, 1), 0);
    l->client = socket(AF_INET6, SOCK_STREAM, 0);
}

static void link_connect(struct link *l)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    a.sin6_port = htons((uint16_t)port_of(l->listener));
    assert_int_equal(connect(l->client, (struct sockaddr *)&a, sizeof a), 0);
    l->server = accept(l->listener, NULL, NULL);
    ledger_format(l->local, "::1", port_of(l->client));
    ledger_format(l->remote, "::1", port_of(l->listener));
}

static void test_ledger(void **state)
{
    (void)state;
    struct ledger ledger;
    struct link link;
    int fd;
    ledger_init(&ledger);
    link_listen(&link);
    ledger_open(&ledger, link.client, 7, &link);
    assert_int_equal(ledger_owner(&ledger, 7, "[::1]:1", "[::1]:2", &fd), 0);
    assert_int_equal(fd, -1);
    link_connect(&link);
    assert_memory_equal(link.local, "[::1]:", 6);
    assert_int_equal(ledger_owner(&ledger, 8, link.local, link.remote, &fd),
                     0); /* not its own */
    assert_int_equal(ledger_owner(&ledger, 7, link.remote, link.local, &fd), 0);
    assert_int_equal(ledger_owner(&ledger, 7, link.local, link.remote, &fd), 7);
    assert_int_equal(fd, link.client);
    assert_int_equal(ledger_owner(&ledger, 8, link.local, link.remote, &fd), 7);
    ledger_end_attempt(&ledger, &link); /* it did connect, so it stays */
    assert_int_equal(ledger.open, 1);
    ledger_close(&ledger, link.client);
    ledger_close(&ledger, link.client);
    assert_int_equal(ledger.open, 0);
    assert_int_equal(ledger_owner(&ledger, 7, link.local, link.remote, &fd), 0);
    ledger_open(&ledger, link.client, 1, &ledger);
    ledger_open(&ledger, link.client, 2, &link); /* the number was used again */
    assert_int_equal(ledger.open, 1);
    ledger_end_attempt(&ledger, &ledger);
    assert_int_equal(ledger.open, 1);
    ledger_end_attempt(&ledger, &link);
    assert_int_equal(ledger.open, 0);
    assert_int_equal(ledger.opened, 3);
    ledger_open(&ledger, link.client, 3, NULL);
    ledger_free(&ledger);
    close(link.client);
    close(link.server);
    close(link.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_connection),
        cmocka_unit_test(test_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
